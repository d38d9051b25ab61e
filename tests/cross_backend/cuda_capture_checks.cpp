// SPDX-License-Identifier: Apache-2.0
// Launchers that say "capturable": each is launched, then captured in global mode and replayed twice over poison; the
// replays must give the bytes of the launch. The bytes themselves are compared with the CPU's elsewhere.
#include <algorithm>
#include <functional>

#include "cuda_checks.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/digest.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/cuda/sums.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
using switchyard::bf16_t;
using switchyard::DType;
using switchyard::TensorView;

constexpr std::int64_t kRows = 24;
constexpr std::int64_t kColumns = 40;
constexpr std::int64_t kSums = kRows / 2;

/// Operands of all launchers: [kRows, kColumns] rows, two terms per sum.
struct Operands {
  explicit Operands(cuda::StreamView stream) {
    std::vector<float> values;
    std::vector<bf16_t> narrow;
    std::vector<double> wide;
    std::vector<std::int64_t> integers;
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
      values.push_back(wide_float(90, static_cast<std::uint64_t>(i)));
      narrow.push_back(switchyard::to_bf16(values.back()));
      wide.push_back(values.back());
      integers.push_back(i * 7 % kRows);
    }
    std::vector<std::int64_t> pairs;
    std::vector<std::int64_t> owners;
    std::vector<std::int64_t> order;
    std::vector<std::int32_t> places;
    for (std::int64_t i = 0; i < kRows; ++i) {
      if (i % 2 == 0) pairs.push_back(i);
      owners.push_back(i / 2);
      order.push_back(i * 5 % kRows);
      places.push_back(static_cast<std::int32_t>(i * 5 % kRows));
    }
    pairs.push_back(kRows);
    floats = cuda::upload(values, stream);
    halves = cuda::upload(narrow, stream);
    doubles = cuda::upload(wide, stream);
    indices = cuda::upload(integers, stream);
    begin = cuda::upload(pairs, stream);
    sum_of_term = cuda::upload(owners, stream);
    permutation = cuda::upload(order, stream);
    narrow_permutation = cuda::upload(places, stream);
    std::int64_t const state_bytes = kSums * kColumns * cuda::exact_state_bytes(DType::bf16, false);
    states = cuda::DeviceBuffer(state_bytes);
    output = cuda::DeviceBuffer(std::max<std::int64_t>(state_bytes, kRows * kColumns * 8));
    terms = cuda::DeviceBuffer(floats.size_bytes());
    cuda::SumRowsParams partials = sum();
    partials.output = states.data();
    launch_exact_partials({partials, false, nullptr}, stream);
  }
  [[nodiscard]] cuda::SumRowsParams sum() const {
    return {halves.data(),
            DType::bf16,
            output.data(),
            DType::bf16,
            begin.as<std::int64_t const>(),
            permutation.as<std::int64_t const>(),
            floats.data(),
            kSums,
            kColumns};
  }
  [[nodiscard]] TensorView matrix(cuda::DeviceBuffer const& buffer, DType dtype) const {
    return TensorView(buffer.data(), dtype, {kRows, kColumns}, switchyard::MemorySpace::device);
  }
  /// One float per row.
  [[nodiscard]] TensorView column(cuda::DeviceBuffer const& buffer) const {
    return TensorView(buffer.data(), DType::f32, {kRows, 1}, switchyard::MemorySpace::device);
  }
  [[nodiscard]] cuda::SourceRowsParams source() const {
    return {permutation.as<std::int64_t const>(),
            sum_of_term.as<std::int64_t const>(),
            permutation.as<std::int64_t const>(),
            kRows,
            kColumns,
            DType::bf16};
  }

  cuda::DeviceBuffer floats;
  cuda::DeviceBuffer halves;
  cuda::DeviceBuffer doubles;
  cuda::DeviceBuffer indices;
  cuda::DeviceBuffer begin;
  cuda::DeviceBuffer sum_of_term;
  cuda::DeviceBuffer permutation;
  cuda::DeviceBuffer narrow_permutation;
  cuda::DeviceBuffer states;  ///< of exact sums, [kSums, kColumns]
  cuda::DeviceBuffer terms;   ///< for a sum that overwrites its terms
  cuda::DeviceBuffer output;
};

class Captures {
 public:
  Captures(BitReport& report, cuda::StreamView stream) : report_(report), stream_(stream), operands_(stream) {}
  [[nodiscard]] Operands const& operands() const { return operands_; }
  /// @param launch writes to operands().output, which holds `poison` before
  void check(std::string const& name, std::function<void()> const& launch) {
    fill_bytes(operands_.output, kPoison, stream_);
    launch();
    auto const expected = cuda::download<std::uint8_t>(operands_.output, stream_);
    bool const ok = replay(stream_, 2, [&] {
      fill_bytes(operands_.output, kPoison, stream_);
      launch();
    });
    report_.state(ok, name + ": captured in global mode and replayed");
    report_.compare(name + ", replayed", expected, cuda::download<std::uint8_t>(operands_.output, stream_));
  }

 private:
  static constexpr std::uint8_t kPoison = 0xa5;
  BitReport& report_;
  cuda::StreamView stream_;
  Operands operands_;
};

void check_moves(Captures& captures, cuda::StreamView stream) {
  Operands const& on = captures.operands();
  captures.check("gather_rows", [&] {
    cuda::GatherRowsParams params{on.halves.data(), on.output.data(), on.indices.as<std::int64_t const>(), kRows,
                                  kColumns * 2};
    cuda::launch_gather_rows(params, stream);
  });
  captures.check("scatter_rows", [&] {
    cuda::launch_scatter_rows({on.halves.data(), on.output.data(), on.begin.as<std::int64_t const>(),
                               on.narrow_permutation.as<std::int32_t const>(), kSums, kColumns * 2},
                              stream);
  });
  captures.check("combine_rows", [&] {
    cuda::launch_combine_rows<bf16_t>(
        {on.halves.as<bf16_t const>(), on.output.as<bf16_t>(), on.begin.as<std::int64_t const>(),
         on.permutation.as<std::int64_t const>(), on.floats.as<float const>(), kSums, kColumns, kColumns},
        stream);
  });
  captures.check("narrow", [&] {
    cuda::launch_narrow<bf16_t>({on.floats.as<float const>(), on.output.as<bf16_t>(), kRows * kColumns}, stream);
  });
  captures.check("widen", [&] {
    cuda::launch_widen<bf16_t>({on.halves.as<bf16_t const>(), on.output.as<float>(), kRows * kColumns}, stream);
  });
  captures.check("fingerprint", [&] {
    cuda::launch_fingerprint({3, on.indices.as<std::int64_t const>(), kRows, on.output.as<std::uint64_t>()}, stream);
  });
  captures.check("random_bits", [&] {
    cuda::launch_random_bits({kSeed, 1, 0, on.output.as<std::uint64_t>(), kRows}, stream);
  });
}

void check_sums(Captures& captures, cuda::StreamView stream) {
  Operands const& on = captures.operands();
  captures.check("sum_rows, fp32 products", [&] { launch_sum_rows(cuda::SumStep::fp32_product, on.sum(), stream); });
  captures.check("sum_rows, row products", [&] { launch_sum_rows(cuda::SumStep::row_product, on.sum(), stream); });
  captures.check("sum_rows, join", [&] {
    cuda::SumRowsParams sum = on.sum();
    sum.weights = nullptr;
    launch_sum_rows(cuda::SumStep::join_f32, sum, stream);
  });
  captures.check("sum_rows, fp64 products", [&] {
    cuda::SumRowsParams sum = on.sum();
    sum.out_dtype = DType::f64;
    sum.weights = on.doubles.data();
    launch_sum_rows(cuda::SumStep::fp64_product, sum, stream);
  });
  captures.check("sum_rows, join of fp64", [&] {
    cuda::SumRowsParams sum = on.sum();
    sum.rows = on.doubles.data();
    sum.row_dtype = DType::f64;
    sum.weights = nullptr;
    launch_sum_rows(cuda::SumStep::join_f64, sum, stream);
  });
  captures.check("exact_rows", [&] { launch_exact_rows({on.sum(), false, nullptr}, stream); });
  captures.check("exact_partials", [&] { launch_exact_partials({on.sum(), false, nullptr}, stream); });
  captures.check("exact_join", [&] {
    cuda::SumRowsParams join = on.sum();
    join.rows = on.states.data();
    join.term_rows = on.sum_of_term.as<std::int64_t const>();
    join.weights = nullptr;
    launch_exact_join({join, false, nullptr}, stream);
  });
  captures.check("tree_sum", [&] {
    copy_device(on.floats, on.terms, stream);
    launch_tree_sum({on.terms.as<float>(), kColumns, kRows, on.output.data(), DType::bf16}, stream);
  });
  captures.check("gather_weights", [&] {
    cuda::GatherWeightsParams params{};
    params.weights = on.floats.data();
    params.output = on.output.data();
    params.index = on.permutation.as<std::int64_t const>();
    params.count = kRows;
    launch_gather_weights(params, stream);
  });
  captures.check("add_shared",
                 [&] { launch_add_shared(on.output.data(), on.halves.data(), kRows, DType::bf16, stream); });
  captures.check("weigh_rows", [&] {
    launch_weigh_rows(on.source(), on.halves.data(), on.floats.as<float const>(), on.output.data(), stream);
  });
  captures.check("dot_rows", [&] {
    launch_dot_rows(on.source(), on.halves.data(), on.halves.data(), on.output.as<float>(), stream);
  });
}

/// Those beside the engine, whose own calls are captured where its bytes are compared.
void check_expert_calls(Captures& captures, cuda::StreamView stream) {
  Operands const& on = captures.operands();
  switchyard::ExpertMlp mlp;
  mlp.hidden = kColumns;
  mlp.intermediate = kColumns;
  mlp.num_local_experts = 1;
  mlp.dtype = DType::bf16;
  mlp.tp = {0, 2};
  auto const block = cuda::upload(std::vector<switchyard::RowBlock>{{0, kRows}}, stream);
  std::vector<switchyard::ConstTensorView> const partials(2, on.matrix(on.floats, DType::f32));
  captures.check("finish_partials", [&] {
    cuda::finish_partials(mlp, partials, block.as<switchyard::RowBlock const>(), {}, on.matrix(on.output, DType::bf16),
                          stream);
  });
  captures.check("router_weight_backward", [&] {
    cuda::router_weight_backward(on.matrix(on.halves, DType::bf16), on.column(on.floats),
                                 on.matrix(on.halves, DType::bf16), on.matrix(on.output, DType::bf16),
                                 TensorView(on.output.as<std::byte>() + kRows * kColumns * 2, DType::f32, {kRows, 1},
                                            switchyard::MemorySpace::device),
                                 stream);
  });
  switchyard::QuantSpec spec;
  spec.scheme = switchyard::QuantScheme::fp8_tensor_dynamic;
  auto codes = cuda::DeviceQuantizedMatrix::make(spec, kRows, kColumns);
  cuda::quantize(spec, on.matrix(on.halves, DType::bf16), codes, stream);
  captures.check("dequantize", [&] { cuda::launch_dequantize(codes.view(), on.output.as<float>(), stream); });
}

}  // namespace

void check_captures(BitReport& report, cuda::StreamView stream) {
  Captures captures(report, stream);
  check_expert_calls(captures, stream);
  check_moves(captures, stream);
  check_sums(captures, stream);
}

}  // namespace cross_backend
