// SPDX-License-Identifier: Apache-2.0
// bench_layers(): two micro-batches through a whole MoE layer (Flex, rank_partial, the fast engine; plans made on the
// host in every call), one after the other on one stream, and overlapped on two. The floor is the experts alone.
#include <algorithm>
#include <numeric>
#include <random>

#include "fast_bench.hpp"
#include "rank_bench.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/experts/moe_layer.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

constexpr int kLayerExperts = 64;
constexpr std::int64_t kUnits = 2048;

RoutingMap drawn_routing(int seed, std::int64_t tokens) {
  std::mt19937_64 random(static_cast<std::uint64_t>(seed));
  std::vector<std::int32_t> experts(kLayerExperts);
  std::iota(experts.begin(), experts.end(), 0);
  std::vector<std::int32_t> ids;
  for (std::int64_t token = 0; token < tokens; ++token) {
    std::shuffle(experts.begin(), experts.end(), random);
    ids.insert(ids.end(), experts.begin(), experts.begin() + kTopK);
  }
  std::vector<float> weights(ids.size(), 0.125F);
  return RoutingMap::from_topk(tokens, kLayerExperts, kTopK, std::move(ids), std::move(weights));
}

ExpertMlp layer_mlp(int ranks) {
  ExpertMlp mlp;
  mlp.hidden = kHidden;
  mlp.intermediate = kUnits;
  mlp.num_local_experts = kLayerExperts / ranks;
  mlp.dtype = DType::bf16;
  mlp.rounding = ExpertRounding::every_store(DType::bf16);
  return mlp;
}

/// One rank's layer with its operands.
class LayerRun {
 public:
  LayerRun(RankBench& bench, std::int64_t tokens, cuda::LayerStreams streams)
      : placement_(ExpertPlacement::contiguous(1, kLayerExperts, bench.bare.size())),
        mlp_(layer_mlp(bench.bare.size())),
        engine_(mlp_, streams.experts),
        prepare_(cuda::make_prepare_finalize(PrepareKind::flex, {bench.checked, bench.bare}, placement_,
                                             options_of(bench.bare.size()), streams)),
        layer_(*prepare_, engine_, engine_.traits(), layer_options()),
        w1_(mlp_.num_local_experts * 2 * kUnits * kRowBytes),
        w2_(mlp_.num_local_experts * kUnits * kRowBytes) {
    for (cuda::DeviceBuffer const* buffer : {&w1_, &w2_}) cuda::fill_bytes(*buffer, 0x3c, streams.rows);
    weights_.w1 = w1_.view(DType::bf16, {mlp_.num_local_experts, 2 * kUnits, kHidden});
    weights_.w2 = w2_.view(DType::bf16, {mlp_.num_local_experts, kHidden, kUnits});
    for (int batch = 0; batch < 2; ++batch) {
      routings_.push_back(drawn_routing(1000 * batch + bench.bare.rank().value(), tokens));
      tokens_.emplace_back(tokens * kRowBytes);
      cuda::fill_bytes(tokens_.back(), 0x3c, streams.rows);
      outputs_.emplace_back(tokens * kRowBytes);
    }
    streams.rows.synchronize();
  }

  void one_after_the_other() {
    for (std::size_t i = 0; i < 2; ++i) layer_.forward(token_view(i), routings_[i], weights_, output_view(i));
  }
  void overlapped() {
    MoeStep a = layer_.start(token_view(0), routings_[0]);
    layer_.receive(a);
    layer_.compute(a, weights_);
    MoeStep b = layer_.start(token_view(1), routings_[1]);
    layer_.receive(b);
    layer_.start_finalize(a, output_view(0));
    layer_.compute(b, weights_);
    layer_.finish_finalize(a);
    layer_.start_finalize(b, output_view(1));
    layer_.finish_finalize(b);
  }
  /// Both micro-batches' experts, every one of a batch with as many rows.
  void experts_alone(TensorView const& rows, std::span<RowBlock const> blocks) {
    ExpertCall call;
    call.rows = rows;
    call.output = rows;
    call.blocks = blocks;
    call.weights = weights_;
    for (int batch = 0; batch < 2; ++batch) engine_.apply(call, {});
  }
  [[nodiscard]] ExpertMlp const& mlp() const { return mlp_; }

 private:
  static PrepareOptions options_of(int ranks) {
    PrepareOptions options;
    options.grid = {1, ranks};
    options.hidden = kHidden;
    options.recipe = CombineRecipe::rank_partial();
    return options;
  }
  MoeLayerOptions layer_options() {
    MoeLayerOptions options;
    options.global_num_experts = kLayerExperts;
    options.memory = &memory_;
    return options;
  }
  [[nodiscard]] TensorView token_view(std::size_t i) const { return view_of(tokens_[i]); }
  [[nodiscard]] TensorView output_view(std::size_t i) const { return view_of(outputs_[i]); }
  static TensorView view_of(cuda::DeviceBuffer const& rows) {
    return rows.view(DType::bf16, {rows.size_bytes() / kRowBytes, kHidden});
  }

  ExpertPlacement placement_;
  ExpertMlp mlp_;
  cuda::FastExperts engine_;
  cuda::DeviceMemorySource memory_{};
  std::unique_ptr<PrepareFinalize> prepare_;
  MoeLayer layer_;
  cuda::DeviceBuffer w1_, w2_;
  ExpertWeights weights_{};
  std::vector<RoutingMap> routings_{};
  std::vector<cuda::DeviceBuffer> tokens_{}, outputs_{};
};

double experts_alone_us(RankBench& bench, LayerRun& run, std::int64_t tokens) {
  std::int64_t const rows = tokens * kTopK;
  cuda::DeviceBuffer const held(rows * kRowBytes);
  cuda::fill_bytes(held, 0x3c, bench.stream);
  int const experts = run.mlp().num_local_experts;
  std::vector<RowBlock> blocks;
  for (std::int64_t i = 0; i < experts; ++i)
    blocks.push_back({rows * i / experts, rows * (i + 1) / experts - rows * i / experts});
  auto const view = held.view(DType::bf16, {rows, kHidden});
  return median(bench.sample([&] { run.experts_alone(view, blocks); }));
}

void bench_tokens(RankBench& bench, std::int64_t tokens) {
  Fields const fields{{"tokens", static_cast<double>(tokens)}, {"ranks", static_cast<double>(bench.bare.size())}};
  double const bytes = 4 * static_cast<double>(tokens * kTopK * kRowBytes);
  std::string const name = "layer, two micro-batches of T=" + std::to_string(tokens);
  double floor_us = 0;
  {
    LayerRun run(bench, tokens, {bench.stream, bench.stream});
    floor_us = experts_alone_us(bench, run, tokens);
    bench.board.hand_in(name + ", one after the other", fields, bytes, bench.sample([&] { run.one_after_the_other(); }),
                        floor_us);
    bench.checked.barrier({.operation = "serial end"});
  }
  cuda::Stream const computing;
  LayerRun run(bench, tokens, {bench.stream, computing});
  bench.board.hand_in(name + ", overlapped", fields, bytes, bench.sample([&] { run.overlapped(); }), floor_us);
  bench.checked.barrier({.operation = "overlapped end"});
}

}  // namespace

void bench_layers(Results& results, int ranks, std::vector<std::int64_t> const& tokens) {
  Board board(results, ranks);
  run_rank_threads(ranks, [&](RankClock& clock) {
    RankBench bench{board, clock};
    for (std::int64_t const count : tokens) bench_tokens(bench, count);
  });
}

}  // namespace gpu_bench
