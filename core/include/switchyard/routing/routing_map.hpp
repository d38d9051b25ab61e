// SPDX-License-Identifier: Apache-2.0
/// RoutingMap: which experts every token of one rank chose, and with which weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// The two shapes the peers use.
enum class RoutingForm : std::uint8_t {
  topk,   ///< [tokens, top_k] expert ids (-1 = dropped) and weights; slot order k is meaningful
  dense,  ///< [tokens, experts] 0/1 map and probabilities; slot order of a token = expert ascending; fillers have
          ///< weight 0
};

/// One choice of one token.
struct RoutingChoice {
  ExpertId expert;    ///< never -1
  std::int32_t slot;  ///< k for topk, the expert id for dense: ascending slots define the combine order
  float weight;
};

/// Routing of the tokens that one rank holds, logical experts. Value type; host memory.
class RoutingMap {
 public:
  RoutingMap() = default;
  /// @param ids row-major [tokens * top_k], each in [-1, experts); a token may name an expert twice (both rows are
  /// kept).
  /// @param weights row-major [tokens * top_k]; a NaN is refused with its token and slot (policy: reject).
  /// @throws Error{shape_mismatch} for a wrong length, Error{invalid_argument} for an id or weight as above.
  [[nodiscard]] static RoutingMap from_topk(std::int64_t num_tokens, int num_experts, int top_k,
                                            std::vector<std::int32_t> ids, std::vector<float> weights);
  /// @param map row-major [tokens * experts] of 0 and 1; @param probs likewise, ignored where the map is 0.
  [[nodiscard]] static RoutingMap from_dense(std::int64_t num_tokens, int num_experts, std::vector<std::uint8_t> map,
                                             std::vector<float> probs);

  [[nodiscard]] RoutingForm form() const noexcept { return form_; }
  [[nodiscard]] std::int64_t num_tokens() const noexcept { return num_tokens_; }
  [[nodiscard]] int num_experts() const noexcept { return num_experts_; }
  /// topk: the K given. dense: 0, since a dense map has no K of its own.
  [[nodiscard]] int top_k() const noexcept { return top_k_; }

  /// The choices of one token in slot order, dropped ones left out. Appends to nothing: `out` is cleared first.
  void choices_of(TokenIndex token, std::vector<RoutingChoice>& out) const;
  /// @return how many (token, expert) pairs are kept over all tokens.
  [[nodiscard]] std::int64_t num_choices() const;

  /// @throws Error{invalid_argument} when a token names an expert twice (a dense map cannot say that).
  [[nodiscard]] RoutingMap to_dense() const;
  /// Slots in ascending expert order, padded with -1 to the widest token (at least `min_top_k`).
  [[nodiscard]] RoutingMap to_topk(int min_top_k = 0) const;

  /// topk form: [tokens * top_k]; dense form: empty.
  [[nodiscard]] std::span<std::int32_t const> ids() const noexcept { return ids_; }
  /// dense form: [tokens * experts]; topk form: empty.
  [[nodiscard]] std::span<std::uint8_t const> map() const noexcept { return map_; }
  /// topk: [tokens * top_k]; dense: [tokens * experts].
  [[nodiscard]] std::span<float const> weights() const noexcept { return weights_; }

  friend bool operator==(RoutingMap const&, RoutingMap const&) = default;

 private:
  RoutingForm form_ = RoutingForm::topk;
  std::int64_t num_tokens_ = 0;
  int num_experts_ = 0;
  int top_k_ = 0;
  std::vector<std::int32_t> ids_;
  std::vector<std::uint8_t> map_;
  std::vector<float> weights_;
};

}  // namespace switchyard
