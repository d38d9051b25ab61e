// SPDX-License-Identifier: Apache-2.0
/// Strict JSON against nlohmann-json's own DOM: what we accept it accepts with the same content; what it accepts and we
/// refuse has one of our four stated reasons. Every place that a later refusal can name is walked.
#include <nlohmann/json.hpp>

#include "fuzz/fuzz_check.hpp"
#include "switchyard/internal/json_value.hpp"

namespace {

using switchyard::ErrorCode;
using switchyard::io::JsonDocument;
using switchyard::io::JsonValue;

std::string refusal_of(JsonValue const& value) {
  try {
    value.fail("marked");
  } catch (switchyard::Error const& error) {
    return std::string(error.message());
  }
}

/// Compares `value` with the other parser's and checks that messages name its path and, below parents, a later byte.
void compare(JsonValue const& value, nlohmann::json const& other, std::string_view text, std::size_t depth) {
  std::string const said = refusal_of(value);
  std::string const path = value.path();
  fuzz::require(path.size() > 200 || said.find(": " + path + ": found ") != std::string::npos, "path in " + said);
  std::size_t const byte = std::stoul(said.substr(said.find("byte ") + 5));
  fuzz::require(byte < text.size(), "offset in " + said);
  fuzz::require(depth < 64, "depth limit");
  if (other.is_array()) {
    fuzz::require(value.array_size() == other.size() && text[byte] == '[', "array at " + said);
    for (std::size_t i = 0; i < other.size(); ++i) compare(value.at(i), other[i], text, depth + 1);
  } else if (other.is_object()) {
    fuzz::require(value.keys().size() == other.size() && text[byte] == '{', "object at " + said);
    for (auto const& [key, member] : other.items()) compare(value.at(key), member, text, depth + 1);
  } else if (other.is_string()) {
    fuzz::require(value.as_string() == other.get<std::string>() && text[byte] == '"', "string at " + said);
  } else if (other.is_boolean()) {
    fuzz::require(value.as_bool() == other.get<bool>(), "boolean at " + said);
    fuzz::require(text.substr(byte, 4) == "true" || text.substr(byte, 5) == "false", "boolean at " + said);
  } else if (other.is_null()) {
    fuzz::require(value.is_null() && text.substr(byte, 4) == "null", "null at " + said);
  } else {
    fuzz::require(value.is_number() && value.as_double() == other.get<double>(), "number at " + said);
    auto const reread = nlohmann::json::parse(text.substr(byte, text.find_first_of(" \t\r\n,]}", byte) - byte));
    fuzz::require(reread == other, "number's place at " + said);
  }
}

bool is_stated_reason(std::string_view message) {
  for (std::string_view const reason :
       {" twice in one object", "nested deeper than", "an integer beyond 64 bits", "found a NUL byte"})
    if (message.find(reason) != std::string_view::npos) return true;
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string_view const text = fuzz::as_text(data, size);
  std::string message;
  auto const ours = fuzz::attempt([&] { return JsonDocument::parse(text, "in"); }, {ErrorCode::parse}, &message);
  auto const other = nlohmann::json::parse(text, nullptr, false);
  if (ours) {
    fuzz::require(!other.is_discarded(), "accepted what nlohmann-json refuses");
    compare(ours->root(), other, text, 0);
  } else {
    fuzz::require(other.is_discarded() || is_stated_reason(message), "refused without a stated reason: " + message);
  }
  return 0;
}
