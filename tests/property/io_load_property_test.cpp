// SPDX-License-Identifier: Apache-2.0
// Any load survives every format that we can spell, and no random damage gets past a reader as anything but an
// Error{parse}. Worked example: loads [0.5, 3] of one layer are "0.5,3" as CSV, [[0.5,3]] as JSON.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "support/npy_bytes.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/load_reader.hpp"
#include "switchyard/types/error.hpp"

namespace {

using switchyard::Error;
using switchyard::ErrorCode;
using switchyard::ExpertLoad;
using switchyard::io::JsonDocument;
using switchyard::io::parse_expert_load;
using switchyard::io::to_json;

/// Zero, counts, fractions of many magnitudes and the limits.
rc::Gen<double> any_load() {
  return rc::gen::oneOf(
      rc::gen::map(rc::gen::inRange<std::int64_t>(0, 5000), [](auto n) { return static_cast<double>(n); }),
      rc::gen::map(rc::gen::inRange<std::int64_t>(0, (std::int64_t{1} << 53) + 1),
                   [](auto n) { return static_cast<double>(n); }),
      rc::gen::map(rc::gen::pair(rc::gen::inRange(1, 1 << 20), rc::gen::inRange(-60, 20)),
                   [](auto pair) { return std::ldexp(static_cast<double>(pair.first), pair.second); }),
      rc::gen::element(0.0, 0.1, 1e-300, 5e-324, 9007199254740992.0));
}

ExpertLoad draw_load(int max_steps) {
  int const steps = *rc::gen::inRange(1, max_steps + 1);
  int const layers = *rc::gen::inRange(1, 5);
  int const experts = *rc::gen::inRange(1, 9);
  auto const cells = static_cast<std::size_t>(steps * layers * experts);
  return {steps, layers, experts, *rc::gen::container<std::vector<double>>(cells, any_load())};
}

/// The shortest digits, made by the C library instead of by what to_json uses.
std::string digits(double value) {
  char text[32];
  for (int precision = 1; precision <= 17; ++precision) {
    std::snprintf(text, sizeof text, "%.*g", precision, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}

std::string as_csv_rows(ExpertLoad const& load, int first_layer) {
  std::vector<std::string> rows;
  for (int step = 0; step < load.num_steps(); ++step)
    for (int layer = 0; layer < load.num_layers(); ++layer)
      for (int expert = 0; expert < load.num_experts(); ++expert)
        rows.push_back(std::to_string(step) + "," + std::to_string(first_layer + layer) + "," + std::to_string(expert) +
                       "," + digits(load.at(step, layer)[static_cast<std::size_t>(expert)]) + "\n");
  std::string text = "step,layer,expert,load\n";
  while (!rows.empty()) {  // in any order
    auto const at = rows.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(rows.size()));
    text += *at;
    rows.erase(at);
  }
  return text;
}

std::string as_csv_matrix(ExpertLoad const& load) {
  std::string text;
  for (int layer = 0; layer < load.num_layers(); ++layer)
    for (int expert = 0; expert < load.num_experts(); ++expert)
      text +=
          digits(load.at(0, layer)[static_cast<std::size_t>(expert)]) + (expert + 1 == load.num_experts() ? "\n" : ",");
  return text;
}

std::string as_npy(ExpertLoad const& load) {
  std::string const shape = std::to_string(load.num_steps()) + ", " + std::to_string(load.num_layers()) + ", " +
                            std::to_string(load.num_experts());
  return support::npy_header(support::npy_dict("<f8", shape)) +
         support::raw_bytes(std::vector<double>(load.values().begin(), load.values().end()));
}

ExpertLoad read(std::string const& text) {
  return parse_expert_load(text, "in", 0).load;
}

TEST_CASE("every load survives every format") {
  CHECK(rc::check("JSON", [] {
    ExpertLoad const load = draw_load(3);
    RC_ASSERT(read(to_json(load)) == load);
  }));
  CHECK(rc::check("npy", [] {
    ExpertLoad const load = draw_load(3);
    RC_ASSERT(read(as_npy(load)) == load);
  }));
  CHECK(rc::check("CSV rows", [] {
    ExpertLoad const load = draw_load(3);
    RC_ASSERT(read(as_csv_rows(load, *rc::gen::inRange(0, 100))) == load);
  }));
  CHECK(rc::check("CSV matrix", [] {
    ExpertLoad const load = draw_load(1);
    RC_ASSERT(read(as_csv_matrix(load)) == load);
  }));
}

TEST_CASE("routing records count what they say") {
  CHECK(rc::check("records", [] {
    int const layers = *rc::gen::inRange(1, 4);
    int const experts = *rc::gen::inRange(3, 9);
    std::vector<double> counts(static_cast<std::size_t>(layers * experts));
    std::string text = "{\"type\":\"meta\",\"num_experts\":" + std::to_string(experts) + "}\n";
    int const records = *rc::gen::inRange(0, 30) + layers;
    for (int i = 0; i < records; ++i) {
      int const layer = i % layers;                                            // every layer appears
      int const first = i == 0 ? experts - 1 : *rc::gen::inRange(0, experts);  // the first record is no profiling
      int const second = *rc::gen::inRange(0, experts);
      counts[static_cast<std::size_t>(layer * experts + first)] += 1;
      counts[static_cast<std::size_t>(layer * experts + second)] += 1;
      text += "{\"layer\":" + std::to_string(layer + 3) + ",\"topk_ids\":[" + std::to_string(first) + "," +
              std::to_string(second) + "]}\n";
    }
    auto const result = parse_expert_load(text, "in", 0);
    RC_ASSERT(result.load == ExpertLoad(1, layers, experts, counts));
    RC_ASSERT(result.records == records);
  }));
}

TEST_CASE("damage is refused as Error{parse} or read as another valid load") {
  CHECK(rc::check("damage", [] {
    ExpertLoad const load = draw_load(1);
    std::string text = *rc::gen::element(to_json(load), as_npy(load), as_csv_matrix(load));
    int const changes = *rc::gen::inRange(1, 6);
    for (int i = 0; i < changes && !text.empty(); ++i) {
      std::size_t const at = *rc::gen::inRange<std::size_t>(0, text.size());
      switch (*rc::gen::inRange(0, 3)) {
        case 0: text[at] = static_cast<char>(*rc::gen::inRange(0, 256)); break;
        case 1: text.erase(at, *rc::gen::inRange<std::size_t>(1, 9)); break;
        default: text.insert(at, text.substr(*rc::gen::inRange<std::size_t>(0, text.size()), 9)); break;
      }
    }
    try {
      ExpertLoad const other = read(text);
      RC_ASSERT(read(to_json(other)) == other);
    } catch (Error const& error) {
      RC_ASSERT(error.code() == ErrorCode::parse);
    }
  }));
}

TEST_CASE("strings come back from JSON as they went in") {
  CHECK(rc::check("strings", [] {
    auto const text = *rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~'));
    std::string escaped;
    for (char const c : text) {
      if (c == '"' || c == '\\') escaped += '\\';
      escaped += c;
    }
    auto const root = JsonDocument::parse("[\"" + escaped + "\",{\"" + escaped + "\":7}]", "in").root();
    RC_ASSERT(root.at(0).as_string() == text);
    RC_ASSERT(root.at(1).at(std::string_view(text)).as_int(0, 9) == 7);
    RC_ASSERT(root.at(1).keys() == std::vector<std::string>{text});
  }));
}

}  // namespace
