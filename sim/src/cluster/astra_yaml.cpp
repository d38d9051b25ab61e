// SPDX-License-Identifier: Apache-2.0
// The one YAML shape that ASTRA-sim's network files have: `key: [ value, ... ]  # comment`, a key per line.
#include <charconv>
#include <cmath>
#include <map>

#include "cluster/astra_file.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::size_t kMaxDimensions = 64;

struct YamlList {
  std::size_t line = 0;
  std::vector<std::string> values{};
};

std::string trimmed(std::string_view text) {
  auto const first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r") + 1 - first));
}

class YamlReader {
 public:
  YamlReader(std::string_view text, std::string const& source_name) : source_name_(source_name) {
    SWITCHYARD_REQUIRE(text.size() <= kMaxBytes, parse, "{}: {} bytes: a network file has {} at most", source_name,
                       text.size(), kMaxBytes);
    for (std::size_t line = 1; !text.empty(); ++line) {
      auto const end = text.find('\n');
      read_line(text.substr(0, end), line);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
  }

  YamlList const& at(std::string const& key) const {
    auto const found = lists_.find(key);
    SWITCHYARD_REQUIRE(found != lists_.end(), parse,
                       "{}: there is no key \"{}\": a network file has topology, npus_count, bandwidth and latency",
                       source_name_, key);
    return found->second;
  }

  [[nodiscard]] double number(YamlList const& list, std::size_t index) const {
    std::string const& text = list.values[index];
    double value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    SWITCHYARD_REQUIRE(error == std::errc{} && end == text.data() + text.size() && std::isfinite(value), parse,
                       "{}: line {}: \"{}\" is no number", source_name_, list.line, text);
    return value;
  }

 private:
  void read_line(std::string_view line, std::size_t number) {
    std::string const text = trimmed(line.substr(0, line.find('#')));
    if (text.empty() || text == "---") return;
    auto const colon = text.find(':');
    std::string const key = trimmed(text.substr(0, colon));
    SWITCHYARD_REQUIRE(colon != std::string::npos, parse, "{}: line {}: \"{}\" is no \"key: [ values ]\"", source_name_,
                       number, text);
    bool const known = key == "topology" || key == "npus_count" || key == "bandwidth" || key == "latency";
    SWITCHYARD_REQUIRE(known, parse, "{}: line {}: key \"{}\" is unknown: use topology, npus_count, bandwidth, latency",
                       source_name_, number, key);
    SWITCHYARD_REQUIRE(lists_.count(key) == 0, parse, "{}: line {}: key \"{}\" was on line {} already", source_name_,
                       number, key, lists_[key].line);
    lists_[key] = {number, list_of(trimmed(text.substr(colon + 1)), number)};
  }

  [[nodiscard]] std::vector<std::string> list_of(std::string const& text, std::size_t number) const {
    bool const bracketed = text.size() >= 2 && text.front() == '[' && text.back() == ']';
    SWITCHYARD_REQUIRE(bracketed, parse, "{}: line {}: found \"{}\", expected a list in brackets, as [ 8, 4 ]",
                       source_name_, number, text);
    std::vector<std::string> values;
    std::string_view rest = std::string_view(text).substr(1, text.size() - 2);
    for (bool more = true; more;) {
      auto const comma = rest.find(',');
      more = comma != std::string_view::npos;
      values.push_back(trimmed(rest.substr(0, comma)));
      SWITCHYARD_REQUIRE(!values.back().empty() && values.size() <= kMaxDimensions, parse,
                         "{}: line {}: the list has an empty value or more than {} of them", source_name_, number,
                         kMaxDimensions);
      if (more) rest.remove_prefix(comma + 1);
    }
    return values;
  }

  std::string const& source_name_;
  std::map<std::string, YamlList> lists_{};
};

AstraBlock block_of(std::string const& text, std::string const& place) {
  if (text == "Ring") return AstraBlock::ring;
  if (text == "FullyConnected") return AstraBlock::fully_connected;
  SWITCHYARD_REQUIRE(text == "Switch", parse, "{}: topology \"{}\" is unknown: use Ring, FullyConnected or Switch",
                     place, text);
  return AstraBlock::switched;
}

int npus_of(double value, std::string const& place) {
  SWITCHYARD_REQUIRE(value >= 1 && value <= 1 << 24 && value == std::floor(value), parse,
                     "{}: npus_count {}: give an integer from 1 to 2^24", place, value);
  return static_cast<int>(value);
}

}  // namespace

std::vector<AstraDimension> read_astra_yaml(std::string_view text, std::string const& source_name) {
  YamlReader const reader(text, source_name);
  auto const& blocks = reader.at("topology");
  for (char const* key : {"npus_count", "bandwidth", "latency"})
    SWITCHYARD_REQUIRE(reader.at(key).values.size() == blocks.values.size(), parse,
                       "{}: line {}: {} has {} values, topology on line {} has {}: one of each per dimension",
                       source_name, reader.at(key).line, key, reader.at(key).values.size(), blocks.line,
                       blocks.values.size());
  std::vector<AstraDimension> dimensions;
  for (std::size_t i = 0; i < blocks.values.size(); ++i) {
    AstraDimension dimension;
    dimension.place = fmt::format("{}: line {}", source_name, reader.at("npus_count").line);
    dimension.block = block_of(blocks.values[i], fmt::format("{}: line {}", source_name, blocks.line));
    dimension.npus = npus_of(reader.number(reader.at("npus_count"), i), dimension.place);
    dimension.link_gb_per_s = reader.number(reader.at("bandwidth"), i);
    dimension.link_latency_ns = reader.number(reader.at("latency"), i);
    dimensions.push_back(dimension);
  }
  return dimensions;
}

}  // namespace switchyard::sim
