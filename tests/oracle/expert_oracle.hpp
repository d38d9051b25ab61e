// SPDX-License-Identifier: Apache-2.0
/// An expert MLP as plain loops with std::fma over one row at a time, forward and backward. The activation itself is
/// the caller's (its accuracy is tested against fp64 elsewhere); every sum, order and rounding is spelled here.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <vector>

namespace oracle {

using Row = std::vector<float>;
using Rounding = std::function<float(float)>;

/// Nearest value with `bits` significant bits, ties to even, whose last place is never below 2^least.
inline float round_to_bits(float value, int bits, int least, double largest) {
  if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
  if (value == 0.0f || std::isinf(value)) return value;
  int exponent = 0;
  std::frexp(static_cast<double>(value), &exponent);
  double const unit = std::ldexp(1.0, exponent - bits > least ? exponent - bits : least);
  double const rounded = std::nearbyint(static_cast<double>(value) / unit) * unit;
  if (std::fabs(rounded) > largest) return std::copysign(std::numeric_limits<float>::infinity(), value);
  return std::copysign(static_cast<float>(rounded), value);
}
inline float round_bf16(float value) {
  return round_to_bits(value, 8, -133, 0x1.fep127);
}
inline float round_f16(float value) {
  return round_to_bits(value, 11, -24, 65504.0);
}
inline float round_f32(float value) {
  return value;
}

struct ExpertOracle {
  std::size_t hidden = 0;
  std::size_t units = 0;  ///< I
  bool gated = true;
  bool interleaved = false;
  std::function<float(float)> activate;
  std::function<float(float)> up_term;
  std::function<float(float)> activation_slope;
  std::function<float(float)> up_slope;
  Rounding round_hidden = round_f32;
  Rounding round_gate = round_f32;
  Rounding round_activation = round_f32;
  Rounding round_output = round_f32;

  [[nodiscard]] std::size_t outputs() const { return gated ? 2 * units : units; }
  [[nodiscard]] std::size_t gate(std::size_t i) const { return interleaved ? 2 * i : i; }
  [[nodiscard]] std::size_t up(std::size_t i) const { return interleaved ? 2 * i + 1 : units + i; }
  [[nodiscard]] std::size_t block_begin(std::size_t b) const { return b * units / 8; }
};

/// The fixed tree over 8 terms.
inline float join_eight(std::vector<float> const& t) {
  return ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
}

/// h after bias and rounding. Matrices are flattened, w1 [outputs, hidden].
inline Row hidden_values(ExpertOracle const& o, Row const& x, Row const& w1, Row const& b1) {
  Row h(o.outputs());
  for (std::size_t n = 0; n < h.size(); ++n) {
    float sum = 0.0f;
    for (std::size_t k = 0; k < o.hidden; ++k) sum = std::fma(x[k], w1[n * o.hidden + k], sum);
    if (!b1.empty()) sum = sum + b1[n];
    h[n] = o.round_hidden(sum);
  }
  return h;
}

inline Row activation_values(ExpertOracle const& o, Row const& h) {
  Row a(o.units);
  for (std::size_t i = 0; i < o.units; ++i) {
    float value = o.activate(h[o.gated ? o.gate(i) : i]);
    if (o.gated) value = o.round_gate(value) * o.up_term(h[o.up(i)]);
    a[i] = o.round_activation(value);
  }
  return a;
}

/// y of one row; w2 [hidden, units].
inline Row expert_forward(ExpertOracle const& o, Row const& x, Row const& w1, Row const& b1, Row const& w2,
                          Row const& b2) {
  Row const a = activation_values(o, hidden_values(o, x, w1, b1));
  Row y(o.hidden);
  for (std::size_t c = 0; c < o.hidden; ++c) {
    std::vector<float> blocks(8, 0.0f);
    for (std::size_t b = 0; b < 8; ++b)
      for (std::size_t i = o.block_begin(b); i < o.block_begin(b + 1); ++i)
        blocks[b] = std::fma(a[i], w2[c * o.units + i], blocks[b]);
    float sum = join_eight(blocks);
    if (!b2.empty()) sum = sum + b2[c];
    y[c] = o.round_output(sum);
  }
  return y;
}

/// Gradients of one expert; weight gradients start at zero and take rows in the order in which they are given.
struct ExpertGradients {
  std::vector<Row> d_x;
  Row d_w1, d_b1, d_w2, d_b2;
};

/// d hidden of one row, in the order of w1's rows.
inline Row hidden_gradient(ExpertOracle const& o, Row const& h, Row const& dy, Row const& w2) {
  Row dh(o.outputs());
  for (std::size_t i = 0; i < o.units; ++i) {
    float da = 0.0f;
    for (std::size_t c = 0; c < o.hidden; ++c) da = std::fma(dy[c], w2[c * o.units + i], da);
    if (!o.gated) {
      dh[i] = da * o.activation_slope(h[i]);
      continue;
    }
    float const gate = h[o.gate(i)];
    float const up = h[o.up(i)];
    dh[o.gate(i)] = (da * o.up_term(up)) * o.activation_slope(gate);
    dh[o.up(i)] = (da * o.round_gate(o.activate(gate))) * o.up_slope(up);
  }
  return dh;
}

inline Row input_gradient(ExpertOracle const& o, Row const& dh, Row const& w1) {
  Row dx(o.hidden);
  for (std::size_t k = 0; k < o.hidden; ++k) {
    std::vector<float> blocks(8, 0.0f);
    for (std::size_t b = 0; b < 8; ++b) {
      auto const add = [&](std::size_t n) { blocks[b] = std::fma(dh[n], w1[n * o.hidden + k], blocks[b]); };
      for (std::size_t i = o.block_begin(b); i < o.block_begin(b + 1); ++i) add(o.gated ? o.gate(i) : i);
      for (std::size_t i = o.block_begin(b); o.gated && i < o.block_begin(b + 1); ++i) add(o.up(i));
    }
    dx[k] = o.round_output(join_eight(blocks));
  }
  return dx;
}

inline ExpertGradients expert_backward(ExpertOracle const& o, std::vector<Row> const& xs, std::vector<Row> const& dys,
                                       Row const& w1, Row const& b1, Row const& w2) {
  ExpertGradients g;
  g.d_w1.assign(w1.size(), 0.0f);
  g.d_b1.assign(o.outputs(), 0.0f);
  g.d_w2.assign(w2.size(), 0.0f);
  g.d_b2.assign(o.hidden, 0.0f);
  for (std::size_t row = 0; row < xs.size(); ++row) {
    Row const h = hidden_values(o, xs[row], w1, b1);
    Row const a = activation_values(o, h);
    Row const dh = hidden_gradient(o, h, dys[row], w2);
    g.d_x.push_back(input_gradient(o, dh, w1));
    for (std::size_t n = 0; n < dh.size(); ++n) {
      g.d_b1[n] = g.d_b1[n] + dh[n];
      for (std::size_t k = 0; k < o.hidden; ++k)
        g.d_w1[n * o.hidden + k] = std::fma(dh[n], xs[row][k], g.d_w1[n * o.hidden + k]);
    }
    for (std::size_t c = 0; c < o.hidden; ++c) {
      g.d_b2[c] = g.d_b2[c] + dys[row][c];
      for (std::size_t i = 0; i < o.units; ++i)
        g.d_w2[c * o.units + i] = std::fma(dys[row][c], a[i], g.d_w2[c * o.units + i]);
    }
  }
  return g;
}

}  // namespace oracle
