// SPDX-License-Identifier: Apache-2.0
/// Runs a dispatch and combine of random rows on emulated ranks, and what the oracle says must come out.
///
/// Expert e on TP rank p multiplies every element by scale(e, p) in fp32: the same wherever a replica lives, so that a
/// placement may not change a bit. Row values and scales have wide exponents and both signs, so that sums cancel and
/// another order of additions gives other bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "oracle/dispatch_oracle.hpp"
#include "support/dispatch_cases.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace support {

/// Named conversions, so that the oracle's order is checked apart from the (elsewhere tested) rounding.
template <typename T>
T narrowed(float value) {
  if constexpr (std::is_same_v<T, float>) return value;
  if constexpr (std::is_same_v<T, switchyard::bf16_t>) return switchyard::to_bf16(value);
  if constexpr (std::is_same_v<T, switchyard::f16_t>) return switchyard::to_f16(value);
}
template <typename T>
float widened(T value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else
    return switchyard::to_float(value);
}

/// A value of either sign with a random mantissa and an exponent in [-spread, spread].
inline float wide_value(switchyard::CounterRng const& rng, std::uint64_t index, int spread) {
  std::uint64_t const bits = rng.bits(index);
  float const mantissa = 1.0F + static_cast<float>(bits & 0x7fffff) / 8388608.0F;
  int const exponent = static_cast<int>((bits >> 24) % static_cast<std::uint64_t>(2 * spread + 1)) - spread;
  return std::ldexp((bits >> 63) != 0 ? -mantissa : mantissa, exponent);
}

struct RunCase {
  oracle::DispatchCase input;
  int num_experts = 0;
  int top_k = 0;
  std::int64_t hidden = 1;
  std::uint64_t seed = 1;
  int spread = 6;           ///< exponents of row values
  int scale_spread = 6;     ///< exponents of the experts' scales
  bool cancelling = false;  ///< experts 2n and 2n + 1 have opposite scales and all weights are 1: sums cancel exactly

  [[nodiscard]] switchyard::CounterRng rng(std::uint64_t stream) const { return switchyard::CounterRng(seed, stream); }
  [[nodiscard]] float scale(int expert, int tp) const {
    int const drawn = cancelling ? expert / 2 * 2 : expert;
    float const value = wide_value(rng(1), static_cast<std::uint64_t>(drawn * 64 + tp), scale_spread);
    return drawn == expert ? value : -value;
  }
  template <typename T>
  [[nodiscard]] T element(int rank, std::int64_t token, std::int64_t column) const {
    auto const index = (static_cast<std::uint64_t>(rank) << 40) + static_cast<std::uint64_t>(token * hidden + column);
    return narrowed<T>(wide_value(rng(2), index, spread));
  }
  /// The rows of all tokens of `rank`, [tokens * hidden].
  template <typename T>
  [[nodiscard]] std::vector<T> rows(int rank, std::int64_t num_tokens) const {
    std::vector<T> values;
    for (std::int64_t token = 0; token < num_tokens; ++token)
      for (std::int64_t column = 0; column < hidden; ++column) values.push_back(element<T>(rank, token, column));
    return values;
  }
  [[nodiscard]] switchyard::RoutingMap routing(int rank) const {
    auto const& tokens = input.routing[static_cast<std::size_t>(rank)];
    auto const shape = routing_of(tokens, num_experts, top_k);
    std::vector<float> weights;
    for (std::size_t i = 0; i < shape.weights().size(); ++i)
      weights.push_back(cancelling ? 1.0F : wide_value(rng(3), (static_cast<std::uint64_t>(rank) << 40) + i, 3));
    return switchyard::RoutingMap::from_topk(static_cast<std::int64_t>(tokens.size()), num_experts, top_k,
                                             {shape.ids().begin(), shape.ids().end()}, std::move(weights));
  }
};

/// Draws the grid, the placement and the routing of a run with up to 4 x max_tp ranks and fewer than `token_bound`
/// tokens each. @param run with num_experts and top_k set.
inline void draw_input(Random& random, RunCase& run, int max_tp, int token_bound) {
  run.input.ep = 1 + draw(random, 4);
  run.input.tp = 1 + draw(random, max_tp);
  run.input.layer = draw(random, 2);
  run.input.rank_major = draw(random, 2) == 1;
  run.input.experts_of_ep = random_experts(random, run.input.ep, run.num_experts);
  for (int rank = 0; rank < run.input.ep * run.input.tp; ++rank)
    run.input.routing.push_back(random_tokens(random, draw(random, token_bound), run.num_experts, run.top_k,
                                              draw(random, 2) == 1, draw(random, 3) == 0));
}

template <typename T>
struct RankOutput {
  std::vector<T> rows;      ///< what the experts saw
  std::vector<T> combined;  ///< [T, H]
};

/// The experts' outputs of shard `tp`: partial results in f32.
template <typename T>
std::vector<float> scaled_rows(RunCase const& run, switchyard::DispatchPlan const& plan,
                               switchyard::ExpertPlacement const& placement, std::vector<T> const& rows, int tp) {
  std::vector<float> results;
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    auto const expert = placement.expert_at(plan.setup.layer, switchyard::SlotId{plan.first_slot + local}).value();
    auto const elements = plan.tokens_per_local_expert[static_cast<std::size_t>(local)] * run.hidden;
    for (std::int64_t i = 0; i < elements; ++i)
      results.push_back(widened(rows[results.size()]) * run.scale(expert, tp));
  }
  return results;
}

template <typename T>
RankOutput<T> run_rank(RunCase const& run, switchyard::Communicator& comm) {
  using namespace switchyard;
  auto const placement = placement_of(run.input, run.num_experts);
  auto const routing = run.routing(comm.rank().value());
  auto const plan = plan_alltoall(comm, config_of(run.input), routing, placement, run.input.layer);
  auto const tokens = run.rows<T>(comm.rank().value(), plan.num_tokens);

  RankOutput<T> out;
  T const poison = narrowed<T>(-12345.0F);
  out.rows.assign(static_cast<std::size_t>(plan.num_expert_rows() * run.hidden), poison);
  out.combined.assign(tokens.size(), poison);
  cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<T const>(tokens), plan.num_tokens, run.hidden),
                    TensorView::matrix(std::span(out.rows), plan.num_expert_rows(), run.hidden));
  auto const partials = scaled_rows(run, plan, placement, out.rows, plan.setup.grid.tp_rank_of(plan.rank));
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span(partials), plan.num_expert_rows(), run.hidden), routing.weights(),
                   TensorView::matrix(std::span(out.combined), plan.num_tokens, run.hidden));
  return out;
}

template <typename T>
std::vector<RankOutput<T>> run_all(RunCase const& run, switchyard::cpu::Scheduler& scheduler) {
  std::vector<RankOutput<T>> outputs(run.input.routing.size());
  switchyard::cpu::run_ranks(scheduler, static_cast<int>(outputs.size()), {}, [&](switchyard::Communicator& comm) {
    outputs[comm.rank().index()] = run_rank<T>(run, comm);
  });
  return outputs;
}

/// An expert's result for one element: TP partials over the tree ((0 + 1) + (2 + 3)) ..., rounded once.
template <typename T>
float expert_value(RunCase const& run, int expert, T x) {
  std::vector<float> partials;
  for (int tp = 0; tp < run.input.tp; ++tp) partials.push_back(widened(x) * run.scale(expert, tp));
  while (partials.size() > 1) {
    std::vector<float> level;
    for (std::size_t i = 0; i < partials.size(); i += 2)
      level.push_back(i + 1 < partials.size() ? partials[i] + partials[i + 1] : partials[i]);
    partials = level;
  }
  return widened(narrowed<T>(partials.front()));
}

/// What every rank must hold after the combine. @param reversed adds the slots in the wrong order, to show that it
/// matters.
template <typename T>
std::vector<std::vector<T>> expected_combined(RunCase const& run, bool reversed = false) {
  std::vector<std::vector<T>> expected(run.input.routing.size());
  for (std::size_t rank = 0; rank < expected.size(); ++rank) {
    auto const routing = run.routing(static_cast<int>(rank));
    auto const& tokens = run.input.routing[rank];
    for (std::size_t token = 0; token < tokens.size(); ++token) {
      for (std::int64_t column = 0; column < run.hidden; ++column) {
        T const x = run.element<T>(static_cast<int>(rank), static_cast<std::int64_t>(token), column);
        std::vector<std::pair<float, float>> terms;
        for (auto const& choice : tokens[token]) {
          auto const entry = token * static_cast<std::size_t>(run.top_k) + static_cast<std::size_t>(choice.k);
          terms.emplace_back(routing.weights()[entry], expert_value(run, choice.expert, x));
        }
        if (reversed) std::reverse(terms.begin(), terms.end());
        expected[rank].push_back(oracle::combine_in_slot_order(terms, narrowed<T>));
      }
    }
  }
  return expected;
}

}  // namespace support
