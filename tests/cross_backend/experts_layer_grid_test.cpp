// SPDX-License-Identifier: Apache-2.0
// A training step of a MoE layer has one result: every way to move rows, EP 1, 2, 4, 8 and TP 1, 2, 4, 8 give the bits
// of one plain-loop oracle that knows no ranks, forward and backward.
//
// By hand: one expert, relu2 of one unit, w1 = 2, w2 = 5, b2 = 1; token x = 3 with weight 0.5, dy = 2. h = 6, a = 36,
// y = 181, output 90.5 (bf16 of 181 is 181). Backward: d_result = 1, d_weight = 181 * 2 = 362, da = 5, dh = 60,
// dx = 120, dw1 = 180, dw2 = 36, db1 = 60, db2 = 1.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>

#include "support/error_text.hpp"
#include "support/layer_training.hpp"

namespace {

using support::contains;
using support::DType;
using support::ExpertOperands;
using support::layer_case;
using support::LayerCase;
using support::RankBatch;
using support::RankLayer;
using support::RankResults;
using support::TrainingBatch;
using switchyard::CombineRecipe;
using switchyard::ErrorCode;
namespace cpu = switchyard::cpu;
using cpu::PrepareKind;

constexpr std::int64_t kTokens = 29;  // fewer than the largest group has ranks

ExpertOperands weights_of(LayerCase const& c) {
  std::mt19937_64 random(c.seed + 77);
  return support::random_weights(random, c.mlp);
}

switchyard::TensorView output_view(LayerCase const& c, RankResults& results) {
  return {results.output.data(), c.mlp.dtype, results.views.d_tokens.shape()};
}

/// A step on all ranks. @return what differs from the oracle, by rank
std::string run_step(LayerCase const& c, TrainingBatch const& batch, oracle::MoeAnswer const& answer) {
  ExpertOperands const whole = weights_of(c);
  std::vector<std::string> differs(static_cast<std::size_t>(c.world()));
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
    int const rank = comm.rank().value();
    RankLayer layer(c, whole, comm);
    RankBatch const own(c, batch, rank);
    RankResults results(layer.mlp, own.routing.num_tokens(), c.top_k);
    auto context = layer.layer->forward_training(own.tokens, own.routing, layer.weights(), output_view(c, results));
    layer.layer->backward(context, own.d_output, layer.weights(), results.views);
    differs[comm.rank().index()] = support::differences(c, answer, results, layer.mlp, rank, batch.count());
  });
  for (std::size_t rank = 0; rank < differs.size(); ++rank)
    if (!differs[rank].empty()) return "rank " + std::to_string(rank) + ": " + differs[rank];
  return "";
}

struct NamedSums {
  CombineRecipe recipe;
  oracle::TermSum sum;
  CombineRecipe gradient_recipe;
  oracle::TermSum gradient_sum;
};

/// The recipes whose bits depend on no placement and no rank count.
std::vector<NamedSums> promising_recipes() {
  auto const slot = CombineRecipe::source_slot_order();
  auto const expert = CombineRecipe::source_expert_order();
  auto const exact = CombineRecipe::exact();
  return {{slot, oracle::source_slot_order, slot, oracle::source_slot_order},
          {exact, oracle::exact, exact, oracle::exact},
          {expert, oracle::source_expert_order, expert, oracle::source_expert_order},
          {CombineRecipe::megablocks(), oracle::megablocks, expert, oracle::source_expert_order}};
}

std::vector<std::array<int, 2>> grids(std::vector<int> const& sizes) {
  std::vector<std::array<int, 2>> all;
  for (int const ep : sizes)
    for (int const tp : sizes) all.push_back({ep, tp});
  return all;
}

/// Every way with an exchange on these grids (EP, TP) against one answer. @return the gradients of tokens
std::vector<oracle::Row> check_grids(DType dtype, int top_k, NamedSums const& sums,
                                     std::vector<std::array<int, 2>> const& all) {
  LayerCase c = layer_case(PrepareKind::alltoall, 1, 1);
  c.mlp.dtype = c.options.dtype = dtype;
  c.mlp.rounding = switchyard::ExpertRounding::every_store(dtype);
  c.top_k = top_k;
  c.options.max_tokens_per_rank = kTokens;
  c.options.recipe = sums.recipe;
  c.options.gradient_recipe = sums.gradient_recipe;
  TrainingBatch const batch = support::training_batch(c, kTokens, 20251122);
  oracle::MoeLayer layer = support::oracle_layer(c, weights_of(c));
  layer.sum = sums.sum;
  layer.gradient_sum = sums.gradient_sum;
  auto const answer = run_layer(layer, support::oracle_batch(batch));
  for (PrepareKind const kind :
       {PrepareKind::allgather, PrepareKind::alltoall, PrepareKind::flex, PrepareKind::low_latency})
    for (auto const& grid : all) {
      c.kind = kind;
      c.options.grid = {grid[1], grid[0]};
      CAPTURE(to_string(kind));
      CAPTURE(to_string(sums.recipe));
      CAPTURE(c.options.grid.ep);
      CAPTURE(c.options.grid.tp);
      CHECK(run_step(c, batch, answer) == "");
    }
  return answer.d_tokens;
}

oracle::MoeLayer oracle_of(LayerCase const& c) {
  return support::oracle_layer(c, weights_of(c));
}

}  // namespace

TEST_CASE("a training step by hand") {
  LayerCase c = layer_case(PrepareKind::no_communication, 1, 1);
  c.mlp.hidden = c.mlp.intermediate = 1;
  c.mlp.num_local_experts = 1;
  c.mlp.activation = {switchyard::Activation::relu2, switchyard::GateLayout::plain};
  auto const w1 = support::matrix_of(DType::bf16, 1, {2});
  auto const w2 = support::matrix_of(DType::bf16, 1, {5});
  auto const b1 = support::matrix_of(DType::f32, 1, {0});
  auto const b2 = support::matrix_of(DType::bf16, 1, {1});
  switchyard::ExpertWeights weights;
  weights.w1 = {w1.bytes.data(), DType::bf16, {1, 1, 1}};
  weights.w2 = {w2.bytes.data(), DType::bf16, {1, 1, 1}};
  weights.b1 = {b1.bytes.data(), DType::f32, {1, 1}};
  weights.b2 = {b2.bytes.data(), DType::bf16, {1, 1}};
  c.options.hidden = 1;
  c.layer.global_num_experts = -1;
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](switchyard::Communicator& comm) {
    auto const placement = switchyard::ExpertPlacement::contiguous(1, 1, 1);
    auto const prepare = cpu::make_prepare_finalize(c.kind, comm, placement, c.options);
    cpu::ExactExperts const experts(c.mlp);
    switchyard::MoeLayer layer(*prepare, experts, switchyard::exact_experts_traits(), c.layer);
    auto const x = support::matrix_of(DType::bf16, 1, {3});
    auto const dy = support::matrix_of(DType::bf16, 1, {2});
    auto const routing = switchyard::RoutingMap::from_topk(1, 1, 1, {0}, {0.5f});
    RankResults results(c.mlp, 1, 1);
    auto context = layer.forward_training(x.view(), routing, weights, output_view(c, results));
    layer.backward(context, dy.view(), weights, results.views);
    CHECK(support::fetch(DType::bf16, results.output.data()) == 90.5f);
    CHECK(results.d_weights == std::vector<float>{362});
    CHECK(support::fetch(DType::bf16, results.d_tokens.data()) == 120.0f);
    CHECK(results.d_w1 == std::vector<float>{180});
    CHECK(results.d_w2 == std::vector<float>{36});
    CHECK(results.d_b1 == std::vector<float>{60});
    CHECK(results.d_b2 == std::vector<float>{1});
    CHECK(contains(support::error_text(ErrorCode::invalid_argument,
                                       [&] { layer.backward(context, dy.view(), weights, results.views); }),
                   "the context's backward is over"));
  });
}

TEST_CASE("every way with an exchange x EP x TP gives one result on bf16, forward and backward") {
  auto const recipes = promising_recipes();
  for (std::size_t const i : {0u, 1u}) (void)check_grids(DType::bf16, 2, recipes[i], grids({1, 2, 4, 8}));
}

TEST_CASE(
    "every recipe that promises it, on f32 rows, where the orders differ; all grids with SWITCHYARD_EXHAUSTIVE=1") {
  bool const all = std::getenv("SWITCHYARD_EXHAUSTIVE") != nullptr;
  std::vector<std::vector<oracle::Row>> gradients;
  for (NamedSums const& sums : promising_recipes())
    gradients.push_back(
        check_grids(DType::f32, 4, sums, all ? grids({1, 2, 4, 8}) : std::vector<std::array<int, 2>>{{2, 4}, {8, 2}}));
  CHECK(gradients[0] != gradients[1]);
  CHECK(gradients[0] != gradients[2]);
  CHECK(gradients[1] != gradients[2]);
}

TEST_CASE("pairs without communication: the same result on one rank, the choices of own experts on more") {
  for (PrepareKind const kind : {PrepareKind::no_communication, PrepareKind::no_communication_batched})
    for (int const ep : {1, 2, 4, 8}) {
      LayerCase c = layer_case(kind, ep, 1);
      c.options.max_tokens_per_rank = kTokens;
      TrainingBatch batch = support::training_batch(c, kTokens, 20251122);
      TrainingBatch seen = batch;
      support::keep_local_choices(c, seen);
      CAPTURE(to_string(kind));
      CAPTURE(ep);
      CHECK((ep == 1) == (seen.ids == batch.ids));
      CHECK(run_step(c, batch, run_layer(oracle_of(c), support::oracle_batch(seen))) == "");
    }
}

TEST_CASE("router weights on the input, other dtypes, plain forms, no biases") {
  for (PrepareKind const kind : cpu::kAllPrepareKinds)
    for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
      for (bool const on_input : {false, true}) {
        LayerCase c = layer_case(kind, 2, 1);
        if (!c.local()) c.options.grid.tp = 2;
        c.top_k = on_input ? 1 : 3;
        c.layer.router_weight_on_input = on_input;
        c.mlp.dtype = c.options.dtype = dtype;
        c.mlp.activation = {switchyard::Activation::gelu, switchyard::GateLayout::plain};
        c.biased = on_input;
        c.options.max_tokens_per_rank = kTokens;
        TrainingBatch const batch = support::training_batch(c, kTokens, 7);
        TrainingBatch seen = batch;
        if (c.local()) support::keep_local_choices(c, seen);
        CAPTURE(to_string(kind));
        CAPTURE(to_string(dtype));
        CAPTURE(on_input);
        CHECK(run_step(c, batch, run_layer(oracle_of(c), support::oracle_batch(seen))) == "");
      }
}

TEST_CASE("two micro-batches overlap both ways and backward, for several schedules of the ranks") {
  for (PrepareKind const kind :
       {PrepareKind::allgather, PrepareKind::alltoall, PrepareKind::flex, PrepareKind::low_latency})
    for (std::uint64_t const seed : {0u, 5u, 6u}) {
      LayerCase c = layer_case(kind, 2, 2);
      c.options.max_tokens_per_rank = kTokens;
      ExpertOperands const whole = weights_of(c);
      TrainingBatch const batches[2] = {support::training_batch(c, kTokens, 1), support::training_batch(c, kTokens, 2)};
      oracle::MoeAnswer const answers[2] = {run_layer(oracle_of(c), support::oracle_batch(batches[0])),
                                            run_layer(oracle_of(c), support::oracle_batch(batches[1]))};
      std::vector<std::string> differs(4);
      auto const scheduler = cpu::make_cooperative_scheduler(seed);
      cpu::run_ranks(*scheduler, 4, {}, [&](switchyard::Communicator& comm) {
        int const rank = comm.rank().value();
        RankLayer of_rank(c, whole, comm);
        auto& layer = *of_rank.layer;
        RankBatch const a(c, batches[0], rank);
        RankBatch const b(c, batches[1], rank);
        RankResults out_a(of_rank.mlp, a.routing.num_tokens(), c.top_k);
        RankResults out_b(of_rank.mlp, b.routing.num_tokens(), c.top_k);
        auto const weights = of_rank.weights();
        auto first = layer.start_training(a.tokens, a.routing);
        layer.receive(first);
        auto second = layer.start_training(b.tokens, b.routing);
        layer.compute(first, weights);  // while rows of the second travel
        layer.receive(second);
        layer.start_finalize(first, output_view(c, out_a));
        layer.compute(second, weights);  // while results of the first travel
        layer.finish_finalize(first);
        layer.start_finalize(second, output_view(c, out_b));
        layer.finish_finalize(second);
        auto back_a = layer.keep(std::move(first));
        auto back_b = layer.keep(std::move(second));
        layer.receive_gradients(back_b, b.d_output, out_b.views);
        layer.receive_gradients(back_a, a.d_output, out_a.views);
        layer.compute_gradients(back_b, weights, out_b.views);
        layer.start_token_gradients(back_b, out_b.views);
        layer.compute_gradients(back_a, weights, out_a.views);  // while gradients of the second travel
        layer.finish_token_gradients(back_b);
        layer.start_token_gradients(back_a, out_a.views);
        layer.finish_token_gradients(back_a);
        differs[comm.rank().index()] = support::differences(c, answers[0], out_a, of_rank.mlp, rank, kTokens) +
                                       support::differences(c, answers[1], out_b, of_rank.mlp, rank, kTokens);
      });
      CAPTURE(to_string(kind));
      CAPTURE(seed);
      CHECK(differs == std::vector<std::string>(4));
    }
}

TEST_CASE("what has no backward is refused") {
  auto const refusal = [](ErrorCode code, LayerCase const& c) {
    TrainingBatch const batch = support::training_batch(c, 5, 3);
    return support::error_text(code, [&] { return run_step(c, batch, {}); });
  };
  LayerCase c = layer_case(PrepareKind::flex, 1, 1);
  c.options.quantize = switchyard::QuantizeWhen::before_exchange;
  c.options.quant.emplace().scheme = switchyard::QuantScheme::fp8_token;
  CHECK(contains(refusal(ErrorCode::unsupported, c), "a backward through rows that flex or exact quantises"));
  c = layer_case(PrepareKind::no_communication, 1, 1);
  c.options.gradient_recipe = CombineRecipe::exact();
  CHECK(contains(refusal(ErrorCode::unsupported, c), "no_communication sums by source_slot_order, not by exact"));
  c = layer_case(PrepareKind::alltoall, 1, 1);
  auto const scheduler = cpu::make_cooperative_scheduler();
  for (bool const on_input : {false, true}) {
    c.top_k = 1;
    c.layer.router_weight_on_input = on_input;
    cpu::run_ranks(*scheduler, 1, {}, [&](switchyard::Communicator& comm) {
      RankLayer layer(c, weights_of(c), comm);
      TrainingBatch batch = support::training_batch(c, 3, 3);
      RankBatch const own(c, batch, 0);
      auto step = layer.layer->start(own.tokens, own.routing);
      layer.layer->receive(step);
      CHECK(
          contains(support::error_text(ErrorCode::invalid_argument, [&] { (void)layer.layer->keep(std::move(step)); }),
                   "begin it with start_training()"));
      auto training = layer.layer->start_training(own.tokens, own.routing);
      layer.layer->receive(training);
      layer.layer->compute(training, layer.weights());
      auto const in_place = [&] { layer.layer->start_finalize(training, batch.tokens.mutable_view()); };
      if (!on_input) return in_place();  // nothing reads the tokens again
      CHECK(contains(support::error_text(ErrorCode::invalid_argument, in_place), "give it memory of its own"));
    });
  }
}
