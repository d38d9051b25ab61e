// SPDX-License-Identifier: Apache-2.0
// Chunk sort: whole blocks of rows into the order the experts want them.
#include <cstring>
#include <vector>

#include "stages.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

struct BlockCopy {
  std::int64_t source;
  std::int64_t target;
  std::int64_t rows;
};

/// Where every non-empty chunk lies and where it goes.
std::vector<BlockCopy> block_copies(ChunkSort const& stage) {
  std::vector<std::int64_t> start(stage.sizes.size(), 0);
  for (std::size_t chunk = 1; chunk < start.size(); ++chunk) start[chunk] = start[chunk - 1] + stage.sizes[chunk - 1];
  std::vector<BlockCopy> copies;
  std::int64_t target = 0;
  for (std::int64_t const chunk : stage.order) {
    std::int64_t const rows = stage.sizes[to_size(chunk)];
    if (rows > 0) copies.push_back({start[to_size(chunk)], target, rows});
    target += rows;
  }
  return copies;
}

}  // namespace

void sort_chunks(StageContext const&, ChunkSort const& stage, ConstRows in, Rows out) {
  auto const copies = block_copies(stage);
  if (copies.empty()) return;
  auto const count = static_cast<std::int64_t>(copies.size());
  std::int64_t const mean_bytes = out.count * out.row_bytes / count;
  for_items(count, mean_bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      auto const& copy = copies[to_size(i)];
      if (in.row_bytes == 0) continue;
      std::memcpy(out.data + copy.target * out.row_bytes, in.data + copy.source * in.row_bytes,
                  to_size(copy.rows * in.row_bytes));
    }
  });
}

}  // namespace switchyard::cpu
