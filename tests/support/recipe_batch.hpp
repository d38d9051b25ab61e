// SPDX-License-Identifier: Apache-2.0
/// A batch with given expert outputs, combined through any dispatcher, grid and recipe.
///
/// Token g of the batch and expert e have one output for every column, whatever rank computes it, so that results of
/// different grids can be compared. Outputs are sums of two parts; with TP 2 each TP rank passes one part in f32, with
/// TP 1 the parts are added in fp32 first. Columns take turns: wide exponents; large pairs of experts that
/// cancel and leave small ones; subnormals; values of like size. Executed rows are named by their payload, never by an
/// index of the plan.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "oracle/recipe_oracle.hpp"
#include "support/dispatch_run.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace support {

struct RecipeBatch {
  std::uint64_t seed = 1;
  int tokens = 13;
  int experts = 16;
  int top_k = 6;
  std::int64_t hidden = 36;
  bool swap_slots = false;  ///< slots 2 and 3 of every token change places, with their weights
  int swap_experts = 0;     ///< the experts e and e ^ swap_experts change their numbers, and nothing else

  [[nodiscard]] switchyard::CounterRng rng(std::uint64_t stream) const { return switchyard::CounterRng(seed, stream); }

  /// [top_k] three pairs (n, n + experts / 2), far apart, in random slots; the last token lacks a choice.
  [[nodiscard]] std::vector<int> choices(int token) const {
    Random random(seed * 1000 + static_cast<std::uint64_t>(token));
    std::vector<int> pairs;
    for (int pair = 0; pair < experts / 2; ++pair) pairs.push_back(pair);
    std::shuffle(pairs.begin(), pairs.end(), random);
    std::vector<int> chosen;
    for (int k = 0; k < top_k; ++k) chosen.push_back(pairs[static_cast<std::size_t>(k / 2)] + k % 2 * (experts / 2));
    std::shuffle(chosen.begin(), chosen.end(), random);
    if (token + 1 == tokens) chosen.back() = -1;
    if (swap_slots) std::swap(chosen[2], chosen[3]);
    for (int& expert : chosen) expert = expert < 0 ? expert : expert ^ swap_experts;
    return chosen;
  }

  /// Equal within a pair for even tokens, so that the pair cancels.
  [[nodiscard]] double weight(int token, int slot) const {
    int const chosen = choices(token)[static_cast<std::size_t>(slot)];
    int const expert = chosen < 0 ? chosen : chosen ^ swap_experts;
    int const drawn = token % 2 == 0 ? expert % (experts / 2) : expert;
    auto const index = static_cast<std::uint64_t>(token * 64 + std::max(drawn, 0));
    float const single = wide_value(rng(3), index, 3);
    auto const low = rng(4).bits(static_cast<std::uint64_t>(token * 64 + slot)) % 1024;  // below fp32, not in pairs
    return static_cast<double>(single) * (1.0 + std::ldexp(static_cast<double>(low), -40));
  }

  [[nodiscard]] float part(int token, int number, std::int64_t column, int tp) const {
    int const expert = number ^ swap_experts;
    bool const paired = column % 4 == 1;
    bool const cancels =
        paired && rng(6).bits(static_cast<std::uint64_t>(token * 64 + expert % (experts / 2))) % 3 != 0;
    int const drawn = cancels ? expert % (experts / 2) : expert;
    auto const index = static_cast<std::uint64_t>(((token * 64 + drawn) * 4 + tp) * 4096 + column);
    int const spread = column % 4 == 0 ? 30 : cancels ? 13 : column % 4 == 2 ? 8 : 2;
    float value = wide_value(rng(5), index, spread);
    if (column % 4 == 2) value = std::ldexp(value, -132);
    if (drawn != expert) value = -value;
    return value;
  }

  /// The output of an expert, rounded once to the row dtype.
  template <typename T>
  [[nodiscard]] float output(int token, int expert, std::int64_t column) const {
    float const volatile sum = part(token, expert, column, 0) + part(token, expert, column, 1);
    return widened(narrowed<T>(sum));
  }
};

/// MegaBlocks has hidden shards where the others have TP ranks.
enum class Dispatcher {
  alltoall_tp_major,
  alltoall_rank_major,
  allgather,
  flex,
  megablocks_exact,
  megablocks_capacity,
  megablocks_blocks
};
inline constexpr Dispatcher kDispatchers[] = {
    Dispatcher::alltoall_tp_major, Dispatcher::alltoall_rank_major, Dispatcher::allgather,        Dispatcher::flex,
    Dispatcher::megablocks_exact,  Dispatcher::megablocks_capacity, Dispatcher::megablocks_blocks};
inline char const* name_of(Dispatcher dispatcher) {
  char const* const names[] = {"alltoall tp_major", "alltoall rank_major", "allgather",        "flex",
                               "megablocks exact",  "megablocks capacity", "megablocks blocks"};
  return names[static_cast<int>(dispatcher)];
}

struct RecipeRun {
  Dispatcher dispatcher = Dispatcher::allgather;
  switchyard::ExpertParallelGrid grid{};
  switchyard::CombineRecipe recipe{};
  switchyard::cpu::CombineRoute route = switchyard::cpu::CombineRoute::automatic;
  bool weights_f64 = false;
  bool shared_expert = false;

  /// Tokens [first, last) of a rank; blocks are ragged and may be empty.
  [[nodiscard]] std::pair<int, int> share(int tokens, int rank) const {
    return {tokens * rank / grid.world(), tokens * (rank + 1) / grid.world()};
  }
  [[nodiscard]] bool is_megablocks() const { return dispatcher >= Dispatcher::megablocks_exact; }
  /// Which part of an expert's output a rank has.
  [[nodiscard]] int part_of(switchyard::RankId rank) const {
    return is_megablocks() ? rank.value() / grid.ep : grid.tp_rank_of(rank);
  }
};

/// The part of the batch that one rank holds, as the library takes it.
struct RankBatch {
  switchyard::RoutingMap routing;
  std::vector<double> weights;
  int first = 0;
  int count = 0;
};

inline RankBatch rank_batch(RecipeBatch const& batch, RecipeRun const& run, int rank) {
  RankBatch part;
  auto const [first, last] = run.share(batch.tokens, rank);
  part.first = first;
  part.count = last - first;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (int token = first; token < last; ++token) {
    auto const chosen = batch.choices(token);
    ids.insert(ids.end(), chosen.begin(), chosen.end());
    for (int slot = 0; slot < batch.top_k; ++slot) {
      part.weights.push_back(batch.weight(token, slot));
      weights.push_back(static_cast<float>(part.weights.back()));
    }
  }
  part.routing =
      switchyard::RoutingMap::from_topk(part.count, batch.experts, batch.top_k, std::move(ids), std::move(weights));
  return part;
}

inline switchyard::DispatchPlan plan_of(RecipeRun const& run, switchyard::Communicator& comm,
                                        switchyard::RoutingMap const& routing,
                                        switchyard::ExpertPlacement const& placement) {
  using namespace switchyard;
  if (run.dispatcher == Dispatcher::allgather) {
    AllGatherConfig config;
    config.grid = run.grid;
    return plan_allgather(comm, config, routing, placement, 0);
  }
  if (run.dispatcher == Dispatcher::flex) {
    FlexConfig config;
    config.grid = run.grid;
    return plan_flex(comm, config, routing, placement, 0);
  }
  if (run.is_megablocks()) {
    ExpertBins const bins[] = {ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks};
    MegaBlocksConfig config;
    config.world = run.grid.world();
    config.bins = bins[static_cast<int>(run.dispatcher) - static_cast<int>(Dispatcher::megablocks_exact)];
    config.block_rows = 4;
    return plan_megablocks(comm, config, routing, placement, 0);
  }
  AllToAllConfig config;
  config.grid = run.grid;
  config.row_order = run.dispatcher == Dispatcher::alltoall_tp_major ? RowOrder::tp_major : RowOrder::rank_major;
  return plan_alltoall(comm, config, routing, placement, 0);
}

/// What this rank's experts return: its TP part in f32, or with TP 1 the outputs in the row dtype, widened.
/// @param payload [rows] 1 + the batch token of every row; 0 in an empty bin, whose result is a NaN that nobody may see
template <typename T>
std::vector<float> expert_rows(RecipeBatch const& batch, RecipeRun const& run, switchyard::DispatchPlan const& plan,
                               std::vector<float> const& payload) {
  std::vector<float> rows;
  int const tp = run.part_of(plan.rank);
  std::size_t row = 0;
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    int const expert = plan.first_slot + local;  // one slot per expert, in order
    for (std::int64_t i = 0; i < plan.tokens_per_local_expert[static_cast<std::size_t>(local)]; ++i, ++row) {
      int const token = static_cast<int>(payload[row]) - 1;
      if (token < 0) {
        rows.insert(rows.end(), static_cast<std::size_t>(batch.hidden), std::nanf(""));
        continue;
      }
      for (std::int64_t column = 0; column < batch.hidden; ++column)
        rows.push_back(run.grid.tp == 1 ? batch.output<T>(token, expert, column)
                                        : batch.part(token, expert, column, tp));
    }
  }
  return rows;
}

template <typename T>
T shared_element(RecipeBatch const& batch, int token, std::int64_t column) {
  return narrowed<T>(wide_value(batch.rng(7), static_cast<std::uint64_t>(token * 4096 + column), 6));
}

/// Runs one rank and writes its tokens into `combined` [tokens * hidden], poisoned by the caller.
template <typename T>
void combine_rank(RecipeBatch const& batch, RecipeRun const& run, switchyard::Communicator& comm,
                  std::vector<T>& combined) {
  using namespace switchyard;
  auto const part = rank_batch(batch, run, comm.rank().value());
  auto const placement = ExpertPlacement::contiguous(1, batch.experts, run.grid.ep);
  auto const plan = plan_of(run, comm, part.routing, placement);
  std::vector<float> names;
  for (int token = 0; token < part.count; ++token) names.push_back(static_cast<float>(1 + part.first + token));
  std::vector<float> payload(static_cast<std::size_t>(plan.num_expert_rows()), -1.0F);
  cpu::CpuExecutor executor(comm);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(names), part.count, 1),
                    TensorView::matrix(std::span(payload), plan.num_expert_rows(), 1));
  auto const rows = expert_rows<T>(batch, run, plan, payload);
  std::vector<T> shared;
  for (int token = 0; token < part.count; ++token)
    for (std::int64_t column = 0; column < batch.hidden; ++column)
      shared.push_back(shared_element<T>(batch, part.first + token, column));
  cpu::CombineInputs inputs;
  inputs.route = run.route;
  inputs.experts = part.routing.ids();
  if (run.weights_f64) {
    inputs.weights_f64 = std::span<double const>(part.weights);
  } else {
    inputs.weights = part.routing.weights();
  }
  if (run.shared_expert)
    inputs.shared_expert = ConstTensorView::matrix(std::span<T const>(shared), part.count, batch.hidden);
  auto const hidden = static_cast<std::size_t>(batch.hidden);
  auto const own = std::span(combined).subspan(static_cast<std::size_t>(part.first) * hidden,
                                               static_cast<std::size_t>(part.count) * hidden);
  executor.combine(plan, run.recipe, ConstTensorView::matrix(std::span(rows), plan.num_expert_rows(), batch.hidden),
                   inputs, TensorView::matrix(own, part.count, batch.hidden));
}

/// @return [tokens * hidden] codes of the combined batch.
template <typename T>
std::vector<std::uint64_t> combined_codes(RecipeBatch const& batch, RecipeRun const& run,
                                          switchyard::cpu::Scheduler& scheduler) {
  std::vector<T> combined(static_cast<std::size_t>(batch.tokens * batch.hidden), narrowed<T>(-12345.0F));
  switchyard::cpu::run_ranks(scheduler, run.grid.world(), {},
                             [&](switchyard::Communicator& comm) { combine_rank<T>(batch, run, comm, combined); });
  std::vector<std::uint64_t> codes;
  for (T const value : combined) codes.push_back(oracle::code_of(value));
  return codes;
}

template <typename T>
oracle::FloatFormat format_of() {
  if constexpr (std::is_same_v<T, float>) return oracle::kFormatF32;
  if constexpr (std::is_same_v<T, switchyard::bf16_t>) return oracle::kFormatBf16;
  return oracle::kFormatF16;
}

/// One element's terms as the oracle takes them. @param as_ranks TP parts are rows of their own ranks
template <typename T>
oracle::RecipeTerms terms_of(RecipeBatch const& batch, RecipeRun const& run, int token, std::int64_t column,
                             bool as_ranks) {
  oracle::RecipeTerms terms;
  auto const chosen = batch.choices(token);
  int const local_experts = batch.experts / run.grid.ep;
  bool const split = as_ranks && run.grid.tp > 1;
  for (int slot = 0; slot < batch.top_k; ++slot) {
    int const expert = chosen[static_cast<std::size_t>(slot)];
    if (expert < 0) continue;
    oracle::RecipeTerm term;
    term.weight = run.weights_f64 ? batch.weight(token, slot)
                                  : static_cast<double>(static_cast<float>(batch.weight(token, slot)));
    term.slot = slot;
    term.expert = expert;
    term.local_expert = expert % local_experts;
    for (int tp = 0; tp < (split ? run.grid.tp : 1); ++tp) {
      term.rank = expert / local_experts * run.grid.tp + tp;
      term.row =
          split ? widened(narrowed<T>(batch.part(token, expert, column, tp))) : batch.output<T>(token, expert, column);
      terms.push_back(term);
    }
  }
  return terms;
}

/// The exact sum by big integers; the weights are taken as they were given.
template <typename T>
std::uint64_t exact_code(oracle::RecipeTerms const& terms, bool weights_f64, T const* shared) {
  oracle::ExactSumOracle sum(weights_f64 ? oracle::kFormatF64 : oracle::kFormatF32, oracle::kFormatF32);
  auto const code_of_weight = [&](double weight) {
    return weights_f64 ? oracle::code_of(weight) : oracle::code_of(static_cast<float>(weight));
  };
  for (auto const& term : terms) sum.add_product(code_of_weight(term.weight), oracle::code_of(term.row));
  if (shared != nullptr) sum.add_product(code_of_weight(1.0), oracle::code_of(widened(*shared)));
  return sum.round(format_of<T>());
}

/// What the recipe of that name must give for one element, by the oracle.
template <typename T>
std::uint64_t expected_code(RecipeBatch const& batch, RecipeRun const& run, int token, std::int64_t column) {
  auto const row = format_of<T>();
  std::string const name(switchyard::name_of(run.recipe));
  auto const terms = terms_of<T>(batch, run, token, column, name == "megatron_allgather");
  if (name == "source_slot_order") return oracle::source_slot_order(terms, row);
  if (name == "source_expert_order") return oracle::source_expert_order(terms, row);
  if (name == "megablocks") return oracle::megablocks(terms, row);
  if (name == "rank_partial") return oracle::rank_partial(terms, row, row);
  if (name == "rank_partial_bf16") return oracle::rank_partial(terms, row, oracle::kFormatBf16);
  if (name == "rank_partial_f32") return oracle::rank_partial(terms, row, oracle::kFormatF32);
  if (name == "megatron_allgather")
    return run.weights_f64 ? oracle::megatron_allgather_fp64(terms, row)
                           : oracle::rank_partial(terms, row, oracle::kFormatF32);
  T const shared = shared_element<T>(batch, token, column);
  return exact_code<T>(terms, run.weights_f64,
                       run.shared_expert && name == "exact_with_shared_expert" ? &shared : nullptr);
}

template <typename T>
std::vector<std::uint64_t> expected_codes(RecipeBatch const& batch, RecipeRun const& run) {
  std::vector<std::uint64_t> codes;
  for (int token = 0; token < batch.tokens; ++token)
    for (std::int64_t column = 0; column < batch.hidden; ++column)
      codes.push_back(expected_code<T>(batch, run, token, column));
  return codes;
}

}  // namespace support
