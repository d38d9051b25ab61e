// SPDX-License-Identifier: Apache-2.0
#include "planning/horizon_section.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

/// Time that one window spends waiting for the busiest GPUs.
double window_ns(PlanInputs const& inputs, ExpertPlacement const& placement, double row_ns) {
  double rows = 0;
  for (LayerImbalance const& layer : judge(inputs.source.load, placement, inputs.request).layers)
    rows += layer.max_rank_load;
  return rows * row_ns;
}

std::string human_time(double ns) {
  if (ns < 1e3) return fmt::format("{:.0f} ns", ns);
  if (ns < 1e6) return fmt::format("{:.1f} us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.1f} ms", ns / 1e6);
  return fmt::format("{:.2f} s", ns / 1e9);
}

struct Verdict {
  double before_ns = 0;
  double after_ns = 0;
  double round_robin_ns = -1;  ///< below 0: not comparable
  double move_ns = 0;
  [[nodiscard]] double gain_ns() const { return before_ns - after_ns; }
  /// Windows until the move has paid for itself; below 0: never.
  [[nodiscard]] double break_even() const { return gain_ns() > 0 ? move_ns / gain_ns() : -1; }
  [[nodiscard]] bool apply(double windows) const { return gain_ns() * windows > move_ns; }
};

std::string text_of(Verdict const& verdict, HorizonTerms const& terms) {
  std::string text =
      fmt::format("horizon    a window waits {} for its busiest GPUs now, {} afterwards; the move takes {}\n",
                  human_time(verdict.before_ns), human_time(verdict.after_ns), human_time(verdict.move_ns));
  text +=
      verdict.break_even() < 0
          ? "           it never pays for itself: nothing is gained\n"
          : fmt::format("           it pays for itself after {:.4g} windows; over {:.4g} windows it gains {}\n",
                        verdict.break_even(), terms.windows,
                        verdict.apply(terms.windows) ? human_time(verdict.gain_ns() * terms.windows - verdict.move_ns)
                                                     : "nothing");
  if (verdict.round_robin_ns >= 0)
    text += fmt::format("           against round-robin, which needs no loads ({}): {}{} per window\n",
                        human_time(verdict.round_robin_ns),
                        verdict.round_robin_ns >= verdict.after_ns ? "saves " : "LOSES ",
                        human_time(std::abs(verdict.round_robin_ns - verdict.after_ns)));
  return text + fmt::format("verdict    {}\n", verdict.apply(terms.windows) ? "apply" : "skip");
}

}  // namespace

ReportSection horizon_section(PlanInputs const& inputs, ExpertPlacement const& after, HorizonTerms const& terms) {
  Verdict verdict;
  verdict.before_ns = window_ns(inputs, inputs.before, terms.row_ns);
  verdict.after_ns = window_ns(inputs, after, terms.row_ns);
  verdict.move_ns = static_cast<double>(totals(schedule_move(inputs, after), inputs.rates).makespan_ns);
  bool const comparable = inputs.request.dead_ranks.empty();  // round-robin knows no dead ranks
  if (comparable)
    verdict.round_robin_ns = window_ns(
        inputs, ExpertPlacement::round_robin(after.num_layers(), after.num_experts(), after.layout()), terms.row_ns);
  nlohmann::ordered_json json{{"windows", terms.windows},
                              {"row_ns", terms.row_ns},
                              {"window_ns_before", verdict.before_ns},
                              {"window_ns_after", verdict.after_ns},
                              {"move_ns", verdict.move_ns},
                              {"break_even_windows", nullptr},
                              {"window_ns_round_robin", nullptr},
                              {"verdict", verdict.apply(terms.windows) ? "apply" : "skip"}};
  if (verdict.break_even() >= 0) json["break_even_windows"] = verdict.break_even();
  if (comparable) json["window_ns_round_robin"] = verdict.round_robin_ns;
  return {"horizon", json.dump(), text_of(verdict, terms)};
}

}  // namespace switchyard::cli
