// SPDX-License-Identifier: Apache-2.0
/// What every harness does: run a reader, allow exactly its documented refusals, stop the process on anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "switchyard/types/error.hpp"

namespace fuzz {

/// A finding: printed, then abort, which both libFuzzer and the replay program report with the input.
inline void require(bool holds, std::string const& what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what.c_str());
  std::abort();
}

/// @return what `read` returns, or nothing when it refuses with one of the codes; another code is a finding, and so is
/// a message that does not begin with the source's name or has more than one line.
template <typename Read>
auto attempt(Read const& read, std::initializer_list<switchyard::ErrorCode> allowed, std::string* message = nullptr)
    -> std::optional<decltype(read())> {
  try {
    return read();
  } catch (switchyard::Error const& error) {
    bool known = false;
    for (auto const code : allowed) known = known || code == error.code();
    require(known, std::string("undocumented refusal ") + error.what());
    require(error.message().substr(0, 2) == "in", std::string("no source name in ") + error.what());
    require(error.message().find('\n') == std::string_view::npos, std::string("line break in ") + error.what());
    require(error.message().size() < 2000, std::string("endless message ") + error.what());
    if (message != nullptr) *message = std::string(error.message());
    return std::nullopt;
  }
}

inline std::string_view as_text(std::uint8_t const* data, std::size_t size) {
  return {static_cast<char const*>(static_cast<void const*>(data)), size};
}

}  // namespace fuzz

/// libFuzzer's entry point; the replay program calls the same one.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);
