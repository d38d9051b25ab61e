// SPDX-License-Identifier: Apache-2.0
// The backward of the exact expert engine against plain loops, bit for bit.
//
// By hand: H = 1, I = 1, plain relu2, x = 3, w1 = 2, w2 = 5, dy = 1: h = 6, a = 36, da = 5, dh = 5 * 2 * 6 = 60,
// dx = 120, dw1 = 180, dw2 = 36, db1 = 60, db2 = 1.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "support/error_text.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"

namespace {

using support::Activation;
using support::contains;
using support::DType;
using support::error_text;
using support::ExpertMlp;
using support::ExpertOperands;
using support::GateLayout;
using support::Matrix;
using support::matrix_of;
using support::poison;
using support::random_matrix;
using support::random_weights;
using support::row_of;
using support::TensorView;
using switchyard::ActivationSpec;
using switchyard::ErrorCode;
using switchyard::ExpertGradientCall;
using switchyard::ExpertRounding;
using switchyard::RowBlock;
using switchyard::TpSlice;
namespace cpu = switchyard::cpu;

/// Gradients of all experts of a rank as floats; d_rows as bytes of its dtype.
struct Gradients {
  std::vector<std::byte> d_rows;
  std::vector<float> d_w1, d_w2, d_b1, d_b2;
};

struct Batch {
  Matrix x, dy;
  std::vector<RowBlock> blocks;
  std::vector<std::int64_t> order;  ///< rank_major_rows, or empty
};

TensorView floats(std::vector<float>& values, std::int64_t rows, std::int64_t columns) {
  values.assign(static_cast<std::size_t>(rows * columns), -7.5f);
  return TensorView(values.data(), DType::f32, {rows, columns});
}

Gradients backward(ExpertMlp const& mlp, ExpertOperands const& w, Batch const& batch) {
  ExpertGradientCall call;
  call.forward.rows = batch.x.view();
  call.forward.blocks = batch.blocks;
  call.forward.weights.w1 = w.w1.view();
  call.forward.weights.w2 = w.w2.view();
  call.forward.weights.b1 = w.b1.view();
  call.forward.weights.b2 = w.b2.view();
  call.d_output = batch.dy.view();
  call.rank_major_rows = batch.order;
  DType const dtype = mlp.tp.size == 1 ? mlp.dtype : DType::f32;
  Gradients g;
  g.d_rows = poison(batch.x.values.size() * static_cast<std::size_t>(switchyard::size_of(dtype)));
  call.d_rows = TensorView(g.d_rows.data(), dtype, {batch.x.rows(), mlp.hidden});
  std::int64_t const experts = mlp.num_local_experts;
  call.d_w1 = floats(g.d_w1, experts * mlp.first_layer_outputs(), mlp.hidden);
  call.d_w2 = floats(g.d_w2, experts * mlp.hidden, mlp.local_units());
  call.d_b1 = floats(g.d_b1, experts, mlp.first_layer_outputs());
  call.d_b2 = floats(g.d_b2, experts, mlp.hidden);
  cpu::ExactExperts const engine(mlp);
  switchyard::WorkspaceMemory memory;
  engine.backward(call, memory.reserve(engine.backward_workspace_bytes(batch.x.rows())));
  return g;
}

Gradients expected(ExpertMlp const& mlp, ExpertOperands const& w, Batch const& batch) {
  auto const size = static_cast<std::size_t>(switchyard::size_of(mlp.dtype));
  std::int64_t const outputs = mlp.first_layer_outputs();
  Gradients g;
  g.d_rows = poison(batch.x.values.size() * size);
  for (std::size_t e = 0; e < batch.blocks.size(); ++e) {
    std::vector<std::int64_t> rows;
    for (std::int64_t p = batch.blocks[e].first_row; p < batch.blocks[e].first_row + batch.blocks[e].rows; ++p)
      rows.push_back(batch.order.empty() ? p : batch.order[static_cast<std::size_t>(p)]);
    std::vector<oracle::Row> xs, dys;
    for (std::int64_t const row : rows) {
      xs.push_back(row_of(batch.x, row));
      dys.push_back(row_of(batch.dy, row));
    }
    auto const expert = static_cast<std::int64_t>(e);
    auto const part = oracle::expert_backward(support::oracle_of(mlp), xs, dys, row_of(w.w1, expert * outputs, outputs),
                                              row_of(w.b1, expert), row_of(w.w2, expert * mlp.hidden, mlp.hidden));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Matrix const bytes = matrix_of(mlp.dtype, mlp.hidden, part.d_x[i]);
      std::copy(bytes.bytes.begin(), bytes.bytes.end(),
                g.d_rows.begin() + static_cast<std::ptrdiff_t>(size) * rows[i] * mlp.hidden);
    }
    g.d_w1.insert(g.d_w1.end(), part.d_w1.begin(), part.d_w1.end());
    g.d_w2.insert(g.d_w2.end(), part.d_w2.begin(), part.d_w2.end());
    g.d_b1.insert(g.d_b1.end(), part.d_b1.begin(), part.d_b1.end());
    g.d_b2.insert(g.d_b2.end(), part.d_b2.begin(), part.d_b2.end());
  }
  return g;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// The columns of `values` [rows, columns] that a slice of I holds.
std::vector<float> columns_of(std::vector<float> const& values, std::int64_t columns, std::int64_t first,
                              std::int64_t count) {
  std::vector<float> out;
  for (std::size_t row = 0; row < values.size(); row += static_cast<std::size_t>(columns))
    for (std::int64_t c = first; c < first + count; ++c) out.push_back(values[row + static_cast<std::size_t>(c)]);
  return out;
}

void check_equal(ExpertMlp const& mlp, ExpertOperands const& w, Batch const& batch) {
  Gradients const want = expected(mlp, w, batch);
  Gradients const got = backward(mlp, w, batch);
  CHECK(got.d_rows == want.d_rows);
  CHECK(same_bits(got.d_w1, want.d_w1));
  CHECK(same_bits(got.d_w2, want.d_w2));
  CHECK(same_bits(got.d_b1, want.d_b1));
  CHECK(same_bits(got.d_b2, want.d_b2));
}

/// Every TP rank's partials and slices, joined, against TP size 1.
void check_tp(ExpertMlp const& mlp, int tp, ExpertOperands const& w, Batch const& batch) {
  Gradients const want = expected(mlp, w, batch);
  std::vector<Gradients> ranks;
  ExpertMlp slice = mlp;
  for (int rank = 0; rank < tp; ++rank) {
    slice.tp = TpSlice{rank, tp};
    ranks.push_back(backward(slice, support::tp_slice(w, mlp, slice), batch));
    Gradients const& part = ranks.back();
    CHECK(same_bits(part.d_w2, columns_of(want.d_w2, mlp.intermediate, slice.first_unit(), slice.local_units())));
    CHECK(same_bits(part.d_b2, want.d_b2));
    ExpertOperands grads;  // the slice of the gradients is cut as the weights are
    grads.w1 = matrix_of(DType::f32, mlp.hidden, want.d_w1);
    grads.w2 = matrix_of(DType::f32, mlp.intermediate, want.d_w2);
    grads.b1 = matrix_of(DType::f32, mlp.first_layer_outputs(), want.d_b1);
    ExpertMlp as_f32 = mlp;
    as_f32.dtype = DType::f32;
    auto const cut = support::tp_slice(grads, as_f32, slice);
    CHECK(same_bits(part.d_w1, cut.w1.values));
    CHECK(same_bits(part.d_b1, cut.b1.values));
  }
  std::vector<TensorView> views;
  for (Gradients& rank : ranks)
    views.emplace_back(rank.d_rows.data(), DType::f32, switchyard::TensorShape{batch.x.rows(), mlp.hidden});
  auto out = poison(want.d_rows.size());
  cpu::finish_partials(slice, views, batch.blocks, {}, TensorView(out.data(), mlp.dtype, {batch.x.rows(), mlp.hidden}));
  CHECK(out == want.d_rows);
}

TEST_CASE("the example by hand") {
  ExpertMlp mlp;
  mlp.hidden = 1;
  mlp.intermediate = 1;
  mlp.num_local_experts = 1;
  mlp.activation = ActivationSpec{Activation::relu2, GateLayout::plain};
  ExpertOperands const w{matrix_of(DType::f32, 1, {2}), matrix_of(DType::f32, 1, {5}), matrix_of(DType::f32, 1, {0}),
                         matrix_of(DType::f32, 1, {0})};
  Batch const batch{matrix_of(DType::f32, 1, {3}), matrix_of(DType::f32, 1, {1}), {{0, 1}}, {}};
  Gradients const g = backward(mlp, w, batch);
  CHECK(support::fetch(DType::f32, g.d_rows.data()) == 120.0f);
  CHECK(g.d_w1 == std::vector<float>{180});
  CHECK(g.d_w2 == std::vector<float>{36});
  CHECK(g.d_b1 == std::vector<float>{60});
  CHECK(g.d_b2 == std::vector<float>{1});
}

TEST_CASE("every activation and layout, TP 1, 2, 4, 8, every instruction set, rows in another order") {
  std::mt19937_64 random(20250613);
  for (auto const set : cpu::available_instruction_sets()) {
    cpu::force_instruction_set(set);
    for (Activation const kind : switchyard::kAllActivations)
      for (GateLayout const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved}) {
        bool const clamped = kind == Activation::swigluoai || kind == Activation::swiglu_limit;
        if (clamped && layout == GateLayout::plain) continue;
        DType const dtype = random() % 2 == 0 ? DType::bf16 : DType::f32;
        ExpertMlp mlp;
        mlp.hidden = 17;
        mlp.intermediate = 11;
        mlp.num_local_experts = 3;
        mlp.dtype = dtype;
        mlp.activation = ActivationSpec{kind, layout, 1.5f};
        mlp.rounding = random() % 2 == 0 ? ExpertRounding::fused(dtype) : ExpertRounding::every_store(dtype);
        ExpertOperands const w = random_weights(random, mlp);
        Batch batch{
            random_matrix(random, dtype, 10, 17), random_matrix(random, dtype, 10, 17), {{0, 4}, {5, 0}, {5, 5}}, {}};
        if (random() % 2 == 0) {
          batch.order.resize(10);
          std::iota(batch.order.begin(), batch.order.end(), 0);
          std::shuffle(batch.order.begin(), batch.order.begin() + 4, random);
          std::shuffle(batch.order.begin() + 5, batch.order.end(), random);
        }
        CAPTURE(to_string(set));
        CAPTURE(switchyard::to_string(kind));
        CAPTURE(switchyard::to_string(layout));
        check_equal(mlp, w, batch);
        for (int const tp : {2, 4, 8}) check_tp(mlp, tp, w, batch);
      }
  }
  cpu::force_instruction_set({});
}

TEST_CASE("no rows, more rows than one pass, 1 and 7 workers") {
  std::mt19937_64 random(4);
  for (std::int64_t const rows : {0, 1, 33, 1030}) {
    ExpertMlp mlp;
    mlp.hidden = 5;
    mlp.intermediate = 3;
    mlp.num_local_experts = 1;
    mlp.dtype = DType::bf16;
    ExpertOperands const w = random_weights(random, mlp);
    Batch const batch{
        random_matrix(random, DType::bf16, rows, 5), random_matrix(random, DType::bf16, rows, 5), {{0, rows}}, {}};
    for (int const workers : {1, 7}) {
      cpu::set_worker_count(workers);
      CAPTURE(rows);
      check_equal(mlp, w, batch);
    }
  }
  cpu::set_worker_count(0);
}

TEST_CASE("router weight on the input: gradients of row and weight") {
  std::mt19937_64 random(8);
  Matrix const x = random_matrix(random, DType::bf16, 4, 70);
  Matrix const d = random_matrix(random, DType::bf16, 4, 70);
  std::vector<float> const weights = {0.5f, 0.3f, 0.0f, -1.7f};
  std::vector<float> d_weights(4);
  auto out = poison(x.bytes.size());
  cpu::router_weight_backward(x.view(), weights, d.view(), TensorView(out.data(), DType::bf16, {4, 70}), d_weights);
  for (std::size_t row = 0; row < 4; ++row) {
    std::vector<float> lanes(32, 0.0f);
    for (std::size_t c = 0; c < 70; ++c) {
      float const product = x.values[row * 70 + c] * d.values[row * 70 + c];
      lanes[c % 32] = lanes[c % 32] + product;
      float const got = support::fetch(DType::bf16, out.data() + 2 * (row * 70 + c));
      REQUIRE(got == oracle::round_bf16(d.values[row * 70 + c] * weights[row]));
    }
    for (std::size_t distance = 16; distance > 0; distance /= 2)
      for (std::size_t lane = 0; lane < distance; ++lane) lanes[lane] = lanes[lane] + lanes[lane + distance];
    CHECK(d_weights[row] == lanes[0]);
  }
}

TEST_CASE("refusals") {
  std::mt19937_64 random(9);
  ExpertMlp mlp;
  mlp.hidden = 4;
  mlp.intermediate = 8;
  mlp.num_local_experts = 1;
  ExpertOperands const w = random_weights(random, mlp);
  Batch batch{random_matrix(random, DType::f32, 2, 4), random_matrix(random, DType::f32, 2, 4), {{0, 2}}, {1, 1}};
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { return backward(mlp, w, batch); }),
                 "rank_major_rows[1] is 1"));
  batch.order.clear();
  batch.dy = random_matrix(random, DType::bf16, 2, 4);
  CHECK(contains(error_text(ErrorCode::shape_mismatch, [&] { return backward(mlp, w, batch); }),
                 "d_output is bf16, the rows are f32"));
}

}  // namespace
