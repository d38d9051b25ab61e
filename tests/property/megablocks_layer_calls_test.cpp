// SPDX-License-Identifier: Apache-2.0
// ParallelMlp's calls: the counts that a host needs, what layers leave for the balance loss, and refusals.
//
// Host counts by hand: 2 ranks, 2 experts, top-1; rank 0 sends its only token to expert 1, rank 1 has none. Rank 1
// receives one row from rank 0, its expert's batch size is 1; the expert of rank 0 has a batch of 0 rows.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/error_text.hpp"
#include "support/megablocks_cases.hpp"

namespace {

using support::contains;
using support::DType;
using support::megablocks_case;
using support::MegaBlocksCase;
using switchyard::ErrorCode;
using switchyard::ExpertBins;
namespace cpu = switchyard::cpu;

/// (world, experts)
constexpr std::array<std::array<int, 2>, 4> kGrids = {{{1, 4}, {2, 4}, {8, 8}, {8, 2}}};

}  // namespace

TEST_CASE("host counts by hand") {
  switchyard::MegaBlocksConfig config;
  config.world = 2;
  config.bins = ExpertBins::exact;
  std::vector<switchyard::RoutingMap> const routings = {switchyard::RoutingMap::from_topk(1, 2, 1, {1}, {1}),
                                                        switchyard::RoutingMap::from_topk(0, 2, 1, {}, {})};
  auto const plans = plan_megablocks_group(config, routings, switchyard::ExpertPlacement::contiguous(1, 2, 2), 0);
  CHECK(host_counts(plans[0]) == switchyard::HostCounts{{0, 1}, {0, 0}, {0}});
  CHECK(host_counts(plans[1]) == switchyard::HostCounts{{0, 0}, {1, 0}, {1}});
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
