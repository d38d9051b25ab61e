// SPDX-License-Identifier: Apache-2.0
/// SGLang's expert distribution recordings: the `stat` shape (logical counts) and the `per_pass` shape (physical counts
/// of every forward pass and the map they are counted under).
#include "load_formats.hpp"
#include "physical_counts.hpp"
#include "sglang_pt.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

double count_at(LoadText const& text, TorchTensor const& tensor, std::int64_t index, std::string const& path) {
  std::size_t const place = tensor.place_of(index);
  double const count = read_number(tensor.type, tensor.storage.data(), place);
  SWITCHYARD_REQUIRE(is_load(count), parse, "{}: byte {}: {}, element {}: found {}, {}", text.name,
                     tensor.storage_offset + place * size_of(tensor.type), path, index,
                     show_number(tensor.type, tensor.storage.data(), place), kLoadRule);
  return count;
}

ExpertLoad read_stat(LoadText const& text, TorchFile const& file, std::uint32_t id) {
  std::string const path = "$['logical_count']";
  TorchTensor const tensor = file.tensor(id, path);
  std::size_t const dimensions = tensor.shape.size();
  if (dimensions != 2 && dimensions != 3)
    file.pickle().refuse(
        id, path, fmt::format("{} dimensions, [layers][experts] or [steps][layers][experts] is required", dimensions));
  std::int64_t const steps = dimensions == 3 ? tensor.shape[0] : 1;
  std::int64_t const layers = tensor.shape[dimensions - 2];
  std::int64_t const experts = tensor.shape[dimensions - 1];
  require_load_sizes(text, steps, layers, experts);
  std::vector<double> values(to_size(tensor.num_elements));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = count_at(text, tensor, static_cast<std::int64_t>(i), path);
  return {static_cast<int>(steps), static_cast<int>(layers), static_cast<int>(experts), std::move(values)};
}

/// Passes of gatherers other than "primary" (two-batch overlap records its halves too) are left out and counted.
bool is_primary(Pickle const& pickle, std::uint32_t record) {
  auto const key = pickle.find(record, "gatherer_key");
  return !key || pickle.node(*key).text == "primary";
}

void add_pass(LoadText const& text, TorchFile const& file, std::uint32_t record, std::string const& path,
              SglangMap const& map, PhysicalCounts& counts) {
  std::string const member = path + "['global_physical_count']";
  std::uint32_t const id = file.pickle().at(record, "global_physical_count", path);
  TorchTensor const tensor = file.tensor(id, member);
  if (tensor.shape != map.shape)
    file.pickle().refuse(id, member, "the shape of last_physical_to_logical_map, [layers][slots], is required");
  std::vector<double> loads(map.experts.size());
  for (std::size_t i = 0; i < loads.size(); ++i)
    loads[i] = count_at(text, tensor, static_cast<std::int64_t>(i), member);
  counts.add_step(to_size(map.shape[0]), loads, map.experts);
}

void read_passes(LoadText const& text, TorchFile const& file, std::uint32_t records, LoadReadResult& result) {
  file.pickle().require_kind(records, PickleKind::list, "$['records']");
  SglangMap const map = read_sglang_map(file, text.num_experts);
  PhysicalCounts counts(text);
  auto const& passes = file.pickle().node(records).children;
  for (std::size_t i = 0; i < passes.size(); ++i) {
    std::string const path = fmt::format("$['records'][{}]", i);
    file.pickle().require_kind(passes[i], PickleKind::dict, path);
    if (!is_primary(file.pickle(), passes[i])) {
      ++result.dropped_other;
      continue;
    }
    add_pass(text, file, passes[i], path, map, counts);
    ++result.records;
  }
  SWITCHYARD_REQUIRE(!counts.empty(), parse,
                     "{}: $['records'] has no forward pass of the primary gatherer: record again", text.name);
  result.load = counts.load();
}

}  // namespace

SglangMap read_sglang_map(TorchFile const& file, int num_experts) {
  std::string const path = "$['last_physical_to_logical_map']";
  Pickle const& pickle = file.pickle();
  std::uint32_t const id = pickle.at(pickle.root(), "last_physical_to_logical_map", "$");
  TorchTensor const tensor = file.tensor(id, path);
  if (tensor.shape.size() != 2 || tensor.num_elements == 0 || !is_integer(tensor.type))
    pickle.refuse(id, path, "an integer tensor [layers][slots] is required");
  std::int64_t const limit = num_experts > 0 ? num_experts : kMaxExperts;
  SglangMap map{tensor.shape, {}};
  for (std::int64_t i = 0; i < tensor.num_elements; ++i) {
    double const expert = read_number(tensor.type, tensor.storage.data(), tensor.place_of(i));
    if (!(expert >= -1 && expert < static_cast<double>(limit)))
      pickle.refuse(id, path, fmt::format("element {}: found {}, an expert in [-1, {}) is required", i, expert, limit));
    map.experts.push_back(static_cast<std::int64_t>(expert));
  }
  return map;
}

LoadReadResult parse_sglang_pt_load(LoadText const& text) {
  TorchFile const file(text.content, text.name);
  Pickle const& pickle = file.pickle();
  pickle.require_kind(pickle.root(), PickleKind::dict, "$");
  LoadReadResult result;
  result.format = LoadFormat::sglang_pt;
  if (auto const stat = pickle.find(pickle.root(), "logical_count")) {
    result.load = read_stat(text, file, *stat);
  } else if (auto const records = pickle.find(pickle.root(), "records")) {
    read_passes(text, file, *records, result);
  } else {
    pickle.refuse(pickle.root(), "$",
                  "a dictionary with 'logical_count' (recorder mode stat) or 'records' (mode per_pass) is required");
  }
  return result;
}

}  // namespace switchyard::io
