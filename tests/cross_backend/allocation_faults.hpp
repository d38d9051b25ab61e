// SPDX-License-Identifier: Apache-2.0
/// fail_each_allocation(): a call whose first, second, ... allocation fails says so by Error{out_of_memory}, and the
/// same call on the same object then gives the right bytes.
#pragma once

#include <string>
#include <vector>

#include "allocation_fault.hpp"
#include "executor_rows.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes bytes_of(std::vector<T> const& values) {
  auto const bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

/// @return whether the call failed for want of memory; any other failure is reported
template <typename Call>
bool runs_out_of_memory(PairReport& report, std::string const& name, int skip, Call const& call) {
  using namespace switchyard;
  bool lacks_memory = false;
  cuda::fail_allocation_after(skip);
  try {
    call();
  } catch (Error const& error) {
    lacks_memory = error.code() == ErrorCode::out_of_memory;
    if (!lacks_memory) report.failed(name + " ended with " + error.what());
  }
  cuda::fail_allocation_after(-1);
  return lacks_memory;
}

/// Until no allocation is left to fail. Ranks of a group run alike: their calls allocate the same.
/// @param fresh makes an object without a fault @param call gives the output's bytes; it poisons the output before
template <typename Fresh, typename Call>
void fail_each_allocation(PairReport& report, std::string const& name, RowNames const& names, Bytes const& expected,
                          Fresh const& fresh, Call const& call) {
  for (int skip = 0;; ++skip) {
    auto const object = fresh();
    bool const has_failed = runs_out_of_memory(report, name, skip, [&] { static_cast<void>(call(*object)); });
    std::string const text = difference_text(names, expected, call(*object));
    report.compared(expected.size());
    if (!text.empty()) report.failed(name + " after failed allocation " + std::to_string(skip) + ": " + text);
    if (has_failed) continue;
    if (skip == 0) report.failed(name + " allocates nothing: no failure was seen");
    return;
  }
}

}  // namespace cross_backend
