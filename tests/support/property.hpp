// SPDX-License-Identifier: Apache-2.0
/// holds: a RapidCheck property with its own number of cases; a failure prints the seed that repeats it.
#pragma once

#include <rapidcheck.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace support {

/// RC_PARAMS="seed=N" in the environment repeats a run.
/// @return whether all cases passed; the counterexample and the seed go to stderr otherwise.
template <typename Property>
bool holds(std::string const& name, int cases, Property&& property) {
  auto params = rc::detail::configuration().testParams;
  params.maxSuccess = cases;
  rc::detail::TestMetadata metadata;
  metadata.id = name;
  metadata.description = name;
  auto const result = rc::detail::checkTestable(std::forward<Property>(property), metadata, params);
  bool const passed = result.template is<rc::detail::SuccessResult>();
  if (!passed) {
    std::cerr << "\n- " << name << " (RC_PARAMS=\"seed=" << params.seed << "\")\n";
    rc::detail::printResultMessage(result, std::cerr);
    std::cerr << '\n';
  }
  return passed;
}

/// An integer in [low, high), over the whole range in every case (RapidCheck starts with narrow ranges).
template <typename Integer>
Integer draw(Integer low, Integer high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<Integer>(low, high));
}

/// `count` integers in [low, high).
inline std::vector<int> draw_list(std::size_t count, int low, int high) {
  auto const element = rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high));
  return *rc::gen::container<std::vector<int>>(count, element);
}

}  // namespace support
