// SPDX-License-Identifier: Apache-2.0
// MoeLayer: every way to move rows with the exact experts, against a dense answer that knows no ranks, bit for bit.
//
// By hand: one rank, two experts with relu2 of one unit, w1 = 1 and 2, w2 = 1 and 3, token x = 2 chooses both with
// weights 0.5 and 0.25: 0.5 * (2^2 * 1) + 0.25 * (4^2 * 3) = 2 + 12 = 14.
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "support/layer_cases.hpp"

namespace {

using support::contains;
using support::DType;
using support::ExpertOperands;
using support::layer_batch;
using support::layer_case;
using support::LayerCase;
using support::RankLayer;
using switchyard::ErrorCode;
using switchyard::QuantizeWhen;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::RowFormat;
namespace cpu = switchyard::cpu;
using cpu::PrepareKind;

ExpertOperands weights_of(LayerCase const& c) {
  std::mt19937_64 random(c.seed + 77);
  return support::random_weights(random, c.mlp);
}

/// Runs one forward on all ranks, outputs poisoned, and compares every rank with the dense answer.
/// @return ranks that differ
int differing_ranks(LayerCase const& c) {
  ExpertOperands const whole = weights_of(c);
  std::vector<int> differs(static_cast<std::size_t>(c.world()), 0);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
    RankLayer rank(c, whole, comm);
    auto const batch = layer_batch(c, comm.rank().value());
    auto const before = batch.tokens.bytes;
    auto out = support::poison(batch.tokens.bytes.size());
    rank.layer->forward(batch.tokens.view(), batch.routing, rank.weights(), support::output_view(c, out, batch));
    bool const same = out == support::dense_answer(c, whole, batch, comm.rank().value());
    differs[comm.rank().index()] = same && batch.tokens.bytes == before ? 0 : 1;
  });
  return static_cast<int>(std::count(differs.begin(), differs.end(), 1));
}

QuantSpec spec_of(QuantScheme scheme) {
  QuantSpec spec;
  spec.scheme = scheme;
  spec.group_columns = 8;
  spec.given_scale = 0.02f;
  spec.tensor_scale = 40.0f;
  return spec;
}

}  // namespace

TEST_CASE("a layer by hand") {
  LayerCase c = layer_case(PrepareKind::no_communication, 1, 1);
  c.mlp.hidden = 1;
  c.mlp.intermediate = 1;
  c.mlp.num_local_experts = 2;
  c.mlp.activation = {switchyard::Activation::relu2, switchyard::GateLayout::plain};
  c.options.hidden = 1;
  c.layer.global_num_experts = -1;
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](switchyard::Communicator& comm) {
    auto const placement = switchyard::ExpertPlacement::contiguous(1, 2, 1);
    auto const prepare = cpu::make_prepare_finalize(c.kind, comm, placement, c.options);
    cpu::ExactExperts const experts(c.mlp);
    switchyard::MoeLayer layer(*prepare, experts, switchyard::exact_experts_traits(), c.layer);
    auto const w1 = support::matrix_of(DType::bf16, 1, {1, 2});
    auto const w2 = support::matrix_of(DType::bf16, 1, {1, 3});
    auto x = support::matrix_of(DType::bf16, 1, {2});
    auto const routing = switchyard::RoutingMap::from_topk(1, 2, 2, {0, 1}, {0.5f, 0.25f});
    switchyard::ExpertWeights weights;
    weights.w1 = {w1.bytes.data(), DType::bf16, {2, 1, 1}};
    weights.w2 = {w2.bytes.data(), DType::bf16, {2, 1, 1}};
    layer.forward(x.view(), routing, weights, x.mutable_view());  // the output may be the tokens
    CHECK(support::fetch(DType::bf16, x.bytes.data()) == 14.0f);
  });
}

TEST_CASE("every way x EP 1, 2, 4, 8 x TP 1, 2, 4, 8 gives the bits of the dense answer") {
  for (PrepareKind const kind : cpu::kAllPrepareKinds)
    for (int const ep : {1, 2, 4, 8})
      for (int const tp : {1, 2, 4, 8}) {
        LayerCase const c = layer_case(kind, ep, tp);
        if (c.local() && tp > 1) continue;  // refused: see below
        CAPTURE(to_string(kind));
        CAPTURE(ep);
        CAPTURE(tp);
        CHECK(differing_ranks(c) == 0);
      }
}

TEST_CASE("every way x quantisation x moment: right where the traits fit, refused with both sides named elsewhere") {
  int allowed = 0;
  for (PrepareKind const kind : cpu::kAllPrepareKinds)
    for (QuantScheme const scheme : switchyard::kAllQuantSchemes)
      for (QuantizeWhen const when : {QuantizeWhen::before_exchange, QuantizeWhen::after_exchange}) {
        // A scale over all rows of a rank is the dense one only where the rank sees all rows.
        LayerCase c = layer_case(kind, scheme == QuantScheme::fp8_tensor_dynamic ? 1 : 2, 1);
        if (!c.local() && scheme != QuantScheme::fp8_tensor_dynamic) c.options.grid.tp = 2;
        c.options.quantize = when;
        c.options.quant = spec_of(scheme);
        c.keep_all = true;
        CAPTURE(to_string(kind));
        CAPTURE(to_string(scheme));
        CAPTURE(to_string(when));
        auto const reason = incompatibility(cpu::prepare_traits(kind, c.options), switchyard::exact_experts_traits());
        if (reason) {
          CHECK(contains(*reason, to_string(kind)));
          CHECK(contains(*reason, to_string(scheme)));
          CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { return differing_ranks(c); }),
                         std::string(*reason)));
          continue;
        }
        ++allowed;
        CHECK(differing_ranks(c) == 0);
      }
  CHECK(allowed == 6 * 19);
}

TEST_CASE("router weights on the input, before the quantisation, for every way and row dtype") {
  for (PrepareKind const kind : cpu::kAllPrepareKinds)
    for (DType const dtype : {DType::f32, DType::bf16, DType::f16})
      for (bool const quantised : {false, true}) {
        LayerCase c = layer_case(kind, 2, 1);
        c.top_k = 1;
        c.layer.router_weight_on_input = true;
        c.mlp.dtype = dtype;
        c.options.dtype = dtype;
        if (quantised) {
          c.options.quantize = QuantizeWhen::before_exchange;
          c.options.quant = spec_of(QuantScheme::fp8_group);
        }
        CAPTURE(to_string(kind));
        CAPTURE(to_string(dtype));
        CHECK(differing_ranks(c) == 0);
      }
}

TEST_CASE("other activations, plain forms and a layer in which no rank has a token") {
  for (auto const activation : switchyard::kAllActivations) {
    LayerCase c = layer_case(PrepareKind::flex, 4, 2);
    c.mlp.activation = {activation, switchyard::GateLayout::interleaved};
    CHECK(differing_ranks(c) == 0);
  }
  LayerCase const c = layer_case(PrepareKind::low_latency, 4, 2);
  ExpertOperands const whole = weights_of(c);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, c.world(), {}, [&](switchyard::Communicator& comm) {
    RankLayer rank(c, whole, comm);
    auto const routing = switchyard::RoutingMap::from_topk(0, 8, 2, {}, {});
    rank.layer->forward({nullptr, DType::bf16, {0, 19}}, routing, rank.weights(), {nullptr, DType::bf16, {0, 19}});
  });
}

TEST_CASE(
    "two micro-batches, rows of one in flight while the other's experts run, give "
    "the bits of one after the other, for several schedules of the ranks") {
  for (PrepareKind const kind : cpu::kAllPrepareKinds)
    for (std::uint64_t const seed : {0u, 5u, 6u}) {
      LayerCase c = layer_case(kind, 4, 1);
      c.options.quantize = QuantizeWhen::before_exchange;
      c.options.quant = spec_of(QuantScheme::fp8_token);
      ExpertOperands const whole = weights_of(c);
      auto const scheduler = cpu::make_cooperative_scheduler(seed);
      std::vector<int> good(4, 0);
      cpu::run_ranks(*scheduler, 4, {}, [&](switchyard::Communicator& comm) {
        RankLayer rank(c, whole, comm);
        auto const a = layer_batch(c, comm.rank().value(), 0);
        auto const b = layer_batch(c, comm.rank().value(), 1);
        auto out_a = support::poison(a.tokens.bytes.size());
        auto out_b = support::poison(b.tokens.bytes.size());
        auto& layer = *rank.layer;
        auto first = layer.start(a.tokens.view(), a.routing);
        layer.receive(first);
        auto second = layer.start(b.tokens.view(), b.routing);
        layer.compute(first, rank.weights());
        layer.receive(second);
        layer.start_finalize(first, support::output_view(c, out_a, a));
        layer.compute(second, rank.weights());  // while the results of the first one travel
        layer.finish_finalize(first);
        layer.start_finalize(second, support::output_view(c, out_b, b));
        layer.finish_finalize(second);
        CHECK(first.parts().size() == 3);
        good[comm.rank().index()] = out_a == support::dense_answer(c, whole, a, comm.rank().value()) &&
                                    out_b == support::dense_answer(c, whole, b, comm.rank().value());
      });
      CAPTURE(to_string(kind));
      CAPTURE(seed);
      CHECK(good == std::vector<int>(4, 1));
    }
}

TEST_CASE("given scales of a call are those of the configuration") {
  for (bool const by_experts : {false, true}) {
    LayerCase c = layer_case(PrepareKind::alltoall, 2, 1);
    QuantSpec spec = spec_of(QuantScheme::fp8_tensor);
    spec.given_scale = 0.25f;
    if (!by_experts) c.options.quantize = QuantizeWhen::before_exchange;
    auto const run = [&](QuantSpec const& given) {
      if (by_experts)
        c.mlp.input_quant = given;
      else
        c.options.quant = given;
      c.mlp.activation_quant = given;
      std::vector<std::byte> out;
      ExpertOperands const whole = weights_of(c);
      auto const scheduler = cpu::make_cooperative_scheduler();
      cpu::run_ranks(*scheduler, 2, {}, [&](switchyard::Communicator& comm) {
        RankLayer rank(c, whole, comm);
        auto const batch = layer_batch(c, comm.rank().value());
        auto own = support::poison(batch.tokens.bytes.size());
        rank.layer->forward(batch.tokens.view(), batch.routing, rank.weights(), support::output_view(c, own, batch));
        out.insert(out.end(), own.begin(), own.end());
      });
      return out;
    };
    auto const configured = run(spec);
    c.layer.a1_scale = 0.25f;
    c.layer.a2_scale = 0.25f;
    spec.given_scale = 1.0f;
    CHECK(run(spec) == configured);
    c.layer.a2_scale = 8.0f;
    CHECK(run(spec) != configured);
  }
}

namespace {

/// The text of what composing, or running, `c` throws.
std::string refusal(ErrorCode code, LayerCase const& c) {
  return support::error_text(code, [&] { return differing_ranks(c); });
}

}  // namespace

TEST_CASE("what does not fit is refused at composition, both sides named") {
  LayerCase c = layer_case(PrepareKind::flex, 2, 1);
  c.options.hidden = 20;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "hidden size of flex is 20, of exact 19"));
  c = layer_case(PrepareKind::flex, 2, 1);
  c.options.dtype = DType::f16;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "row dtype of flex is f16, of exact bf16"));
  c = layer_case(PrepareKind::flex, 2, 1);
  c.layer.global_num_experts = -1;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "over 8 experts, the layer has 4 (-1: those of exact)"));
  c = layer_case(PrepareKind::alltoall, 2, 1);
  c.layer.a1_scale = 1.0f;
  c.layer.a2_scale = -1.0f;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "a1_scale is given, but neither alltoall nor exact"));
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "a2_scale is -1"));
  c = layer_case(PrepareKind::alltoall, 2, 1);
  c.options.quantize = QuantizeWhen::after_exchange;
  c.options.quant = spec_of(QuantScheme::fp8_group);
  c.mlp.input_quant = spec_of(QuantScheme::int8_token);
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "alltoall quantises rows by fp8_group, exact wants them by"));
  c = layer_case(PrepareKind::no_communication, 1, 2);
  CHECK(contains(refusal(ErrorCode::unsupported, c), "no_communication with TP size 2"));
  c = layer_case(PrepareKind::low_latency, 2, 1);
  c.options.max_tokens_per_rank.reset();
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "low_latency delivers fixed batches"));
  c = layer_case(PrepareKind::low_latency, 2, 1);
  c.options.max_tokens_per_rank = 2;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "tokens on this rank, low_latency takes 2"));
  c = layer_case(PrepareKind::allgather, 2, 1);
  c.layer.router_weight_on_input = true;
  CHECK(contains(refusal(ErrorCode::invalid_argument, c), "only top_k 1 can do that"));
  c = layer_case(PrepareKind::allgather, 2, 2);
  c.options.recipe = switchyard::CombineRecipe::megatron_allgather();
  CHECK(contains(refusal(ErrorCode::unsupported, c), "a bias on joined rows with megatron_allgather"));
}

TEST_CASE("problem sizes follow from the weights, packed ones included") {
  QuantSpec const spec = spec_of(QuantScheme::nvfp4);
  auto const m1 = switchyard::QuantizedMatrix::make(spec, 10, 7);
  auto const m2 = switchyard::QuantizedMatrix::make(spec, 7, 5);
  std::vector<switchyard::QuantizedView> const w1(3, m1.view());
  std::vector<switchyard::QuantizedView> const w2(3, m2.view());
  switchyard::ExpertWeights weights;
  weights.w1_codes = w1;
  weights.w2_codes = w2;
  CHECK(problem_of(weights) == switchyard::MoeProblem{3, 10, 7});
  weights.w2_codes = std::span(w2).first(2);
  CHECK(contains(support::error_text(ErrorCode::shape_mismatch, [&] { return problem_of(weights); }),
                 "w1 holds 3 experts, w2 2"));
}

TEST_CASE("halves out of order are refused") {
  LayerCase const c = layer_case(PrepareKind::alltoall, 1, 1);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](switchyard::Communicator& comm) {
    auto const placement = switchyard::ExpertPlacement::contiguous(1, 8, 1);
    auto const one = cpu::make_prepare_finalize(c.kind, comm, placement, c.options);
    auto const other = cpu::make_prepare_finalize(c.kind, comm, placement, c.options);
    auto const data = layer_batch(c, 0);
    auto const batch = one->start_prepare({data.tokens.view(), &data.routing});
    CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { one->finish_finalize(*batch); }),
                   "the batch is started, but the call is for one that is being finalised"));
    CHECK(contains(support::error_text(ErrorCode::invalid_argument, [&] { (void)other->finish_prepare(*batch, {}); }),
                   "by another object"));
    switchyard::WorkspaceMemory memory;
    (void)one->finish_prepare(*batch, memory.reserve(one->prepared_bytes(*batch)));
  });
}
