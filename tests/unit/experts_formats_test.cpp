// SPDX-License-Identifier: Apache-2.0
// Row formats, weight-and-reduce, the workspace arena, compatibility.
//
// By hand: 3 tokens, top 2, ids (2 0 | -1 2 | 0 1) of 3 global experts, expert_map (1, -1, 0): local experts are
// (0 1 | - 0 | 1 -). Rows by (local expert, token, slot): expert 0: flat 0, 3; expert 1: flat 1, 4.
#include <doctest/doctest.h>

#include <limits>
#include <numeric>

#include "support/error_text.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/experts/compatibility.hpp"
#include "switchyard/experts/row_formats.hpp"
#include "switchyard/experts/weight_and_reduce.hpp"
#include "switchyard/experts/workspace.hpp"

namespace {

using support::ConstTensorView;
using support::contains;
using support::DType;
using support::error_text;
using support::Matrix;
using support::matrix_of;
using support::TensorView;
using switchyard::ErrorCode;
using switchyard::PrepareTraits;
using switchyard::QuantizeWhen;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::RowFormat;
using switchyard::RowGrouping;
using switchyard::WeightAndReduce;
using switchyard::Workspace;
using Longs = std::vector<std::int64_t>;

RowGrouping by_hand() {
  Longs const ids = {2, 0, -1, 2, 0, 1};
  std::vector<std::int32_t> const map = {1, -1, 0};
  return switchyard::group_rows(ids, 2, map, 2);
}

TEST_CASE("the example by hand, and its batched form") {
  RowGrouping const standard = by_hand();
  CHECK(standard.rows_per_expert == Longs{2, 2});
  CHECK(standard.flat_of_row == Longs{0, 3, 1, 4});
  CHECK(standard.row_of_flat == Longs{0, 2, -1, 1, 3, -1});
  CHECK(standard.token_of_row() == Longs{0, 1, 0, 2});
  RowGrouping const batched = to_batched(standard, 3);
  CHECK(batched.flat_of_row == Longs{0, 3, -1, 1, 4, -1});
  CHECK(batched.row_of_flat == Longs{0, 3, -1, 1, 4, -1});
  CHECK(batched.blocks() == std::vector<switchyard::RowBlock>{{0, 2}, {3, 2}});
  CHECK(to_standard(batched) == standard);
}

TEST_CASE("every routing of 3 tokens x top 2 over 2 local experts and -1: stable, complete, reversible") {
  for (int code = 0; code < 729; ++code) {
    Longs ids;
    for (int i = 0, rest = code; i < 6; ++i, rest /= 3) ids.push_back(rest % 3 - 1);
    RowGrouping const g = switchyard::group_rows(ids, 2, {}, 2);
    Longs want;
    for (std::int64_t expert = 0; expert < 2; ++expert)
      for (std::int64_t flat = 0; flat < 6; ++flat)
        if (ids[static_cast<std::size_t>(flat)] == expert) want.push_back(flat);
    REQUIRE(g.flat_of_row == want);
    for (std::size_t flat = 0; flat < 6; ++flat) {
      std::int64_t const row = g.row_of_flat[flat];
      REQUIRE((row >= 0) == (ids[flat] >= 0));
      if (row >= 0) REQUIRE(g.flat_of_row[static_cast<std::size_t>(row)] == static_cast<std::int64_t>(flat));
    }
    REQUIRE(to_standard(to_batched(g, 6)) == g);
  }
}

TEST_CASE("no tokens, no experts, and what is refused") {
  CHECK(switchyard::group_rows({}, 2, {}, 0).num_rows() == 0);
  Longs const bad = {0, 5};
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return switchyard::group_rows(bad, 2, {}, 2); }),
                 "token 0, slot 1 chose expert 5 of 2"));
  std::vector<std::int32_t> const map = {0, 3};
  Longs const one = {1};
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return switchyard::group_rows(one, 1, map, 2); }),
                 "expert_map[1] is 3"));
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return switchyard::group_rows(one, 2, {}, 2); }),
                 "1 expert ids are no rows of 2"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return to_batched(by_hand(), 1); }),
                 "local expert 0 has 2 rows where its batch holds 1"));
}

TEST_CASE("weight and reduce: slot order, expert order, copies") {
  Longs const ids = {1, 0, -1, -1};
  RowGrouping const g = switchyard::group_rows(ids, 2, {}, 2);
  CHECK(g.row_of_flat == Longs{1, 0, -1, -1});
  Matrix const rows = matrix_of(DType::f32, 1, {1.0f, 0x1p-24f});
  std::vector<float> const weights = {3.0f, 1.0f, 9.0f, 9.0f};
  auto const sum = [&](WeightAndReduce kind, Matrix const& from, std::vector<float> const& w) {
    auto out = support::poison(8);
    weight_and_reduce(kind, g, from.view(), w, TensorView(out.data(), DType::f32, {2, 1}));
    return std::vector<float>{support::fetch(DType::f32, out.data()), support::fetch(DType::f32, out.data() + 4)};
  };
  CHECK(sum(WeightAndReduce::contiguous, rows, weights) == std::vector<float>{1.0f + 0x1p-22f, 0.0f});
  CHECK(sum(WeightAndReduce::contiguous, rows, {}) == std::vector<float>{1.0f, 0.0f});
  CHECK(sum(WeightAndReduce::no_op, rows, {}) == std::vector<float>{1.0f, 0x1p-24f});
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { return sum(WeightAndReduce::delegate, rows, {}); }),
                 "finalize"));
  CHECK(contains(error_text(ErrorCode::shape_mismatch,
                            [&] { return sum(WeightAndReduce::contiguous, rows, std::vector<float>(3)); }),
                 "3 weights for 2 tokens x 2 slots"));

  Longs const three = {2, 0, 1};
  RowGrouping const t = switchyard::group_rows(three, 3, {}, 3);
  Matrix const terms = matrix_of(DType::f32, 1, {1.0f, -1.0f, 0x1p-24f});  // rows of experts 0, 1, 2
  auto const order = [&](WeightAndReduce kind) {
    auto out = support::poison(4);
    weight_and_reduce(kind, t, terms.view(), {}, TensorView(out.data(), DType::f32, {1, 1}));
    return support::fetch(DType::f32, out.data());
  };
  CHECK(order(WeightAndReduce::contiguous) == 0.0f);   // (2^-24 + 1) - 1
  CHECK(order(WeightAndReduce::batched) == 0x1p-24f);  // (1 - 1) + 2^-24
}

TEST_CASE("workspace: the counting pass sizes the binding pass") {
  auto const carve = [](Workspace& workspace) {
    auto const a = workspace.take<float>("a", 3);
    auto const b = workspace.take<double>("b", 0);
    auto const c = workspace.take<std::byte>("c", 65);
    return std::tuple{a, b, c};
  };
  Workspace counting;
  CHECK(std::get<0>(carve(counting)).empty());
  CHECK(counting.bytes() == 64 + 128);
  CHECK(counting.parts()[2] == switchyard::WorkspacePart{"c", 64, 65});
  switchyard::WorkspaceMemory memory;
  auto const bytes = memory.reserve(counting.bytes());
  Workspace binding(bytes);
  auto const [a, b, c] = carve(binding);
  CHECK(a.size() == 3);
  CHECK(b.empty());
  CHECK(c.data() == bytes.data() + 64);
  CHECK(binding.parts() == counting.parts());
  Workspace small(bytes.first(64));
  CHECK(contains(error_text(ErrorCode::out_of_memory, [&] { return carve(small); }),
                 "workspace part c needs bytes [64, 192) but 64 bytes were given"));
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return Workspace(bytes.subspan(1)); }), "1 bytes past"));
  Workspace huge;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return huge.take<double>("x", std::int64_t{1} << 61); }),
                 "not countable"));
  CHECK(contains(
      error_text(ErrorCode::out_of_memory, [&] { return memory.reserve(std::numeric_limits<std::int64_t>::max()); }),
      "could not be allocated"));
}

TEST_CASE("compatibility names both sides") {
  auto const exact = switchyard::exact_experts_traits();
  PrepareTraits prepare;
  prepare.name = "alltoall";
  CHECK_FALSE(incompatibility(prepare, exact).has_value());
  auto picky = exact;
  picky.name = "picky";
  picky.formats = {RowFormat::batched};
  picky.dtypes = {DType::f16};
  picky.input_schemes = {QuantScheme::fp8_group, QuantScheme::nvfp4};
  picky.plain_rows = false;
  prepare.reduces = false;
  auto const reasons = incompatibilities(prepare, picky);
  CHECK(reasons == std::vector<std::string>{
                       "alltoall delivers standard rows, picky takes batched",
                       "alltoall delivers bf16, picky computes on f16",
                       "alltoall delivers rows as they are, picky takes quantised ones only: fp8_group, nvfp4",
                       "picky leaves weighting and reducing to finalize, alltoall does neither"});
  prepare.reduces = true;
  prepare.quantize = QuantizeWhen::before_exchange;
  CHECK(*incompatibility(prepare, exact) == "alltoall quantises before_exchange but names no scheme");
  prepare.quant = QuantSpec{QuantScheme::fp8_tensor_dynamic};
  CHECK(contains(*incompatibility(prepare, exact), "none travels with a row"));
  prepare.quant = QuantSpec{QuantScheme::mxfp8};
  CHECK(incompatibilities(prepare, picky).back() == "alltoall delivers mxfp8, picky takes fp8_group, nvfp4");
  CHECK_FALSE(incompatibility(prepare, exact).has_value());
}

}  // namespace
