// SPDX-License-Identifier: Apache-2.0
// The backward of the fast expert engine against the exact one's: equal bytes on sparse small integers, whose hidden
// gradients the row dtype holds exactly, and within the bound of fast_experts.hpp on random data. Experts without rows
// get zeros for gradients, and gradients start as poison.
#include "cuda_fast_cases.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"

namespace cross_backend {
namespace {

using switchyard::GateLayout;

/// Gradients of one backward, downloaded.
struct FastGradients {
  Bytes d_rows, d_w1, d_w2, d_b1, d_b2;
};

struct GradientCase {
  ExpertMlp mlp;
  FastCall forward;
  Matrix d_output;
  std::vector<RowBlock> blocks;

  /// @param captured also replays a captured call when given, and says there whether that was possible
  [[nodiscard]] FastGradients run(switchyard::ExpertBackward const& engine, cuda::StreamView stream,
                                  bool* captured = nullptr) const {
    DeviceOperands const operands(forward.host, stream);
    DeviceMatrix const input(forward.rows, stream);
    DeviceMatrix const gradient(d_output, stream);
    DeviceMatrix const d_rows(output_dtype(mlp), d_output.rows(), mlp.hidden, stream);
    DeviceMatrix const d_w1(DType::f32, mlp.num_local_experts * mlp.first_layer_outputs(), mlp.hidden, stream);
    DeviceMatrix const d_w2(DType::f32, mlp.num_local_experts * mlp.hidden, mlp.local_units(), stream);
    DeviceMatrix const d_b1(DType::f32, mlp.num_local_experts, mlp.first_layer_outputs(), stream);
    DeviceMatrix const d_b2(DType::f32, mlp.num_local_experts, mlp.hidden, stream);
    auto const weights = cuda::upload(forward.row_weights, stream);
    switchyard::ExpertGradientCall call;
    call.forward.rows = input.view();
    call.forward.blocks = blocks;
    call.forward.weights = operands.weights(forward.biased);
    call.forward.row_weights = {weights.as<float const>(), forward.row_weights.size()};
    call.d_output = gradient.view();
    call.d_rows = d_rows.view();
    call.d_w1 = d_w1.view();
    call.d_w2 = d_w2.view();
    call.d_b1 = d_b1.view();
    call.d_b2 = d_b2.view();
    engine.backward(call, {});
    if (captured != nullptr) *captured = replay(stream, 2, [&] { engine.backward(call, {}); });
    return {cuda::download<std::byte>(d_rows.buffer, stream), cuda::download<std::byte>(d_w1.buffer, stream),
            cuda::download<std::byte>(d_w2.buffer, stream), cuda::download<std::byte>(d_b1.buffer, stream),
            cuda::download<std::byte>(d_b2.buffer, stream)};
  }
};

void compare_gradients(BitReport& report, std::string const& name, FastGradients const& exact,
                       FastGradients const& fast) {
  report.compare(name + ", d_rows", exact.d_rows, fast.d_rows);
  report.compare(name + ", d_w1", exact.d_w1, fast.d_w1);
  report.compare(name + ", d_w2", exact.d_w2, fast.d_w2);
  report.compare(name + ", d_b1", exact.d_b1, fast.d_b1);
  report.compare(name + ", d_b2", exact.d_b2, fast.d_b2);
}

struct IntegerCase {
  ExpertMlp mlp;
  int chance = 4;  ///< of each sign in rows and gradients, of 100
  std::vector<RowBlock> blocks;
  std::int64_t rows = 0;
  bool weighted = false;
  Biases biases = Biases::none;
};

void check_integers(BitReport& report, cuda::StreamView stream, IntegerCase const& integers) {
  std::mt19937_64 random(61);
  ExpertMlp const& mlp = integers.mlp;
  std::int64_t const rows = integers.rows;
  auto operands = integer_operands(random, mlp, integers.biases, 10);
  GradientCase c{mlp,
                 {std::move(operands), small_integers(random, mlp.dtype, rows, mlp.hidden, integers.chance)},
                 small_integers(random, mlp.dtype, rows, mlp.hidden, integers.chance),
                 integers.blocks};
  c.forward.biased = integers.biases != Biases::none;
  if (integers.weighted) c.forward.row_weights.assign(static_cast<std::size_t>(rows), -1.0F);
  std::string const name = "gradients of integers, " + std::string(to_string(mlp.dtype)) + ", " +
                           std::string(to_string(mlp.activation.layout)) + (integers.weighted ? ", weighted" : "") +
                           name_of(integers.biases) + ", TP " + std::to_string(mlp.tp.size) + ", " +
                           std::to_string(rows) + " rows";
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  bool captured = false;
  compare_gradients(report, name, c.run(exact, stream), c.run(fast, stream, &captured));
  report.state(captured, name + ": captured in global mode and replayed");
}

/// Largest errors over their bounds, of d_rows, d_w1 and d_w2.
class BoundCheck {
 public:
  BoundCheck(GradientCase const& c, FastGradients const& got)
      : c_(c), got_(got), forward_(c.forward, c.mlp, c.blocks), d_hidden_(forward_.hidden.size()) {
    ForwardWithin::for_rows(c.blocks, [&](std::size_t expert, std::size_t row) { hidden_gradient(expert, row); });
    ForwardWithin::for_rows(c.blocks, [&](std::size_t expert, std::size_t row) { rows_gradient(expert, row); });
    for (std::size_t expert = 0; expert < c.blocks.size(); ++expert) weight_gradients(expert);
  }
  [[nodiscard]] double worst() const { return worst_; }

 private:
  void hidden_gradient(std::size_t expert, std::size_t row) {
    for (std::size_t unit = 0; unit < units_; ++unit) {
      Within const d_activation = product_within(
          hidden_, [&](std::size_t k) { return element(c_.d_output, row, k); },
          [&](std::size_t k) { return element(c_.forward.host.w2, expert * hidden_ + k, unit); }, DType::f32);
      Within const h = forward_.hidden[row][unit];
      Within const slope{2 * std::max(h.value, 0.0), 2 * h.error};
      d_hidden_[row].push_back(product_within(
          1, [&](std::size_t) { return d_activation; }, [&](std::size_t) { return slope; }, c_.mlp.dtype));
    }
  }
  void rows_gradient(std::size_t expert, std::size_t row) {
    auto const size = static_cast<std::size_t>(size_of(c_.mlp.dtype));
    for (std::size_t column = 0; column < hidden_; ++column)
      see(support::fetch(c_.mlp.dtype, got_.d_rows.data() + (row * hidden_ + column) * size),
          product_within(
              units_, [&](std::size_t k) { return d_hidden_[row][k]; },
              [&](std::size_t k) { return element(c_.forward.host.w1, expert * units_ + k, column); }, c_.mlp.dtype));
  }
  void weight_gradients(std::size_t expert) {
    auto const first = static_cast<std::size_t>(c_.blocks[expert].first_row);
    auto const rows = static_cast<std::size_t>(c_.blocks[expert].rows);
    for (std::size_t unit = 0; unit < units_; ++unit)
      for (std::size_t column = 0; column < hidden_; ++column) {
        auto const d_hidden = [&](std::size_t k) { return d_hidden_[first + k][unit]; };
        auto const input = [&](std::size_t k) { return element(c_.forward.rows, first + k, column); };
        see(at(got_.d_w1, (expert * units_ + unit) * hidden_ + column),
            product_within(rows, d_hidden, input, DType::f32));
        auto const activation = [&](std::size_t k) { return forward_.activation[first + k][unit]; };
        auto const d_output = [&](std::size_t k) { return element(c_.d_output, first + k, column); };
        see(at(got_.d_w2, (expert * hidden_ + column) * units_ + unit),
            product_within(rows, d_output, activation, DType::f32));
      }
  }
  static float at(Bytes const& floats, std::size_t index) {
    return support::fetch(DType::f32, floats.data() + index * sizeof(float));
  }
  void see(float got, Within const& expected) {
    worst_ = std::max(worst_, error_ratio(static_cast<double>(got), expected));
  }

  GradientCase const& c_;
  FastGradients const& got_;
  std::size_t hidden_ = static_cast<std::size_t>(c_.mlp.hidden);
  std::size_t units_ = static_cast<std::size_t>(c_.mlp.intermediate);
  ForwardWithin forward_;
  std::vector<std::vector<Within>> d_hidden_;
  double worst_ = 0;
};

void check_bound(BitReport& report, cuda::StreamView stream, DType dtype) {
  constexpr unsigned kSeed = 67;
  std::mt19937_64 random(kSeed);
  ExpertMlp const mlp = squared(48, 32, 4, dtype);
  GradientCase const c{mlp,
                       {support::random_weights(random, mlp), support::random_matrix(random, dtype, 139, 48)},
                       support::random_matrix(random, dtype, 139, 48),
                       kStandard};
  cuda::FastExperts const fast(mlp, stream);
  FastGradients const got = c.run(fast, stream);
  double const worst = BoundCheck(c, got).worst();
  report.state(worst <= 1.0 && worst > 0.0, "random gradients, " + std::string(to_string(dtype)) + ", seed " +
                                                std::to_string(kSeed) + ": largest error of the fast engine is " +
                                                std::to_string(worst) + " of the bound");
}

}  // namespace

void check_fast_gradients(BitReport& report, cuda::StreamView stream, bool few) {
  for (DType const dtype : row_dtypes(few)) {
    ExpertMlp const plain = squared(64, 32, 4, dtype);
    ExpertMlp const odd = squared(70, 30, 4, dtype);
    ExpertMlp const split = squared(64, 32, 4, dtype, GateLayout::split);
    ExpertMlp const pairs = squared(70, 30, 4, dtype, GateLayout::interleaved);
    ExpertMlp part = split;
    part.tp = {1, 2};
    for (IntegerCase const& c :
         {IntegerCase{plain, 4, kStandard, 139}, IntegerCase{plain, 4, kBatched, 160, true},
          IntegerCase{plain, 4, kEven, 40}, IntegerCase{odd, 4, kEven, 40},
          IntegerCase{plain, 4, {{0, 0}, {0, 0}, {0, 0}, {0, 0}}, 0}, IntegerCase{split, 1, kStandard, 139, true},
          IntegerCase{pairs, 1, kStandard, 139}, IntegerCase{plain, 4, kStandard, 139, false, Biases::of_rows},
          IntegerCase{odd, 4, kEven, 40, true, Biases::of_f32},
          IntegerCase{part, 1, kStandard, 139, false, Biases::of_rows}})
      attempt(report, "integers", [&] { check_integers(report, stream, c); });
    check_bound(report, stream, dtype);
  }
}

}  // namespace cross_backend
