// SPDX-License-Identifier: Apache-2.0
/// LogitRows: the logits of one call, checked and widened to fp32 one token at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/hd/router_logit.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::routing {

class LogitRows {
 public:
  /// @throws Error{shape_mismatch} unless `logits` is a contiguous host matrix of f32, bf16 or f16.
  LogitRows(ConstTensorView logits, hd::LogitRules rules);

  [[nodiscard]] std::int64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] int num_experts() const noexcept { return num_experts_; }

  /// @return [experts] the token's logits, rounded and free of NaN; valid until the next call.
  /// @throws Error{invalid_argument} naming token, expert and what to do.
  [[nodiscard]] float const* row(std::int64_t token);

 private:
  void load(std::int64_t token);
  void repair(std::int64_t token);

  ConstTensorView logits_;
  hd::LogitRules rules_;
  std::int64_t num_tokens_;
  int num_experts_;
  std::vector<float> row_;
};

}  // namespace switchyard::routing
