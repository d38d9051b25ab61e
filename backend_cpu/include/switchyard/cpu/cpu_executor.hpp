// SPDX-License-Identifier: Apache-2.0
/// CpuExecutor: runs DispatchPlans on the CPU, one object per emulated rank.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/cpu/combine_inputs.hpp"
#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cpu {

/// How rows travel. Both ways give the same bytes; the choice must be the same on every rank.
enum class ExecutionPath : std::uint8_t {
  automatic,  ///< composed where the communicator's ranks share memory (peer_memory()), else staged
  staged,     ///< every stage copies its rows, as on a cluster
  composed,   ///< as automatic, but Error{unsupported} where the communicator does not offer it
};

/// Executes the stages of a plan forward (dispatch) and inverted in reverse (combine). The expert step between the two
/// is the caller's.
///
/// Rows are f32, bf16 or f16, contiguous, on the host. Both calls are collective over the communicator; before rows
/// move, ranks compare dtype, hidden size and the plan's setup (Error{desync}) and the row counts of every pair
/// (Error{split_mismatch}). Results do not depend on the worker count, the scheduler or the instruction set. Scratch
/// memory is kept between calls; one object must not be used by two threads at once.
///
/// Composed, the stages carry the names of the rows (16 bytes each) instead of the rows, once per plan; then every
/// receiver copies a row straight from its source, and a combine adds experts' rows where they lie. The executor keeps
/// the list of the plans it executed last, one for each direction; ranks compare the digests of their plans on every
/// call and make new lists when one has changed. Memory beyond the caller's buffers: the lists, 2 x 16 bytes per expert
/// row, and the rows of one token per worker; staged, up to three times the expert rows. Partials summed at the
/// experts' rank, and combine_backward(), run staged always.
class CpuExecutor {
 public:
  /// @param comm must outlive the executor; its size must be the plans' world.
  explicit CpuExecutor(Communicator& comm, ExecutionPath path = ExecutionPath::automatic);
  ~CpuExecutor();
  CpuExecutor(CpuExecutor&&) noexcept;
  CpuExecutor& operator=(CpuExecutor&&) noexcept;

  /// Brings every token to its experts.
  /// @param tokens [T, H] of this rank. @param rows [plan.num_expert_rows(), H] of the same dtype, written completely.
  /// Rows of local expert l follow those of expert l - 1; inside an expert they have the plan's row order.
  /// @throws Error{shape_mismatch} for other sizes or dtypes; Error{unsupported} for another dtype;
  ///         Error{invalid_argument} when the plan belongs to another rank or world.
  void dispatch(DispatchPlan const& plan, ConstTensorView tokens, TensorView rows,
                std::optional<Duration> deadline = {});

  /// dispatch() in two halves: rows are in flight between them, and the caller may do what needs no communication, such
  /// as planning the rest (complete_megablocks()). The same bytes as dispatch(); stages copy their rows on this path.
  /// Where the communicator cannot split its calls (split_calls()), or the plan has no exchange, all happens in the
  /// second half. To its peers it makes no difference whether a rank dispatches in one call, staged, or in two.
  ///
  /// @param sends a plan, or its first half (plan_megablocks_sends()): stages up to the exchange are read.
  /// @param tokens as in dispatch(); stays untouched until finish_dispatch() returns.
  /// @throws as dispatch(); Error{invalid_argument} when a dispatch has been started already.
  void start_dispatch(DispatchPlan const& sends, ConstTensorView tokens, std::optional<Duration> deadline = {});
  /// @param plan the complete plan. @param rows as in dispatch().
  /// @throws as dispatch(); Error{invalid_plan} when the plan does not begin with the exchange that was started;
  ///         Error{invalid_argument} when none was.
  void finish_dispatch(DispatchPlan const& plan, TensorView rows);

  /// Brings the experts' results back and adds every token's rows with their weights, at the source rank.
  ///
  /// @param expert_rows [plan.num_expert_rows(), H] in the order dispatch() gave, of out's dtype or f32. With TP > 1 it
  /// holds this TP rank's partial results: they are added in fp32 over a fixed binary tree of the TP ranks. Either way
  /// an expert's result is rounded once to out's dtype before it is weighted (DESIGN 2.4).
  /// @param weights [T * plan.slot_columns], as RoutingMap::weights().
  /// @param out [T, H], written completely; a token without rows becomes +0.
  /// @throws as dispatch(); Error{invalid_argument} for a NaN weight of a row, naming token and slot;
  ///         Error{unsupported} with the reason of recipe_support().
  void combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
               std::span<float const> weights, TensorView out, std::optional<Duration> deadline = {});

  /// The same with fp64 weights, the experts of the slots, a shared expert's rows or a chosen route. Recipes that sum
  /// at the expert rank send every rank's weights along with its rows' ids first, then one partial per (rank, token).
  /// Recipes without a TP join (megatron_allgather) round each TP rank's rows to out's dtype before weighting them.
  /// @throws as above; Error{invalid_argument} when `inputs.experts` does not name an expert of a row.
  void combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
               CombineInputs const& inputs, TensorView out, std::optional<Duration> deadline = {});

  /// combine() in two halves: rows are in flight between them, and the caller may do what needs no communication, such
  /// as another micro-batch's experts. The first half undoes the sort and joins TP partials, which needs the TP ranks;
  /// the second one sums. The same bytes as combine(); stages copy their rows on this path. Recipes that sum at the
  /// experts' rank, and plans without an exchange, do everything in the second half.
  ///
  /// All operands, the plan included, stay untouched until finish_combine() returns. dispatch_backward() in two halves
  /// is this with CombineInputs::weights_applied.
  /// @throws as combine(); Error{invalid_argument} when a combine has been started already.
  void start_combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                     CombineInputs const& inputs, TensorView out, std::optional<Duration> deadline = {});
  /// @throws as combine(); Error{invalid_argument} when none was started.
  void finish_combine();

  /// The gradient of dispatch(): a combine with weight 1 (DESIGN 2.6), of the plan that dispatched.
  /// @param recipe names the order and the roundings. @param row_gradients [plan.num_expert_rows(), H], as expert_rows
  /// of combine(): with TP > 1 this TP rank's part. What stands in empty bins is not read.
  /// @param experts as CombineInputs::experts, for source_expert_order. @param token_gradients [T, H]
  /// @throws as combine().
  void dispatch_backward(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView row_gradients,
                         std::span<std::int32_t const> experts, TensorView token_gradients,
                         std::optional<Duration> deadline = {});

  /// The gradients of combine(), the same for every recipe, whose roundings count as the identity:
  /// - of a row: weight times its token's gradient, rounded to fp32 and then to the row dtype at the source, sent like
  ///   a token; every TP rank and hidden shard gets it, an empty bin gets zeros;
  /// - of a weight: the fp32 products of its row (joined over TP, rounded to the row dtype) and its token's gradient,
  ///   summed in lane32 order over H; +0 for a slot without a row.
  /// A shared expert's gradient is out_gradients itself. The rows come home once more for it.
  /// @param out_gradients [T, H] of f32, bf16 or f16. @param expert_rows as in combine(). @param inputs the weights
  /// @param row_gradients [plan.num_expert_rows(), H] of out_gradients' dtype. @param weight_gradients
  /// [T * plan.slot_columns] f32
  /// @throws as combine().
  void combine_backward(DispatchPlan const& plan, ConstTensorView out_gradients, ConstTensorView expert_rows,
                        CombineInputs const& inputs, TensorView row_gradients, std::span<float> weight_gradients,
                        std::optional<Duration> deadline = {});

  /// Brings every row's weight to its expert, in the order of dispatch()'s rows: probabilities that travel with their
  /// tokens and are applied inside the expert, before its second matrix (newest Megatron). Combine such rows with
  /// CombineInputs::weights_applied. Every TP rank and hidden shard gets the weight; an empty bin gets +0. Bits are
  /// kept.
  /// @param weights [T * plan.slot_columns], as RoutingMap::weights(). @param row_weights [plan.num_expert_rows()]
  /// @throws Error{shape_mismatch} for other sizes; Error{invalid_argument} for a NaN weight of a row, or a plan of
  ///         another rank or world; Error{desync} when ranks pass different types.
  void dispatch_weights(DispatchPlan const& plan, std::span<float const> weights, std::span<float> row_weights,
                        std::optional<Duration> deadline = {});
  void dispatch_weights(DispatchPlan const& plan, std::span<double const> weights, std::span<double> row_weights,
                        std::optional<Duration> deadline = {});

  /// The gradient of dispatch_weights(): the parts of TP ranks and hidden shards are added over the fixed binary tree,
  /// in the weights' own type; +0 for a slot without a row. What stands in empty bins is not read.
  /// @param row_gradients [plan.num_expert_rows()] this rank's part. @param weight_gradients [T * plan.slot_columns]
  /// @throws as dispatch_weights(), a NaN excepted: it is passed on.
  void dispatch_weights_backward(DispatchPlan const& plan, std::span<float const> row_gradients,
                                 std::span<float> weight_gradients, std::optional<Duration> deadline = {});
  void dispatch_weights_backward(DispatchPlan const& plan, std::span<double const> row_gradients,
                                 std::span<double> weight_gradients, std::optional<Duration> deadline = {});

  /// The bias of the experts' second matrix on its own way back, as Megatron's AllGather dispatcher (spring 2025) has
  /// it: every row of an expert brings the expert's bias, weighted and summed by megatron_allgather over all ranks,
  /// rounded to fp32, divided by TP (every TP rank holds the whole bias), rounded to the row dtype.
  /// @param plan of AllGather or Flex. @param bias [local experts, H] of f32, bf16 or f16. @param inputs weights as in
  /// combine(). @param out [T, H] of bias' dtype; the caller adds it where the model wants it
  /// @throws as combine().
  void combine_bias(DispatchPlan const& plan, ConstTensorView bias, CombineInputs const& inputs, TensorView out,
                    std::optional<Duration> deadline = {});

 private:
  friend class StageRunner;
  template <typename Weight>
  void send_weights(DispatchPlan const& plan, std::span<Weight const> weights, std::span<Weight> row_weights,
                    std::optional<Duration> deadline);
  template <typename Weight>
  void return_weights(DispatchPlan const& plan, std::span<Weight const> row_gradients,
                      std::span<Weight> weight_gradients, std::optional<Duration> deadline);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cpu
