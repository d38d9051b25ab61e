// SPDX-License-Identifier: Apache-2.0
/// RegisteredWeights and weight tags.
///
/// Worked example: one layer, tensor 0 = 3 rows of 4 bytes every 6 bytes. Row 2 starts 12 bytes after the base. A
/// second tensor of 2-byte rows every 6 bytes, 4 bytes after the base, fits exactly into the gaps; 3 bytes after it
/// collides.
#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "switchyard/rebalance/registered_weights.hpp"
#include "switchyard/rebalance/weight_tag.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard {
namespace {

std::string refusal(std::vector<std::vector<WeightTensor>> layers) {
  try {
    RegisteredWeights const weights(std::move(layers));
  } catch (Error const& error) {
    return error.what();
  }
  return "accepted";
}

TEST_CASE("rows of strided and interleaved tensors") {
  std::array<std::byte, 24> memory{};
  std::byte* const base = memory.data();
  RegisteredWeights const weights({{{base, 4, 6, 3}, {base + 4, 2, 6, 3}}});
  CHECK(weights.num_layers() == 1);
  CHECK(weights.num_rows(0) == 3);
  CHECK(weights.expert_bytes(0) == 6);
  CHECK(weights.row(0, 0, LocalExpertId(2)).data() == base + 12);
  CHECK(weights.row(0, 1, LocalExpertId(1)).data() == base + 10);
  CHECK(weights.row(0, 1, LocalExpertId(1)).size() == 2);
  CHECK_THROWS_AS((void)weights.row(0, 0, LocalExpertId(3)), Error);
  CHECK_THROWS_AS((void)weights.row(0, 0, LocalExpertId(-1)), Error);
  CHECK_THROWS_AS((void)weights.row(0, 2, LocalExpertId(0)), Error);
  CHECK_THROWS_AS((void)weights.row(1, 0, LocalExpertId(0)), Error);
  CHECK_THROWS_AS((void)weights.layer(-1), Error);
}

TEST_CASE("every broken registration is refused with its place") {
  std::array<std::byte, 64> memory{};
  std::byte* const base = memory.data();
  auto const refused_with = [](std::vector<std::vector<WeightTensor>> layers, std::string const& part) {
    std::string const text = refusal(std::move(layers));
    INFO("expected '", part, "' in: ", text);
    CHECK(text.find(part) != std::string::npos);
  };
  refused_with({{}}, "layer 0 has no tensors");
  refused_with({{{base, 0, 4, 2}}}, "2 rows of 0 bytes");
  refused_with({{{base, 4, 4, -1}}}, "-1 rows");
  refused_with({{{base, 4, 3, 2}}}, "rows of 4 bytes every 3 bytes overlap");
  refused_with({{{nullptr, 4, 4, 1}}}, "null address");
  refused_with({{{base, 4, 4, 2}, {base + 16, 4, 4, 3}}}, "layer 0, tensor 1 has 3 rows, but tensor 0 has 2");
  refused_with({{{base, 4, 6, 3}, {base + 3, 2, 6, 3}}}, "row 0 of layer 0, tensor 0 and row 0 of layer 0, tensor 1");
  refused_with({{{base, 4, 4, 2}}, {{base + 7, 4, 4, 2}}}, "layer 0, tensor 0 and row 0 of layer 1, tensor 0 share 1");
  refused_with({{{base, std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max(), 2}}},
               "invalid_argument");
  CHECK(refusal({{{nullptr, 4, 4, 0}}}) == "accepted");
  CHECK(refusal({{{base, 4, 0, 1}}}) == "accepted");  // one row has no stride
  CHECK(refusal({}) == "accepted");
}

TEST_CASE("the shape digest sees row sizes and structure, not addresses or rows") {
  std::array<std::byte, 64> memory{};
  std::byte* const base = memory.data();
  auto const digest = [](std::vector<std::vector<WeightTensor>> layers) {
    return RegisteredWeights(std::move(layers)).shape_fingerprint();
  };
  auto const same = digest({{{base, 4, 4, 2}, {base + 8, 2, 2, 2}}});
  CHECK(same == digest({{{base + 32, 4, 8, 1}, {base + 8, 2, 2, 1}}}));
  CHECK(!(same == digest({{{base, 2, 4, 2}, {base + 8, 4, 4, 2}}})));
  CHECK(!(same == digest({{{base, 4, 4, 2}}, {{base + 8, 2, 2, 2}}})));
  CHECK(!(same == digest({{{base, 4, 4, 2}}})));
}

TEST_CASE("tags are a function of place alone, and rows of different experts differ") {
  std::set<std::vector<std::byte>> rows;
  for (int layer : {0, 1, 57})
    for (int expert : {0, 1, 255})
      for (int tensor : {0, 1}) {
        std::vector<std::byte> row(21);
        fill_weight_tags(row, layer, ExpertId(expert), tensor);
        for (std::size_t i = 0; i < row.size(); ++i)
          CHECK(row[i] == weight_tag(layer, ExpertId(expert), tensor, static_cast<std::int64_t>(i)));
        CHECK(!first_wrong_tag(row, layer, ExpertId(expert), tensor));
        row[20] ^= std::byte{1};
        CHECK(first_wrong_tag(row, layer, ExpertId(expert), tensor) == 20);
        row[20] ^= std::byte{1};
        rows.insert(row);
      }
  CHECK(rows.size() == 18);
}

}  // namespace
}  // namespace switchyard
