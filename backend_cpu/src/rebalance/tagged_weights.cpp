// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/internal/tagged_weights.hpp"

#include "switchyard/internal/require.hpp"
#include "switchyard/rebalance/weight_tag.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::int64_t kPaddingBytes = 8;
constexpr std::byte kPoison{0xA5};

/// Bytes of one slot over all tensors, padding included.
std::int64_t slot_bytes(std::vector<std::int64_t> const& row_bytes) {
  SWITCHYARD_REQUIRE(!row_bytes.empty(), invalid_argument, "a rehearsal needs at least one tensor per expert");
  std::int64_t bytes = 0;
  for (std::int64_t row : row_bytes) {
    SWITCHYARD_REQUIRE(row >= 1, invalid_argument, "a tensor's rows have {} bytes; at least 1 is needed", row);
    bytes = checked_add(bytes, checked_add(row, kPaddingBytes));
  }
  return bytes;
}

}  // namespace

TaggedWeights::TaggedWeights(ExpertPlacement const& placement, RankId rank,
                             std::vector<std::int64_t> const& tensor_row_bytes)
    : rank_(rank), num_rows_(placement.layout().slots_of(rank)), row_bytes_(tensor_row_bytes) {
  std::int64_t const rows = checked_mul(placement.num_layers(), num_rows_);
  memory_.assign(static_cast<std::size_t>(checked_mul(rows, slot_bytes(row_bytes_))), kPoison);
  std::vector<std::vector<WeightTensor>> layers;
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    auto& tensors = layers.emplace_back();
    for (int t = 0; t < static_cast<int>(row_bytes_.size()); ++t) {
      std::int64_t const bytes = row_bytes_[static_cast<std::size_t>(t)];
      tensors.push_back(
          {memory_.data() + place_of(layer, t, LocalExpertId(0)), bytes, bytes + kPaddingBytes, num_rows_});
      for (int row = 0; row < num_rows_; ++row) {
        ExpertId const expert = placement.rank_slots(layer, rank)[static_cast<std::size_t>(row)];
        if (!expert.valid()) continue;
        auto const place = static_cast<std::size_t>(place_of(layer, t, LocalExpertId(row)));
        fill_weight_tags(std::span(memory_).subspan(place, static_cast<std::size_t>(bytes)), layer, expert, t);
      }
    }
  }
  original_ = memory_;
  weights_ = RegisteredWeights(std::move(layers));
}

/// The only index formula: layers, then tensors, then rows with their padding.
std::int64_t TaggedWeights::place_of(int layer, int tensor, LocalExpertId row) const {
  std::int64_t place = std::int64_t{layer} * num_rows_ * slot_bytes(row_bytes_);
  for (int t = 0; t < tensor; ++t) place += num_rows_ * (row_bytes_[static_cast<std::size_t>(t)] + kPaddingBytes);
  return place + row.value() * (row_bytes_[static_cast<std::size_t>(tensor)] + kPaddingBytes);
}

std::optional<RehearsalMismatch> TaggedWeights::first_mismatch(ExpertPlacement const& target, Checked& checked) const {
  for (int layer = 0; layer < target.num_layers(); ++layer) {
    auto const experts = target.rank_slots(layer, rank_);
    for (int row = 0; row < num_rows_; ++row)
      for (int t = 0; t < static_cast<int>(row_bytes_.size()); ++t)
        if (auto mismatch = check_row(layer, t, LocalExpertId(row), experts[static_cast<std::size_t>(row)], checked))
          return mismatch;
  }
  return std::nullopt;
}

std::optional<RehearsalMismatch> TaggedWeights::check_row(int layer, int tensor, LocalExpertId row, ExpertId expert,
                                                          Checked& checked) const {
  std::int64_t const bytes = row_bytes_[static_cast<std::size_t>(tensor)];
  auto const place = static_cast<std::size_t>(place_of(layer, tensor, row));
  auto const now = std::span(memory_).subspan(place, static_cast<std::size_t>(bytes));
  if (expert.valid()) {
    ++checked.rows;
    checked.bytes += bytes;
    if (auto const wrong = first_wrong_tag(now, layer, expert, tensor))
      return describe(layer, tensor, row, expert, *wrong,
                      std::to_integer<int>(weight_tag(layer, expert, tensor, *wrong)));
  } else {
    ++checked.untouched_rows;
  }
  // An empty row must be as it was made from its first byte on, any other from its padding on.
  if (auto const changed = first_changed(layer, tensor, row, expert.valid() ? bytes : 0))
    return describe(layer, tensor, row, kNoExpert, *changed,
                    std::to_integer<int>(original_[place + static_cast<std::size_t>(*changed)]));
  return std::nullopt;
}

std::optional<std::int64_t> TaggedWeights::first_changed(int layer, int tensor, LocalExpertId row,
                                                         std::int64_t begin) const {
  auto const place = static_cast<std::size_t>(place_of(layer, tensor, row));
  std::int64_t const end = row_bytes_[static_cast<std::size_t>(tensor)] + kPaddingBytes;
  for (std::int64_t i = begin; i < end; ++i)
    if (memory_[place + static_cast<std::size_t>(i)] != original_[place + static_cast<std::size_t>(i)]) return i;
  return std::nullopt;
}

RehearsalMismatch TaggedWeights::describe(int layer, int tensor, LocalExpertId row, ExpertId expert,
                                          std::int64_t offset, int expected) const {
  auto const place = static_cast<std::size_t>(place_of(layer, tensor, row) + offset);
  int const got = std::to_integer<int>(memory_[place]);
  std::string const what = expert.valid() ? fmt::format("expert {}", expert.value()) : "nothing may be written";
  return {layer,
          rank_,
          row,
          expert,
          tensor,
          offset,
          expected,
          got,
          fmt::format("layer {}, rank {}, row {} ({}), tensor {}, byte {}: expected 0x{:02x}, got 0x{:02x}", layer,
                      rank_.value(), row.value(), what, tensor, offset, expected, got)};
}

}  // namespace switchyard::cpu
