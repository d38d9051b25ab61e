// SPDX-License-Identifier: Apache-2.0
/// LayerTensors: everything that a run of a layer computes, put together from its ranks so that runs on any grid can be
/// compared bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "commands/layer_data.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace switchyard::cli {

enum class TensorOwner : std::uint8_t { token, expert };

/// One output or gradient of all ranks.
struct LayerTensor {
  std::string_view name;
  TensorOwner owner = TensorOwner::token;
  DType dtype = DType::f32;
  std::int64_t rows = 0;     ///< of all tokens (ranks ascending), or of all experts
  std::int64_t columns = 0;  ///< per row
  std::int64_t rows_per_owner = 1;
  std::vector<std::vector<std::byte>> copies{};  ///< several where every TP rank computes the whole

  LayerTensor(std::string_view tensor_name, TensorOwner tensor_owner, DType tensor_dtype, std::int64_t num_rows,
              std::int64_t num_columns, std::int64_t rows_of_owner, int num_copies);
  [[nodiscard]] std::int64_t row_bytes() const { return columns * size_of(dtype); }
  /// Writes `bytes` as row `row` of a copy, from column `first` on.
  void put(int copy, std::int64_t row, std::int64_t first, std::span<std::byte const> bytes);
};

/// What one rank computed, as the layer's API hands it out.
struct RankTensors {
  std::vector<std::byte> output, d_tokens;
  std::vector<float> d_router_weights, d_w1, d_w2, d_b1, d_b2;
  /// Poisoned, of the sizes of a rank with these tokens.
  void resize(LayerDescription const& description, ExpertMlp const& slice, std::int64_t tokens);
  [[nodiscard]] MoeGradients views(LayerDescription const& description, ExpertMlp const& slice, std::int64_t tokens);
};

/// The output, then the gradients where there is a backward.
class LayerTensors {
 public:
  LayerTensors() = default;
  LayerTensors(LayerDescription const& description, ExpertParallelGrid grid);

  void add_rank(LayerDescription const& description, RankId rank, SliceRows const& rows, RankTensors const& tensors);
  [[nodiscard]] std::vector<LayerTensor> const& all() const noexcept { return tensors_; }
  [[nodiscard]] Fingerprint forward_digest() const;
  /// Of all gradients.
  [[nodiscard]] Fingerprint backward_digest() const;

 private:
  ExpertParallelGrid grid_{};
  std::vector<LayerTensor> tensors_{};
};

[[nodiscard]] Fingerprint digest_of(LayerTensor const& tensor);

/// @return the first element in which `got` differs from `want`: tensor, the rank that computed it, expert or token,
/// place, and both bit patterns. Empty when all bits are equal.
[[nodiscard]] std::string first_difference(LayerDescription const& description, ExpertParallelGrid grid,
                                           LayerTensors const& got, LayerTensors const& want);

}  // namespace switchyard::cli
