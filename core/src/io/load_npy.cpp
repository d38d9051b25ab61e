// SPDX-License-Identifier: Apache-2.0
#include "load_formats.hpp"
#include "npy_header.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {
namespace {

[[noreturn]] void refuse_element(LoadText const& text, NpyHeader const& header, std::size_t index) {
  auto const experts = static_cast<std::size_t>(header.shape.back());
  auto const layers = static_cast<std::size_t>(header.shape[header.shape.size() - 2]);
  char const* const data = text.content.data() + header.data_offset;
  throw_error(ErrorCode::parse,
              fmt::format("{}: byte {}: step {}, layer {}, expert {}: found {}, {}", text.name,
                          header.data_offset + index * size_of(header.type), index / experts / layers,
                          index / experts % layers, index % experts, show_number(header.type, data, index), kLoadRule));
}

}  // namespace

LoadReadResult parse_npy_load(LoadText const& text) {
  NpyHeader const header = parse_npy_header(text.content, text.name);
  std::size_t const dimensions = header.shape.size();
  SWITCHYARD_REQUIRE(dimensions == 2 || dimensions == 3, parse,
                     "{}: {} dimensions ({}), [layers][experts] or [steps][layers][experts] is required", text.name,
                     dimensions, fmt::join(header.shape, ", "));
  std::int64_t const steps = dimensions == 3 ? header.shape[0] : 1;
  std::int64_t const layers = header.shape[dimensions - 2];
  std::int64_t const experts = header.shape[dimensions - 1];
  require_load_sizes(text, steps, layers, experts);
  std::vector<double> values(static_cast<std::size_t>(header.num_elements));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = read_number(header.type, text.content.data() + header.data_offset, i);
    if (!is_load(values[i])) refuse_element(text, header, i);
  }
  LoadReadResult result;
  result.format = LoadFormat::npy;
  result.load =
      ExpertLoad(static_cast<int>(steps), static_cast<int>(layers), static_cast<int>(experts), std::move(values));
  return result;
}

}  // namespace switchyard::io
