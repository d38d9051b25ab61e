// SPDX-License-Identifier: Apache-2.0
// The exact expert engine on quantised weights, rows and activations.
//
// Codes that become floats: equal to the engine's (and the oracle's) answer on the dequantised values. int8 times int8,
// by hand: H = 3, groups of 2 columns, x codes (1, 2, 3), scales (0.5, 2), w1 codes (4, -5, 6), scale 0.25 for all:
// sums -6 and 18, h = fma(18, 2 * 0.25, fma(-6, 0.5 * 0.25, 0)) = 8.25; relu2 68.0625.
#include <doctest/doctest.h>

#include <cmath>

#include "support/error_text.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/quantize.hpp"

namespace {

using support::contains;
using support::DType;
using support::ExpertMlp;
using support::ExpertOperands;
using support::GateLayout;
using support::Matrix;
using support::matrix_of;
using support::poison;
using support::random_matrix;
using support::row_of;
using support::TensorView;
using switchyard::CodeFormat;
using switchyard::ErrorCode;
using switchyard::ExpertCall;
using switchyard::QuantizedMatrix;
using switchyard::QuantizedView;
using switchyard::QuantLayout;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::RowBlock;
using switchyard::ScaleFormat;
namespace cpu = switchyard::cpu;

std::vector<std::byte> run(ExpertMlp const& mlp, ExpertCall call, std::int64_t rows) {
  auto out = poison(static_cast<std::size_t>(rows * mlp.hidden * switchyard::size_of(mlp.dtype)));
  call.output = TensorView(out.data(), mlp.dtype, {rows, mlp.hidden});
  cpu::ExactExperts const engine(mlp);
  switchyard::WorkspaceMemory memory;
  engine.apply(call, memory.reserve(engine.workspace_bytes(rows)));
  return out;
}

/// Random codes and scales of a layout; f32 scales around 0.05, byte scales around the same.
QuantizedMatrix random_codes(std::mt19937_64& random, QuantLayout const& layout, std::int64_t rows,
                             std::int64_t columns) {
  QuantizedMatrix m;
  m.layout = layout;
  m.rows = rows;
  m.columns = columns;
  m.tensor_scale = 2.5f;
  auto const sizes = quant_sizes(layout, rows, columns);
  for (std::int64_t i = 0; i < sizes.code_bytes; ++i) {
    auto code = static_cast<unsigned>(random() & 0xffu);
    if (layout.code == CodeFormat::e4m3 && (code & 0x78u) == 0x78u) code ^= 0x40u;  // no NaN, nothing huge
    m.codes.push_back(static_cast<std::byte>(code));
  }
  std::uniform_real_distribution<float> scale(0.01f, 0.1f);
  for (std::int64_t i = 0; i < sizes.row_groups * sizes.column_groups; ++i) {
    float const value = scale(random);
    if (layout.scale == ScaleFormat::f32) {
      m.scales.resize(m.scales.size() + 4);
      std::memcpy(m.scales.data() + m.scales.size() - 4, &value, 4);
    } else {
      m.scales.push_back(
          static_cast<std::byte>(layout.scale == ScaleFormat::e8m0 ? 120 + random() % 4 : 20 + random() % 12));
    }
    if (layout.zero_points) m.zero_points.push_back(static_cast<std::byte>(random() % 16));
  }
  return m;
}

Matrix widened(std::vector<QuantizedMatrix> const& matrices) {
  std::vector<float> all;
  for (QuantizedMatrix const& m : matrices) {
    std::vector<float> values(static_cast<std::size_t>(m.rows * m.columns));
    cpu::dequantize(m.view(), values);
    all.insert(all.end(), values.begin(), values.end());
  }
  return matrix_of(DType::f32, matrices.front().columns, all);
}

struct CodedWeights {
  std::vector<QuantizedMatrix> w1, w2;
  std::vector<QuantizedView> v1, v2;

  CodedWeights(std::mt19937_64& random, ExpertMlp const& mlp, QuantLayout const& layout) {
    for (int e = 0; e < mlp.num_local_experts; ++e) {
      w1.push_back(random_codes(random, layout, mlp.first_layer_outputs(), mlp.hidden));
      w2.push_back(random_codes(random, layout, mlp.hidden, mlp.intermediate));
    }
    for (auto const& m : w1) v1.push_back(m.view());
    for (auto const& m : w2) v2.push_back(m.view());
  }
  CodedWeights(CodedWeights const&) = delete;
};

ExpertMlp mlp_of(std::int64_t hidden, std::int64_t intermediate) {
  ExpertMlp mlp;
  mlp.hidden = hidden;
  mlp.intermediate = intermediate;
  mlp.num_local_experts = 2;
  mlp.dtype = DType::bf16;
  mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
  return mlp;
}

std::vector<RowBlock> const kBlocks = {{0, 4}, {4, 3}};

TEST_CASE("weights of every code format give the bits of their values: plain loops") {
  std::mt19937_64 random(31);
  ExpertMlp const mlp = mlp_of(37, 26);
  Matrix const x = random_matrix(random, DType::bf16, 7, mlp.hidden);
  for (QuantLayout const& layout :
       {QuantLayout{CodeFormat::e4m3, ScaleFormat::f32, 16, 16},
        QuantLayout{CodeFormat::e4m3, ScaleFormat::e8m0, 1, 32}, QuantLayout{CodeFormat::int8, ScaleFormat::f32, 1, 0},
        QuantLayout{CodeFormat::e2m1, ScaleFormat::e4m3, 1, 16, false, true},
        QuantLayout{CodeFormat::uint4, ScaleFormat::f32, 1, 8, true},
        QuantLayout{CodeFormat::uint8, ScaleFormat::f32, 1, 8, true},
        QuantLayout{CodeFormat::uint4, ScaleFormat::f32, 0, 0}}) {
    CodedWeights const w(random, mlp, layout);
    ExpertOperands const plain{widened(w.w1), widened(w.w2), {}, {}};
    std::vector<float> want;
    for (std::int64_t row = 0; row < 7; ++row) {
      auto const y = support::oracle_row(mlp, plain, false, row < 4 ? 0 : 1, row_of(x, row));
      want.insert(want.end(), y.begin(), y.end());
    }
    ExpertCall call;
    call.rows = x.view();
    call.blocks = kBlocks;
    call.weights.w1_codes = w.v1;
    call.weights.w2_codes = w.v2;
    CAPTURE(to_string(layout.code));
    CHECK(run(mlp, call, 7) == matrix_of(DType::bf16, mlp.hidden, want).bytes);
  }
}

/// What quantising and widening does to rows.
Matrix requantised(QuantSpec const& spec, Matrix const& x) {
  std::vector<float> values(x.values.size());
  cpu::dequantize(cpu::quantize(spec, x.view()).view(), values);
  return matrix_of(DType::f32, x.columns, values);
}

TEST_CASE("every scheme on rows and on activations, before the call or inside it") {
  std::mt19937_64 random(32);
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
    if (scheme == QuantScheme::fp8_tensor_dynamic) continue;
    QuantSpec spec;
    spec.scheme = scheme;
    spec.group_columns = 16;
    spec.given_scale = 0.01f;
    spec.tensor_scale = 40.0f;
    ExpertMlp mlp = mlp_of(37, 26);
    ExpertOperands const w = support::random_weights(random, mlp);
    Matrix const x = random_matrix(random, DType::bf16, 7, mlp.hidden);
    Matrix const seen = requantised(spec, x);
    std::vector<float> want;
    for (std::int64_t row = 0; row < 7; ++row) {
      std::int64_t const e = row < 4 ? 0 : 1;
      auto const o = support::oracle_of(mlp);
      auto const h = oracle::hidden_values(o, row_of(seen, row), row_of(w.w1, e * 52, 52), row_of(w.b1, e));
      auto const a = requantised(spec, matrix_of(DType::f32, 26, oracle::activation_values(o, h))).values;
      for (std::size_t c = 0; c < 37; ++c) {
        std::vector<float> blocks(8, 0.0f);
        for (std::size_t b = 0; b < 8; ++b)
          for (std::size_t i = o.block_begin(b); i < o.block_begin(b + 1); ++i)
            blocks[b] = std::fma(a[i], w.w2.values[(static_cast<std::size_t>(e) * 37 + c) * 26 + i], blocks[b]);
        want.push_back(oracle::join_eight(blocks) + w.b2.values[static_cast<std::size_t>(e) * 37 + c]);
      }
    }
    auto const bytes = matrix_of(DType::bf16, mlp.hidden, want).bytes;
    mlp.activation_quant = spec;
    ExpertCall call;
    call.blocks = kBlocks;
    call.weights.w1 = w.w1.view();
    call.weights.w2 = w.w2.view();
    call.weights.b1 = w.b1.view();
    call.weights.b2 = w.b2.view();
    QuantizedMatrix const codes = cpu::quantize(spec, x.view());
    QuantizedView const view = codes.view();
    call.row_codes = &view;
    CAPTURE(to_string(scheme));
    CHECK(run(mlp, call, 7) == bytes);
    call.row_codes = nullptr;
    call.rows = x.view();
    mlp.input_quant = spec;
    CHECK(run(mlp, call, 7) == bytes);
  }
}

/// int8 chains: one layer on plain loops. @param block_of the block of a column
float int8_element(std::vector<std::int8_t> const& x, std::vector<float> const& x_scale, std::size_t x_group,
                   std::vector<std::int8_t> const& w, std::vector<float> const& w_scale, std::size_t w_group,
                   std::vector<std::size_t> const& block_of) {
  std::vector<float> blocks(8, 0.0f);
  for (std::size_t k = 0; k < x.size();) {
    std::size_t const start = k;
    long sum = 0;
    for (; k < x.size() && k / x_group == start / x_group && k / w_group == start / w_group &&
           block_of[k] == block_of[start];
         ++k)
      sum += static_cast<long>(x[k]) * w[k];
    float const scale = x_scale[start / x_group] * w_scale[start / w_group];
    blocks[block_of[start]] = std::fma(static_cast<float>(sum), scale, blocks[block_of[start]]);
  }
  return oracle::join_eight(blocks);
}

/// One row of an int8 matrix.
std::vector<std::int8_t> codes_of(QuantizedMatrix const& m, std::size_t row) {
  std::vector<std::int8_t> out;
  for (std::size_t c = 0; c < static_cast<std::size_t>(m.columns); ++c)
    out.push_back(static_cast<std::int8_t>(m.codes[row * static_cast<std::size_t>(m.columns) + c]));
  return out;
}
std::vector<float> scales_of(QuantizedMatrix const& m, std::size_t row) {
  auto const groups = static_cast<std::size_t>(quant_sizes(m.layout, m.rows, m.columns).column_groups);
  std::vector<float> out(groups);
  std::memcpy(out.data(), m.scales.data() + 4 * groups * (row / static_cast<std::size_t>(m.layout.group_rows)),
              4 * groups);
  return out;
}

TEST_CASE("int8 times int8, by hand and against plain loops") {
  ExpertMlp hand;
  hand.hidden = 3;
  hand.intermediate = 1;
  hand.num_local_experts = 1;
  hand.activation = switchyard::ActivationSpec{switchyard::Activation::relu2, GateLayout::plain};
  auto const coded = [](std::vector<int> const& values, std::vector<float> const& scales, std::int64_t rows,
                        std::int64_t columns, std::int64_t group) {
    QuantizedMatrix m;
    m.layout = QuantLayout{CodeFormat::int8, ScaleFormat::f32, 1, group};
    m.rows = rows;
    m.columns = columns;
    for (int const value : values) m.codes.push_back(static_cast<std::byte>(value));
    m.scales.resize(4 * scales.size());
    std::memcpy(m.scales.data(), scales.data(), m.scales.size());
    return m;
  };
  auto const hx = coded({1, 2, 3}, {0.5f, 2}, 1, 3, 2);
  auto const hw = coded({4, -5, 6}, {0.25f}, 1, 3, 0);
  QuantizedView const hand_x = hx.view();
  QuantizedView const hand_w = hw.view();
  Matrix const ones = matrix_of(DType::f32, 1, {1, 2, 4});
  ExpertCall by_hand;
  by_hand.row_codes = &hand_x;
  std::vector<RowBlock> const one_row = {{0, 1}};
  by_hand.blocks = one_row;
  by_hand.weights.w1_codes = {&hand_w, 1};
  by_hand.weights.w2 = ones.view();
  auto const out = run(hand, by_hand, 1);
  CHECK(support::fetch(DType::f32, out.data()) == 68.0625f);

  std::mt19937_64 random(33);
  for (std::int64_t const group : {0, 16, 7}) {
    ExpertMlp mlp = mlp_of(37, 26);
    CodedWeights const w(random, mlp, QuantLayout{CodeFormat::int8, ScaleFormat::f32, 1, group == 7 ? 10 : group});
    Matrix const x = random_matrix(random, DType::bf16, 7, mlp.hidden);
    QuantSpec spec;
    spec.scheme = group == 0 ? QuantScheme::int8_token : QuantScheme::int8_group;
    spec.group_columns = group == 0 ? 128 : group;
    QuantizedMatrix const rows = cpu::quantize(spec, x.view());
    auto const o = support::oracle_of(mlp);
    std::size_t const xg = group == 0 ? 1000 : static_cast<std::size_t>(group);
    std::size_t const wg = group == 0 ? 1000 : group == 7 ? 10 : 16;
    std::vector<float> want;
    for (std::size_t row = 0; row < 7; ++row) {
      std::size_t const e = row < 4 ? 0 : 1;
      oracle::Row h;
      for (std::size_t n = 0; n < 52; ++n)
        h.push_back(o.round_hidden(int8_element(codes_of(rows, row), scales_of(rows, row), xg, codes_of(w.w1[e], n),
                                                scales_of(w.w1[e], n), wg, std::vector<std::size_t>(37, 0))));
      Matrix const a = matrix_of(DType::f32, 26, oracle::activation_values(o, h));
      QuantizedMatrix const ac = cpu::quantize(spec, a.view());
      std::vector<std::size_t> block_of(26);
      for (std::size_t b = 0; b < 8; ++b)
        for (std::size_t i = o.block_begin(b); i < o.block_begin(b + 1); ++i) block_of[i] = b;
      for (std::size_t c = 0; c < 37; ++c)
        want.push_back(int8_element(codes_of(ac, 0), scales_of(ac, 0), xg, codes_of(w.w2[e], c), scales_of(w.w2[e], c),
                                    wg, block_of));
    }
    auto const bytes = matrix_of(DType::bf16, mlp.hidden, want).bytes;
    mlp.activation_quant = spec;
    QuantizedView const view = rows.view();
    ExpertCall call;
    call.blocks = kBlocks;
    call.weights.w1_codes = w.v1;
    call.weights.w2_codes = w.v2;
    call.row_codes = &view;
    CAPTURE(group);
    for (auto const set : cpu::available_instruction_sets()) {
      cpu::force_instruction_set(set);
      CHECK(run(mlp, call, 7) == bytes);
    }
    cpu::force_instruction_set({});
    call.row_codes = nullptr;
    call.rows = x.view();
    mlp.input_quant = spec;
    CHECK(run(mlp, call, 7) == bytes);
  }
}

TEST_CASE("refusals name what does not fit") {
  std::mt19937_64 random(34);
  ExpertMlp mlp = mlp_of(8, 8);
  ExpertOperands const w = support::random_weights(random, mlp);
  Matrix const x = random_matrix(random, DType::bf16, 7, 8);
  QuantizedMatrix const codes = cpu::quantize(QuantSpec{}, x.view());
  QuantizedView const view = codes.view();
  ExpertCall call;
  call.blocks = kBlocks;
  call.weights.w1 = w.w1.view();
  call.weights.w2 = w.w2.view();
  call.row_codes = &view;
  std::vector<float> const weights(7, 1.0f);
  call.row_weights = weights;
  CHECK(contains(support::error_text(ErrorCode::unsupported, [&] { return run(mlp, call, 7); }), "multiply before"));
  call.row_weights = {};
  std::vector<QuantizedView> const one = {view};
  call.weights.w1_codes = one;
  CHECK(contains(support::error_text(ErrorCode::shape_mismatch, [&] { return run(mlp, call, 7); }),
                 "w1 holds 1 quantised matrices for 2 local experts"));
  mlp.input_quant = QuantSpec{QuantScheme::fp8_tensor_dynamic};
  CHECK(contains(support::error_text(ErrorCode::unsupported, [&] { mlp.validate(); }),
                 "input_quant by fp8_tensor_dynamic"));
}

}  // namespace
