// SPDX-License-Identifier: Apache-2.0
/// Layer data: what a described layer computes on. Every element follows from the seed and its position in the whole,
/// never from the ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "commands/layer_description.hpp"

namespace switchyard::cli {

/// Tokens [first, first + count) of all.
struct TokenBlock {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
[[nodiscard]] TokenBlock token_block(std::int64_t tokens, int ranks, int rank);

/// Distinct experts per token: a start and then the next ones.
[[nodiscard]] RoutingMap make_routing(LayerDescription const& description, TokenBlock const& block);
/// [count, H] of the row dtype.
[[nodiscard]] std::vector<std::byte> make_tokens(LayerDescription const& description, TokenBlock const& block);
/// [count, H] gradients of the layer's output.
[[nodiscard]] std::vector<std::byte> make_output_gradients(LayerDescription const& description,
                                                           TokenBlock const& block);

/// Where the rows of a rank's slice of the weights lie in the weights of all experts.
struct SliceRows {
  std::vector<std::int64_t> w1;  ///< [local experts * first layer outputs]; b1's elements lie likewise
  std::vector<std::int64_t> w2;  ///< [local experts * H], of which the slice has columns [first, first + count)
  std::int64_t first_column = 0;
  std::int64_t columns = 0;

  /// @param slice sizes and TP position of the rank. @param experts its own, ascending
  SliceRows(LayerDescription const& description, ExpertMlp const& slice, std::span<ExpertId const> experts);
};

/// One rank's slice of the weights.
class SliceWeights {
 public:
  SliceWeights(LayerDescription const& description, ExpertMlp const& slice, SliceRows const& rows);
  [[nodiscard]] ExpertWeights views() const;

 private:
  ExpertMlp mlp_;
  bool biased_;
  std::vector<std::byte> w1_, w2_, b1_, b2_;
};

}  // namespace switchyard::cli
