// SPDX-License-Identifier: Apache-2.0
// CombineRecipe as data: names, the text form, and which fields contradict each other.
//
// Worked example: source_slot_order with partial=bf16 is no recipe, because only order=rank_then_expert has partials.
// Its text is "order=source_slot,multiply=source_rank,product=f32,accumulate=f32,partial=bf16,result=row,
// tp_join=tree_then_row,shared_expert=after_rounding" and validate() refuses it naming the two fields.
#include <doctest/doctest.h>

#include <set>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/types/error.hpp"

namespace {

using namespace switchyard;

/// Calls f with every combination of field values.
template <typename F>
void for_every_recipe(F f) {
  for (int code = 0; code < 4 * 2 * 5 * 5 * 5 * 5 * 2 * 2; ++code) {
    int left = code;
    auto const next = [&](int values) {
      int const value = left % values;
      left /= values;
      return value;
    };
    CombineRecipe r;
    r.order = static_cast<SumOrder>(next(4));
    r.multiply = static_cast<MultiplyAt>(next(2));
    r.product = static_cast<Rounding>(next(5));
    r.accumulate = static_cast<Rounding>(next(5));
    r.partial = static_cast<Rounding>(next(5));
    r.result = static_cast<Rounding>(next(5));
    r.tp_join = static_cast<TpJoin>(next(2));
    r.shared_expert = static_cast<SharedExpert>(next(2));
    f(r);
  }
}

/// What a sound recipe is, said the other way round: by listing what is possible.
bool is_sound(CombineRecipe const& r) {
  if (r.result != Rounding::row && r.result != Rounding::f32) return false;
  if (r.order == SumOrder::any)
    return r.product == Rounding::none && r.accumulate == Rounding::none && r.partial == Rounding::none &&
           r.tp_join == TpJoin::tree_then_row;
  if (r.shared_expert != SharedExpert::after_rounding) return false;
  bool const fp32 = r.accumulate == Rounding::f32 && (r.product == Rounding::f32 || r.product == Rounding::row);
  bool const promoted =
      r.accumulate == Rounding::promoted && (r.product == Rounding::promoted || r.product == Rounding::row);
  if (!fp32 && !promoted) return false;
  if (r.order != SumOrder::rank_then_expert) return r.partial == Rounding::none && r.tp_join == TpJoin::tree_then_row;
  if (r.multiply != MultiplyAt::expert_rank || r.partial == Rounding::none) return false;
  return promoted || r.partial != Rounding::promoted;
}

}  // namespace

TEST_CASE("worked example: a partial without a rank order is refused with both fields named") {
  CombineRecipe recipe = CombineRecipe::source_slot_order();
  recipe.partial = Rounding::bf16;
  CHECK(name_of(recipe) == "custom");
  CHECK(to_string(recipe) ==
        "order=source_slot,multiply=source_rank,product=f32,accumulate=f32,partial=bf16,result=row,"
        "tp_join=tree_then_row,shared_expert=after_rounding");
  std::vector<std::string> const found = contradictions_in(recipe);
  REQUIRE(found.size() == 1);
  CHECK(found[0].find("partial=bf16") != std::string::npos);
  CHECK(found[0].find("order=source_slot") != std::string::npos);
  try {
    validate(recipe);
    FAIL("the recipe was accepted");
  } catch (Error const& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK(error.message().find(found[0]) != std::string::npos);
  }
}

TEST_CASE("named recipes: distinct, sound, and read back by name") {
  std::set<std::string> seen;
  for (std::string_view name : recipe_names()) {
    CAPTURE(name);
    std::optional<CombineRecipe> const recipe = parse_recipe(name);
    REQUIRE(recipe.has_value());
    CHECK(name_of(*recipe) == name);
    CHECK(to_string(*recipe) == name);
    CHECK(contradictions_in(*recipe).empty());
    CHECK_NOTHROW(validate(*recipe));
    CHECK(seen.insert(std::string(name)).second);
  }
  CHECK(seen.size() == 9);
  CHECK(name_of(CombineRecipe{}) == "source_slot_order");
  CHECK(parse_recipe("exact") == CombineRecipe::exact());
  CHECK(parse_recipe("exact_with_shared_expert") == CombineRecipe::exact(SharedExpert::as_term));
  CHECK(parse_recipe("rank_partial_bf16") == CombineRecipe::rank_partial(Rounding::bf16));
}

TEST_CASE("every combination of fields has a text that reads back, and is sound exactly when it is possible") {
  std::set<std::string> texts;
  int sound = 0;
  for_every_recipe([&](CombineRecipe const& recipe) {
    std::string const text = to_string(recipe);
    CHECK(parse_recipe(text) == recipe);
    texts.insert(text);
    CAPTURE(text);
    CHECK(contradictions_in(recipe).empty() == is_sound(recipe));
    sound += is_sound(recipe) ? 1 : 0;
  });
  CHECK(texts.size() == 20000);
  CHECK(sound > static_cast<int>(recipe_names().size()));
}

TEST_CASE("text that is no recipe is refused") {
  CombineRecipe custom;
  custom.result = Rounding::f32;
  std::string const text = to_string(custom);
  for (std::string const& wrong :
       {std::string(), std::string("Exact"), std::string("custom"), text + ",", text + " ", "," + text, text.substr(1),
        text.substr(0, text.size() - 1), text.substr(0, text.find(",shared")), text + ",order=any",
        std::string("order=source_slot"), std::string("order=source_slot,multiply=source_rank,product=f64")})
    CHECK_FALSE(parse_recipe(wrong).has_value());
}

TEST_CASE("a rounding means a dtype once rows and weights are known") {
  CHECK(dtype_after(Rounding::none, DType::bf16, DType::f32) == std::nullopt);
  CHECK(dtype_after(Rounding::f32, DType::bf16, DType::f64) == DType::f32);
  CHECK(dtype_after(Rounding::bf16, DType::f32, DType::f32) == DType::bf16);
  CHECK(dtype_after(Rounding::row, DType::f16, DType::f32) == DType::f16);
  CHECK(dtype_after(Rounding::promoted, DType::bf16, DType::f32) == DType::f32);
  CHECK(dtype_after(Rounding::promoted, DType::bf16, DType::f64) == DType::f64);
}
