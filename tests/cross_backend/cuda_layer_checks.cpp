// SPDX-License-Identifier: Apache-2.0
// Whole MoE layers, forward and backward, on ranks that share one GPU, against the CPU's: every pair, EP and TP sizes,
// recipes, biases or none, weights on the input, and rows quantised before and after the exchange.
#include <mutex>
#include <string>

#include "cuda_experts_checks.hpp"
#include "row_report.hpp"
#include "support/layer_cases.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cpu/scheduler.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"

namespace cross_backend {

namespace {

namespace cpu = switchyard::cpu;
namespace cuda = switchyard::cuda;
using support::ConstTensorView;
using support::DType;
using support::LayerBatch;
using support::LayerCase;
using support::Matrix;
using support::RankLayer;
using support::TensorView;
using switchyard::MemorySpace;
using switchyard::PrepareKind;
using switchyard::QuantizeWhen;
using switchyard::QuantScheme;
using Bytes = std::vector<std::byte>;

/// What a layer gives, in the order in which it is compared.
struct LayerResults {
  Bytes output, d_tokens, d_router, d_w1, d_w2, d_b1, d_b2;
};

/// A copy of a host view in device memory, of the same shape.
struct Mirror {
  cuda::DeviceBuffer buffer;
  TensorView view;
  Mirror(ConstTensorView const& host, cuda::StreamView stream) {
    auto const* const start = static_cast<std::byte const*>(host.data());
    auto const bytes = host.shape().num_elements() * switchyard::size_of(host.dtype());
    buffer = cuda::upload(Bytes(start, start + (start == nullptr ? 0 : bytes)), stream);
    view = {buffer.data(), host.dtype(), host.shape(), MemorySpace::device};
  }
  [[nodiscard]] Bytes bytes(cuda::StreamView stream) const { return cuda::download<std::byte>(buffer, stream); }
};

/// A rank's weights in device memory.
struct DeviceLayerWeights {
  Mirror w1, w2, b1, b2;
  switchyard::ExpertWeights views{};
  DeviceLayerWeights(LayerCase const& c, RankLayer const& rank, cuda::StreamView stream)
      : w1(rank.weights().w1, stream),
        w2(rank.weights().w2, stream),
        b1(rank.weights().b1, stream),
        b2(rank.weights().b2, stream) {
    views.w1 = w1.view;
    views.w2 = w2.view;
    if (c.biased) views.b1 = b1.view;
    if (c.biased) views.b2 = b2.view;
  }
};

/// Poisoned host memory in the shape of a gradient.
struct Gradient {
  Bytes bytes;
  TensorView view;
  explicit Gradient(ConstTensorView const& like)
      : bytes(support::poison(static_cast<std::size_t>(like.shape().num_elements() * 4))),
        view(bytes.data(), DType::f32, like.shape()) {}
};

/// Biases have gradients whether or not they are given.
switchyard::ExpertWeights gradient_shapes(RankLayer const& rank) {
  return support::weight_views(rank.operands, rank.mlp, true);
}

LayerResults run_on_cpu(LayerCase const& c, RankLayer& rank, LayerBatch const& batch, Matrix const& d_output,
                        bool backward) {
  LayerResults results;
  results.output = support::poison(batch.tokens.bytes.size());
  auto const weights = rank.weights();
  auto const output = support::output_view(c, results.output, batch);
  if (!backward) {
    rank.layer->forward(batch.tokens.view(), batch.routing, weights, output);
    return results;
  }
  auto context = rank.layer->forward_training(batch.tokens.view(), batch.routing, weights, output);
  auto const shapes = gradient_shapes(rank);
  Gradient w1(shapes.w1), w2(shapes.w2), b1(shapes.b1), b2(shapes.b2);
  results.d_tokens = support::poison(batch.tokens.bytes.size());
  std::vector<float> d_router(batch.routing.weights().size());
  rank.layer->backward(
      context, d_output.view(), weights,
      {support::output_view(c, results.d_tokens, batch), d_router, w1.view, w2.view, b1.view, b2.view});
  auto const router = std::as_bytes(std::span(d_router));
  results.d_router.assign(router.begin(), router.end());
  results.d_w1 = w1.bytes;
  results.d_w2 = w2.bytes;
  results.d_b1 = b1.bytes;
  results.d_b2 = b2.bytes;
  return results;
}

LayerResults run_on_gpu(LayerCase const& c, RankLayer const& rank, LayerBatch const& batch, Matrix const& d_output,
                        bool backward, switchyard::Communicator& comm) {
  cuda::Stream const stream;
  cuda::HostStagedCommunicator device_comm(comm);
  auto const prepare = cuda::make_prepare_finalize(c.kind, {comm, device_comm}, rank.placement, c.options, stream);
  cuda::LayerExperts const experts(rank.mlp, stream);
  cuda::DeviceMemorySource memory;
  auto options = c.layer;
  options.memory = &memory;
  switchyard::MoeLayer layer(*prepare, experts, switchyard::exact_experts_traits(), options);
  DeviceLayerWeights const on_device(c, rank, stream);
  switchyard::ExpertWeights const& weights = on_device.views;
  Mirror const tokens(batch.tokens.view(), stream);
  Bytes poison = support::poison(batch.tokens.bytes.size());
  Mirror const output(support::output_view(c, poison, batch), stream);
  LayerResults results;
  if (!backward) {
    layer.forward(tokens.view, batch.routing, weights, output.view);
    results.output = output.bytes(stream);
    return results;
  }
  auto context = layer.forward_training(tokens.view, batch.routing, weights, output.view);
  results.output = output.bytes(stream);
  Mirror const gradient(d_output.view(), stream);
  Mirror const d_tokens(support::output_view(c, poison, batch), stream);
  auto const shapes = gradient_shapes(rank);
  Mirror const d_w1(Gradient(shapes.w1).view, stream), d_w2(Gradient(shapes.w2).view, stream);
  Mirror const d_b1(Gradient(shapes.b1).view, stream), d_b2(Gradient(shapes.b2).view, stream);
  auto const d_router = cuda::upload(std::vector<float>(batch.routing.weights().size(), 9.0F), stream);
  layer.backward(context, gradient.view, weights,
                 {d_tokens.view,
                  {d_router.as<float>(), batch.routing.weights().size()},
                  d_w1.view,
                  d_w2.view,
                  d_b1.view,
                  d_b2.view});
  results.d_tokens = d_tokens.bytes(stream);
  results.d_router = cuda::download<std::byte>(d_router, stream);
  results.d_w1 = d_w1.bytes(stream);
  results.d_w2 = d_w2.bytes(stream);
  results.d_b1 = d_b1.bytes(stream);
  results.d_b2 = d_b2.bytes(stream);
  return results;
}

void compare_results(BitReport& report, LayerCase const& c, std::string const& name, int rank,
                     LayerResults const& expected, LayerResults const& got) {
  std::int64_t const row_bytes = switchyard::size_of(c.mlp.dtype);
  compare_rows(report, name + ", output", expected.output, got.output, {rank, c.mlp.hidden, row_bytes, {}});
  compare_rows(report, name + ", d_tokens", expected.d_tokens, got.d_tokens, {rank, c.mlp.hidden, row_bytes, {}});
  compare_rows(report, name + ", d_router", expected.d_router, got.d_router, {rank, c.top_k, 4, {}});
  compare_rows(report, name + ", d_w1", expected.d_w1, got.d_w1, {rank, c.mlp.hidden, 4, {}});
  compare_rows(report, name + ", d_w2", expected.d_w2, got.d_w2, {rank, 1, 4, {}});
  compare_rows(report, name + ", d_b1", expected.d_b1, got.d_b1, {rank, 1, 4, {}});
  compare_rows(report, name + ", d_b2", expected.d_b2, got.d_b2, {rank, c.mlp.hidden, 4, {}});
}

/// How ranks run: on threads, or for slow tools taking turns on one. On threads initcheck may see a rank free memory
/// after another one has got and written it, and then finds that memory unwritten.
enum class Ranks { threads, turns };

/// Runs the layer's ranks; what one throws is a failure.
template <typename Body>
void run_layer_ranks(BitReport& report, LayerCase const& c, std::string const& name, Ranks ranks, Body const& body) {
  auto const scheduler = ranks == Ranks::threads ? cpu::make_thread_scheduler() : cpu::make_cooperative_scheduler();
  try {
    cpu::run_ranks(*scheduler, c.world(), {}, body);
  } catch (std::exception const& error) {
    report.state(false, name + ": " + error.what());
  }
}

void check_layer(BitReport& report, LayerCase const& c, std::string const& name, bool backward, Ranks ranks) {
  std::mutex mutex;
  std::mt19937_64 random(c.seed);
  auto const whole = support::random_weights(random, c.mlp);
  run_layer_ranks(report, c, name, ranks, [&](switchyard::Communicator& comm) {
    int const rank = comm.rank().value();
    RankLayer on_cpu(c, whole, comm);
    LayerBatch const batch = support::layer_batch(c, rank);
    std::mt19937_64 of_rank(c.seed + 77 + static_cast<std::uint64_t>(rank));
    Matrix const d_output = support::random_matrix(of_rank, c.mlp.dtype, batch.routing.num_tokens(), c.mlp.hidden);
    LayerResults const expected = run_on_cpu(c, on_cpu, batch, d_output, backward);
    LayerResults const got = run_on_gpu(c, on_cpu, batch, d_output, backward, comm);
    std::lock_guard const lock(mutex);
    compare_results(report, c, name + ", seed " + std::to_string(c.seed), rank, expected, got);
  });
}

std::string name_of(LayerCase const& c) {
  return "layer " + std::string(to_string(c.kind)) + " tp" + std::to_string(c.options.grid.tp) + " ep" +
         std::to_string(c.options.grid.ep);
}

/// Two micro-batches, the second's rows planned and on their way while the first's experts compute, and the first's
/// results while the second's do; each on its own stream.
std::vector<Bytes> run_overlapped(LayerCase const& c, RankLayer const& rank, std::vector<LayerBatch> const& batches,
                                  switchyard::Communicator& comm) {
  cuda::Stream const rows, computing;
  cuda::HostStagedCommunicator device_comm(comm);
  auto const prepare = cuda::make_prepare_finalize(c.kind, {comm, device_comm}, rank.placement, c.options,
                                                   cuda::LayerStreams{rows, computing});
  cuda::LayerExperts const experts(rank.mlp, computing);
  cuda::DeviceMemorySource memory;
  auto options = c.layer;
  options.memory = &memory;
  switchyard::MoeLayer layer(*prepare, experts, switchyard::exact_experts_traits(), options);
  DeviceLayerWeights const weights(c, rank, rows);
  std::vector<Mirror> tokens, outputs;
  for (LayerBatch const& batch : batches) {
    Bytes poison = support::poison(batch.tokens.bytes.size());
    tokens.emplace_back(batch.tokens.view(), rows);
    outputs.emplace_back(support::output_view(c, poison, batch), rows);
  }
  auto a = layer.start(tokens[0].view, batches[0].routing);
  layer.receive(a);
  layer.compute(a, weights.views);
  auto b = layer.start(tokens[1].view, batches[1].routing);
  layer.receive(b);
  layer.start_finalize(a, outputs[0].view);
  layer.compute(b, weights.views);
  layer.finish_finalize(a);
  layer.start_finalize(b, outputs[1].view);
  layer.finish_finalize(b);
  return {outputs[0].bytes(rows), outputs[1].bytes(rows)};
}

void check_overlapped(BitReport& report, LayerCase const& c, std::string const& name, Ranks ranks) {
  std::mutex mutex;
  std::mt19937_64 random(c.seed);
  auto const whole = support::random_weights(random, c.mlp);
  run_layer_ranks(report, c, name, ranks, [&](switchyard::Communicator& comm) {
    int const rank = comm.rank().value();
    RankLayer on_cpu(c, whole, comm);
    std::vector<LayerBatch> const batches{support::layer_batch(c, rank, 0), support::layer_batch(c, rank, 1)};
    std::vector<Bytes> expected;
    for (LayerBatch const& batch : batches) {
      expected.push_back(support::poison(batch.tokens.bytes.size()));
      on_cpu.layer->forward(batch.tokens.view(), batch.routing, on_cpu.weights(),
                            support::output_view(c, expected.back(), batch));
    }
    auto const got = run_overlapped(c, on_cpu, batches, comm);
    std::lock_guard const lock(mutex);
    for (std::size_t i = 0; i < got.size(); ++i)
      compare_rows(report, name + ", micro-batch " + std::to_string(i), expected[i], got[i],
                   {rank, c.mlp.hidden, switchyard::size_of(c.mlp.dtype), {}});
  });
}

/// With and without biases, weights on the input, and where TP ranks join partials, recipes of both routes.
void check_grid(BitReport& report, PrepareKind kind, int ep, int tp, Ranks ranks) {
  LayerCase c = support::layer_case(kind, ep, tp);
  if (c.local() && tp > 1) return;
  check_layer(report, c, name_of(c), true, ranks);
  check_overlapped(report, c, name_of(c) + ", overlapped", ranks);
  LayerCase bare = c;
  bare.biased = false;
  check_layer(report, bare, name_of(c) + ", no biases", true, ranks);
  LayerCase exact = c;
  exact.options.recipe = switchyard::CombineRecipe::exact();
  if (tp > 1) check_layer(report, exact, name_of(c) + ", exact", true, ranks);
  LayerCase partial = c;
  partial.options.recipe = switchyard::CombineRecipe::rank_partial();
  if (!c.local()) check_layer(report, partial, name_of(c) + ", rank_partial", true, ranks);
  c.seed = 5;
  c.top_k = 1;
  c.layer.router_weight_on_input = true;
  check_layer(report, c, name_of(c) + ", weights on the input", true, ranks);
}

void check_quantised(BitReport& report, PrepareKind kind, int ep, int tp, Ranks ranks) {
  for (QuantScheme const scheme : {QuantScheme::fp8_tensor, QuantScheme::fp8_tensor_dynamic, QuantScheme::fp8_token,
                                   QuantScheme::fp8_group, QuantScheme::int8_token, QuantScheme::mxfp8})
    for (QuantizeWhen const when : {QuantizeWhen::before_exchange, QuantizeWhen::after_exchange}) {
      if (scheme == QuantScheme::fp8_tensor_dynamic && when == QuantizeWhen::before_exchange) continue;  // refused
      LayerCase c = support::layer_case(kind, ep, tp);
      if (c.local() && tp > 1) continue;
      c.options.quantize = when;
      c.options.quant = switchyard::QuantSpec{scheme, 16, 0.02F};
      std::string const name = name_of(c) + ", " + std::string(to_string(scheme)) + " " + std::string(to_string(when));
      check_layer(report, c, name, false, ranks);
      if (ep > 1) check_overlapped(report, c, name + ", overlapped", ranks);
    }
}

}  // namespace

void check_layers(BitReport& report, bool few) {
  struct Grid {
    int ep, tp;
  };
  std::vector<Grid> const grids =
      few ? std::vector<Grid>{{2, 1}, {1, 2}} : std::vector<Grid>{{1, 1}, {2, 1}, {4, 1}, {1, 2}, {2, 2}, {1, 4}};
  Ranks const ranks = few ? Ranks::turns : Ranks::threads;
  for (PrepareKind const kind : switchyard::kAllPrepareKinds)
    for (Grid const grid : grids) check_grid(report, kind, grid.ep, grid.tp, ranks);
  for (PrepareKind const kind : switchyard::kAllPrepareKinds) {
    check_quantised(report, kind, 2, 1, ranks);
    if (!few) check_quantised(report, kind, 1, 2, ranks);
  }
}

}  // namespace cross_backend
