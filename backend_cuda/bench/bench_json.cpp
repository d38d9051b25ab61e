// SPDX-License-Identifier: Apache-2.0
#include "bench_json.hpp"

#include <cstdio>

namespace gpu_bench {

namespace bench = switchyard::bench;

Results::Results(std::string const& path, Echo echo) : echo_(echo) {
  if (!path.empty()) file_.open(path);
}

void Results::emit(std::string const& json, std::string const& line) {
  json_lines_ += json;
  if (file_.is_open()) file_ << json << std::flush;
  if (echo_ == Echo::none) return;
  std::printf("%s", line.c_str());
  std::fflush(stdout);
}

void Results::add_text(std::string const& name, std::string const& text) {
  emit(bench::to_json_line(name, text), "# " + name + ": " + text + "\n");
}

void Results::note(std::string const& text) const {
  if (echo_ == Echo::none) return;
  std::printf("# %s\n", text.c_str());
  std::fflush(stdout);
}

void Results::add(std::string const& name, std::vector<std::pair<std::string, double>> const& fields, double bytes,
                  double floor_gbs, std::vector<double> const& samples_us) {
  add({name, fields, bytes, 0, floor_gbs > 0 ? bytes / floor_gbs * 1e-3 : 0, samples_us});
}

void Results::add(Record record) {
  emit(bench::to_json_line(record), (records_.empty() ? bench::line_heading() : "") + bench::to_line(record));
  records_.push_back(std::move(record));
}

}  // namespace gpu_bench
