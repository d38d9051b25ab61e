// SPDX-License-Identifier: Apache-2.0
#include "commands/layer_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <utility>

#include "commands/inspect_report.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cli {
namespace {

std::int64_t remote_rows(DispatchStage const& stage, RankId rank) {
  auto const but_own = [rank](std::vector<std::int64_t> const& rows) {
    std::int64_t sum = 0;
    for (std::size_t peer = 0; peer < rows.size(); ++peer) sum += peer == rank.index() ? 0 : rows[peer];
    return sum;
  };
  if (auto const* exchange = std::get_if<RowExchange>(&stage)) return but_own(exchange->receive_rows);
  if (auto const* gather = std::get_if<GroupGather>(&stage)) return but_own(gather->receive_rows);
  return 0;
}

/// What one rank adds to the totals.
struct RankShare {
  std::vector<StageTotal> stages;
  std::int64_t expert_rows = 0;
  std::array<double, kLayerSteps.size()> ms{};
};

RankShare share_of(PreparedBatch const& batch, RankId rank) {
  RankShare share;
  for (RowBlock const& block : batch.blocks()) share.expert_rows += block.rows;
  if (batch.plan() == nullptr) return share;
  for (DispatchStage const& stage : batch.plan()->stages) {
    std::int64_t const bytes = batch.wire_row_bytes();
    share.stages.push_back({std::string(name_of_stage(stage)), output_rows(stage), output_rows(stage) * bytes,
                            remote_rows(stage, rank) * bytes});
  }
  return share;
}

class Stopwatch {
 public:
  double lap_ms() {
    auto const now = std::chrono::steady_clock::now();
    double const ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// One rank of a run: its place, its weights and where its results go.
struct RankRun {
  LayerDescription const& description;
  RankId rank;
  ExpertMlp mlp;
  SliceRows rows;
  SliceWeights weights;
  TokenBlock block;
  RankTensors results{};

  RankRun(LayerDescription const& d, ExpertParallelGrid grid, RankId r, ExpertMlp const& slice,
          std::span<ExpertId const> experts)
      : description(d),
        rank(r),
        mlp(slice),
        rows(d, slice, experts),
        weights(d, slice, rows),
        block(token_block(d.tokens, grid.world(), r.value())) {
    results.resize(d, slice, block.count);
  }
  [[nodiscard]] TensorShape rows_shape() const { return {block.count, mlp.hidden}; }
};

void run_backward(RankRun& run, MoeLayer& layer, MoeContext&& context, RankShare& share, Stopwatch& watch) {
  auto const d_output = make_output_gradients(run.description, run.block);
  auto const gradients = run.results.views(run.description, run.mlp, run.block.count);
  static_cast<void>(watch.lap_ms());
  layer.receive_gradients(context, {d_output.data(), run.mlp.dtype, run.rows_shape()}, gradients);
  share.ms[kForwardSteps] = watch.lap_ms();
  layer.compute_gradients(context, run.weights.views(), gradients);
  share.ms[kForwardSteps + 1] = watch.lap_ms();
  layer.start_token_gradients(context, gradients);
  layer.finish_token_gradients(context);
  share.ms[kForwardSteps + 2] = watch.lap_ms();
}

RankShare run_steps(RankRun& run, MoeLayer& layer) {
  auto const tokens = make_tokens(run.description, run.block);
  RoutingMap const routing = make_routing(run.description, run.block);
  ConstTensorView const rows(tokens.data(), run.mlp.dtype, run.rows_shape());
  bool const backward = run.description.backward;
  Stopwatch watch;
  MoeStep step = backward ? layer.start_training(rows, routing) : layer.start(rows, routing);
  RankShare share = share_of(step.batch(), run.rank);
  share.ms[0] = watch.lap_ms();
  layer.receive(step);
  share.ms[1] = watch.lap_ms();
  layer.compute(step, run.weights.views());
  share.ms[2] = watch.lap_ms();
  layer.start_finalize(step, {run.results.output.data(), run.mlp.dtype, run.rows_shape()});
  layer.finish_finalize(step);
  share.ms[3] = watch.lap_ms();
  if (backward) run_backward(run, layer, layer.keep(std::move(step)), share, watch);
  return share;
}

/// What one rank hands in.
struct RankEnd {
  RankShare share;
  SliceRows rows;
  RankTensors results;
};

RankEnd run_rank(LayerDescription const& d, cpu::PrepareKind kind, cpu::PrepareOptions const& options,
                 Communicator& comm) {
  RankId const rank = comm.rank();
  auto const placement = ExpertPlacement::contiguous(1, d.mlp.num_local_experts, options.grid.ep);
  auto const slots = placement.rank_slots(0, RankId{options.grid.ep_rank_of(rank)});
  ExpertMlp mlp = d.mlp;
  mlp.num_local_experts = static_cast<int>(slots.size());
  mlp.tp = {options.grid.tp_rank_of(rank), options.grid.tp};
  RankRun run(d, options.grid, rank, mlp, slots);
  auto const prepare = cpu::make_prepare_finalize(kind, comm, placement, options);
  cpu::ExactExperts const experts(mlp);
  MoeLayer layer(*prepare, experts, exact_experts_traits(), d.layer);
  RankShare share = run_steps(run, layer);
  return {std::move(share), std::move(run.rows), std::move(run.results)};
}

/// What a pair without communication can do.
bool sums_by_slot(cpu::PrepareOptions const& options) {
  auto const by_slot = CombineRecipe::source_slot_order();
  return options.recipe == by_slot && options.gradient_recipe == by_slot;
}

void add_share(LayerRun& run, RankShare const& share) {
  run.expert_rows += share.expert_rows;
  for (std::size_t step = 0; step < run.ms.size(); ++step) run.ms[step] = std::max(run.ms[step], share.ms[step]);
  if (run.stages.empty())
    for (StageTotal const& stage : share.stages) run.stages.push_back({stage.name});
  for (std::size_t i = 0; i < share.stages.size() && i < run.stages.size(); ++i) {
    run.stages[i].rows += share.stages[i].rows;
    run.stages[i].bytes += share.stages[i].bytes;
    run.stages[i].remote_bytes += share.stages[i].remote_bytes;
  }
}

}  // namespace

std::string not_runnable(LayerDescription const& description, cpu::PrepareKind kind, ExpertParallelGrid grid) {
  bool const local = kind == cpu::PrepareKind::no_communication || kind == cpu::PrepareKind::no_communication_batched;
  if (local && grid.world() > 1) return "one rank only";
  if (local && !sums_by_slot(description.options)) return "source_slot_order only";
  return "";
}

LayerRun run_layer(LayerDescription const& description, cpu::PrepareKind kind, ExpertParallelGrid grid,
                   cpu::Scheduler& scheduler) {
  LayerRun run;
  run.kind = kind;
  run.grid = grid;
  run.tensors = LayerTensors(description, grid);
  cpu::PrepareOptions options = description.options;
  options.grid = grid;
  if (!options.max_tokens_per_rank)
    options.max_tokens_per_rank = token_block(description.tokens, grid.world(), 0).count;
  std::vector<std::optional<RankEnd>> ends(to_size(grid.world()));
  cpu::run_ranks(scheduler, grid.world(), {}, [&](Communicator& comm) {
    ends[comm.rank().index()].emplace(run_rank(description, kind, options, comm));
  });
  for (std::size_t rank = 0; rank < ends.size(); ++rank) {
    add_share(run, ends[rank]->share);
    run.tensors.add_rank(description, RankId{static_cast<std::int32_t>(rank)}, ends[rank]->rows, ends[rank]->results);
  }
  return run;
}

LayerRun run_dense(LayerDescription description, cpu::Scheduler& scheduler) {
  auto& options = description.options;
  if (options.quantize == QuantizeWhen::before_exchange) options.quantize = QuantizeWhen::after_exchange;
  options.max_tokens_per_rank.reset();
  auto const kind = sums_by_slot(options) ? cpu::PrepareKind::no_communication : cpu::PrepareKind::alltoall;
  return run_layer(description, kind, {1, 1}, scheduler);
}

}  // namespace switchyard::cli
