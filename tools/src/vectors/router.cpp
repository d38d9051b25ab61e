// SPDX-License-Identifier: Apache-2.0
#include "vectors/router.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/routing/losses.hpp"
#include "switchyard/routing/router.hpp"
#include "switchyard/routing/sinkhorn.hpp"

namespace switchyard::vectors {
namespace {

using io::JsonValue;

constexpr std::int64_t kMaxInt = std::int64_t{1} << 40;
constexpr int kMaxExperts = 1 << 16;
constexpr double kRelativeTolerance = 1e-5;
constexpr double kBalanceCoefficient = 0.01;  // aux and seq_aux, as the file's format says
constexpr double kZCoefficient = 0.001;

/// The first mismatch of a case; later ones are ignored.
class Comparison {
 public:
  void exact(std::string_view field, std::vector<std::int64_t> const& expected, std::vector<std::int64_t> const& got) {
    if (!same_length(field, expected.size(), got.size())) return;
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (expected[i] != got[i]) return note(fmt::format("{}[{}]: expected {}, got {}", field, i, expected[i], got[i]));
  }
  void close(std::string_view field, std::vector<double> const& expected, std::vector<float> const& got) {
    if (!same_length(field, expected.size(), got.size())) return;
    for (std::size_t i = 0; i < expected.size(); ++i) close(fmt::format("{}[{}]", field, i), expected[i], got[i]);
  }
  void close(std::string_view field, double expected, float got) {
    double const difference = std::fabs(static_cast<double>(got) - expected);
    if (difference <= kRelativeTolerance * std::fabs(expected)) return;
    note(fmt::format("{}: expected {}, got {} (relative tolerance {})", field, expected, got, kRelativeTolerance));
  }
  [[nodiscard]] std::string const& first() const { return first_; }

 private:
  bool same_length(std::string_view field, std::size_t expected, std::size_t got) {
    if (expected != got) note(fmt::format("{}: expected {} entries, got {}", field, expected, got));
    return expected == got;
  }
  void note(std::string mismatch) {
    if (first_.empty()) first_ = std::move(mismatch);
  }
  std::string first_;
};

std::vector<double> flat_doubles(JsonValue const& rows) {
  std::vector<double> flat;
  for (std::size_t i = 0; i < rows.array_size(); ++i)
    for (double const value : rows.at(i).double_array()) flat.push_back(value);
  return flat;
}

std::vector<std::int64_t> flat_ints(JsonValue const& rows) {
  std::vector<std::int64_t> flat;
  for (std::size_t i = 0; i < rows.array_size(); ++i)
    for (std::int64_t const value : rows.at(i).int_array(0, kMaxExperts)) flat.push_back(value);
  return flat;
}

std::vector<float> to_floats(std::vector<double> const& values) {
  std::vector<float> floats(values.size());
  std::transform(values.begin(), values.end(), floats.begin(), [](double value) { return static_cast<float>(value); });
  return floats;
}

/// One router case, read.
struct RouterCase {
  std::int64_t num_tokens = 0;
  int num_experts = 0;
  RouterConfig config;
  std::vector<float> logits;
  std::vector<float> bias;

  [[nodiscard]] ConstTensorView view() const {
    return ConstTensorView::matrix(std::span<float const>(logits), num_tokens, num_experts);
  }
};

int int_member(JsonValue const& golden, std::string_view key) {
  return static_cast<int>(golden.at(key).as_int(1, kMaxExperts));
}

ScoreFunction read_score_function(JsonValue const& golden) {
  std::string const name = golden.at("score_function").as_string();
  if (name == "sigmoid") return ScoreFunction::sigmoid;
  if (name != "softmax") golden.at("score_function").fail("expected softmax or sigmoid");
  return golden.at("use_pre_softmax").as_bool() ? ScoreFunction::softmax_pre : ScoreFunction::softmax_post;
}

RouterCase read_case(JsonValue const& golden) {
  RouterCase read;
  read.num_tokens = golden.at("num_tokens").as_int(0, kMaxInt);
  read.num_experts = int_member(golden, "num_experts");
  read.config.score_function = read_score_function(golden);
  read.config.top_k = int_member(golden, "topk");
  if (read.config.score_function == ScoreFunction::sigmoid) read.config.normalisation = Normalisation::sum;
  // The recorded version of the peer sums the two largest scores of a group whatever top_k is.
  if (!golden.at("num_groups").is_null())
    read.config.groups = GroupLimit{int_member(golden, "num_groups"), int_member(golden, "group_topk"), 2};
  if (!golden.at("scaling_factor").is_null())
    read.config.scaling_factor = static_cast<float>(golden.at("scaling_factor").as_double());
  if (!golden.at("expert_bias").is_null()) read.bias = to_floats(golden.at("expert_bias").double_array());
  read.logits = to_floats(flat_doubles(golden.at("logits")));
  if (read.logits.size() != to_size(read.num_tokens) * to_size(read.num_experts))
    golden.at("logits").fail("is no [num_tokens][num_experts] matrix");
  return read;
}

/// Choices and weights of every token by ascending expert, as the file lists them.
struct SortedRouting {
  std::vector<std::int64_t> experts;
  std::vector<float> weights;
};

SortedRouting sorted(RoutingMap const& routing) {
  RoutingMap const dense = routing.form() == RoutingForm::dense ? routing : routing.to_dense();
  SortedRouting out;
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < dense.num_tokens(); ++token) {
    dense.choices_of(TokenIndex(token), choices);
    for (RoutingChoice const& choice : choices) {
      out.experts.push_back(choice.expert.value());
      out.weights.push_back(choice.weight);
    }
  }
  return out;
}

void compare_capacity(JsonValue const& golden, RouterCase const& read, RoutingMap const& routing,
                      Comparison& comparison) {
  if (!golden.find("kept")) return;
  CapacityPolicy const policy{golden.at("capacity_factor").as_double(), DropPolicy::probs, false};
  CapacityResult const result = apply_capacity(routing, policy, read.config.top_k);
  comparison.exact("capacity", {golden.at("capacity").as_int(0, kMaxInt)}, {result.capacity});
  JsonValue const kept = golden.at("kept");
  std::vector<RoutingChoice> choices;
  for (std::int64_t token = 0; token < read.num_tokens; ++token) {
    std::vector<std::int64_t> experts;
    result.routing.choices_of(TokenIndex(token), choices);
    for (RoutingChoice const& choice : choices) experts.push_back(choice.expert.value());
    comparison.exact(fmt::format("kept[{}]", token), kept.at(to_size(token)).int_array(0, kMaxExperts), experts);
  }
}

SequenceShape read_shape(JsonValue const& golden) {
  JsonValue const sequence = golden.at("seq_aux");
  return {sequence.at("seq_length").as_int(0, kMaxInt), sequence.at("batch_size").as_int(0, kMaxInt)};
}

void compare_losses(JsonValue const& golden, RoutedBatch const& batch, Comparison& comparison) {
  comparison.exact("tokens_per_expert", golden.at("tokens_per_expert").int_array(0, kMaxInt), batch.counts);
  comparison.close("aux_loss", golden.at("aux_loss").as_double(), batch.balance);
  comparison.close("z_loss", golden.at("z_loss").as_double(), batch.z);
  comparison.close("seq_aux", golden.at("seq_aux").at("loss").as_double(), batch.sequence);
}

/// The recorded choice must have the row's largest value, as far as the values are known: with one token all experts
/// are balanced to the same value, and only the peer's roundings say which one is the largest.
void compare_argmax(JsonValue const& expected, std::vector<float> const& balanced, std::size_t num_experts,
                    Comparison& comparison) {
  auto const choices = expected.int_array(0, static_cast<std::int64_t>(num_experts) - 1);
  if (choices.size() * num_experts != balanced.size()) expected.fail("needs one expert per token");
  for (std::size_t token = 0; token < choices.size(); ++token) {
    auto const row = balanced.begin() + static_cast<std::ptrdiff_t>(token * num_experts);
    float const largest = *std::max_element(row, row + static_cast<std::ptrdiff_t>(num_experts));
    comparison.close(fmt::format("sinkhorn value of sinkhorn_argmax[{}]", token), static_cast<double>(largest),
                     row[choices[token]]);
  }
}

void compare_sinkhorn(JsonValue const& golden, RouterCase const& read, Comparison& comparison) {
  auto const argmax = golden.find("sinkhorn_argmax");
  if (!argmax) return;
  SinkhornResult const result = sinkhorn(read.view());
  if (auto const matrix = golden.find("sinkhorn"); matrix && !matrix->is_null())
    comparison.close("sinkhorn", flat_doubles(*matrix), result.balanced);
  compare_argmax(*argmax, result.balanced, to_size(read.num_experts), comparison);
}

std::string run_routing(JsonValue const& golden, RoutedBatch (*route_batch)(RouterRequest const&)) {
  RouterCase const read = read_case(golden);
  Comparison comparison;
  RoutedBatch const batch =
      route_batch({read.config, read.view(), read.bias, kBalanceCoefficient, kZCoefficient, read_shape(golden)});
  SortedRouting const by_expert = sorted(batch.routing);
  comparison.exact("selected", flat_ints(golden.at("selected")), by_expert.experts);
  comparison.close("probs", flat_doubles(golden.at("probs")), by_expert.weights);
  compare_capacity(golden, read, batch.routing, comparison);
  compare_losses(golden, batch, comparison);
  compare_sinkhorn(golden, read, comparison);
  return comparison.first();
}

std::string run_batched_loss(JsonValue const& golden) {
  JsonValue const list = golden.at("layers");
  std::vector<std::vector<std::int64_t>> counts;
  std::vector<std::vector<float>> scores;
  for (std::size_t l = 0; l < list.array_size(); ++l) {
    counts.push_back(list.at(l).at("tokens_per_expert").int_array(0, kMaxInt));
    scores.push_back(to_floats(flat_doubles(list.at(l).at("scores"))));
  }
  std::vector<LayerBalance> layers;
  for (std::size_t l = 0; l < counts.size(); ++l) layers.push_back({counts[l], scores[l]});
  Comparison comparison;
  comparison.close("loss", golden.at("loss").as_double(),
                   batched_balance_loss(layers, int_member(golden, "num_layers"), int_member(golden, "topk"),
                                        golden.at("loss_weight").as_double()));
  return comparison.first();
}

}  // namespace

RoutedBatch route_on_host(RouterRequest const& request) {
  RoutingMap routing = route(request.config, request.logits, request.bias);
  std::vector<std::int64_t> counts = tokens_per_expert(routing);
  // The recorded version averages the plain softmax whatever the score function is.
  std::vector<float> const scores = loss_scores(ScoreFunction::softmax_pre, request.logits);
  std::int64_t const tokens = request.logits.extent(0);
  int const top_k = request.config.top_k;
  float const balance = balance_loss({request.balance_coefficient, top_k, tokens, tokens}, scores, counts);
  float const sequence = sequence_balance_loss(request.balance_coefficient, top_k, request.shape, scores, routing);
  return {std::move(routing), std::move(counts), balance, sequence, z_loss(request.z_coefficient, request.logits)};
}

std::string run_router_case_by(RoutedBatch (*route)(RouterRequest const&), io::JsonValue const& golden) {
  return golden.find("layers") ? run_batched_loss(golden) : run_routing(golden, route);
}

std::string run_router_case(io::JsonValue const& golden) {
  return run_router_case_by(route_on_host, golden);
}

}  // namespace switchyard::vectors
