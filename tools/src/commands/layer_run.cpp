// SPDX-License-Identifier: Apache-2.0
#include "commands/layer_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "commands/inspect_report.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::cli {
namespace {

enum Stream : std::uint64_t { kTokens, kIds, kWeights, kW1, kW2, kB1, kB2 };

/// Values in (-1, 1) / 2^shift of 24 bits, stored in a dtype.
class Values {
 public:
  Values(LayerDescription const& description, Stream stream) : rng_(description.seed, stream) {}

  void append(std::vector<std::byte>& out, DType dtype, std::int64_t index) const {
    float const value = unit(index);
    if (dtype == DType::f32) return append_bits(out, value);
    if (dtype == DType::bf16) return append_bits(out, to_bf16(value));
    append_bits(out, to_f16(value));
  }
  [[nodiscard]] float unit(std::int64_t index) const {
    auto const bits = static_cast<std::int64_t>(rng_.bits(static_cast<std::uint64_t>(index)) >> 39);
    return static_cast<float>(bits - (std::int64_t{1} << 24)) / static_cast<float>(std::int64_t{1} << 25);
  }

 private:
  template <typename T>
  static void append_bits(std::vector<std::byte>& out, T value) {
    auto const* const bytes = reinterpret_cast<std::byte const*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof value);
  }
  CounterRng rng_;
};

struct TokenBlock {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
TokenBlock block_of(std::int64_t tokens, int ranks, int rank) {
  std::int64_t const extra = tokens % ranks;
  return {tokens / ranks * rank + std::min<std::int64_t>(rank, extra), tokens / ranks + (rank < extra ? 1 : 0)};
}

/// Distinct experts per token: a start and then the next ones.
RoutingMap routing_of(LayerDescription const& d, TokenBlock const& block) {
  CounterRng const drawn(d.seed, kIds);
  Values const weights(d, kWeights);
  auto const experts = static_cast<std::uint64_t>(d.mlp.num_local_experts);
  std::vector<std::int32_t> ids;
  std::vector<float> probs;
  for (std::int64_t token = block.first; token < block.first + block.count; ++token)
    for (int k = 0; k < d.top_k; ++k) {
      std::uint64_t const start = drawn.below(static_cast<std::uint64_t>(token), experts);
      ids.push_back(static_cast<std::int32_t>((start + static_cast<std::uint64_t>(k)) % experts));
      probs.push_back(1.0F + weights.unit(token * d.top_k + k));
    }
  return RoutingMap::from_topk(block.count, d.mlp.num_local_experts, d.top_k, std::move(ids), std::move(probs));
}

/// One rank's slice of the weights, made from the positions that its elements have in the whole.
struct SlicedWeights {
  ExpertMlp mlp;
  std::vector<std::byte> w1, w2, b1, b2;
  bool biased;

  SlicedWeights(LayerDescription const& d, ExpertMlp const& slice, std::span<ExpertId const> experts)
      : mlp(slice), biased(d.biased) {
    for (ExpertId const expert : experts) append_expert(d, expert.value());
  }

  [[nodiscard]] ExpertWeights views() const {
    std::int64_t const experts = mlp.num_local_experts;
    ExpertWeights views;
    views.w1 = {w1.data(), mlp.dtype, {experts, mlp.first_layer_outputs(), mlp.hidden}};
    views.w2 = {w2.data(), mlp.dtype, {experts, mlp.hidden, mlp.local_units()}};
    if (!biased) return views;
    views.b1 = {b1.data(), DType::f32, {experts, mlp.first_layer_outputs()}};
    views.b2 = {b2.data(), mlp.dtype, {experts, mlp.hidden}};
    return views;
  }

 private:
  void append_expert(LayerDescription const& d, std::int64_t expert) {
    std::int64_t const outputs = d.mlp.first_layer_outputs();
    std::vector<std::int64_t> whole_row(to_size(mlp.first_layer_outputs()));
    for (std::int64_t unit = 0; unit < mlp.local_units(); ++unit) {
      whole_row[to_size(mlp.gate_row(unit))] = d.mlp.gate_row(mlp.first_unit() + unit);
      whole_row[to_size(mlp.up_row(unit))] = d.mlp.up_row(mlp.first_unit() + unit);
    }
    for (std::int64_t const row : whole_row) {
      for (std::int64_t k = 0; k < mlp.hidden; ++k)
        Values(d, kW1).append(w1, mlp.dtype, (expert * outputs + row) * mlp.hidden + k);
      Values(d, kB1).append(b1, DType::f32, expert * outputs + row);
    }
    for (std::int64_t c = 0; c < mlp.hidden; ++c) {
      for (std::int64_t unit = 0; unit < mlp.local_units(); ++unit)
        Values(d, kW2).append(w2, mlp.dtype, (expert * mlp.hidden + c) * mlp.intermediate + mlp.first_unit() + unit);
      Values(d, kB2).append(b2, mlp.dtype, expert * mlp.hidden + c);
    }
  }
};

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

RankShare run_rank(LayerDescription const& d, cpu::PrepareKind kind, cpu::PrepareOptions const& options,
                   Communicator& comm, std::vector<std::byte>& output) {
  RankId const rank = comm.rank();
  auto const placement = ExpertPlacement::contiguous(1, d.mlp.num_local_experts, options.grid.ep);
  auto const slots = placement.rank_slots(0, RankId{options.grid.ep_rank_of(rank)});
  ExpertMlp mlp = d.mlp;
  mlp.num_local_experts = static_cast<int>(slots.size());
  mlp.tp = {options.grid.tp_rank_of(rank), options.grid.tp};
  SlicedWeights const weights(d, mlp, slots);
  TokenBlock const block = block_of(d.tokens, options.grid.world(), rank.value());
  RoutingMap const routing = routing_of(d, block);
  std::vector<std::byte> tokens;
  for (std::int64_t i = block.first * mlp.hidden; i < (block.first + block.count) * mlp.hidden; ++i)
    Values(d, kTokens).append(tokens, mlp.dtype, i);
  output.assign(tokens.size(), std::byte{0xa5});

  auto const prepare = cpu::make_prepare_finalize(kind, comm, placement, options);
  cpu::ExactExperts const experts(mlp);
  MoeLayer layer(*prepare, experts, exact_experts_traits(), d.layer);
  Stopwatch watch;
  MoeStep step = layer.start({tokens.data(), mlp.dtype, {block.count, mlp.hidden}}, routing);
  RankShare share = share_of(step.batch(), rank);
  share.ms[0] = watch.lap_ms();
  layer.receive(step);
  share.ms[1] = watch.lap_ms();
  layer.compute(step, weights.views());
  share.ms[2] = watch.lap_ms();
  layer.start_finalize(step, {output.data(), mlp.dtype, {block.count, mlp.hidden}});
  layer.finish_finalize(step);
  share.ms[3] = watch.lap_ms();
  return share;
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
  if (local && !(description.options.recipe == CombineRecipe::source_slot_order())) return "source_slot_order only";
  return "";
}

LayerRun run_layer(LayerDescription const& description, cpu::PrepareKind kind, ExpertParallelGrid grid,
                   cpu::Scheduler& scheduler) {
  LayerRun run;
  run.kind = kind;
  run.grid = grid;
  cpu::PrepareOptions options = description.options;
  options.grid = grid;
  if (!options.max_tokens_per_rank) options.max_tokens_per_rank = block_of(description.tokens, grid.world(), 0).count;
  run.outputs.resize(to_size(grid.world()));
  std::vector<RankShare> shares(run.outputs.size());
  cpu::run_ranks(scheduler, grid.world(), {}, [&](Communicator& comm) {
    std::size_t const rank = comm.rank().index();
    shares[rank] = run_rank(description, kind, options, comm, run.outputs[rank]);
  });
  for (RankShare const& share : shares) add_share(run, share);
  return run;
}

LayerRun run_dense(LayerDescription description, cpu::Scheduler& scheduler) {
  auto& options = description.options;
  if (options.quantize == QuantizeWhen::before_exchange) options.quantize = QuantizeWhen::after_exchange;
  options.max_tokens_per_rank.reset();
  bool const by_slot = options.recipe == CombineRecipe::source_slot_order();
  return run_layer(description, by_slot ? cpu::PrepareKind::no_communication : cpu::PrepareKind::alltoall, {1, 1},
                   scheduler);
}

}  // namespace switchyard::cli
