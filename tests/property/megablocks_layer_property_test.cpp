// SPDX-License-Identifier: Apache-2.0
// ParallelMlp against plain loops over all ranks, bit for bit: outputs and every gradient, in every grid of ranks and
// hidden shards, bin and row dtype.
//
// By hand: one rank, two experts with relu2 of one unit, w1 = 1 and 2, w2 = 1 and 3, bins of one row (factor 1 of two
// tokens over two experts, top-1). Tokens 2 and 1 both choose expert 1 with weights 0.5 and 0.25: token 1 finds the bin
// full. Token 0: 0.5 * 3 * (2 * 2)^2 = 24, plus the bias 10; token 1: the bias alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "support/error_text.hpp"
#include "support/megablocks_cases.hpp"
#include "switchyard/cpu/instruction_set.hpp"
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
      for (std::int32_t const expert : {-1, 0, experts - 1}) {
        MegaBlocksCase one = c;
        one.every_choice = expert;  // twice per token, with top-2
        one.fixed_tokens = -1;
        CAPTURE(expert);
        CHECK(difference(one) == "");
      }
    }
  }
}

TEST_CASE("workers, instruction sets and threads instead of fibers change nothing") {
  MegaBlocksCase const c = megablocks_case(8, 2, DType::bf16, ExpertBins::capacity);
  for (int const workers : {1, 2, 7}) {
    cpu::set_worker_count(workers);
    CHECK(difference(c) == "");
  }
  cpu::set_worker_count(0);
  for (auto const set : cpu::available_instruction_sets()) {
    cpu::force_instruction_set(set);
    CAPTURE(to_string(set));
    CHECK(difference(c) == "");
  }
  cpu::force_instruction_set({});
  auto const data = support::megablocks_data(c);
  auto const fibers = support::run_megablocks_ranks(c, data);
  auto const threads = cpu::make_thread_scheduler();
  std::vector<int> same(8, 0);
  cpu::run_ranks(*threads, 8, {}, [&](switchyard::Communicator& comm) {
    auto const r = comm.rank().index();
    auto const result = support::run_megablocks_rank(c, data, comm);
    same[r] = result.output == fibers[r].output && result.d_tokens == fibers[r].d_tokens &&
              same_bits(result.d_w1, fibers[r].d_w1) && same_bits(result.d_weights, fibers[r].d_weights);
  });
  CHECK(same == std::vector<int>(8, 1));
}

TEST_CASE("a MoeLayer over AlltoAll with the same recipe gives the same outputs") {
  MegaBlocksCase c = megablocks_case(4, 8, DType::bf16, ExpertBins::exact);
  c.biased = false;
  auto const data = support::megablocks_data(c);
  auto const results = support::run_megablocks_ranks(c, data);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 4, {}, [&](switchyard::Communicator& comm) {
    auto const r = comm.rank().index();
    support::LayerCase layer = support::layer_case(cpu::PrepareKind::alltoall, 4, 1);
    layer.mlp = data.whole;
    layer.options.hidden = c.config.hidden;
    layer.options.recipe = c.config.recipe;
    layer.biased = false;
    support::RankLayer rank(layer, data.operands, comm);
    auto out = support::poison(data.tokens[r].bytes.size());
    rank.layer->forward(data.tokens[r].view(), data.routings[r], rank.weights(),
                        {out.data(), DType::bf16, {data.tokens[r].rows(), c.config.hidden}});
    CHECK(out == results[r].output);
  });
}

TEST_CASE("NaN and infinity in a token stay with that token") {
  MegaBlocksCase c = megablocks_case(2, 4, DType::bf16, ExpertBins::exact);
  c.fixed_tokens = 4;
  c.dropped_choices = false;
  MegaBlocksData data = support::megablocks_data(c);
  auto const clean = support::run_megablocks_ranks(c, data);
  float const special[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  for (float const value : special) {
    MegaBlocksData bad = data;
    bad.tokens[1].values[static_cast<std::size_t>(2 * c.config.hidden)] = value;
    bad.tokens[1] = support::matrix_of(DType::bf16, c.config.hidden, bad.tokens[1].values);
    auto const results = support::run_megablocks_ranks(c, bad);
    CHECK(results[0].output == clean[0].output);
    CHECK(results[0].d_tokens == clean[0].d_tokens);
    auto const row_bytes = static_cast<std::size_t>(c.config.hidden * 2);
    for (std::size_t t = 0; t < 4; ++t) {
      auto const at = static_cast<std::ptrdiff_t>(t * row_bytes);
      bool const same = std::equal(results[1].output.begin() + at,
                                   results[1].output.begin() + at + static_cast<std::ptrdiff_t>(row_bytes),
                                   clean[1].output.begin() + at);
      CHECK(same == (t != 2));
    }
    if (!std::isnan(value)) continue;
    for (std::size_t h = 0; h < 35; ++h)  // one NaN, whoever made it
      CHECK(results[1].output[2 * row_bytes + 2 * h + 1] == std::byte{0x7f});
  }
}
