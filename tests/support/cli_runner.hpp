// SPDX-License-Identifier: Apache-2.0
/// CliRunner: runs the built program in an empty folder of its own and catches what it says.
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace support {

struct CliResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

/// One folder per object, removed at the end. The path of the program comes from SWITCHYARD_CLI_PATH.
class CliRunner {
 public:
  CliRunner() {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard-cli-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = pattern;
    std::filesystem::create_directory(folder_ / "w");
  }
  ~CliRunner() {
    std::error_code ignored;
    std::filesystem::permissions(work(), std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(folder_, ignored);
  }
  CliRunner(CliRunner const&) = delete;
  CliRunner& operator=(CliRunner const&) = delete;

  /// The folder that commands run in; relative names in arguments mean files here.
  [[nodiscard]] std::filesystem::path work() const { return folder_ / "w"; }

  /// @param arguments as typed in a shell. @param stdout_file where stdout goes instead of into the result.
  [[nodiscard]] CliResult run(std::string const& arguments, std::string const& stdout_file = "") const {
    std::string const out = stdout_file.empty() ? (folder_ / "out").string() : stdout_file;
    std::string const command = "cd '" + work().string() + "' && '" + SWITCHYARD_CLI_PATH + "' " + arguments + " >'" +
                                out + "' 2>'" + (folder_ / "err").string() + "'";
    int const status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, stdout_file.empty() ? content(out) : "",
            without_notices(content(folder_ / "err"))};
  }

  void write(std::string const& name, std::string const& text) const { std::ofstream(work() / name) << text; }
  [[nodiscard]] std::string read(std::string const& name) const { return content(work() / name); }
  [[nodiscard]] bool exists(std::string const& name) const { return std::filesystem::exists(work() / name); }
  /// @return how many entries the folder holds: temporaries that were left behind count.
  [[nodiscard]] long entries() const {
    return std::distance(std::filesystem::directory_iterator(work()), std::filesystem::directory_iterator());
  }

 private:
  /// AddressSanitizer announces on stderr that it does not know fibers; that is not the program's word.
  static std::string without_notices(std::string const& text) {
    std::istringstream lines(text);
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      if (line.find("WARNING: ASan doesn't fully support") == std::string::npos) kept += line + '\n';
    }
    return kept;
  }

  static std::string content(std::filesystem::path const& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
};

/// @return the last line of a text, without its newline.
inline std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.find_last_of('\n') + 1);
}

}  // namespace support
