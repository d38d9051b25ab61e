// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/load_writer.hpp"

#include <array>
#include <bit>
#include <numeric>

#include "load_formats.hpp"
#include "npy_header.hpp"
#include "safetensors.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::array<LoadOutput, 6> kOutputs = {LoadOutput::json, LoadOutput::sglang_json, LoadOutput::npy,
                                                LoadOutput::csv,  LoadOutput::vllm_stats,  LoadOutput::trtllm_stats};

bool is_whole(double load) {
  return static_cast<double>(static_cast<std::int64_t>(load)) == load;
}

bool all_whole(ExpertLoad const& load) {
  for (double const value : load.values())
    if (!is_whole(value)) return false;
  return true;
}

void require_loads(ExpertLoad const& load, LoadOutput format) {
  bool const integers_only = format == LoadOutput::vllm_stats || format == LoadOutput::trtllm_stats;
  std::size_t const per_layer = to_size(load.num_experts());
  for (std::size_t i = 0; i < load.values().size(); ++i) {
    double const value = load.values()[i];
    SWITCHYARD_REQUIRE(is_load(value), invalid_argument, "load {} cannot be written: {}", value, kLoadRule);
    SWITCHYARD_REQUIRE(!integers_only || is_whole(value), invalid_argument,
                       "layer {}, expert {}: load {} is a fraction and {} holds integers: write json, npy or csv, or "
                       "scale the loads",
                       i / per_layer % to_size(load.num_layers()), i % per_layer, value, to_string(format));
  }
}

/// Calls `write` for every layer of every step, with a separator between layers and brackets around each step.
std::string nested(ExpertLoad const& load) {
  std::string out = "[";
  for (int step = 0; step < load.num_steps(); ++step) {
    out += step == 0 ? "\n[" : ",\n[";
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      if (layer > 0) out += ",\n ";
      append_loads(out, load.at(step, layer));
    }
    out += ']';
  }
  return out + "\n]";
}

std::string write_npy(ExpertLoad const& load) {
  bool const whole = all_whole(load);
  std::string file =
      npy_header(whole ? NumberType::i8 : NumberType::f8, {load.num_steps(), load.num_layers(), load.num_experts()});
  for (double const value : load.values())
    append_little_endian(
        file,
        whole ? static_cast<std::uint64_t>(static_cast<std::int64_t>(value)) : std::bit_cast<std::uint64_t>(value), 8);
  return file;
}

std::string write_csv(ExpertLoad const& load, int first_layer) {
  std::string out = "step,layer,expert,load\n";
  for (int step = 0; step < load.num_steps(); ++step) {
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      int expert = 0;
      for (double const value : load.at(step, layer)) {
        fmt::format_to(std::back_inserter(out), "{},{},{},", step, first_layer + layer, expert++);
        append_load(out, value);
        out += '\n';
      }
    }
  }
  return out;
}

std::string write_vllm(ExpertLoad const& load) {
  std::vector<double> ids(to_size(load.num_experts()));
  std::iota(ids.begin(), ids.end(), 0.0);
  std::string row;
  append_loads(row, ids);
  std::string map;
  for (int layer = 0; layer < load.num_layers(); ++layer) map += (layer == 0 ? "" : ",") + row;
  std::string out;
  for (int step = 0; step < load.num_steps(); ++step) {
    out += fmt::format(R"({{"record_type":"eplb_load_stats","version":1,"step":{},"num_ranks":1,"num_layers":{},)",
                       step, load.num_layers());
    out += "\"expert_load\":[";
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      if (layer > 0) out += ',';
      append_loads(out, load.at(step, layer));
    }
    out += "],\"p2l_map\":[" + map + "]}\n";
  }
  return out;
}

std::string write_trtllm(ExpertLoad const& load, int first_layer) {
  std::vector<IntegerTensor> tensors;
  for (int step = 0; step < load.num_steps(); ++step) {
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      IntegerTensor& tensor = tensors.emplace_back();
      tensor.name = fmt::format("{}_{}", step, first_layer + layer);
      for (double const value : load.at(step, layer)) tensor.values.push_back(static_cast<std::int64_t>(value));
    }
  }
  return write_safetensors(tensors);
}

}  // namespace

void append_load(std::string& out, double load) {
  if (is_whole(load)) {
    fmt::format_to(std::back_inserter(out), "{}", static_cast<std::int64_t>(load));
  } else {
    fmt::format_to(std::back_inserter(out), "{}", load);
  }
}

void append_loads(std::string& out, std::span<double const> loads) {
  char separator = '[';
  for (double const load : loads) {
    out += separator;
    append_load(out, load);
    separator = ',';
  }
  out += ']';
}

std::string_view to_string(LoadOutput format) noexcept {
  switch (format) {
    case LoadOutput::json: return "json";
    case LoadOutput::sglang_json: return "sglang-json";
    case LoadOutput::npy: return "npy";
    case LoadOutput::csv: return "csv";
    case LoadOutput::vllm_stats: return "vllm-stats";
    case LoadOutput::trtllm_stats: return "trtllm-stats";
  }
  return "unknown";
}

std::vector<std::string> load_output_names() {
  std::vector<std::string> names;
  for (LoadOutput const format : kOutputs) names.emplace_back(to_string(format));
  return names;
}

std::string write_load(ExpertLoad const& load, LoadOutput format, int first_layer) {
  require_loads(load, format);
  switch (format) {
    case LoadOutput::sglang_json: return "{\"logical_count\": " + nested(load) + "}\n";
    case LoadOutput::npy: return write_npy(load);
    case LoadOutput::csv: return write_csv(load, first_layer);
    case LoadOutput::vllm_stats: return write_vllm(load);
    case LoadOutput::trtllm_stats: return write_trtllm(load, first_layer);
    default: return "{\"schema_version\": 1, \"expert_load\": " + nested(load) + "}\n";
  }
}

std::string to_json(ExpertLoad const& load) {
  return write_load(load, LoadOutput::json);
}

}  // namespace switchyard::io
