// SPDX-License-Identifier: Apache-2.0
/// Runs the cases of a golden file when SWITCHYARD_GOLDEN_DIR names its folder, and says so when it does not.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/file.hpp"

namespace support {

/// @param run returns the first mismatch of a case, empty when it passes.
/// @return the number of cases that ran; 0 with a message when the folder is not given.
template <typename Run>
std::size_t run_golden_cases(std::string const& file, std::string const& list, Run const& run) {
  char const* const folder = std::getenv("SWITCHYARD_GOLDEN_DIR");
  if (folder == nullptr || *folder == '\0') {
    MESSAGE("skipped: SWITCHYARD_GOLDEN_DIR is not set, so " << file << " was not read");
    return 0;
  }
  std::string const path = std::string(folder) + "/" + file;
  auto const text = switchyard::io::read_file(path);
  auto const document = switchyard::io::JsonDocument::parse(text, path);
  auto const cases = document.root().at(list);
  for (std::size_t i = 0; i < cases.array_size(); ++i) {
    auto const given_name = cases.at(i).find("name");
    std::string const name = given_name ? given_name->as_string() : "without a name";
    CAPTURE(i);
    CAPTURE(name);
    CHECK_EQ(run(cases.at(i)), std::string());
  }
  REQUIRE(cases.array_size() > 0);
  return cases.array_size();
}

}  // namespace support
