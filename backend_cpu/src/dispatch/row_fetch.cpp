// SPDX-License-Identifier: Apache-2.0
#include "row_fetch.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// @return where the row lies, or null for a row of zeros.
std::byte const* locate(RowOrigin const& origin, PeerMemory::Buffers peers, std::int64_t row_bytes) {
  if (origin.number == 0) return nullptr;
  return peers[to_size(origin.rank)].data() + (origin.number - 1) * row_bytes;
}

void copy_row(std::byte const* row, std::int64_t row_bytes, std::byte* out) {
  if (row_bytes == 0) return;
  if (row == nullptr) {
    std::memset(out, 0, to_size(row_bytes));
  } else {
    std::memcpy(out, row, to_size(row_bytes));
  }
}

/// Brings single rows of the combine; one object per task.
class RowFetch {
 public:
  RowFetch(StageContext const& context, PeerRows const& rows)
      : hidden_(context.hidden),
        rows_(rows),
        kernels_(context.kernels),
        held_bytes_(context.hidden * size_of(rows.held)),
        floats_(rows.map.joined ? to_size(checked_mul(context.hidden, rows.map.parts)) : 0) {}

  /// Writes row `source_row` of the source's gather, [H] of rows.wanted.
  void bring(std::int64_t source_row, std::byte* out) {
    RowOrigin const* const origin = rows_.map.origins.data() + source_row * rows_.map.parts;
    if (rows_.map.joined) return join(origin, out);
    std::byte const* const row = locate(*origin, rows_.peers, held_bytes_);
    if (rows_.held == rows_.wanted) return copy_row(row, held_bytes_, out);
    if (row == nullptr) return copy_row(nullptr, hidden_ * size_of(rows_.wanted), out);
    kernels_of(kernels_, rows_.wanted).narrow(reinterpret_cast<float const*>(row), out, 0, hidden_);
  }

 private:
  void join(RowOrigin const* parts, std::byte* out) {
    for (std::int64_t part = 0; part < rows_.map.parts; ++part) {
      std::byte const* const row = locate(parts[part], rows_.peers, held_bytes_);
      float* const floats = floats_.data() + part * hidden_;
      if (row == nullptr) {
        std::fill_n(floats, hidden_, 0.0F);
      } else {
        kernels_of(kernels_, rows_.held).widen(row, floats, 0, hidden_);
      }
    }
    kernels_.join_partials(floats_.data(), hidden_, rows_.map.parts, 0, hidden_);
    kernels_of(kernels_, rows_.wanted).narrow(floats_.data(), out, 0, hidden_);
  }

  std::int64_t hidden_;
  PeerRows const& rows_;
  RowKernels const& kernels_;
  std::int64_t held_bytes_;
  std::vector<float> floats_;
};

std::size_t most_terms(SourceSum const& sum, std::int64_t begin, std::int64_t end) {
  std::size_t most = 0;
  for (std::int64_t token = begin; token < end; ++token) most = std::max(most, sum.terms(token).size());
  return most;
}

void sum_tokens(StageContext const& context, SourceSum const& sum, PeerRows const& rows, std::int64_t begin,
                std::int64_t end) {
  std::int64_t const row_bytes = context.hidden * size_of(rows.wanted);
  std::vector<std::int64_t> places(most_terms(sum, begin, end));
  std::iota(places.begin(), places.end(), std::int64_t{0});
  ScratchBuffer buffer;
  Rows const near = buffer.rows(static_cast<std::int64_t>(places.size()), row_bytes);
  RowFetch fetch(context, rows);
  for (std::int64_t token = begin; token < end; ++token) {
    std::byte* target = near.data;
    for (std::int64_t const source_row : sum.terms(token)) {
      fetch.bring(source_row, target);
      target += row_bytes;
    }
    sum.add(token, near.data, places.data());
  }
}

}  // namespace

void copy_rows(std::vector<RowOrigin> const& origins, PeerMemory::Buffers peers, Rows out) {
  for_items(out.count, out.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      copy_row(locate(origins[to_size(row)], peers, out.row_bytes), out.row_bytes, out.data + row * out.row_bytes);
  });
}

void sum_peer_rows(StageContext const& context, SourceSum const& sum, PeerRows const& rows) {
  std::int64_t const tokens = sum.num_tokens();
  auto const joined_rows = static_cast<std::int64_t>(rows.map.origins.size());
  std::int64_t const rows_per_token = tokens == 0 ? 0 : joined_rows / tokens;
  for_items(tokens, (rows_per_token + 1) * context.hidden * size_of(rows.held),
            [&](std::int64_t begin, std::int64_t end) { sum_tokens(context, sum, rows, begin, end); });
}

}  // namespace switchyard::cpu
