// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/combine_recipe.hpp"

#include <array>
#include <iterator>
#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard {

namespace {

struct NamedRecipe {
  std::string_view name;
  CombineRecipe recipe;
};

constexpr NamedRecipe kNamed[] = {
    {"source_slot_order", CombineRecipe::source_slot_order()},
    {"source_expert_order", CombineRecipe::source_expert_order()},
    {"rank_partial", CombineRecipe::rank_partial()},
    {"rank_partial_bf16", CombineRecipe::rank_partial(Rounding::bf16)},
    {"rank_partial_f32", CombineRecipe::rank_partial(Rounding::f32)},
    {"megatron_allgather", CombineRecipe::megatron_allgather()},
    {"megablocks", CombineRecipe::megablocks()},
    {"exact", CombineRecipe::exact()},
    {"exact_with_shared_expert", CombineRecipe::exact(SharedExpert::as_term)},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kNamed)> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kNamed[i].name;
  return names;
}();

// Enumerator names, in the order of the enumerations.
constexpr std::string_view kOrders[] = {"source_slot", "source_expert", "rank_then_expert", "any"};
constexpr std::string_view kMultiplies[] = {"source_rank", "expert_rank"};
constexpr std::string_view kRoundings[] = {"none", "f32", "bf16", "row", "promoted"};
constexpr std::string_view kTpJoins[] = {"tree_then_row", "as_ranks"};
constexpr std::string_view kSharedExperts[] = {"after_rounding", "as_term"};

template <typename Enum>
std::string_view spell(std::span<std::string_view const> names, Enum value) noexcept {
  auto const index = static_cast<std::size_t>(value);
  return index < names.size() ? names[index] : "unknown";
}

std::string_view spell(Rounding value) noexcept {
  return spell(kRoundings, value);
}

/// Reads "<key>=<name>" and the comma after it off the front of `text`.
template <typename Enum>
bool take(std::string_view& text, std::string_view key, std::span<std::string_view const> names, Enum& value) {
  if (text.substr(0, key.size()) != key || text.substr(key.size(), 1) != "=") return false;
  text.remove_prefix(key.size() + 1);
  std::string_view const name = text.substr(0, text.find(','));
  text.remove_prefix(name.size() < text.size() ? name.size() + 1 : name.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) {
      value = static_cast<Enum>(i);
      return true;
    }
  }
  return false;
}

std::string fields_of(CombineRecipe const& r) {
  return fmt::format("order={},multiply={},product={},accumulate={},partial={},result={},tp_join={},shared_expert={}",
                     spell(kOrders, r.order), spell(kMultiplies, r.multiply), spell(r.product), spell(r.accumulate),
                     spell(r.partial), spell(r.result), spell(kTpJoins, r.tp_join),
                     spell(kSharedExperts, r.shared_expert));
}

std::optional<CombineRecipe> parse_fields(std::string_view text) {
  CombineRecipe r;
  bool const read =
      take(text, "order", kOrders, r.order) && take(text, "multiply", kMultiplies, r.multiply) &&
      take(text, "product", kRoundings, r.product) && take(text, "accumulate", kRoundings, r.accumulate) &&
      take(text, "partial", kRoundings, r.partial) && take(text, "result", kRoundings, r.result) &&
      take(text, "tp_join", kTpJoins, r.tp_join) && take(text, "shared_expert", kSharedExperts, r.shared_expert);
  if (!read || !text.empty()) return std::nullopt;
  return r;
}

class Contradictions {
 public:
  void refuse_if(bool contradiction, std::string text) {
    if (contradiction) found_.push_back(std::move(text));
  }
  std::vector<std::string> take() { return std::move(found_); }

 private:
  std::vector<std::string> found_;
};

void check_exactness(CombineRecipe const& r, Contradictions& c) {
  bool const exact = r.accumulate == Rounding::none;
  c.refuse_if(r.order == SumOrder::any && !exact,
              fmt::format("order=any with accumulate={}: rounded additions depend on their order, so an order must be "
                          "named (or accumulate=none for the exact sum)",
                          spell(r.accumulate)));
  c.refuse_if(
      exact && r.order != SumOrder::any,
      fmt::format("accumulate=none with order={}: an exact sum has no order (order=any)", spell(kOrders, r.order)));
  c.refuse_if(exact && r.product != Rounding::none,
              fmt::format("accumulate=none with product={}: the exact sum takes unrounded products (product=none)",
                          spell(r.product)));
  c.refuse_if(!exact && r.product == Rounding::none,
              fmt::format("product=none with accumulate={}: an unrounded product only fits the exact accumulator; "
                          "name the product's rounding",
                          spell(r.accumulate)));
  c.refuse_if(!exact && r.shared_expert == SharedExpert::as_term,
              fmt::format("shared_expert=as_term with accumulate={}: only the exact sum takes the shared expert as a "
                          "term",
                          spell(r.accumulate)));
}

void check_rank_sum(CombineRecipe const& r, Contradictions& c) {
  bool const by_rank = r.order == SumOrder::rank_then_expert;
  c.refuse_if(by_rank && r.partial == Rounding::none,
              "order=rank_then_expert with partial=none: a rank's sum must be rounded to something before it travels");
  c.refuse_if(!by_rank && r.partial != Rounding::none,
              fmt::format("partial={} with order={}: only order=rank_then_expert has partial sums", spell(r.partial),
                          spell(kOrders, r.order)));
  c.refuse_if(by_rank && r.multiply == MultiplyAt::source_rank,
              "order=rank_then_expert with multiply=source_rank: the experts' rank adds weighted rows, so it must "
              "multiply (multiply=expert_rank)");
  c.refuse_if(!by_rank && r.tp_join == TpJoin::as_ranks,
              fmt::format("tp_join=as_ranks with order={}: TP partials can stay apart only where ranks are summed "
                          "(order=rank_then_expert)",
                          spell(kOrders, r.order)));
}

void check_types(CombineRecipe const& r, Contradictions& c) {
  bool const summable =
      r.accumulate == Rounding::f32 || r.accumulate == Rounding::promoted || r.accumulate == Rounding::none;
  c.refuse_if(!summable,
              fmt::format("accumulate={}: sums are kept in f32, promoted or exactly (none)", spell(r.accumulate)));
  c.refuse_if(r.product == Rounding::bf16,
              "product=bf16: a product is rounded to f32, promoted or the row dtype (row)");
  c.refuse_if(r.product == Rounding::promoted && r.accumulate == Rounding::f32,
              "product=promoted with accumulate=f32: the product would be rounded twice (accumulate=promoted)");
  c.refuse_if(r.product == Rounding::f32 && r.accumulate == Rounding::promoted,
              "product=f32 with accumulate=promoted: the promoted type is decided where the product is made "
              "(product=promoted)");
  c.refuse_if(r.partial == Rounding::promoted && r.accumulate != Rounding::promoted,
              "partial=promoted without accumulate=promoted: the wire would be wider than the sum");
  c.refuse_if(r.result != Rounding::row && r.result != Rounding::f32,
              fmt::format("result={}: the finished sum is rounded to the row dtype (row) or to f32", spell(r.result)));
}

}  // namespace

std::string_view name_of(CombineRecipe const& recipe) noexcept {
  for (NamedRecipe const& named : kNamed)
    if (named.recipe == recipe) return named.name;
  return "custom";
}

std::span<std::string_view const> recipe_names() noexcept {
  return kNames;
}

std::string to_string(CombineRecipe const& recipe) {
  std::string_view const name = name_of(recipe);
  return name == "custom" ? fields_of(recipe) : std::string(name);
}

std::optional<CombineRecipe> parse_recipe(std::string_view text) {
  for (NamedRecipe const& named : kNamed)
    if (named.name == text) return named.recipe;
  std::optional<CombineRecipe> const parsed = parse_fields(text);
  // Spelling the fields out again refuses what take() forgives, such as a comma at the end.
  if (!parsed || fields_of(*parsed) != text) return std::nullopt;
  return parsed;
}

std::vector<std::string> contradictions_in(CombineRecipe const& recipe) {
  Contradictions found;
  check_exactness(recipe, found);
  check_rank_sum(recipe, found);
  check_types(recipe, found);
  return found.take();
}

void validate(CombineRecipe const& recipe) {
  std::vector<std::string> const found = contradictions_in(recipe);
  SWITCHYARD_REQUIRE(found.empty(), invalid_argument,
                     "combine recipe contradicts itself: {} - recipe {} - a field was changed without those that "
                     "depend on it - start from a named recipe and change fields together",
                     fmt::join(found, "; "), to_string(recipe));
}

std::optional<DType> dtype_after(Rounding rounding, DType row, DType weight) noexcept {
  switch (rounding) {
    case Rounding::none: return std::nullopt;
    case Rounding::f32: return DType::f32;
    case Rounding::bf16: return DType::bf16;
    case Rounding::row: return row;
    case Rounding::promoted: return weight == DType::f64 || row == DType::f64 ? DType::f64 : DType::f32;
  }
  return std::nullopt;
}

}  // namespace switchyard
