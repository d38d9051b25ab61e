// SPDX-License-Identifier: Apache-2.0
/// Replays a corpus through one harness without libFuzzer: every file, and every prefix and single-byte change of the
/// small ones. Usage: <harness>_replay <file or folder>...
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz/fuzz_check.hpp"

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kAlterUpToBytes = 1024;

std::size_t executions = 0;

void run(std::string const& input) {
  // A copy of its own on the heap: reading past the end is then visible to AddressSanitizer.
  std::vector<std::uint8_t> const bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  ++executions;
}

void run_altered(std::string const& input) {
  for (std::size_t length = 0; length < input.size(); ++length) run(input.substr(0, length));
  for (std::size_t i = 0; i < input.size(); ++i) {
    for (char const other : {'\0', '"', '[', '9', '-', '\xff'}) {
      std::string altered = input;
      altered[i] = other;
      run(altered);
    }
  }
}

void collect(fs::path const& path, std::vector<fs::path>& files) {
  if (!fs::is_directory(path)) {
    files.push_back(path);
    return;
  }
  for (auto const& entry : fs::directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<fs::path> files;
  for (int i = 1; i < argc; ++i) collect(argv[i], files);
  std::sort(files.begin(), files.end());
  for (fs::path const& path : files) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
      std::fprintf(stderr, "cannot read %s\n", path.c_str());
      return 2;
    }
    std::string const input{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    std::printf("%s: %zu bytes\n", path.filename().c_str(), input.size());
    std::fflush(stdout);  // the last line names the input when the harness aborts
    run(input);
    if (input.size() <= kAlterUpToBytes) run_altered(input);
  }
  std::printf("%zu files, %zu executions, 0 findings\n", files.size(), executions);
  return files.empty() ? 2 : 0;  // an empty corpus tests nothing
}
