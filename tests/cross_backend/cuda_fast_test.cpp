// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_fast_test: the fast expert engine against the exact one, forward, backward and with codes. Equal
// bytes where every partial sum is an exact integer, and within the bound of fast_experts.hpp on random data.
// SWITCHYARD_CASES=n takes few cases, for slow tools. Exit 0 when all holds, 1 otherwise, 77 without a GPU.
//
// By hand, one row (1, -1), w1 = (1 0; 0 1), relu2, w2 = (1 1): hidden (1, -1), activation (1, 0), output 1. With the
// gradient 3 of the output: d activation (3, 3), d hidden (3 * 2 * 1, 0) = (6, 0), d w1 = (6 -6; 0 0), d w2 = (3 0),
// d row = (6, 0).
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "allocation_fault.hpp"
#include "cuda_fast_cases.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/experts/prepare_options.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using switchyard::ErrorCode;
using switchyard::GateLayout;

struct IntegerCase {
  ExpertMlp mlp;
  std::vector<RowBlock> blocks;
  std::int64_t rows = 0;
  bool weighted = false;
  Biases biases = Biases::none;
};

void check_integers(BitReport& report, cuda::StreamView stream, IntegerCase const& c) {
  std::mt19937_64 random(11);
  ExpertMlp const& mlp = c.mlp;
  FastCall call{integer_operands(random, mlp, c.biases), small_integers(random, mlp.dtype, c.rows, mlp.hidden)};
  call.biased = c.biases != Biases::none;
  if (c.weighted) call.row_weights.assign(static_cast<std::size_t>(c.rows), 2.0F);
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  std::string const name = "integers, " + std::string(to_string(mlp.dtype)) + ", " +
                           std::string(to_string(mlp.activation.layout)) + ", I " + std::to_string(mlp.intermediate) +
                           ", TP " + std::to_string(mlp.tp.rank) + " of " + std::to_string(mlp.tp.size) +
                           (c.weighted ? ", weighted" : "") + name_of(c.biases);
  auto const expected = call.run(exact, c.blocks, stream);
  report.compare(name, expected, call.run(fast, c.blocks, stream), "exact engine against fast engine");
  report.compare(name + ", again", expected, call.run(fast, c.blocks, stream));
}

ExpertMlp sliced(ExpertMlp mlp, int rank, int size) {
  mlp.tp = {rank, size};
  return mlp;
}

void check_integers(BitReport& report, cuda::StreamView stream, DType dtype) {
  ExpertMlp const plain = squared(64, 32, 4, dtype);
  ExpertMlp const odd = squared(70, 30, 4, dtype);
  ExpertMlp const split = squared(64, 32, 4, dtype, GateLayout::split);
  ExpertMlp const pairs = squared(70, 30, 4, dtype, GateLayout::interleaved);
  for (IntegerCase const& c :
       {IntegerCase{plain, kStandard, 139}, IntegerCase{plain, kBatched, 160, true}, IntegerCase{plain, kEven, 40},
        IntegerCase{odd, kEven, 40, true}, IntegerCase{plain, {{0, 0}, {0, 0}, {0, 0}, {0, 0}}, 0},
        IntegerCase{split, kStandard, 139}, IntegerCase{pairs, kStandard, 139, true},
        IntegerCase{plain, kStandard, 139, false, Biases::of_rows},
        IntegerCase{plain, kEven, 40, false, Biases::of_rows}, IntegerCase{odd, kEven, 40, true, Biases::of_rows},
        IntegerCase{pairs, kStandard, 139, false, Biases::of_rows},
        IntegerCase{split, kBatched, 160, false, Biases::of_f32}, IntegerCase{plain, kEven, 40, true, Biases::of_f32},
        IntegerCase{sliced(split, 1, 2), kStandard, 139, false, Biases::of_rows},
        IntegerCase{sliced(plain, 3, 4), kEven, 40, false, Biases::of_f32},
        IntegerCase{sliced(odd, 0, 8), kBatched, 160}})
    attempt(report, "integers", [&] { check_integers(report, stream, c); });
}

/// Every activation of the fast engine's own kernels: one expert whose w1 copies its input to the hidden values.
void check_activations(BitReport& report, cuda::StreamView stream, bool few) {
  constexpr std::int64_t kRows = 33;
  for (auto const kind : switchyard::kAllActivations) {
    if (few && kind != switchyard::Activation::silu) continue;
    for (auto const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
      for (std::int64_t const units : {12, 40}) {  // of one element at a time, and of eight
        bool const gated = kind == switchyard::Activation::swigluoai || kind == switchyard::Activation::swiglu_limit;
        if (gated && layout == GateLayout::plain) continue;
        std::int64_t const outputs = layout == GateLayout::plain ? units : 2 * units;
        ExpertMlp mlp = mlp_of(outputs, units, 1, DType::bf16);
        mlp.activation = {kind, layout, 1.25F};
        std::mt19937_64 random(51);
        std::vector<float> identity(static_cast<std::size_t>(outputs * outputs));
        for (std::int64_t i = 0; i < outputs; ++i) identity[static_cast<std::size_t>(i * outputs + i)] = 1.0F;
        std::vector<float> select(static_cast<std::size_t>(outputs * units));
        for (std::int64_t i = 0; i < units; ++i) select[static_cast<std::size_t>(i * units + i)] = 1.0F;
        FastCall const call{{support::matrix_of(DType::bf16, outputs, identity),
                             support::matrix_of(DType::bf16, units, select),
                             {},
                             {}},
                            support::random_matrix(random, DType::bf16, kRows, outputs)};
        std::string const name = "activation " + std::string(to_string(kind)) + " " + std::string(to_string(layout)) +
                                 ", " + std::to_string(units) + " units";
        report.compare(name, call.run(cuda::LayerExperts(mlp, stream), {{0, kRows}}, stream),
                       call.run(cuda::FastExperts(mlp, stream), {{0, kRows}}, stream));
      }
  }
}

/// Largest error over its bound.
double worst_ratio(FastCall const& call, ExpertMlp const& mlp, std::vector<RowBlock> const& blocks,
                   Bytes const& output) {
  auto const hidden = static_cast<std::size_t>(mlp.hidden);
  auto const size = static_cast<std::size_t>(size_of(mlp.dtype));
  ForwardWithin const forward(call, mlp, blocks);
  double worst = 0;
  ForwardWithin::for_rows(blocks, [&](std::size_t expert, std::size_t row) {
    for (std::size_t column = 0; column < hidden; ++column) {
      Within const expected = product_within(
          static_cast<std::size_t>(mlp.intermediate),
          [&](std::size_t k) { return element(call.host.w2, expert * hidden + column, k); },
          [&](std::size_t k) { return forward.activation[row][k]; }, mlp.dtype);
      auto const got = static_cast<double>(support::fetch(mlp.dtype, output.data() + (row * hidden + column) * size));
      worst = std::max(worst, error_ratio(got, expected));
    }
  });
  return worst;
}

void check_bound(BitReport& report, cuda::StreamView stream, DType dtype) {
  constexpr unsigned kSeed = 23;
  std::mt19937_64 random(kSeed);
  ExpertMlp const mlp = squared(128, 64, 4, dtype);
  FastCall const call{support::random_weights(random, mlp), support::random_matrix(random, dtype, 139, 128)};
  cuda::FastExperts const fast(mlp, stream);
  cuda::LayerExperts const exact(mlp, stream);
  double const of_fast = worst_ratio(call, mlp, kStandard, call.run(fast, kStandard, stream));
  double const of_exact = worst_ratio(call, mlp, kStandard, call.run(exact, kStandard, stream));
  std::string const name = std::string("random ") + std::string(to_string(dtype)) + ", seed " + std::to_string(kSeed);
  report.state(of_fast <= 1.0,
               name + ": largest error of the fast engine is " + std::to_string(of_fast) + " of the bound");
  report.state(of_exact <= 1.0, name + ": largest error of the exact engine is " + std::to_string(of_exact));
}

/// A forward call's operands on the device.
struct OnDevice {
  DeviceOperands operands;
  DeviceMatrix input, output;
  switchyard::ExpertCall call{};

  OnDevice(FastCall const& from, std::vector<RowBlock> const& blocks, cuda::StreamView stream)
      : operands(from.host, stream),
        input(from.rows, stream),
        output(from.rows.dtype, from.rows.rows(), from.rows.columns, stream) {
    call.rows = input.view();
    call.blocks = blocks;
    call.weights = operands.weights(from.biased);
    call.output = output.view();
  }
  [[nodiscard]] Bytes result(cuda::StreamView stream) const { return cuda::download<std::byte>(output.buffer, stream); }
};

/// A call of sizes that were seen before, captured and replayed, gives its bytes again.
void check_capture(BitReport& report, cuda::StreamView stream) {
  std::mt19937_64 random(29);
  ExpertMlp const mlp = squared(64, 32, 4, DType::bf16);
  FastCall const call{support::random_weights(random, mlp), support::random_matrix(random, DType::bf16, 139, 64)};
  cuda::FastExperts const fast(mlp, stream);
  Bytes const expected = call.run(fast, kStandard, stream);
  OnDevice const on(call, kStandard, stream);
  report.state(replay(stream, 2, [&] { fast.apply(on.call, {}); }), "forward captured in global mode and replayed");
  report.compare("replayed forward", expected, on.result(stream));
}

/// Whether `body` fails for want of memory when its allocation `skip` fails; any other failure is the caller's.
template <typename Body>
bool runs_out(int skip, Body const& body) {
  bool out_of_memory = false;
  cuda::fail_allocation_after(skip);
  try {
    body();
  } catch (switchyard::Error const& error) {
    cuda::fail_allocation_after(-1);
    if (error.code() != ErrorCode::out_of_memory) throw;
    out_of_memory = true;
  }
  cuda::fail_allocation_after(-1);
  return out_of_memory;
}

/// Every allocation of an engine and of its first call fails once; afterwards the same engine gives the right bytes.
void check_allocations(BitReport& report, cuda::StreamView stream) {
  std::mt19937_64 random(31);
  ExpertMlp const mlp = squared(64, 32, 4, DType::bf16);
  FastCall call{support::random_weights(random, mlp), support::random_matrix(random, DType::bf16, 139, 64)};
  call.biased = true;  // the first bias is f32 and takes memory of its own
  OnDevice const on(call, kStandard, stream);
  Bytes const expected = call.run(cuda::FastExperts(mlp, stream), kStandard, stream);
  int made = 0;
  while (runs_out(made, [&] { cuda::FastExperts const engine(mlp, stream); })) ++made;
  report.state(made > 0, "each of " + std::to_string(made) + " allocations of a new engine failed once");
  for (int skip = 0, failed = 1; failed != 0; ++skip) {
    cuda::FastExperts const engine(mlp, stream);
    failed = runs_out(skip, [&] { engine.apply(on.call, {}); }) ? 1 : 0;
    fill_bytes(on.output.buffer, 0xa5, stream);
    engine.apply(on.call, {});
    report.compare(
        "a call after its allocation " + std::to_string(skip) + (failed != 0 ? " failed" : " was not needed"), expected,
        on.result(stream));
  }
}

template <typename Make>
void refused(BitReport& report, std::string const& what, ErrorCode code, Make const& make) {
  bool found = false;
  try {
    make();
  } catch (switchyard::Error const& error) {
    found = error.code() == code;
  }
  report.state(found, what + " is refused with the right error");
}

void refused_mlp(BitReport& report, cuda::StreamView stream, std::string const& what, ExpertMlp const& mlp) {
  refused(report, what, ErrorCode::unsupported, [&] { cuda::FastExperts const engine(mlp, stream); });
}

void check_refusals(BitReport& report, cuda::StreamView stream) {
  ExpertMlp const plain = squared(64, 32, 4, DType::bf16);
  cuda::FastExperts const fast(plain, stream);
  std::mt19937_64 random(3);
  FastCall const call{support::random_weights(random, plain), support::random_matrix(random, DType::bf16, 8, 64)};
  refused(report, "a block outside the rows", ErrorCode::invalid_argument, [&] {
    static_cast<void>(call.run(fast, {{0, 4}, {4, 4}, {8, 1}, {9, 0}}, stream));
  });
  refused(report, "a missing block", ErrorCode::shape_mismatch, [&] {
    static_cast<void>(call.run(fast, {{0, 4}}, stream));
  });
  ExpertMlp mlp = plain;
  mlp.rounding = switchyard::ExpertRounding::fused(DType::bf16);
  refused_mlp(report, stream, "unrounded hidden values", mlp);
  mlp = plain;
  switchyard::QuantSpec spec;
  spec.scheme = switchyard::QuantScheme::fp8_token;
  mlp.input_quant = spec;
  refused_mlp(report, stream, "codes of rows only", mlp);
  mlp.activation_quant = spec;
  mlp.activation_quant->scheme = switchyard::QuantScheme::fp8_group;
  refused_mlp(report, stream, "two schemes", mlp);
  mlp.input_quant = mlp.activation_quant;
  mlp.input_quant->group_columns = mlp.activation_quant->group_columns = 64;
  refused_mlp(report, stream, "groups of 64 columns", mlp);
  mlp.input_quant = mlp.activation_quant;
  mlp.input_quant->scheme = mlp.activation_quant->scheme = switchyard::QuantScheme::int8_token;
  refused_mlp(report, stream, "int8 codes", mlp);
  mlp.input_quant = spec;
  mlp.activation_quant = spec;
  mlp.intermediate = 40;
  refused_mlp(report, stream, "codes with 40 units", mlp);
  mlp.intermediate = 32;
  mlp.dtype = DType::f16;
  mlp.rounding = switchyard::ExpertRounding::every_store(DType::f16);
  refused_mlp(report, stream, "scales per line with f16 rows", mlp);
}

/// A layer takes rows that the engine reads, and names both sides of others.
void check_traits(BitReport& report, cuda::StreamView stream) {
  ExpertMlp mlp = squared(64, 32, 4, DType::bf16);
  switchyard::PrepareOptions options;
  options.hidden = 64;
  auto const reason = [&](ExpertMlp const& engine) {
    return incompatibility(prepare_traits(switchyard::PrepareKind::flex, options),
                           cuda::FastExperts(engine, stream).traits());
  };
  report.state(!reason(mlp), "plain rows fit the fast engine");
  options.quantize = switchyard::QuantizeWhen::before_exchange;
  options.quant = switchyard::QuantSpec{switchyard::QuantScheme::fp8_token};
  auto const refused_codes = reason(mlp);
  report.state(refused_codes && refused_codes->find("fp8_token") != std::string::npos,
               "codes do not fit an engine for plain rows: " + refused_codes.value_or("no reason"));
  mlp.input_quant = mlp.activation_quant = options.quant;
  report.state(!reason(mlp), "codes fit the engine that was made for them");
}

int run_all() {
  std::printf("device: %s\n", cuda::describe_device().c_str());
  BitReport report;
  cuda::Stream const stream;
  bool const few = std::getenv("SWITCHYARD_CASES") != nullptr;
  for (DType const dtype : row_dtypes(few)) {
    check_integers(report, stream, dtype);
    check_bound(report, stream, dtype);
  }
  check_activations(report, stream, few);
  check_capture(report, stream);
  if (!few) attempt(report, "allocations", [&] { check_allocations(report, stream); });
  check_refusals(report, stream);
  check_traits(report, stream);
  check_fast_gradients(report, stream, few);
  check_fast_codes(report, stream, few);
  check_fast_blocks(report, stream, few);
  std::printf("%d checks, %d failed\n", report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
