// SPDX-License-Identifier: Apache-2.0
/// StartedDispatch: what an executor keeps between the two halves of a dispatch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "stages.hpp"
#include "switchyard/cpu/split_calls.hpp"

namespace switchyard::cpu {

struct StartedDispatch {
  DispatchSetup setup;
  std::int64_t num_tokens;
  std::int64_t hidden;
  DType dtype;
  std::uint64_t configuration;
  std::optional<Duration> deadline;
  ConstRows sent;                       ///< rows before the exchange; the tokens where there is none
  std::size_t next_stage = 0;           ///< the exchange, or 0 where there is none
  std::optional<RowExchange> exchange;  ///< none: nothing moves before the second half
  Rows received{};
  std::unique_ptr<StartedCall> call;  ///< null: the communicator makes the exchange in one piece, later
};

}  // namespace switchyard::cpu
