// SPDX-License-Identifier: Apache-2.0
#include "load_formats.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {
namespace {

/// Collects [layers][experts] blocks that must all have one shape.
class LoadArrayReader {
 public:
  LoadArrayReader(LoadText const& text, JsonValue const& array) : text_(text), array_(array) {}

  ExpertLoad read() {
    require_not_empty(array_);
    if (is_matrix(array_)) {
      read_step(array_);
    } else {
      for (std::size_t step = 0; step < array_.array_size(); ++step) read_step(array_.at(step));
    }
    require_load_sizes(text_, steps_, layers_, experts_);
    return {static_cast<int>(steps_), static_cast<int>(layers_), static_cast<int>(experts_), std::move(values_)};
  }

 private:
  static void require_not_empty(JsonValue const& array) {
    if (array.array_size() == 0) array.fail("an array that is not empty is required");
  }

  /// Two dimensions or three? Told by the first element of the first element.
  static bool is_matrix(JsonValue const& array) {
    require_not_empty(array.at(std::size_t{0}));
    return !array.at(std::size_t{0}).at(std::size_t{0}).is_array();
  }

  static void require_same(JsonValue const& array, std::int64_t& size, std::string_view what) {
    auto const found = static_cast<std::int64_t>(array.array_size());
    require_not_empty(array);
    if (size == 0) size = found;
    if (found != size) array.fail(fmt::format("{} {} were found before this: all rows must agree", size, what));
  }

  void read_step(JsonValue const& step) {
    require_same(step, layers_, "layers");
    for (std::size_t layer = 0; layer < step.array_size(); ++layer) read_layer(step.at(layer));
    ++steps_;
  }

  void read_layer(JsonValue const& layer) {
    require_same(layer, experts_, "experts");
    if (text_.num_experts != 0 && experts_ != text_.num_experts)
      layer.fail(fmt::format("one load for each of the {} experts asked for is required", text_.num_experts));
    std::vector<double> const loads = layer.double_array();
    for (std::size_t expert = 0; expert < loads.size(); ++expert)
      if (!is_load(loads[expert])) layer.at(expert).fail(kLoadRule);
    values_.insert(values_.end(), loads.begin(), loads.end());
  }

  LoadText const& text_;
  JsonValue array_;
  std::int64_t steps_ = 0;
  std::int64_t layers_ = 0;
  std::int64_t experts_ = 0;
  std::vector<double> values_;
};

/// SGLang's dictionaries carry more members than the counts; ours do not.
JsonValue load_member(JsonValue const& root, LoadFormat& format) {
  if (auto const ours = root.find("expert_load")) {
    root.only_members({"schema_version", "expert_load"});
    JsonValue const version = root.at("schema_version");
    if (version.as_int(1, kMaxLoadCells) != 1) version.fail("loads of schema_version 1 are read");
    return *ours;
  }
  if (auto const sglang = root.find("logical_count")) {
    format = LoadFormat::sglang_json;
    return *sglang;
  }
  root.fail("a member \"expert_load\" (Switchyard) or \"logical_count\" (SGLang) is required");
}

}  // namespace

LoadReadResult parse_json_load(LoadText const& text) {
  JsonValue const root = JsonDocument::parse(text.content, text.name).root();
  LoadReadResult result;
  JsonValue const array = root.is_object() ? load_member(root, result.format) : root;
  result.load = LoadArrayReader(text, array).read();
  return result;
}

}  // namespace switchyard::io
