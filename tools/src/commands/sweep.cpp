// SPDX-License-Identifier: Apache-2.0
// switchyard sweep: what one constant of the cluster does to the time of a plan, or to the choice between two.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "commands/commands.hpp"
#include "commands/simulate_inputs.hpp"
#include "commands/sweep_report.hpp"
#include "timeline/variations.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxPoints = 1000;
constexpr int kHalvings = 7;  // a change is placed within 1/128 of a step
constexpr double kLargest = 1e9;

/// NAME=LOW..HIGH:POINTS.
struct Range {
  std::string constant;
  double low = 0, high = 0;
  int points = 0;
};

Range range_of(std::string const& text) {
  auto const fail = [&](std::string const& why) -> std::size_t {
    throw UsageError(
        fmt::format("--vary {}: {}; write NAME=LOW..HIGH:POINTS, as network.nic_gb_per_s=25..400:8", text, why));
  };
  auto const equals = text.find('=');
  auto const dots = text.find("..", equals == std::string::npos ? fail("no '='") : equals);
  auto const colon = text.find(':', dots == std::string::npos ? fail("no '..'") : dots);
  if (colon == std::string::npos) fail("no ':'");
  auto const number = [&](std::size_t first, std::size_t end) {
    std::string const part = text.substr(first, end - first);
    return ParsedOptions({{"vary", part}}).number("vary", 0, kLargest);
  };
  Range range{text.substr(0, equals), number(equals + 1, dots), number(dots + 2, colon), 0};
  range.points = static_cast<int>(integer_of("vary", text.substr(colon + 1), 2, kMaxPoints));
  if (range.low >= range.high) fail(fmt::format("{} is not below {}", range.low, range.high));
  return range;
}

/// Also takes a constant's last part where only one constant ends so.
std::string full_name(std::string const& name) {
  std::vector<std::string> found;
  if (name == kSmConstant) return name;
  for (std::string const& known : sim::cluster_constant_names())
    if (known == name || known.ends_with("." + name)) found.push_back(known);
  if (found.size() == 1) return found.front();
  throw UsageError(fmt::format("--vary {}: {}: use one of {}", name,
                               found.empty() ? "a cluster has no such constant" : "several constants are called so",
                               fmt::join(found.empty() ? sim::cluster_constant_names() : found, ", ")));
}

/// Times the plans with one value of the constant at a time.
class Sweeper {
 public:
  explicit Sweeper(ParsedOptions const& options)
      : range_(range_of(options.text("vary"))), model_(model_of(options)), costs_(costs_of(options)) {
    range_.constant = full_name(range_.constant);
    if (!costs_.alltoall.empty() && range_.constant.starts_with("intra_node."))
      throw UsageError(
          fmt::format("--vary {}: the measured times of --costs stand for it: leave --costs out", range_.constant));
    if (range_.constant == kSmConstant && (!costs_.experts || costs_.experts->sms == 0 || range_.low == 0))
      throw UsageError(
          "--vary sms_per_gpu: SMs are the experts', above 0: give --costs and --expert-kernel of a GPU whose "
          "SMs are known");
    for (std::string const& file : options.list("PLAN")) plans_.push_back(read_plans(file, options));
    if (plans_.size() > 2)
      throw UsageError(fmt::format("{} plans: sweep takes one, or two to choose from", plans_.size()));
    int ranks = 0;
    for (TimedPlans const& plans : plans_) ranks = std::max(ranks, ranks_of(plans));
    cluster_ = cluster_of(options, ranks);
    for (TimedPlans const& plans : plans_) phases_.push_back(phases_of(plans, options, cluster_));
  }

  [[nodiscard]] Range const& range() const noexcept { return range_; }
  [[nodiscard]] sim::ClusterSpec const& cluster() const noexcept { return cluster_; }

  [[nodiscard]] SweepPoint at(double value) const {
    auto const cluster = cluster_with(value);
    SweepPoint point;
    point.value = value;
    for (std::size_t i = 0; i < plans_.size(); ++i)
      point.costs.push_back(time_plan(plans_[i], cluster, phases_[i], *model_, costs_));
    point.verdict = verdict_of(point.costs);
    return point;
  }

 private:
  [[nodiscard]] sim::ClusterSpec cluster_with(double value) const {
    if (range_.constant != kSmConstant) return sim::with_constant(cluster_, range_.constant, value);
    sim::ClusterSpec cluster = cluster_;
    cluster.sms_per_gpu = value;
    return cluster;
  }

  Range range_;
  std::unique_ptr<sim::NetworkModel const> model_;
  ChosenCosts costs_;
  std::vector<TimedPlans> plans_;
  sim::ClusterSpec cluster_;
  std::vector<std::vector<sim::TrafficPhase>> phases_;
};

double value_at(Range const& range, bool logarithmic, int point) {
  int const last = range.points - 1;
  if (point == last) return range.high;
  if (logarithmic) return range.low * std::pow(range.high / range.low, static_cast<double>(point) / last);
  return (range.low * (last - point) + range.high * point) / last;
}

/// Halves the step between two points of different verdicts.
VerdictChange change_between(Sweeper const& sweeper, SweepPoint below, SweepPoint above) {
  std::string const from = below.verdict;
  for (int i = 0; i < kHalvings; ++i) {
    SweepPoint middle = sweeper.at((below.value + above.value) / 2);
    (middle.verdict == from ? below : above) = std::move(middle);
  }
  return {below.value, above.value, from, above.verdict};
}

ExitCode run_sweep(ParsedOptions const& options) {
  std::string const format = options.choice("format", {"table", "json", "csv"});
  bool const logarithmic = options.choice("scale", {"linear", "log"}) == "log";
  Sweeper const sweeper(options);
  if (logarithmic && sweeper.range().low == 0) throw UsageError("--scale log needs a range that starts above 0");
  SweepReport report;
  report.plans = options.list("PLAN");
  report.cluster = sweeper.cluster().name;
  report.constant = sweeper.range().constant;
  for (int point = 0; point < sweeper.range().points; ++point) {
    report.points.push_back(sweeper.at(value_at(sweeper.range(), logarithmic, point)));
    if (point == 0) continue;
    auto const& before = report.points[report.points.size() - 2];
    if (before.verdict != report.points.back().verdict)
      report.changes.push_back(change_between(sweeper, before, report.points.back()));
  }
  fmt::print("{}", format == "json" ? to_json(report) : format == "csv" ? to_csv(report) : to_table(report));
  return ExitCode::ok;
}

OptionTable sweep_options() {
  OptionTable table{
      {"PLAN", OptionKind::positional, "PLAN", "", "what simulate takes; two to choose from", true},
      {"vary", OptionKind::required, "NAME=LOW..HIGH:POINTS", "", "a constant as the cluster file names it"},
      {"scale", OptionKind::optional, "linear|log", "linear", "how the points are spaced"}};
  for (OptionSpec const& option : timing_options()) table.push_back(option);
  table.push_back({"format", OptionKind::optional, "table|json|csv", "table", "output format"});
  return table;
}

}  // namespace

Command sweep_command() {
  return {"sweep",
          "varies one constant of a cluster and says where the verdict changes",
          "Times a plan as `switchyard simulate` does for every value of one constant. The verdict is what binds the\n"
          "longest phase; with two plans it is which of them is faster. Where it changes, the step is halved seven\n"
          "times.\n",
          sweep_options(),
          {"switchyard sweep group.jsonl --cluster dgx-h100 --vary network.nic_gb_per_s=25..400:8",
           "switchyard sweep before.jsonl after.jsonl --cluster dgx-h100 --vary nic_gb_per_s=25..400:8 --format csv"},
          run_sweep};
}

}  // namespace switchyard::cli
