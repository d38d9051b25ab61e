// SPDX-License-Identifier: Apache-2.0
#include "commands/layer_description.hpp"

#include <fmt/format.h>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

using io::JsonValue;

constexpr std::int64_t kMaxExtent = 1 << 16;
constexpr std::int64_t kMaxWeights = std::int64_t{1} << 30;
constexpr int kMaxRanks = 1024;

std::int64_t integer_or(JsonValue const& root, std::string_view key, std::int64_t fallback, std::int64_t min,
                        std::int64_t max) {
  auto const value = root.find(key);
  return value ? value->as_int(min, max) : fallback;
}

bool flag_or(JsonValue const& root, std::string_view key, bool fallback) {
  auto const value = root.find(key);
  return value ? value->as_bool() : fallback;
}

/// A name among those that `parse` knows.
template <typename Parse>
auto named(JsonValue const& value, Parse const& parse, std::string_view what) {
  auto const parsed = parse(value.as_string());
  if (!parsed) value.fail(fmt::format("which is no {}", what));
  return *parsed;
}

/// One number, or a list of them.
std::vector<int> numbers(JsonValue const& root, std::string_view key, int max) {
  auto const value = root.find(key);
  if (!value) return {1};
  if (!value->is_array()) return {static_cast<int>(value->as_int(1, max))};
  std::vector<int> list;
  for (std::int64_t const n : value->int_array(1, max)) list.push_back(static_cast<int>(n));
  if (list.empty()) value->fail("which names no size");
  return list;
}

std::vector<cpu::PrepareKind> prepares_of(JsonValue const& value) {
  if (value.is_string() && value.as_string() == "all")
    return {cpu::kAllPrepareKinds.begin(), cpu::kAllPrepareKinds.end()};
  if (!value.is_array()) return {named(value, cpu::parse_prepare_kind, "way to move rows")};
  std::vector<cpu::PrepareKind> list;
  for (std::size_t i = 0; i < value.array_size(); ++i)
    list.push_back(named(value.at(i), cpu::parse_prepare_kind, "way to move rows"));
  if (list.empty()) value.fail("which names no way to move rows");
  return list;
}

QuantSpec quant_of(JsonValue const& value) {
  value.only_members({"scheme", "group_columns", "given_scale", "tensor_scale", "upper_bound"});
  QuantSpec spec;
  spec.scheme = named(value.at("scheme"), parse_quant_scheme, "quantisation scheme");
  spec.group_columns = integer_or(value, "group_columns", spec.group_columns, 1, kMaxExtent);
  if (auto const scale = value.find("given_scale")) spec.given_scale = static_cast<float>(scale->as_double());
  if (auto const scale = value.find("tensor_scale")) spec.tensor_scale = static_cast<float>(scale->as_double());
  if (auto const bound = value.find("upper_bound")) spec.upper_bound = static_cast<float>(bound->as_double());
  return spec;
}

std::optional<QuantizeWhen> parse_when(std::string_view name) {
  for (auto const when : {QuantizeWhen::never, QuantizeWhen::before_exchange, QuantizeWhen::after_exchange})
    if (to_string(when) == name) return when;
  return std::nullopt;
}

std::optional<GateLayout> parse_gate(std::string_view name) {
  for (auto const gate : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
    if (to_string(gate) == name) return gate;
  return std::nullopt;
}

void read_mlp(JsonValue const& root, ExpertMlp& mlp) {
  mlp.hidden = root.at("hidden").as_int(1, kMaxExtent);
  mlp.intermediate = root.at("intermediate").as_int(1, kMaxExtent);
  mlp.num_local_experts = static_cast<int>(root.at("experts").as_int(1, kMaxExtent));
  mlp.dtype = DType::bf16;
  if (auto const dtype = root.find("dtype")) mlp.dtype = named(*dtype, parse_dtype, "dtype");
  if (auto const kind = root.find("activation")) mlp.activation.kind = named(*kind, parse_activation, "activation");
  if (auto const gate = root.find("gate")) mlp.activation.layout = named(*gate, parse_gate, "gate layout");
  bool const fused = flag_or(root, "fused_roundings", false);
  mlp.rounding = fused ? ExpertRounding::fused(mlp.dtype) : ExpertRounding::every_store(mlp.dtype);
  std::int64_t const per_expert = mlp.hidden * mlp.intermediate * (1 + mlp.activation.inputs_per_unit());
  if (per_expert > kMaxWeights / mlp.num_local_experts)
    root.at("experts").fail(fmt::format("of {} weights each: at most {} in all are run here", per_expert, kMaxWeights));
  mlp.validate();
}

CombineRecipe recipe_or(JsonValue const& root, std::string_view key, CombineRecipe const& fallback) {
  auto const value = root.find(key);
  if (!value) return fallback;
  CombineRecipe const recipe = named(*value, parse_recipe, "combine recipe");
  if (recipe.multiply == MultiplyAt::expert_rank)
    value->fail("whose sums depend on where experts lie: a dense answer has no such sums");
  return recipe;
}

void read_options(JsonValue const& root, LayerDescription& description) {
  auto& options = description.options;
  options.hidden = description.mlp.hidden;
  options.dtype = description.mlp.dtype;
  if (auto const when = root.find("quantize")) options.quantize = named(*when, parse_when, "moment to quantise");
  if (auto const quant = root.find("quant")) options.quant = quant_of(*quant);
  options.recipe = recipe_or(root, "recipe", options.recipe);
  options.gradient_recipe = recipe_or(root, "gradient_recipe", options.gradient_recipe);
  if (root.find("max_tokens_per_rank"))
    options.max_tokens_per_rank = root.at("max_tokens_per_rank").as_int(0, kMaxExtent);
}

}  // namespace

LayerDescription read_layer_description(std::string const& file) {
  auto const document = io::JsonDocument::parse(io::read_file(file), file);
  JsonValue const root = document.root();
  root.only_members({"schema_version",
                     "prepare",
                     "ep",
                     "tp",
                     "tokens",
                     "top_k",
                     "experts",
                     "hidden",
                     "intermediate",
                     "dtype",
                     "activation",
                     "gate",
                     "fused_roundings",
                     "bias",
                     "backward",
                     "quantize",
                     "quant",
                     "recipe",
                     "gradient_recipe",
                     "max_tokens_per_rank",
                     "router_weight_on_input",
                     "seed"});
  static_cast<void>(root.at("schema_version").as_int(1, 1));
  LayerDescription description;
  read_mlp(root, description.mlp);
  description.prepares = prepares_of(root.at("prepare"));
  description.eps = numbers(root, "ep", kMaxRanks);
  description.tps = numbers(root, "tp", 8);
  description.tokens = root.at("tokens").as_int(0, kMaxExtent);
  description.top_k = static_cast<int>(root.at("top_k").as_int(1, description.mlp.num_local_experts));
  description.biased = flag_or(root, "bias", false);
  description.seed = static_cast<std::uint64_t>(integer_or(root, "seed", 0, 0, INT64_MAX));
  description.layer.router_weight_on_input = flag_or(root, "router_weight_on_input", false);
  description.layer.global_num_experts = description.mlp.num_local_experts;
  read_options(root, description);
  bool const quantised = description.options.quantize != QuantizeWhen::never;
  description.backward = flag_or(root, "backward", !quantised);
  if (quantised && description.backward) root.at("backward").fail("of rows that are quantised: train on plain ones");
  return description;
}

}  // namespace switchyard::cli
