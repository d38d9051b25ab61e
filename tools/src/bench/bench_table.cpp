// SPDX-License-Identifier: Apache-2.0
#include "bench/bench_table.hpp"

#include <fmt/format.h>

#include "cli/table.hpp"

namespace switchyard::cli {

std::string to_table(bench::AllToAllTable const& table) {
  TextTable text({"pattern", "size", "time (us)", "algbw (GB/s)", "busbw (GB/s)", "floor (us)", "ratio"});
  for (bench::AllToAllCase const& one : table.cases) {
    double const time = bench::median_of(one.samples_us);
    double const floor = bench::median_of(one.floor_us);
    double const algbw = bench::gigabytes_per_second(static_cast<double>(one.largest_bytes), time);
    text.add_row({one.pattern, grouped(one.total_bytes), fmt::format("{:.1f}", time), fmt::format("{:.2f}", algbw),
                  fmt::format("{:.2f}", algbw * one.bus_factor), fmt::format("{:.1f}", floor),
                  fmt::format("{:.3f}", time > 0 ? floor / time : 0)});
  }
  return fmt::format("# {}; {} ranks; {}\n", table.machine, table.ranks, table.provenance) + text.str();
}

}  // namespace switchyard::cli
