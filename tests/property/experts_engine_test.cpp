// SPDX-License-Identifier: Apache-2.0
// The exact expert engine against plain loops, bit for bit.
//
// By hand: H = 1, I = 2, plain relu2, x = 3, w1 = (1, -2), w2 = (0.5, 4). h = (3, -6), a = (9, 0); block 3 of 8 holds
// unit 0 ([3*2/8, 4*2/8) = [0, 1)), block 7 unit 1, all others are empty, so y = 4.5 + 0 = 4.5.
#include <doctest/doctest.h>

#include <string>

#include "support/error_text.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"

namespace {

using support::Activation;
using support::ConstTensorView;
using support::contains;
using support::DType;
using support::error_text;
using support::ExpertMlp;
using support::ExpertOperands;
using support::fetch;
using support::GateLayout;
using support::Matrix;
using support::matrix_of;
using support::oracle_row;
using support::poison;
using support::random_matrix;
using support::random_weights;
using support::row_of;
using support::TensorView;
using support::tp_slice;
using switchyard::ActivationSpec;
using switchyard::ErrorCode;
using switchyard::ExpertCall;
using switchyard::ExpertRounding;
using switchyard::RowBlock;
using switchyard::TpSlice;
namespace cpu = switchyard::cpu;

switchyard::ExpertWeights weights_of(ExpertOperands const& w, bool biased) {
  switchyard::ExpertWeights weights;
  weights.w1 = w.w1.view();
  weights.w2 = w.w2.view();
  if (biased) weights.b1 = w.b1.view();
  if (biased) weights.b2 = w.b2.view();
  return weights;
}

void run(ExpertMlp const& mlp, ExpertCall const& call, std::int64_t max_rows) {
  cpu::ExactExperts const experts(mlp);
  switchyard::WorkspaceMemory memory;
  experts.apply(call, memory.reserve(experts.workspace_bytes(max_rows)));
}

std::vector<std::byte> forward(ExpertMlp const& mlp, ExpertOperands const& w, bool biased, Matrix const& x,
                               std::vector<RowBlock> const& blocks) {
  ExpertCall call;
  call.rows = x.view();
  call.blocks = blocks;
  call.weights = weights_of(w, biased);
  DType const dtype = mlp.tp.size == 1 ? mlp.dtype : DType::f32;
  auto out = poison(x.values.size() * static_cast<std::size_t>(switchyard::size_of(dtype)));
  call.output = TensorView(out.data(), dtype, {x.rows(), mlp.hidden});
  run(mlp, call, x.rows());
  return out;
}

std::vector<std::byte> forward_tp(ExpertMlp mlp, int tp, ExpertOperands const& w, bool biased, Matrix const& x,
                                  std::vector<RowBlock> const& blocks) {
  if (tp == 1) return forward(mlp, w, biased, x, blocks);
  std::vector<std::vector<std::byte>> partials;
  std::vector<TensorView> views;
  ExpertMlp slice = mlp;
  for (int rank = 0; rank < tp; ++rank) {
    slice.tp = TpSlice{rank, tp};
    partials.push_back(forward(slice, tp_slice(w, mlp, slice), biased, x, blocks));
  }
  for (auto& partial : partials)
    views.emplace_back(partial.data(), DType::f32, switchyard::TensorShape{x.rows(), mlp.hidden});
  auto out = poison(x.values.size() * static_cast<std::size_t>(switchyard::size_of(mlp.dtype)));
  cpu::finish_partials(slice, views, blocks, biased ? w.b2.view() : ConstTensorView{},
                       TensorView(out.data(), mlp.dtype, {x.rows(), mlp.hidden}));
  return out;
}

/// What `forward` must return: the oracle's rows, poison elsewhere.
std::vector<std::byte> expected(ExpertMlp const& mlp, ExpertOperands const& w, bool biased, Matrix const& x,
                                std::vector<RowBlock> const& blocks) {
  auto const size = static_cast<std::size_t>(switchyard::size_of(mlp.dtype));
  auto out = poison(x.values.size() * size);
  for (std::size_t e = 0; e < blocks.size(); ++e)
    for (std::int64_t row = blocks[e].first_row; row < blocks[e].first_row + blocks[e].rows; ++row) {
      auto const y = oracle_row(mlp, w, biased, static_cast<std::int64_t>(e), row_of(x, row));
      Matrix const bytes = matrix_of(mlp.dtype, mlp.hidden, y);
      std::copy(bytes.bytes.begin(), bytes.bytes.end(),
                out.begin() + static_cast<std::ptrdiff_t>(size) * row * mlp.hidden);
    }
  return out;
}

struct Restore {
  ~Restore() {
    cpu::force_instruction_set({});
    cpu::set_worker_count(0);
  }
};

TEST_CASE("the example by hand") {
  ExpertMlp mlp;
  mlp.hidden = 1;
  mlp.intermediate = 2;
  mlp.num_local_experts = 1;
  mlp.activation = ActivationSpec{Activation::relu2, GateLayout::plain};
  CHECK(mlp.block_ends() == std::vector<std::int64_t>{0, 0, 0, 1, 1, 1, 1, 2});
  ExpertOperands const w{matrix_of(DType::f32, 1, {1, -2}), matrix_of(DType::f32, 2, {0.5f, 4}), {}, {}};
  auto const out = forward(mlp, w, false, matrix_of(DType::f32, 1, {3}), {{0, 1}});
  CHECK(fetch(DType::f32, out.data()) == 4.5f);
}

TEST_CASE("blocks of I for every I up to 70: b * I / 8, every TP size covers all units once") {
  for (std::int64_t units = 1; units <= 70; ++units)
    for (int tp : {1, 2, 4, 8}) {
      std::int64_t next = 0;
      for (int rank = 0; rank < tp; ++rank) {
        ExpertMlp mlp;
        mlp.hidden = 1;
        mlp.intermediate = units;
        mlp.tp = TpSlice{rank, tp};
        mlp.validate();
        REQUIRE(mlp.first_unit() == next);
        auto const ends = mlp.block_ends();
        REQUIRE(ends.size() == static_cast<std::size_t>(8 / tp));
        for (std::size_t b = 0; b < ends.size(); ++b)
          REQUIRE(mlp.first_unit() + ends[b] == (rank * (8 / tp) + static_cast<int>(b) + 1) * units / 8);
        next += mlp.local_units();
      }
      REQUIRE(next == units);
    }
}

TEST_CASE("every activation, layout, dtype and rounding, TP 1, 2, 4, 8, every instruction set") {
  Restore const restore;
  std::mt19937_64 random(20250611);
  for (auto const set : cpu::available_instruction_sets()) {
    cpu::force_instruction_set(set);
    for (Activation const kind : switchyard::kAllActivations)
      for (GateLayout const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
        for (DType const dtype : {DType::f32, DType::bf16, DType::f16}) {
          bool const clamped = kind == Activation::swigluoai || kind == Activation::swiglu_limit;
          if (clamped && layout == GateLayout::plain) continue;
          ExpertMlp mlp;
          mlp.hidden = 19;
          mlp.intermediate = 21;
          mlp.num_local_experts = 3;
          mlp.dtype = dtype;
          mlp.activation = ActivationSpec{kind, layout, 1.5f};
          mlp.rounding = random() % 2 == 0 ? ExpertRounding::fused(dtype) : ExpertRounding::every_store(dtype);
          ExpertOperands const w = random_weights(random, mlp);
          Matrix const x = random_matrix(random, dtype, 9, mlp.hidden);
          std::vector<RowBlock> const blocks = {{0, 3}, {4, 0}, {4, 5}};  // row 3 belongs to nobody
          bool const biased = random() % 2 == 0;
          auto const wanted = expected(mlp, w, biased, x, blocks);
          CAPTURE(to_string(set));
          CAPTURE(switchyard::to_string(kind));
          CAPTURE(switchyard::to_string(layout));
          CAPTURE(switchyard::to_string(dtype));
          for (int const tp : {1, 2, 4, 8}) {
            CAPTURE(tp);
            auto const got = forward_tp(mlp, tp, w, biased, x, blocks);
            CHECK(got == wanted);
          }
        }
  }
}

TEST_CASE("sizes around tiles, passes and empty extents; 1, 2 and 7 workers") {
  Restore const restore;
  std::mt19937_64 random(77);
  struct Size {
    std::int64_t rows, hidden, intermediate;
  };
  for (auto const size : {Size{0, 4, 4}, Size{1, 1, 1}, Size{31, 33, 7}, Size{33, 32, 9}, Size{15, 65, 31},
                          Size{1010, 3, 2}, Size{29, 16, 64}}) {
    ExpertMlp mlp;
    mlp.hidden = size.hidden;
    mlp.intermediate = size.intermediate;
    mlp.num_local_experts = 1;
    mlp.dtype = DType::bf16;
    mlp.rounding = ExpertRounding::fused(DType::bf16);
    ExpertOperands const w = random_weights(random, mlp);
    Matrix const x = random_matrix(random, DType::bf16, size.rows, size.hidden);
    auto const wanted = expected(mlp, w, true, x, {{0, size.rows}});
    for (auto const set : cpu::available_instruction_sets())
      for (int const workers : {1, 2, 7}) {
        cpu::force_instruction_set(set);
        cpu::set_worker_count(workers);
        CAPTURE(size.rows);
        CAPTURE(size.hidden);
        CHECK(forward(mlp, w, true, x, {{0, size.rows}}) == wanted);
      }
  }
}

TEST_CASE("batched rows, output in place, router weight on the input") {
  std::mt19937_64 random(5);
  ExpertMlp mlp;
  mlp.hidden = 12;
  mlp.intermediate = 16;
  mlp.num_local_experts = 3;
  mlp.dtype = DType::bf16;
  mlp.rounding = ExpertRounding::every_store(DType::bf16);
  ExpertOperands const w = random_weights(random, mlp);
  Matrix x = random_matrix(random, DType::bf16, 3 * 4, mlp.hidden);
  std::int64_t const counts[] = {2, 0, 4};
  auto const blocks = switchyard::batched_blocks(counts, 4);
  CHECK(blocks == std::vector<RowBlock>{{0, 2}, {4, 0}, {8, 4}});
  std::vector<float> router(12);
  Matrix weighted = x;
  for (std::size_t row = 0; row < 12; ++row) {
    router[row] = 0.1f * static_cast<float>(row + 1);
    for (std::size_t c = 0; c < 12; ++c)
      weighted.values[row * 12 + c] = oracle::round_bf16(x.values[row * 12 + c] * router[row]);
  }
  auto const wanted = expected(mlp, w, true, weighted, blocks);
  ExpertCall call;
  call.rows = x.view();
  call.blocks = blocks;
  call.weights = weights_of(w, true);
  call.row_weights = router;
  SUBCASE("the caller's rows stay") {
    auto const before = x.bytes;
    auto out = poison(x.bytes.size());
    call.output = TensorView(out.data(), DType::bf16, {12, 12});
    run(mlp, call, 4);
    CHECK(out == wanted);
    CHECK(x.bytes == before);
  }
  SUBCASE("in place, rows outside the blocks stay") {
    auto const before = x.bytes;
    call.output = x.mutable_view();
    run(mlp, call, 4);
    for (std::size_t row = 0; row < 12; ++row) {
      bool const computed = row < 2 || row >= 8;
      auto const at = static_cast<std::ptrdiff_t>(row * 24);
      auto const& source = computed ? wanted : before;
      CHECK(std::equal(x.bytes.begin() + at, x.bytes.begin() + at + 24, source.begin() + at));
    }
  }
}

TEST_CASE("NaN, infinities, subnormals and -0 give the same bytes everywhere, NaN canonical") {
  Restore const restore;
  float const inf = std::numeric_limits<float>::infinity();
  float const nan = switchyard::hd::bits_to<float>(0xffc01234u);
  std::vector<float> const special = {0.0f, -0.0f, inf, -inf, nan, 0x1p-149f, -0x1p-140f, 0x1p127f, -0x1.8p126f, 1.0f};
  std::mt19937_64 random(99);
  ExpertMlp mlp;
  mlp.hidden = 10;
  mlp.intermediate = 9;
  mlp.num_local_experts = 1;
  mlp.rounding = ExpertRounding::fused(DType::f32);
  ExpertOperands w = random_weights(random, mlp);
  for (std::size_t i = 0; i < w.w1.values.size(); i += 7) w.w1.values[i] = special[i % special.size()];
  w.w1 = matrix_of(DType::f32, w.w1.columns, w.w1.values);
  std::vector<float> rows;
  for (std::size_t r = 0; r < 40; ++r)
    for (std::size_t c = 0; c < 10; ++c) rows.push_back(special[random() % (r % 2 == 0 ? 2 : special.size())]);
  Matrix const x = matrix_of(DType::f32, 10, rows);
  auto const wanted = expected(mlp, w, true, x, {{0, 40}});
  for (auto const set : cpu::available_instruction_sets()) {
    cpu::force_instruction_set(set);
    CAPTURE(to_string(set));
    CHECK(forward(mlp, w, true, x, {{0, 40}}) == wanted);
  }
}

TEST_CASE("operands that do not fit are refused, naming both sizes, and nothing is written") {
  std::mt19937_64 random(3);
  ExpertMlp mlp;
  mlp.hidden = 4;
  mlp.intermediate = 8;
  mlp.num_local_experts = 2;
  ExpertOperands const w = random_weights(random, mlp);
  Matrix const x = random_matrix(random, DType::f32, 3, 4);
  Matrix const narrow = random_matrix(random, DType::f32, 4, 3);
  std::vector<RowBlock> const blocks = {{0, 1}, {1, 2}};
  auto out = poison(x.bytes.size());
  ExpertCall call;
  call.rows = x.view();
  call.blocks = blocks;
  call.weights = weights_of(w, false);
  call.output = TensorView(out.data(), DType::f32, {3, 4});
  auto const refused = [&](ErrorCode code, ExpertCall const& bad) {
    return error_text(code, [&] { run(mlp, bad, 3); });
  };
  ExpertCall bad = call;
  bad.rows = narrow.view();
  CHECK(contains(refused(ErrorCode::shape_mismatch, bad), "rows is 4 x 3, wanted 4 x 4"));
  bad = call;
  bad.weights.w2 = w.w1.view();
  CHECK(contains(refused(ErrorCode::shape_mismatch, bad), "w2 is 32 x 4, wanted 8 x 8"));
  bad = call;
  std::vector<RowBlock> const outside = {{0, 1}, {2, 2}};
  bad.blocks = outside;
  CHECK(contains(refused(ErrorCode::invalid_argument, bad), "local expert 1 has rows [2, +2) of a matrix with 3 rows"));
  bad.blocks = std::span(blocks).first(1);
  CHECK(contains(refused(ErrorCode::shape_mismatch, bad), "1 blocks of rows for 2 local experts"));
  bad = call;
  std::vector<float> const two = {1, 2};
  bad.row_weights = two;
  CHECK(contains(refused(ErrorCode::shape_mismatch, bad), "2 router weights for 3 rows"));
  CHECK(contains(error_text(ErrorCode::out_of_memory, [&] { cpu::ExactExperts(mlp).apply(call, {}); }), "input"));
  mlp.tp = TpSlice{0, 3};
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { mlp.validate(); }), "TP size 3"));
  mlp.tp = {};
  mlp.activation = ActivationSpec{Activation::swigluoai, GateLayout::plain};
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { mlp.validate(); }), "no plain form"));
  CHECK(out == poison(x.bytes.size()));
}

}  // namespace
