// SPDX-License-Identifier: Apache-2.0
// switchyard demo: the main job on an embedded DeepSeek-R1-like model, from loads to combined tokens.
#include <fmt/format.h>

#include <algorithm>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "demo/routed_batch.hpp"
#include "demo/story.hpp"
#include "switchyard/cpu/rehearsal.hpp"
#include "switchyard/io/plan_json.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/sim/load_generator.hpp"

namespace switchyard::cli {
namespace {

constexpr int kGpus = 32;
constexpr int kSlots = 288;
constexpr int kDispatchRanks = 8;
constexpr std::int64_t kExpertBytes = 42 << 20;  // DeepSeek-R1 in fp8

std::string par_text(ImbalanceReport const& report) {
  return fmt::format("{:.2f} mean, {:.2f} to {:.2f} over layers", report.mean_par, report.min_par, report.max_par);
}

ExpertLoad tell_load(demo::Story& story, sim::LoadSpec const& spec) {
  story.begin("Generate: expert loads like those measured on DeepSeek-R1");
  ExpertLoad const load = sim::generate_load(spec);
  story.line("model", fmt::format("{} MoE layers x {} experts, top-{}, {} tokens in the step", load.num_layers(),
                                  load.num_experts(), spec.top_k, grouped(spec.tokens_per_step)));
  auto const even = ExpertPlacement::contiguous(load.num_layers(), load.num_experts(), kGpus);
  story.line("skew", fmt::format("max / mean load of {} GPUs with {} experts each: {}", kGpus,
                                 load.num_experts() / kGpus, par_text(measure_imbalance(load, even))));
  story.line("", "published for DeepSeek-R1 on 32 GPUs:               2.56 mean, 1.46 to 3.46 over layers");
  story.end();
  return load;
}

RebalancePlan tell_plan(demo::Story& story, ExpertLoad const& load) {
  story.begin(fmt::format("Plan: DeepSeek's policy, {} slots on {} GPUs of 4 nodes, 8 expert groups", kSlots, kGpus));
  PolicyRequest const request{kGpus, kSlots, 4, 8};
  ExpertPlacement const after = make_policy("deepseek")->place(load, request);
  auto const before = ExpertPlacement::trivial(load.num_layers(), load.num_experts(), after.layout());
  RebalancePlan plan = plan_rebalance(before, after);
  ImbalanceReport const is = measure_imbalance(load, after);
  story.line("before", par_text(measure_imbalance(load, before)));
  story.line("after",
             fmt::format("{} (random routing alone gives {:.2f})", par_text(is), is.layers[0].noise_floor_par));
  RebalanceTotals const sums = totals(plan);
  story.line("moves", fmt::format("{} experts over the network, {} inside a GPU, {} slots unchanged",
                                  grouped(sums.network_copies), grouped(sums.local_copies + sums.duplicates),
                                  grouped(sums.unchanged)));
  story.line("bytes", fmt::format("{} in all, {} into the busiest GPU (fp8, 42 MiB per expert)",
                                  human_bytes(sums.network_copies * kExpertBytes),
                                  human_bytes(sums.max_receives_of_rank * kExpertBytes)));
  story.end();
  return plan;
}

/// Takes one send out of a copy of the plan: the proof must notice.
std::string first_violation_of_damaged(RebalancePlan plan) {
  for (RankTransfers& rank : plan.layers.front().ranks) {
    if (rank.sends.empty()) continue;
    rank.sends.pop_back();
    break;
  }
  auto const violations = validate(plan);
  return violations.empty() ? std::string() : violations.front().text;
}

std::string tell_proof(demo::Story& story, RebalancePlan const& plan) {
  story.begin("Prove: every list replayed on symbolic rows");
  auto const violations = validate(plan);
  story.check("proof", violations.empty(), fmt::format("{} violations", violations.size()));
  std::string const damaged = first_violation_of_damaged(plan);
  story.check("damaged", !damaged.empty(), fmt::format("the plan without one send is refused: {}", damaged));
  std::string text = io::to_json(plan, {"switchyard demo", "deepseek", "deepseek-r1"});
  bool const same = io::rebalance_plan_from_json(text, "demo plan") == plan;
  story.check("file", same,
              fmt::format("{} of JSON read back equal, fingerprint {}",
                          human_bytes(static_cast<std::int64_t>(text.size())), plan.fingerprint().to_hex()));
  story.end();
  return text;
}

void tell_rehearsal(demo::Story& story, std::string const& plan_text) {
  story.begin(fmt::format("Rehearse: {} emulated GPUs move real bytes, each from its own copy of the file", kGpus));
  for (auto const mode : {cpu::RebalanceMode::buffered, cpu::RebalanceMode::in_place}) {
    cpu::RehearsalOptions options;
    options.mode = mode;
    auto const report = cpu::rehearse(plan_text, "demo plan", options);
    std::string const label(to_string(mode));
    story.check(
        label, report.passed(),
        report.passed()
            ? fmt::format("{} rows of 2 tensors, {} bytes, equal to the target placement; {} bytes sent",
                          grouped(report.rows_checked), grouped(report.bytes_checked), grouped(report.bytes_sent))
            : report.first_mismatch->text);
  }
  story.end();
}

/// The same slots seen by fewer, larger ranks: each takes the slots of several GPUs.
ExpertPlacement regroup(ExpertPlacement const& placement, int ranks) {
  auto const slots = placement.slot_to_expert();
  return {placement.num_layers(),
          placement.num_experts(),
          SlotLayout::balanced(ranks, placement.num_slots()),
          {slots.begin(), slots.end()}};
}

void tell_dispatch(demo::Story& story, sim::LoadSpec const& spec, RebalancePlan const& plan) {
  story.begin(fmt::format("Dispatch and combine: a routed batch on {} emulated ranks, through both placements",
                          kDispatchRanks));
  demo::RoutedBatch const batch = demo::make_batch(spec, {});
  demo::BatchResult const was = demo::run_batch(batch, regroup(plan.before, kDispatchRanks));
  demo::BatchResult const is = demo::run_batch(batch, regroup(plan.after, kDispatchRanks));
  auto const plain = demo::combine_in_plain_loops(batch, false);
  auto const reversed = demo::combine_in_plain_loops(batch, true);
  std::int64_t const tokens = spec.num_layers * batch.shape.num_ranks * batch.shape.tokens_per_rank;
  std::int64_t const values = tokens * batch.shape.hidden;
  story.line("batch", fmt::format("{} tokens of {} fp32 values, {} rows to experts", grouped(tokens),
                                  batch.shape.hidden, grouped(is.rows)));
  for (auto const& [label, result] : {std::pair{"old", &was}, std::pair{"new", &is}}) {
    story.line(
        label,
        fmt::format("busiest rank gets {:.2f} x the mean rows; {:.1f} % of the rows change rank", result->mean_row_par,
                    100.0 * static_cast<double>(result->remote_rows) / static_cast<double>(result->rows)));
  }
  auto const verdict = [&](char const* label, std::int64_t differences, char const* what) {
    story.check(label, differences == 0,
                fmt::format("{} of {} values differ {}", grouped(differences), grouped(values), what));
  };
  verdict("bits", demo::count_differences(was.layers, is.layers), "between the placements");
  verdict("oracle", demo::count_differences(plain, is.layers), "from three plain loops that know no ranks");
  story.line("order", fmt::format("matters here: the loops in the opposite order change {} values",
                                  grouped(demo::count_differences(plain, reversed))));
  story.end();
}

ExitCode run_demo(ParsedOptions const&) {
  fmt::print("Switchyard demo: one expert rebalance, planned, proved and carried out without a GPU.\n\n");
  demo::Story story;
  sim::LoadSpec const spec = sim::load_preset("deepseek-r1");
  ExpertLoad const load = tell_load(story, spec);
  RebalancePlan const plan = tell_plan(story, load);
  std::string const plan_text = tell_proof(story, plan);
  tell_rehearsal(story, plan_text);
  tell_dispatch(story, spec, plan);
  fmt::print("{}\n", story.good() ? "Everything agrees." : "Something is WRONG: see above.");
  return story.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command demo_command() {
  return {"demo",
          "runs the main job on an embedded DeepSeek-R1-like model",
          "Generates loads, plans and proves a rebalance, rehearses it on 32 emulated GPUs, and sends a routed batch\n"
          "through the old and the new placement. Everything printed but the times is the same in every run.\n",
          {},
          {"switchyard demo"},
          run_demo};
}

}  // namespace switchyard::cli
