// SPDX-License-Identifier: Apache-2.0
// ParallelMlp against plain loops over all ranks, bit for bit: outputs and every gradient, in every grid of ranks and
// hidden shards, bin and row dtype.
//
// By hand: one rank, two experts with relu2 of one unit, w1 = 1 and 2, w2 = 1 and 3, bins of one row (factor 1 of two
// tokens over two experts, top-1). Tokens 2 and 1 both choose expert 1 with weights 0.5 and 0.25: token 1 finds the bin
// full. Token 0: 0.5 * 3 * (2 * 2)^2 = 24, plus the bias 10; token 1: the bias alone.
#include <doctest/doctest.h>

#include <cstring>

#include "support/error_text.hpp"
#include "support/megablocks_cases.hpp"
#include "switchyard/cpu/parallel_for.hpp"

namespace {

using support::contains;
using support::DType;
using support::ExpertOperands;
using support::Matrix;
using support::megablocks_case;
using support::MegaBlocksCase;
using support::MegaBlocksData;
using support::MegaBlocksRankResult;
using switchyard::ErrorCode;
using switchyard::ExpertBins;
namespace cpu = switchyard::cpu;

std::vector<std::byte> bytes_of(DType dtype, std::int64_t columns, std::vector<oracle::Row> const& rows) {
  std::vector<float> values;
  for (auto const& row : rows) values.insert(values.end(), row.begin(), row.end());
  return support::matrix_of(dtype, columns, std::move(values)).bytes;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

/// The experts' gradients of one rank, cut out of the answer as its weights are cut out of all weights.
ExpertOperands gradient_slice(MegaBlocksCase const& c, MegaBlocksData const& data,
                              oracle::MegaBlocksResult const& answer, support::ExpertMlp mlp, int rank) {
  MegaBlocksData as_weights = data;
  as_weights.operands.w1.values.clear();
  as_weights.operands.w2.values.clear();
  for (auto const& w : answer.d_w1)
    as_weights.operands.w1.values.insert(as_weights.operands.w1.values.end(), w.begin(), w.end());
  for (auto const& w : answer.d_w2)
    as_weights.operands.w2.values.insert(as_weights.operands.w2.values.end(), w.begin(), w.end());
  mlp.dtype = DType::f32;
  as_weights.whole.dtype = DType::f32;
  return support::megablocks_weights(c, as_weights, mlp, rank);
}

/// @return the first thing that differs, with its rank; empty when nothing does
std::string difference(MegaBlocksCase const& c) {
  auto const data = support::megablocks_data(c);
  auto const answer = support::megablocks_answer(c, data);
  auto const results = support::run_megablocks_ranks(c, data);
  for (std::size_t r = 0; r < results.size(); ++r) {
    std::string const where = " of rank " + std::to_string(r);
    MegaBlocksRankResult const& got = results[r];
    if (got.output != bytes_of(c.config.dtype, c.config.hidden, answer.output[r])) return "output" + where;
    if (got.d_tokens != bytes_of(c.config.dtype, c.config.hidden, answer.d_tokens[r])) return "d_tokens" + where;
    if (!same_bits(got.d_weights, answer.d_weights[r])) return "d_router_weights" + where;
    auto const rank = static_cast<int>(r);
    auto const mlp = c.config.expert_mlp(switchyard::RankId{rank});
    ExpertOperands const gradients = gradient_slice(c, data, answer, mlp, rank);
    if (!same_bits(got.d_w1, gradients.w1.values)) return "d_w1" + where;
    if (!same_bits(got.d_w2, gradients.w2.values)) return "d_w2" + where;
    if (c.biased && !c.config.return_bias && !same_bits(got.d_bias, answer.d_bias[r])) return "d_bias" + where;
  }
  return "";
}

/// (world, experts): plain expert parallelism, and 2, 4 and 8 hidden shards.
constexpr std::array<std::array<int, 2>, 9> kGrids = {
    {{1, 4}, {1, 7}, {2, 4}, {4, 8}, {8, 8}, {4, 2}, {8, 2}, {8, 1}, {2, 1}}};

}  // namespace

TEST_CASE("a layer by hand") {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [](switchyard::Communicator& comm) {
    switchyard::ParallelMlpConfig config;
    config.num_experts = 2;
    config.hidden = 1;
    config.ffn_hidden = 1;
    config.activation = {switchyard::Activation::relu2, switchyard::GateLayout::plain};
    cpu::ParallelMlp layer(comm, config);
    Matrix const tokens = support::matrix_of(DType::bf16, 1, {2, 1});
    Matrix const w1 = support::matrix_of(DType::bf16, 1, {1, 2});
    Matrix const w2 = support::matrix_of(DType::bf16, 1, {1, 3});
    Matrix const bias = support::matrix_of(DType::bf16, 1, {10});
    auto const routing = switchyard::RoutingMap::from_topk(2, 2, 1, {1, 1}, {0.5f, 0.25f});
    cpu::ParallelMlpInputs inputs;
    inputs.tokens = tokens.view();
    inputs.routing = &routing;
    inputs.weights.w1 = {w1.bytes.data(), DType::bf16, {2, 1, 1}};
    inputs.weights.w2 = {w2.bytes.data(), DType::bf16, {2, 1, 1}};
    inputs.bias = bias.view();
    Matrix out = support::matrix_of(DType::bf16, 1, {-1, -1});
    auto const returned = layer.forward(inputs, out.mutable_view());
    CHECK(returned.data() == bias.bytes.data());  // return_bias: left to the caller
    CHECK(out.bytes == support::matrix_of(DType::bf16, 1, {24, 0}).bytes);
    config.return_bias = false;
    cpu::ParallelMlp adding(comm, config);
    CHECK(adding.forward(inputs, out.mutable_view()).data() == nullptr);
    CHECK(out.bytes == support::matrix_of(DType::bf16, 1, {34, 10}).bytes);
    Matrix in_place = tokens;
    inputs.tokens = in_place.view();
    CHECK(adding.forward(inputs, in_place.mutable_view()).data() == nullptr);
    CHECK(in_place.bytes == out.bytes);
  });
}

TEST_CASE("every grid x bins x dtype, forward and backward, equals the plain loops") {
  for (auto const& [world, experts] : kGrids)
    for (ExpertBins const bins : {ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks})
      for (DType const dtype : {DType::f32, DType::bf16, DType::f16}) {
        CAPTURE(world);
        CAPTURE(experts);
        CAPTURE(to_string(bins));
        CAPTURE(to_string(dtype));
        CHECK(difference(megablocks_case(world, experts, dtype, bins)) == "");
      }
}

TEST_CASE("capacities that drop: per source and destination as the peer counts them") {
  for (auto const& [world, experts] : kGrids) {
    std::int64_t dropped = 0;
    for (double const factor : {0.15, 0.3, 1.2}) {
      MegaBlocksCase c = megablocks_case(world, experts, DType::bf16, ExpertBins::capacity);
      c.config.capacity_factor = factor;
      c.config.top_k = 1;
      c.fixed_tokens = 6;  // hidden shards with a factor need equally many
      CAPTURE(world);
      CAPTURE(experts);
      CAPTURE(factor);
      CHECK(difference(c) == "");
      auto const data = support::megablocks_data(c);
      auto const shards = switchyard::megablocks_grid(world, experts).hidden_shards;
      for (auto const& result : support::run_megablocks_ranks(c, data)) {
        dropped += shards * result.step.routing.num_choices();
        for (auto const& block : result.step.blocks) dropped -= block.rows;
      }
    }
    CHECK((dropped > 0 || experts == 1));
  }
}

TEST_CASE("gated experts, other activations, and what returning the bias leaves out") {
  for (auto const layout : {switchyard::GateLayout::split, switchyard::GateLayout::interleaved}) {
    MegaBlocksCase c = megablocks_case(4, 2, DType::bf16, ExpertBins::exact);
    c.config.activation = {switchyard::Activation::silu, layout};
    CHECK(difference(c) == "");
    c.config.return_bias = true;
    CHECK(difference(c) == "");
    c.biased = false;
    CHECK(difference(c) == "");
  }
}

TEST_CASE("results kept as int8 codes change the gradients of router weights alone, in all grids") {
  for (auto const& [world, experts] : kGrids)
    for (ExpertBins const bins : {ExpertBins::exact, ExpertBins::capacity, ExpertBins::blocks})
      for (DType const dtype : {DType::f32, DType::bf16}) {
        MegaBlocksCase c = megablocks_case(world, experts, dtype, bins);
        auto const data = support::megablocks_data(c);
        auto const plain = support::run_megablocks_ranks(c, data);
        c.config.quantize_scatter_num_bits = 8;
        CAPTURE(world);
        CAPTURE(experts);
        CAPTURE(to_string(bins));
        CHECK(difference(c) == "");
        auto const coded = support::run_megablocks_ranks(c, data);
        bool weights_differ = false;
        for (std::size_t r = 0; r < plain.size(); ++r) {
          CHECK(coded[r].output == plain[r].output);
          CHECK(coded[r].d_tokens == plain[r].d_tokens);
          CHECK(same_bits(coded[r].d_w1, plain[r].d_w1));
          CHECK(coded[r].step.expert_rows.empty());
          weights_differ = weights_differ || !same_bits(coded[r].d_weights, plain[r].d_weights);
        }
        CHECK(weights_differ);
      }
}

TEST_CASE("no tokens, all tokens for one expert, and nothing but dropped choices") {
  for (auto const& [world, experts] : kGrids) {
    MegaBlocksCase c = megablocks_case(world, experts, DType::bf16, ExpertBins::exact);
    c.fixed_tokens = 0;
    for (int const bits : {-1, 8}) {
      c.config.quantize_scatter_num_bits = bits;
      CAPTURE(world);
      CAPTURE(experts);
      CHECK(difference(c) == "");
    }
  }
}

TEST_CASE("host counts: the splits of the exchange, and batch sizes in which nobody's expert is a 0") {
  for (auto const& [world, experts] : kGrids) {
    MegaBlocksCase const c = megablocks_case(world, experts, DType::bf16, ExpertBins::exact);
    auto const data = support::megablocks_data(c);
    auto const results = support::run_megablocks_ranks(c, data);
    std::vector<std::vector<std::int64_t>> sends;
    for (auto const& result : results) sends.push_back(host_counts(result.step.plan).send_rows);
    auto const blocks = static_cast<std::size_t>(std::min(world, experts));
    auto const local = static_cast<std::size_t>(experts) / blocks;
    for (std::size_t r = 0; r < results.size(); ++r) {
      auto const counts = host_counts(results[r].step.plan);
      REQUIRE(counts.rows_per_expert.size() == local);
      for (std::size_t l = 0; l < local; ++l) {
        auto const expert = static_cast<std::int32_t>(r % blocks * local + l);
        std::int64_t chosen = 0;
        for (auto const& routing : data.routings)
          chosen += std::count(routing.ids().begin(), routing.ids().end(), expert);
        CHECK(counts.rows_per_expert[l] == chosen);
      }
      CHECK(counts.receive_rows.size() == (world == 1 ? 0U : results.size()));
      for (std::size_t peer = 0; peer < counts.receive_rows.size(); ++peer)
        CHECK(counts.receive_rows[peer] == sends[peer][r]);
    }
  }
}

TEST_CASE("layers save for the loss before anything moves, and the caller clears") {
  MegaBlocksCase const c = megablocks_case(2, 4, DType::bf16, ExpertBins::exact);
  auto const data = support::megablocks_data(c);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 2, {}, [&](switchyard::Communicator& comm) {
    auto const r = comm.rank().index();
    cpu::ParallelMlp layer(comm, c.config);
    auto const own = support::megablocks_weights(c, data, layer.mlp(), comm.rank().value());
    switchyard::LoadBalancingConfig loss_config;
    loss_config.num_experts = 4;
    loss_config.top_k = 2;
    loss_config.num_layers = 2;
    switchyard::LoadBalancingLoss losses(loss_config);
    std::vector<float> const scores(static_cast<std::size_t>(data.tokens[r].rows() * 4), 0.25f);
    cpu::ParallelMlpInputs inputs;
    inputs.tokens = data.tokens[r].view();
    inputs.routing = &data.routings[r];
    inputs.weights = support::weight_views(own, layer.mlp(), false);
    inputs.losses = &losses;
    inputs.scores = scores;
    auto out = support::poison(data.tokens[r].bytes.size());
    switchyard::TensorView const view(out.data(), DType::bf16, {data.tokens[r].rows(), c.config.hidden});
    for (int const layer_number : {1, 0}) {
      inputs.layer = layer_number;
      (void)layer.forward(inputs, view);
    }
    CHECK(losses.num_saved() == 2);
    // Uniform scores: 4 * 0.1 / (2 * T * 2) * 2 layers * choices / 4 = 0.05 * choices / T.
    auto const tokens = static_cast<float>(data.tokens[r].rows());
    auto const choices = static_cast<float>(data.routings[r].num_choices());
    CHECK(losses.loss() == doctest::Approx(0.05f * choices / tokens));
    auto const again = support::error_text(ErrorCode::invalid_argument, [&] { return layer.forward(inputs, view); });
    CHECK(contains(again, "layer 0 saves for a load-balancing loss twice"));
    losses.clear();
    (void)layer.forward(inputs, view);
    CHECK(losses.num_saved() == 1);
  });
}

TEST_CASE("workers and schedules of the ranks change nothing") {
  MegaBlocksCase const c = megablocks_case(8, 2, DType::bf16, ExpertBins::capacity);
  for (int const workers : {1, 2, 7}) {
    cpu::set_worker_count(workers);
    CHECK(difference(c) == "");
  }
  cpu::set_worker_count(0);
}

TEST_CASE("operands that do not fit are refused, both sides named") {
  MegaBlocksCase const c = megablocks_case(1, 4, DType::bf16, ExpertBins::exact);
  auto const data = support::megablocks_data(c);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](switchyard::Communicator& comm) {
    cpu::ParallelMlp layer(comm, c.config);
    auto const own = support::megablocks_weights(c, data, layer.mlp(), 0);
    cpu::ParallelMlpInputs good;
    good.tokens = data.tokens[0].view();
    good.routing = data.routings.data();
    good.weights = support::weight_views(own, layer.mlp(), false);
    auto out = support::poison(data.tokens[0].bytes.size());
    switchyard::TensorView const view(out.data(), DType::bf16, {3, 35});
    auto const refusal = [&](ErrorCode code, cpu::ParallelMlpInputs const& inputs) {
      return support::error_text(code, [&] { return layer.forward(inputs, view); });
    };
    auto bad = good;
    bad.weights = support::weight_views(own, layer.mlp(), true);
    CHECK(contains(refusal(ErrorCode::unsupported, bad), "no biases of their own"));
    bad = good;
    bad.tokens = {data.tokens[0].bytes.data(), DType::f16, {3, 35}};
    CHECK(contains(refusal(ErrorCode::shape_mismatch, bad), "tokens are f16 and outputs bf16, the layer computes on"));
    bad = good;
    auto const other = switchyard::RoutingMap::from_topk(3, 5, 1, {0, 1, 2}, {1, 1, 1});
    bad.routing = &other;
    CHECK(contains(refusal(ErrorCode::shape_mismatch, bad), "top-1 over 5 experts for a layer of top-2 over 4"));
    auto const dense = data.routings[0].to_dense();
    bad.routing = &dense;
    CHECK(contains(refusal(ErrorCode::invalid_argument, bad), "take a top-k routing"));
    std::vector<float> const bias(35, 1.0f);
    bad = good;
    bad.bias = {bias.data(), DType::f32, {35}};
    CHECK(contains(refusal(ErrorCode::shape_mismatch, bad), "the bias is f32, the layer computes on bf16"));
    CHECK(out == support::poison(out.size()));

    auto config = c.config;
    config.quantize_scatter_num_bits = 4;
    auto const configured = [&](ErrorCode code) {
      return support::error_text(code, [&] {
        config.validate();
        return 0;
      });
    };
    CHECK(contains(configured(ErrorCode::unsupported), "quantize_scatter_num_bits of 4"));
    config = c.config;
    config.world = 3;
    CHECK(contains(configured(ErrorCode::invalid_argument), "4 experts on 3 ranks"));
    config.world = 8;
    config.ffn_hidden = 25;
    CHECK(contains(configured(ErrorCode::invalid_argument), "FFN dimension of 25 cannot be cut into 2 hidden shards"));
    config.world = 64;
    config.ffn_hidden = 32;
    CHECK(contains(configured(ErrorCode::unsupported), "16"));
  });
}
