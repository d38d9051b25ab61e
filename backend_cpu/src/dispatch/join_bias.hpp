// SPDX-License-Identifier: Apache-2.0
/// JoinBias: the experts' second bias on a combine whose rows are TP partials. It belongs to the joined row, so it
/// follows the rows backwards to the TP rank that joins them.
#pragma once

#include <cstdint>
#include <vector>

#include "stages.hpp"
#include "switchyard/cpu/combine_inputs.hpp"

namespace switchyard::cpu {

class JoinBias {
 public:
  /// No bias: given() is false, and the rest does nothing.
  JoinBias() = default;
  JoinBias(StageContext const& context, CombineInputs const& inputs);

  [[nodiscard]] bool given() const noexcept { return !values_.empty(); }
  /// The rows go back through `stage`, a sort or the join itself; behind a join they are this rank's own ones.
  void follow(StageContext const& context, DispatchStage const& stage);
  /// rows[r] += bias of its expert, in fp32, for joined rows [first, last). After follow() of the join.
  void add(float* rows, std::int64_t first, std::int64_t last) const;

 private:
  std::int64_t hidden_ = 0;
  std::vector<float> values_{};            ///< [local experts, H]
  std::vector<std::int32_t> expert_of_{};  ///< of every row where the rows are now
};

}  // namespace switchyard::cpu
