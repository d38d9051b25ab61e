// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_planner: plans made by kernels against core's, list by list and by fingerprint. SWITCHYARD_CASES=n
// takes few cases, for slow tools.
//
// By hand, 2 ranks with 2 experts each, 3 tokens of rank 0 with top-2: ids {0,2, 2,3, -1,1}. Rank 0 has rows by slot
// (token, k): slot 0 (0,0), slot 1 (2,1), slot 2 (0,1) (1,0), slot 3 (1,1). Flex sends token 0 to ranks 0 and 1, token
// 1 to rank 1, token 2 to rank 0: sent tokens {0, 2 | 0, 1}.
#include <cstdio>
#include <string>
#include <vector>

#include "bit_report.hpp"
#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "planner_group.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using cuda::DevicePlanner;

/// Compares every list, so that a difference says where it is.
void compare_stages(BitReport& report, std::string const& name, std::vector<DispatchStage> const& core,
                    std::vector<DispatchStage> const& device) {
  report.state(core.size() == device.size(), name + ": as many stages");
  for (std::size_t i = 0; i < core.size() && i < device.size(); ++i) {
    std::string const stage = name + " stage " + std::to_string(i);
    if (core[i] == device[i]) continue;
    report.state(core[i].index() == device[i].index(), stage + " is of one kind");
    auto const* a = std::get_if<RowGather>(&core[i]);
    auto const* b = std::get_if<RowGather>(&device[i]);
    if (a == nullptr || b == nullptr) {
      report.state(false, stage + " differs");
      continue;
    }
    report.compare(stage + " token_of_row", a->token_of_row, b->token_of_row);
    report.compare(stage + " slot_of_row", a->slot_of_row, b->slot_of_row);
    report.compare(stage + " row_begin", a->row_begin, b->row_begin);
    report.compare(stage + " rows_of_token", a->rows_of_token, b->rows_of_token);
  }
}

void compare_plan(BitReport& report, std::string const& name, DispatchPlan const& core, DispatchPlan const& device) {
  report.state(core == device, name + ": plan of " + std::to_string(core.num_expert_rows()) + " expert rows");
  if (core == device) return;
  report.compare(name + " rows_per_slot", core.rows_per_slot, device.rows_per_slot);
  report.compare(name + " tokens_per_local", core.tokens_per_local_expert, device.tokens_per_local_expert);
  report.state(core.setup == device.setup && core.capacity == device.capacity && core.first_slot == device.first_slot &&
                   core.num_tokens == device.num_tokens && core.slot_columns == device.slot_columns,
               name + ": setup and numbers");
  compare_stages(report, name + " stages", core.stages, device.stages);
  compare_stages(report, name + " return", core.row_return, device.row_return);
}

void compare_group(BitReport& report, std::string const& name, std::vector<DispatchPlan> const& core,
                   PlannerGroup& group) {
  auto const digests = group.digests();
  for (std::size_t rank = 0; rank < core.size(); ++rank) {
    std::string const label = name + " rank " + std::to_string(rank);
    compare_plan(report, label, core[rank], group.planners[rank].download(group.stream));
    report.state(core[rank].fingerprint().value == digests[rank], label + ": fingerprint of a kernel");
  }
}

void check_kernels(BitReport& report, PlannerCase const& run, bool captures) {
  std::string const name = run.name + (run.config.kernels == cuda::PlanKernels::chain ? " by a chain of kernels" : "") +
                           " seed " + std::to_string(run.seed);
  auto const placement = placement_of(run);
  auto const routings = draw_routings(run);
  PlannerGroup group(run, routings, placement);
  group.step();
  compare_group(report, name, core_plans(run, routings, placement), group);
  if (!captures) return;
  PlannerCase other = run;
  other.seed += 1000;
  auto const others = draw_routings(other);
  // A graph captured over the first routing, replayed after the device's routing was replaced.
  CapturedStep const captured(group.stream, [&] { group.step(); });
  captured.launch();
  group.replace(others);
  for (int repeat = 0; repeat < 3; ++repeat) captured.launch();
  compare_group(report, name + " replayed", core_plans(run, others, placement), group);
}

/// Flex batches that one block may plan are planned by both kinds of kernels.
void check_case(BitReport& report, PlannerCase const& run, bool captures) {
  check_kernels(report, run, captures);
  if (run.config.family != DispatchFamily::megatron_flex || run.config.grid.tp != 1) return;
  PlannerCase chain = run;
  chain.config.kernels = cuda::PlanKernels::chain;
  check_kernels(report, chain, captures);
}

constexpr DispatchFamily kFamilies[] = {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather,
                                        DispatchFamily::megatron_flex};

void check_shapes(BitReport& report) {
  for (auto const family : kFamilies) {
    check_case(report, make_case(family, {1, 2}, 4, 2, {3, 5}), true);
    check_case(report, make_case(family, {1, 1}, 8, 2, {33}), false);
    check_case(report, make_case(family, {1, 3}, 7, 3, {0, 31, 64}), false);
    check_case(report, make_case(family, {1, 4}, 16, 1, {0}), false);
    auto tp = make_case(family, {2, 2}, 6, 4, {17, 40, 1, 65});
    check_case(report, tp, true);
    tp.config.row_order = RowOrder::tp_major;
    tp.name += " tp_major";
    check_case(report, tp, false);
    check_case(report, make_case(family, {1, 2}, 256, 8, {128, 100}), true);
    check_case(report, make_case(family, {1, 8}, 64, 8, {128, 1, 0, 77}), false);
    check_case(report, make_case(family, {1, 31}, 333, 5, {33, 0, 1}), false);
    auto one = make_case(family, {1, 2}, 8, 8, {100});
    one.one_expert = true;
    one.name += " one expert";
    check_case(report, one, false);
    auto none = make_case(family, {1, 2}, 8, 3, {70});
    none.dropped = 1;
    none.name += " all dropped";
    check_case(report, none, false);
    auto sparse = make_case(family, {1, 5}, 3, 2, {12});  // ranks without experts
    sparse.name += " empty ranks";
    check_case(report, sparse, false);
    auto dense = make_case(family, {1, 2}, 12, 12, {50});
    dense.config.form = RoutingForm::dense;
    dense.name += " dense";
    check_case(report, dense, false);
    if (takes_few_cases()) continue;
    check_case(report, make_case(family, {1, 72}, 144, 8, {40, 41, 0}), false);
    check_case(report, make_case(family, {1, 2}, 1024, 16, {513}), false);
    check_case(report, make_case(family, {1, 2}, 256, 8, {4096}), false);
    check_case(report, make_case(family, {1, 1}, 256, 8, {20000}), false);
    check_case(report, make_case(family, {2, 4}, 64, 6, {1000, 7, 129}), true);
  }
}

void check_replicas(BitReport& report) {
  for (auto const family : kFamilies)
    for (auto const rule : {ReplicaRule::token_rank_layer, ReplicaRule::first, ReplicaRule::counter_based,
                            ReplicaRule::vllm_flat, ReplicaRule::vllm_token_hash, ReplicaRule::sglang_static,
                            ReplicaRule::sglang_dynamic, ReplicaRule::tensorrt_llm, ReplicaRule::ascend_rank}) {
      if (takes_few_cases() && rule != ReplicaRule::token_rank_layer && rule != ReplicaRule::vllm_flat) continue;
      auto run = make_case(family, {1, 3}, 6, 3, {90, 0, 400});
      run.replicas = 5;
      run.layer = 2;
      run.config.replica_rule = rule;
      run.name += ' ';
      run.name += to_string(rule);
      check_case(report, run, false);
    }
}

void check_capacities(BitReport& report) {
  for (auto const family : kFamilies)
    for (auto const policy : {DropPolicy::probs, DropPolicy::position})
      for (bool const pads : {false, true})
        for (double const factor : {0.0, 0.5, 1.0, 9.0}) {
          if (pads && factor > 1) continue;
          if (takes_few_cases() && factor != 0.5) continue;
          for (bool const is_dense : {false, true}) {
            auto run = make_case(family, {1, 2}, 8, is_dense ? 8 : 3, {40, 300});
            run.config.form = is_dense ? RoutingForm::dense : RoutingForm::topk;
            run.config.capacity = CapacityPolicy{factor, policy, pads, CapacityRule::megatron, {}};
            run.config.capacity_top_k = 2;
            run.dropped = 0;
            run.name += std::string(is_dense ? " dense" : "") + " capacity " + std::to_string(factor) +
                        (pads ? " padded" : "") + (policy == DropPolicy::probs ? " probs" : " position");
            check_case(report, run, false);
          }
        }
  auto zeros = make_case(DispatchFamily::megatron_flex, {1, 2}, 8, 3, {64});
  zeros.config.selection = FlexSelection::nonzero_weights;
  zeros.name += " nonzero weights";
  check_case(report, zeros, false);
}

ErrorCode code_of(DevicePlanner const& planner, cuda::StreamView stream, std::string& text) {
  try {
    planner.check(stream);
  } catch (Error const& error) {
    text = error.what();
    return error.code();
  }
  return ErrorCode::internal;
}

/// Faults set the sticky word of the rank at fault, and from the next step on that of its peers.
void check_faults(BitReport& report, cuda::PlanKernels kernels) {
  auto run = make_case(DispatchFamily::megatron_flex, {1, 2}, 8, 2, {10});
  run.config.kernels = kernels;
  auto const placement = placement_of(run);
  std::vector<RoutingMap> const routings{draw_routing(run, 0), draw_routing(run, 1)};
  PlannerGroup group(run, routings, placement);
  std::vector<std::int32_t> ids(routings[1].ids().begin(), routings[1].ids().end());
  ids[7] = 8;
  ids[9] = -2;
  group.inputs[1].ids = cuda::upload(ids, group.stream);
  std::string text;
  group.step();
  report.state(code_of(group.planners[1], group.stream, text) == ErrorCode::invalid_argument &&
                   text.find("token 3, slot 1 of rank 1") != std::string::npos,
               "a bad id is named, the first of two: " + text);
  report.state(code_of(group.planners[0], group.stream, text) == ErrorCode::internal, "rank 0 has no error yet");
  group.inputs[1].ids =
      cuda::upload(std::vector<std::int32_t>(routings[1].ids().begin(), routings[1].ids().end()), group.stream);
  group.step();
  report.state(code_of(group.planners[0], group.stream, text) == ErrorCode::desync &&
                   text.find("rank 1 announced") != std::string::npos,
               "the next step names the rank: " + text);
  report.state(code_of(group.planners[1], group.stream, text) == ErrorCode::invalid_argument, "the word is sticky");

  auto tight = make_case(DispatchFamily::megatron_flex, {1, 2}, 8, 2, {50});
  tight.config.kernels = kernels;
  tight.config.max_expert_rows = 60;
  tight.one_expert = true;
  tight.dropped = 0;
  std::vector<RoutingMap> const crowd{draw_routing(tight, 0), draw_routing(tight, 1)};
  PlannerGroup full(tight, crowd, placement_of(tight));
  full.step();
  report.state(code_of(full.planners[0], full.stream, text) == ErrorCode::shape_mismatch &&
                   text.find("would receive 200 expert rows but has room for 60") != std::string::npos,
               "an overflow says the size required: " + text);
  report.state(code_of(full.planners[1], full.stream, text) == ErrorCode::internal, "a rank without rows has no error");
}

void check_refusals(BitReport& report) {
  auto run = make_case(DispatchFamily::megablocks, {1, 2}, 8, 2, {10});
  auto const refused = [&](DevicePlannerConfig const& config) {
    try {
      DevicePlanner const planner(config, RankId{0}, placement_of(run), 0);
    } catch (Error const& error) {
      return error.code() == ErrorCode::unsupported || error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  report.state(refused(run.config), "MegaBlocks for a world of another size is refused at construction");
  run.config.family = DispatchFamily::megatron_flex;
  run.config.max_tokens = std::int64_t{1} << 40;
  report.state(refused(run.config), "2^40 tokens are refused at construction");
}

int run_all() {
  BitReport report;
  check_shapes(report);
  check_replicas(report);
  check_capacities(report);
  for (auto const kernels : {cuda::PlanKernels::automatic, cuda::PlanKernels::chain}) check_faults(report, kernels);
  check_refusals(report);
  std::printf("%s: %d checks, %d failed\n", cuda::describe_device().c_str(), report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
