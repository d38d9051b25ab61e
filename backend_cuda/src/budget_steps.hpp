// SPDX-License-Identifier: Apache-2.0
/// What the calls over slots of fixed size share.
#pragma once

#include <cstdint>
#include <optional>

#include "budget_lists.hpp"
#include "executor_state.hpp"
#include "switchyard/cuda/cuda_executor.hpp"

namespace switchyard::cuda {

enum class BudgetPhase : std::uint32_t { dispatch = 1, weights, combine, results, gradients, parts };

/// One call of an executor.
struct BudgetStep {
  BudgetPlan::Lists& lists;
  DeviceCommunicator& comm;
  StreamView stream;
  std::int64_t hidden;
  std::uint64_t digest;  ///< of what ranks must pass equally
  std::optional<Duration> deadline;

  [[nodiscard]] std::uint64_t digest_of(BudgetPhase phase) const;
  [[nodiscard]] BudgetCall call(char const* operation, BudgetPhase phase) const {
    return {operation, digest_of(phase), stream, deadline, false};
  }
};

/// @throws Error{unsupported} when rows of `row_bytes` are wider than the slots' rows.
void require_slot_row(BudgetPlan::Lists const& lists, std::int64_t row_bytes, char const* name);

/// Copies rows to slots, or from slots, by a list of 32-bit row numbers.
void gather_slots(BudgetStep const& step, void const* input, void* output, DeviceBuffer const& map, std::int64_t rows,
                  std::int64_t row_bytes);

/// Sends single rows, which stand in the slots, to the experts' rows. @param exchange whose words are said
void send_singles(BudgetStep const& step, BudgetExchange const& exchange, BudgetCall call, TensorView rows);

/// Expert rows as bring_home() takes them: parts in f32 where TP ranks hold such.
struct BudgetResults {
  ConstRows rows;
  DType dtype;  ///< of rows that are whole
  std::optional<ConstTensorView> const& join_bias;
};
/// Single rows to the slots of their tokens' rank, joined on the way. @return the exchange that brought them
BudgetExchange bring_home(BudgetStep const& step, BudgetResults const& results, BudgetPhase phase,
                          char const* operation);

/// Writes where weights stand that travelled with (rank, token) rows, by the expert row that they are for.
/// @param output [expert rows] in the order of the expansion, of f64 where `output_f64`
void land_weights(BudgetStep const& step, BudgetExchange const& exchange, bool weights_f64, DeviceBuffer const& output,
                  bool output_f64);

}  // namespace switchyard::cuda
