// SPDX-License-Identifier: Apache-2.0
// What nccl-tests print: provenance in lines that start with '#', then a table of sizes and times.
#include <charconv>
#include <cmath>

#include "costs/curve_readers.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr std::size_t kCells = 13;  // size count type redop root, then time algbw busbw #wrong of each place
constexpr std::size_t kOutOfPlace = 5, kInPlace = 9;
constexpr std::size_t kWrong = 3;  // behind the place's time

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (;;) {
    auto const begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    words.push_back(line.substr(0, line.find_first_of(" \t\r")));
    line.remove_prefix(words.back().size());
  }
}

/// @return the word behind `key`, empty without one.
std::string_view word_after(std::string_view line, std::string_view key) {
  auto const at = line.find(key);
  if (at == std::string_view::npos) return {};
  auto const words = words_of(line.substr(at + key.size()));
  return words.empty() ? std::string_view{} : words.front();
}

/// 22803 is how NCCL writes 2.28.3.
std::string version_of_code(std::string_view code) {
  int value = 0;
  auto const [end, error] = std::from_chars(code.data(), code.data() + code.size(), value);
  if (error != std::errc{} || end != code.data() + code.size() || value < 20900) return std::string(code);
  return fmt::format("{}.{}.{}", value / 10000, value / 100 % 100, value % 100);
}

class NcclTestsReader {
 public:
  NcclTestsReader(std::string_view text, std::string file)
      : file_(std::move(file)), provenance_(provenance_of(text, file_)) {
    for (std::size_t end = 0; !text.empty(); text.remove_prefix(end)) {
      end = std::min(text.size(), text.find('\n') == std::string_view::npos ? text.size() : text.find('\n') + 1);
      ++line_;
      read_line(text.substr(0, text[end - 1] == '\n' ? end - 1 : end));
    }
    require_table();
  }

  [[nodiscard]] std::vector<MeasuredCurve> take() { return std::move(curves_); }

 private:
  void read_line(std::string_view line) {
    auto const words = words_of(line);
    if (words.empty() || line.find("NCCL INFO") != std::string_view::npos) return;
    if (auto const version = word_after(line, "NCCL version "); !version.empty()) {
      version_ = version;
    } else if (words.front().front() == '#') {
      read_comment(line, words);
    } else if (in_table_) {
      read_row(words);
    }
  }

  void read_comment(std::string_view line, std::vector<std::string_view> const& words) {
    if (auto const test = word_after(line, "Collective test starting:"); !test.empty()) operation_ = test;
    if (auto const code = word_after(line, "nccl-library="); !code.empty()) version_ = version_of_code(code);
    if (line.find("nThread") != std::string_view::npos) begin_run(line);
    if (words.size() > 2 && words[1] == "Rank") read_rank(line);
    if (words.size() > 2 && words[1] == "size" && words[2] == "count") read_header(words);
    if (in_table_ && words.size() > 2 && (words[1] == "Out" || words[1] == "Avg")) in_table_ = false;
  }

  /// A log may hold several runs: each says anew what it ran on.
  void begin_run(std::string_view line) {
    iterations_ = timed_calls(line);
    in_table_ = false;
    ranks_ = 0;
    device_.clear();
  }

  /// "warmup iters: 5 iters: 20 agg iters: 1": the second of the three.
  static std::string timed_calls(std::string_view line) {
    auto const warmup = line.find("warmup iters:");
    return std::string(warmup == std::string_view::npos ? word_after(line, "iters:")
                                                        : word_after(line.substr(warmup + 13), "iters:"));
  }

  /// "#  Rank  0 Group  0 Pid 7 on host device  0 [0x0a] NVIDIA H100".
  void read_rank(std::string_view line) {
    auto const bracket = line.find(']');
    auto const words = words_of(bracket == std::string_view::npos ? "" : line.substr(bracket + 1));
    SWITCHYARD_REQUIRE(!words.empty(), parse, "{}: line {}: the rank has no device behind its bus number: {}", file_,
                       line_, "the log is cut off");
    std::string device;
    for (auto const word : words) device.append(device.empty() ? "" : " ").append(word);
    SWITCHYARD_REQUIRE(device_.empty() || device_ == device, parse,
                       "{}: line {}: device \"{}\" after \"{}\": one curve is of one kind of device", file_, line_,
                       device, device_);
    device_ = std::move(device);
    ++ranks_;
  }

  void read_header(std::vector<std::string_view> const& words) {
    constexpr std::string_view kColumns[kCells] = {"size",  "count",  "type", "redop", "root",  "time",  "algbw",
                                                   "busbw", "#wrong", "time", "algbw", "busbw", "#wrong"};
    bool same = words.size() == kCells + 1;
    for (std::size_t i = 0; same && i < kCells; ++i)
      same = words[i + 1] == kColumns[i] || (kColumns[i] == "#wrong" && words[i + 1] == "error");
    SWITCHYARD_REQUIRE(same, parse,
                       "{}: line {}: {} columns that are not size count type redop root and twice time algbw busbw "
                       "#wrong: use the output of nccl-tests with validation and both places",
                       file_, line_, words.size() - 1);
    require_origin();
    in_table_ = true;
  }

  /// A table without origin is refused before its first row is read.
  void require_origin() {
    if (operation_.empty()) operation_ = operation_in_name();
    auto const require = [&](std::string const& value, char const* what, char const* remedy) {
      SWITCHYARD_REQUIRE(!value.empty(), parse, "{}: line {}: the table has no {} above it: {}", file_, line_, what,
                         remedy);
    };
    require(iterations_, "number of timed calls (\"# nThread ... iters: N\")", "keep the whole output of the test");
    require(device_, "devices (\"# Rank 0 ... device 0 [bus] NAME\")", "keep the whole output of the test");
    require(version_, "NCCL version", "run the test with NCCL_DEBUG=VERSION and keep what it prints");
    require(operation_, "name of the test (\"# Collective test starting: alltoall_perf\")",
            "name the file after the test, alltoall_perf.txt");
    auto const suffix = operation_.rfind("_perf");
    if (suffix != std::string::npos) operation_.resize(suffix);
    provenance_.device = device_;
    provenance_.version = "NCCL " + version_;
    provenance_.statistic = "average of " + iterations_ + " timed calls";
  }

  [[nodiscard]] std::string operation_in_name() const {
    for (char const* const test : {"all_reduce", "all_gather", "reduce_scatter", "alltoall", "sendrecv", "hypercube",
                                   "broadcast", "gather", "scatter", "reduce"})
      if (provenance_.file.find(std::string(test) + "_perf") != std::string::npos) return test;
    return {};
  }

  [[noreturn]] void fail(std::string_view cell, char const* problem) const {
    throw_error(ErrorCode::parse,
                fmt::format("{}: line {}: found \"{}\", {}", file_, line_, cell.substr(0, 60), problem));
  }

  [[nodiscard]] double number(std::string_view cell) const {
    double value = 0;
    auto const [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc{} || end != cell.data() + cell.size() || !std::isfinite(value) || value < 0)
      fail(cell, "use a number, finite and not negative");
    return value;
  }

  void read_row(std::vector<std::string_view> const& cells) {
    SWITCHYARD_REQUIRE(cells.size() == kCells, parse, "{}: line {} has {} cells, a row of the table {}: it is cut off",
                       file_, line_, cells.size(), kCells);
    double const bytes = number(cells[0]);
    static_cast<void>(number(cells[1]));
    add(cells, kOutOfPlace, bytes, "");
    // Where a test cannot work in place nccl-tests print N/A for its result, and a time all the same.
    if (cells[kInPlace + kWrong] != "N/A" && cells[kInPlace] != "N/A") add(cells, kInPlace, bytes, "in-place");
  }

  void add(std::vector<std::string_view> const& cells, std::size_t place, double bytes, char const* variant) {
    if (cells[place] == "N/A") return;
    if (cells[place + kWrong] != "N/A" && number(cells[place + kWrong]) != 0)
      fail(cells[place + kWrong], "wrong results: the time of a broken run is not fitted");
    CurveKey const key{operation_, device_, ranks_, variant, SizeUnit::bytes_per_rank};
    curve_of(curves_, key, provenance_).samples.push_back({bytes, number(cells[place])});
  }

  void require_table() const {
    SWITCHYARD_REQUIRE(!curves_.empty(), parse, "{}: {} lines without a row of times: the test did not finish", file_,
                       line_);
  }

  std::string file_;
  CostProvenance provenance_;
  std::size_t line_ = 0;
  bool in_table_ = false;
  int ranks_ = 0;
  std::string operation_{}, device_{}, version_{}, iterations_{};
  std::vector<MeasuredCurve> curves_{};
};

}  // namespace

bool is_nccl_tests_text(std::string_view text) {
  return text.find("# nThread") != std::string_view::npos || text.find("out-of-place") != std::string_view::npos;
}

std::vector<MeasuredCurve> read_nccl_tests_text(std::string_view text, std::string const& file) {
  return NcclTestsReader(text, file).take();
}

}  // namespace switchyard::sim
