// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/compatibility.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace switchyard {
namespace {

template <typename T>
bool holds(std::vector<T> const& list, T value) {
  return std::ranges::find(list, value) != list.end();
}

template <typename T>
std::string names(std::vector<T> const& list) {
  std::string text;
  for (T const value : list) text += (text.empty() ? "" : ", ") + std::string(to_string(value));
  return text.empty() ? "none" : text;
}

void compare_rows(PrepareTraits const& prepare, ExpertsTraits const& experts, std::vector<std::string>& reasons) {
  if (!holds(experts.formats, prepare.output_format))
    reasons.push_back(fmt::format("{} delivers {} rows, {} takes {}", prepare.name, to_string(prepare.output_format),
                                  experts.name, names(experts.formats)));
  if (!holds(experts.dtypes, prepare.dtype))
    reasons.push_back(fmt::format("{} delivers {}, {} computes on {}", prepare.name, to_string(prepare.dtype),
                                  experts.name, names(experts.dtypes)));
}

void compare_quantization(PrepareTraits const& prepare, ExpertsTraits const& experts,
                          std::vector<std::string>& reasons) {
  bool const quantised = prepare.quantize != QuantizeWhen::never;
  if (quantised != prepare.quant.has_value()) {
    reasons.push_back(fmt::format("{} quantises {} but names {} scheme", prepare.name, to_string(prepare.quantize),
                                  quantised ? "no" : "a"));
    return;
  }
  if (!quantised && !experts.plain_rows)
    reasons.push_back(fmt::format("{} delivers rows as they are, {} takes quantised ones only: {}", prepare.name,
                                  experts.name, names(experts.input_schemes)));
  if (quantised && !holds(experts.input_schemes, prepare.quant->scheme))
    reasons.push_back(fmt::format("{} delivers {}, {} takes {}", prepare.name, to_string(prepare.quant->scheme),
                                  experts.name, names(experts.input_schemes)));
  if (prepare.quantize == QuantizeWhen::before_exchange && prepare.quant->scheme == QuantScheme::fp8_tensor_dynamic)
    reasons.push_back(
        fmt::format("{} quantises by {} before the exchange: ranks would have different scales and none "
                    "travels with a row",
                    prepare.name, to_string(prepare.quant->scheme)));
}

}  // namespace

std::string_view to_string(QuantizeWhen when) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"never", "before_exchange", "after_exchange"};
  return kNames[static_cast<std::size_t>(when)];
}

ExpertsTraits exact_experts_traits() {
  return {"exact",
          {RowFormat::standard, RowFormat::batched},
          {kAllQuantSchemes.begin(), kAllQuantSchemes.end()},
          true,
          WeightAndReduce::delegate,
          {DType::f32, DType::bf16, DType::f16}};
}

std::vector<std::string> incompatibilities(PrepareTraits const& prepare, ExpertsTraits const& experts) {
  std::vector<std::string> reasons;
  compare_rows(prepare, experts, reasons);
  compare_quantization(prepare, experts, reasons);
  if (experts.weight_and_reduce == WeightAndReduce::delegate && !prepare.reduces)
    reasons.push_back(
        fmt::format("{} leaves weighting and reducing to finalize, {} does neither", experts.name, prepare.name));
  return reasons;
}

std::optional<std::string> incompatibility(PrepareTraits const& prepare, ExpertsTraits const& experts) {
  auto const reasons = incompatibilities(prepare, experts);
  if (reasons.empty()) return std::nullopt;
  return reasons.front();
}

}  // namespace switchyard
