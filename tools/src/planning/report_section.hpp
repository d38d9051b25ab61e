// SPDX-License-Identifier: Apache-2.0
/// ReportSection: one answer of a report, for people and for programs.
#pragma once

#include <string>

namespace switchyard::cli {

struct ReportSection {
  std::string key;   ///< member of the JSON report
  std::string json;  ///< its value
  std::string text;  ///< lines of the table report, ending in a newline
};

}  // namespace switchyard::cli
