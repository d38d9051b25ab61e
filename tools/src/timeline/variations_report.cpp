// SPDX-License-Identifier: Apache-2.0
#include "timeline/variations_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace switchyard::cli {

std::string variation_lines(std::vector<Variation> const& variations, double us) {
  std::string text;
  for (Variation const& one : variations)
    if (matters(one, 0, us))
      text += fmt::format("  {:<34} -20 %: {:.1f} us, +20 %: {:.1f} us\n", one.constant, one.lower_us.front(),
                          one.higher_us.front());
  return "hangs on (20 % more or less of one constant)\n" +
         (text.empty() ? "  no constant by more than 0.5 %\n" : text);
}

nlohmann::ordered_json variations_json(std::vector<Variation> const& variations, double us) {
  auto list = nlohmann::ordered_json::array();
  for (Variation const& one : variations)
    list.push_back({{"constant", one.constant},
                    {"lower_us", one.lower_us.front()},
                    {"higher_us", one.higher_us.front()},
                    {"matters", matters(one, 0, us)}});
  return list;
}

}  // namespace switchyard::cli
