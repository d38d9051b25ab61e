// SPDX-License-Identifier: Apache-2.0
/// TensorRT-LLM's expert statistics: a safetensors file of one rank, tensors named "iteration_layer".
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "load_formats.hpp"
#include "safetensors.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

using Key = std::pair<std::int64_t, std::int64_t>;  // iteration, layer

bool read_id(std::string_view text, std::int64_t& id) {
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  return error == std::errc{} && end == text.data() + text.size() && id >= 0 && id < std::int64_t{1} << 31;
}

Key key_of(SafeTensor const& tensor, LoadText const& text) {
  std::string_view const name = tensor.name;
  std::size_t const border = std::min(name.find('_'), name.size());
  Key key;
  bool const good = border < name.size() && read_id(name.substr(0, border), key.first) &&
                    read_id(name.substr(border + 1), key.second);
  SWITCHYARD_REQUIRE(good, parse,
                     "{}: tensor \"{}\": expert statistics name their tensors \"iteration_layer\": give the "
                     "rank*.safetensors of EXPERT_STATISTIC_PATH (not rank*_raw)",
                     text.name, excerpt(name));
  return key;
}

void read_counts(LoadText const& text, SafeTensor const& tensor, std::vector<double>& values) {
  for (std::size_t i = 0; i < tensor.num_elements; ++i) {
    char const* const data = text.content.data() + tensor.data_offset;
    double const count = read_number(tensor.type, data, i);
    SWITCHYARD_REQUIRE(is_load(count), parse, "{}: byte {}: tensor \"{}\"[{}]: found {}, {}", text.name,
                       tensor.data_offset + i * size_of(tensor.type), excerpt(tensor.name), i,
                       show_number(tensor.type, data, i), kLoadRule);
    values.push_back(count);
  }
}

IdRange range_of(LoadText const& text, std::string_view what, std::map<Key, SafeTensor const*> const& tensors,
                 std::int64_t Key::*field) {
  std::vector<std::int64_t> ids;
  for (auto const& [key, tensor] : tensors) ids.push_back(key.*field);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return contiguous_range(text, what, ids);
}

std::map<Key, SafeTensor const*> by_key(LoadText const& text, std::vector<SafeTensor> const& tensors) {
  std::map<Key, SafeTensor const*> sorted;
  for (SafeTensor const& tensor : tensors) {
    SWITCHYARD_REQUIRE(tensor.shape.size() == 1 && tensor.shape == tensors.front().shape, parse,
                       "{}: tensor \"{}\" has shape ({}), one load per expert is required in every tensor, as in "
                       "\"{}\" of ({})",
                       text.name, excerpt(tensor.name), fmt::join(tensor.shape, ", "), excerpt(tensors.front().name),
                       fmt::join(tensors.front().shape, ", "));
    SWITCHYARD_REQUIRE(sorted.emplace(key_of(tensor, text), &tensor).second, parse,
                       "{}: tensor \"{}\" names its iteration and layer a second time", text.name,
                       excerpt(tensor.name));
  }
  return sorted;
}

}  // namespace

LoadReadResult parse_trtllm_load(LoadText const& text) {
  std::vector<SafeTensor> const tensors = parse_safetensors(text.content, text.name);
  SWITCHYARD_REQUIRE(!tensors.empty(), parse, "{}: no tensor: the recording is empty", text.name);
  auto const sorted = by_key(text, tensors);
  IdRange const steps = range_of(text, "iteration", sorted, &Key::first);
  IdRange const layers = range_of(text, "layer", sorted, &Key::second);
  std::int64_t const experts = tensors.front().shape.front();
  require_load_sizes(text, steps.count, layers.count, experts);
  SWITCHYARD_REQUIRE(sorted.size() == to_size(steps.count * layers.count), parse,
                     "{}: {} iterations x {} layers are named, but only {} of them have a tensor", text.name,
                     steps.count, layers.count, sorted.size());
  std::vector<double> values;
  for (auto const& [key, tensor] : sorted) read_counts(text, *tensor, values);
  LoadReadResult result;
  result.format = LoadFormat::trtllm_stats;
  result.first_layer = static_cast<int>(layers.first);
  result.load = ExpertLoad(static_cast<int>(steps.count), static_cast<int>(layers.count), static_cast<int>(experts),
                           std::move(values));
  return result;
}

}  // namespace switchyard::io
