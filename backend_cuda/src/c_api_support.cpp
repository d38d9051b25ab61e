// SPDX-License-Identifier: Apache-2.0
#include "c_api_support.hpp"

#include <array>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::c_api {
namespace {

thread_local std::array<char, 2048> last_text{};

constexpr auto kLastCode = ErrorCode::internal;

}  // namespace

switchyard_status fail(switchyard_status status, char const* text) noexcept {
  std::size_t const length = std::min(std::strlen(text), last_text.size() - 1);
  std::memcpy(last_text.data(), text, length);
  last_text[length] = '\0';
  return status;
}

void require_pointer(void const* pointer, char const* name) {
  SWITCHYARD_REQUIRE(pointer != nullptr, invalid_argument, "{} is null", name);
}

void require_size(void const* data, std::size_t given, std::size_t known, char const* name) {
  SWITCHYARD_REQUIRE(given >= known, invalid_argument,
                     "{} states a size of {} bytes, {} are needed: set struct_size to sizeof the struct", name, given,
                     known);
  auto const* const bytes = static_cast<unsigned char const*>(data);
  SWITCHYARD_REQUIRE(std::all_of(bytes + known, bytes + given, [](unsigned char byte) { return byte == 0; }),
                     unsupported, "{} sets fields behind its first {} bytes, which this version does not know", name,
                     known);
}

}  // namespace switchyard::c_api

extern "C" {

char const* switchyard_version(void) {
  return SWITCHYARD_VERSION_STRING;
}

char const* switchyard_status_name(switchyard_status status) {
  int const number = static_cast<int>(status);
  if (number == 0) return "ok";
  if (number < 0 || number > static_cast<int>(switchyard::c_api::kLastCode) + 1) return "unknown";
  return switchyard::to_string(static_cast<switchyard::ErrorCode>(number - 1)).data();
}

char const* switchyard_last_error(void) {
  return switchyard::c_api::last_text.data();
}

}  // extern "C"
