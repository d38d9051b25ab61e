// SPDX-License-Identifier: Apache-2.0
// Ids, checked amounts, dtypes, tensor views, topology and errors.
//
// Worked example: a [2, 3] bf16 matrix has strides 3 and 1, 6 elements and 12 bytes; ranks 0..7 on two nodes put rank 4
// on node 1.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_set>
#include <vector>

#include "switchyard/types/counts.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/ids.hpp"
#include "switchyard/types/tensor_view.hpp"
#include "switchyard/types/topology.hpp"

namespace switchyard {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

/// The code of the Error that `action` throws; "nothing" when it does not throw.
template <typename Action>
std::string code_of(Action const& action) {
  try {
    action();
  } catch (Error const& error) {
    return std::string(to_string(error.code()));
  }
  return "nothing";
}

TEST_CASE("ids compare, hash and count") {
  CHECK(RankId{2} < RankId{3});
  CHECK(kNoExpert.value() == -1);
  CHECK_FALSE(kNoExpert.valid());
  CHECK(ExpertId{0}.valid());
  CHECK(ExpertId{7}.index() == 7u);
  CHECK(kNoExpert.index() > (std::size_t{1} << 62));
  SlotId slot{4};
  CHECK(++slot == SlotId{5});
  CHECK(std::unordered_set<TokenIndex>{TokenIndex{1}, TokenIndex{1}, TokenIndex{kMax}}.size() == 2);
  CHECK(TokenIndex{std::int64_t{1} << 40}.value() == std::int64_t{1} << 40);
}

TEST_CASE("amounts refuse overflow and negative results") {
  CHECK(checked_add(kMax - 1, 1) == kMax);
  CHECK(checked_sub(5, 5) == 0);
  CHECK(checked_mul(std::int64_t{1} << 31, std::int64_t{1} << 31) == std::int64_t{1} << 62);
  CHECK(code_of([] { (void)checked_add(kMax, 1); }) == "invalid_argument");
  CHECK(code_of([] { (void)checked_add(-1, 0); }) == "invalid_argument");
  CHECK(code_of([] { (void)checked_sub(5, 6); }) == "invalid_argument");
  CHECK(code_of([] { (void)checked_mul(std::int64_t{1} << 32, std::int64_t{1} << 31); }) == "invalid_argument");
  CHECK(code_of([] { (void)checked_mul(-1, 3); }) == "invalid_argument");
  CHECK(code_of([] { (void)TokenCount{-1}; }) == "invalid_argument");
  CHECK((TokenCount{3} + TokenCount{4} - TokenCount{2}) * 5 == TokenCount{25});
  CHECK(code_of([] { (void)(ByteCount{3} - ByteCount{4}); }) == "invalid_argument");
  CHECK(code_of([] { (void)(ByteCount{kMax} * 2); }) == "invalid_argument");
}

TEST_CASE("dtypes: names round trip, sizes match the storage types") {
  for (int i = 0; i <= static_cast<int>(DType::u8); ++i) {
    auto const dtype = static_cast<DType>(i);
    CAPTURE(i);
    CHECK(parse_dtype(to_string(dtype)) == dtype);
  }
  CHECK_FALSE(parse_dtype("float32").has_value());
  CHECK_FALSE(parse_dtype("").has_value());
  CHECK(size_of(DType::f32) == sizeof(float));
  CHECK(size_of(DType::f64) == sizeof(double));
  CHECK(size_of(DType::bf16) == sizeof(bf16_t));
  CHECK(size_of(DType::f16) == sizeof(f16_t));
  CHECK(size_of(DType::f8_e4m3) == sizeof(fp8_e4m3_t));
  CHECK(size_of(DType::f8_e5m2) == sizeof(fp8_e5m2_t));
  CHECK(size_of(DType::i32) == 4);
  CHECK(size_of(DType::i64) == 8);
  CHECK(size_of(DType::u8) == 1);
}

TEST_CASE("shapes: strides, elements, contiguity") {
  TensorShape const scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.num_elements() == 1);
  TensorShape const matrix{2, 3};
  CHECK(matrix.stride(0) == 3);
  CHECK(matrix.stride(1) == 1);
  CHECK(matrix.num_elements() == 6);
  CHECK(matrix.contiguous());
  TensorShape const empty{4, 0, 2};
  CHECK(empty.num_elements() == 0);
  CHECK(empty.contiguous());
  std::array<std::int64_t, 2> const extents{2, 3};
  std::array<std::int64_t, 2> const padded{4, 1};
  std::array<std::int64_t, 2> const one_row{1, 3};
  CHECK_FALSE(TensorShape(extents, padded).contiguous());
  CHECK(TensorShape(one_row, padded).contiguous());  // the stride of an extent of 1 is never used
}

TEST_CASE("shapes refuse what cannot be addressed") {
  std::array<std::int64_t, 2> const extents{2, 3};
  std::array<std::int64_t, 1> const short_strides{1};
  std::array<std::int64_t, 2> const negative{3, -1};
  std::array<std::int64_t, 2> const huge{kMax, kMax};
  CHECK(code_of([] { TensorShape{1, 1, 1, 1, 1}; }) == "invalid_argument");
  CHECK(code_of([] { TensorShape{2, -1}; }) == "invalid_argument");
  CHECK(code_of([] { TensorShape{std::int64_t{1} << 32, std::int64_t{1} << 32}; }) == "invalid_argument");
  CHECK(code_of([&] { TensorShape(extents, short_strides); }) == "invalid_argument");
  CHECK(code_of([&] { TensorShape(extents, negative); }) == "invalid_argument");
  CHECK(code_of([&] { TensorShape(extents, huge); }) == "invalid_argument");
  CHECK(code_of([] { (void)TensorShape({2, 3}).extent(2); }) == "invalid_argument");
  CHECK(code_of([] { (void)TensorShape({2, 3}).stride(-1); }) == "invalid_argument");
}

TEST_CASE("views give typed elements and bytes, and refuse the wrong type, space or layout") {
  std::vector<bf16_t> data(6);
  data[4].bits = 0x3f80;
  TensorView const view = TensorView::matrix(std::span(data), 2, 3);
  ConstTensorView const constant = view;
  CHECK(constant.dtype() == DType::bf16);
  CHECK(constant.elements<bf16_t>()[4].bits == 0x3f80);
  CHECK(constant.bytes().size() == 12);
  view.elements<bf16_t>()[0].bits = 1;
  CHECK(data[0].bits == 1);
  CHECK(view.bytes().data() == static_cast<void*>(data.data()));
  CHECK(code_of([&] { (void)constant.elements<float>(); }) == "shape_mismatch");
  CHECK(code_of([&] { (void)TensorView::matrix(std::span(data), 2, 4); }) == "shape_mismatch");
  TensorView const device(data.data(), DType::bf16, {2, 3}, MemorySpace::device);
  CHECK(code_of([&] { (void)device.elements<bf16_t>(); }) == "shape_mismatch");
  std::array<std::int64_t, 2> const extents{2, 2};
  std::array<std::int64_t, 2> const strides{3, 1};
  ConstTensorView const window(data.data(), DType::bf16, TensorShape(extents, strides));
  CHECK(code_of([&] { (void)window.bytes(); }) == "shape_mismatch");
  CHECK(TensorView::matrix(std::span<float>(), 0, 7).bytes().empty());
}

TEST_CASE("topology: consecutive ranks share a node") {
  Topology const topology(8, 2);
  CHECK(topology.ranks_per_node() == 4);
  CHECK(topology.node_of(RankId{3}) == NodeId{0});
  CHECK(topology.node_of(RankId{4}) == NodeId{1});
  CHECK(code_of([&] { (void)topology.node_of(RankId{8}); }) == "invalid_argument");
  CHECK(code_of([&] { (void)topology.node_of(RankId{-1}); }) == "invalid_argument");
  CHECK(code_of([] { Topology(8, 3); }) == "invalid_argument");
  CHECK(code_of([] { Topology(2, 4); }) == "invalid_argument");
  CHECK(code_of([] { Topology(0, 0); }) == "invalid_argument");
}

TEST_CASE("an error carries code, text and place") {
  Error const error(ErrorCode::split_mismatch, "rank 1 sends 3 rows, rank 2 expects 4");
  CHECK(std::string(error.what()) == "split_mismatch: rank 1 sends 3 rows, rank 2 expects 4");
  CHECK(error.message() == "rank 1 sends 3 rows, rank 2 expects 4");
  CHECK(std::string(error.file()).find("types_basics_test") != std::string::npos);
  CHECK(error.line() > 0);
}

}  // namespace
}  // namespace switchyard
