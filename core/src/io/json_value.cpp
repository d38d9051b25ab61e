// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/json_value.hpp"

#include <algorithm>

#include "json_tree.hpp"
#include "switchyard/internal/require.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

/// @return the member's value, or nullptr.
JsonNode const* find_member(JsonTree const& tree, JsonNode const& object, std::string_view key) {
  auto const key_at = [&](std::size_t member) { return tree.string_of(tree.child(object, 2 * member)); };
  if (object.count <= kSortedFrom) {
    for (std::size_t member = 0; member < object.count; ++member)
      if (key_at(member) == key) return &tree.child(object, 2 * member + 1);
    return nullptr;
  }
  JsonNode const* const order = &tree.child(object, 2 * std::size_t{object.count});
  JsonNode const* const end = order + object.count;
  JsonNode const* const found = std::lower_bound(
      order, end, key, [&](JsonNode const& member, std::string_view wanted) { return key_at(member.first) < wanted; });
  return found != end && key_at(found->first) == key ? &tree.child(object, 2 * found->first + 1) : nullptr;
}

/// How a message shows a value: scalars as the file spells them, containers by size.
std::string show(JsonDocument::State const& state, JsonNode const& node) {
  switch (node.type()) {
    case JsonType::array: return fmt::format("an array of {}", std::size_t{node.count});
    case JsonType::object: return fmt::format("an object of {} members", std::size_t{node.count});
    case JsonType::string: return '"' + excerpt(state.tree.string_of(node)) + '"';
    default: break;
  }
  std::string_view const rest = std::string_view(state.text).substr(node.offset);
  return excerpt(rest.substr(0, rest.find_first_of(" \t\r\n,]}")));
}

bool as_finite(JsonNode const& node, double& value) {
  switch (node.type()) {
    case JsonType::integer: value = static_cast<double>(node.integer); return true;
    case JsonType::big_unsigned: value = static_cast<double>(node.big_unsigned); return true;
    case JsonType::real: value = node.real; return true;
    default: return false;
  }
}

}  // namespace

JsonDocument JsonDocument::parse(std::string_view text, std::string source_name, JsonLimits limits, JsonOrigin origin) {
  auto state = std::make_shared<State>();
  state->text = text;
  state->source_name = std::move(source_name);
  state->origin = origin;
  state->tree = build_json_tree(*state, limits);
  JsonDocument document;
  document.state_ = std::move(state);
  return document;
}

JsonValue JsonDocument::root() const {
  return {state_, &state_->tree.root};
}
std::string const& JsonDocument::source_name() const noexcept {
  return state_->source_name;
}

JsonValue::JsonValue(std::shared_ptr<JsonDocument::State const> state, JsonNode const* node)
    : state_(std::move(state)), node_(node) {}

bool JsonValue::is_null() const {
  return node_->type() == JsonType::null;
}
bool JsonValue::is_array() const {
  return node_->type() == JsonType::array;
}
bool JsonValue::is_object() const {
  return node_->type() == JsonType::object;
}
bool JsonValue::is_string() const {
  return node_->type() == JsonType::string;
}
bool JsonValue::is_number() const {
  double ignored = 0;
  return as_finite(*node_, ignored);
}

void JsonValue::require_array() const {
  if (!is_array()) fail("an array is required");
}

void JsonValue::require_object() const {
  if (!is_object()) fail("an object is required");
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  require_object();
  JsonNode const* const member = find_member(state_->tree, *node_, key);
  if (member == nullptr) return std::nullopt;
  return JsonValue(state_, member);
}

JsonValue JsonValue::at(std::string_view key) const {
  require_object();
  JsonNode const* const member = find_member(state_->tree, *node_, key);
  if (member == nullptr) fail(fmt::format("the member \"{}\" is missing", excerpt(key)));
  return {state_, member};
}

JsonValue JsonValue::at(std::size_t index) const {
  require_array();
  if (index >= node_->count) fail(fmt::format("element {} is missing", index));
  return {state_, &state_->tree.child(*node_, index)};
}

std::size_t JsonValue::array_size() const {
  require_array();
  return node_->count;
}

std::size_t JsonValue::array_size(std::size_t expected) const {
  require_array();
  if (node_->count != expected) fail(fmt::format("an array of {} is required", expected));
  return expected;
}

std::vector<std::string> JsonValue::keys() const {
  require_object();
  std::vector<std::string> keys;
  keys.reserve(node_->count);
  for (std::size_t i = 0; i < node_->count; ++i)
    keys.emplace_back(state_->tree.string_of(state_->tree.child(*node_, 2 * i)));
  return keys;
}

void JsonValue::only_members(std::initializer_list<std::string_view> allowed) const {
  require_object();
  for (std::size_t i = 0; i < node_->count; ++i) {
    std::string_view const key = state_->tree.string_of(state_->tree.child(*node_, 2 * i));
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      JsonValue(state_, &state_->tree.child(*node_, 2 * i + 1))
          .fail(fmt::format("\"{}\" is no member of this format", excerpt(key)));
  }
}

std::int64_t JsonValue::as_int(std::int64_t min, std::int64_t max) const {
  if (node_->type() != JsonType::integer || node_->integer < min || node_->integer > max)
    fail(fmt::format("an integer in [{}, {}] is required", min, max));
  return node_->integer;
}

double JsonValue::as_double() const {
  double value = 0;
  if (!as_finite(*node_, value)) fail("a number is required");
  return value;
}

bool JsonValue::as_bool() const {
  if (node_->type() != JsonType::boolean) fail("true or false is required");
  return node_->integer != 0;
}

std::string JsonValue::as_string() const {
  if (!is_string()) fail("a string is required");
  return std::string(state_->tree.string_of(*node_));
}

std::vector<std::int64_t> JsonValue::int_array(std::int64_t min, std::int64_t max) const {
  require_array();
  std::vector<std::int64_t> values(node_->count);
  for (std::size_t i = 0; i < values.size(); ++i) {
    JsonNode const& element = state_->tree.child(*node_, i);
    bool const good = element.type() == JsonType::integer && element.integer >= min && element.integer <= max;
    values[i] = good ? element.integer : at(i).as_int(min, max);
  }
  return values;
}

std::vector<double> JsonValue::double_array() const {
  require_array();
  std::vector<double> values(node_->count);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!as_finite(state_->tree.child(*node_, i), values[i])) at(i).fail("a number is required");
  return values;
}

void JsonValue::fail(std::string_view problem) const {
  state_->refuse(node_->offset, path(), fmt::format("found {}, {}", show(*state_, *node_), problem));
}

// Walks down from the root: the child that holds this node is the last one that starts at or before it.
std::string JsonValue::path() const {
  JsonTree const& tree = state_->tree;
  std::string path = "$";
  JsonNode const* current = &tree.root;
  while (current != node_) {
    bool const is_object = current->type() == JsonType::object;
    std::size_t const step = is_object ? 2 : 1;
    std::size_t low = 0;
    for (std::size_t high = current->count; high - low > 1;) {
      std::size_t const middle = low + (high - low) / 2;
      (tree.child(*current, step * middle).offset <= node_->offset ? low : high) = middle;
    }
    path = is_object ? path_with_key(std::move(path), tree.string_of(tree.child(*current, 2 * low)))
                     : path_with_index(std::move(path), low);
    current = &tree.child(*current, step * low + (step - 1));
  }
  return path;
}

}  // namespace switchyard::io
