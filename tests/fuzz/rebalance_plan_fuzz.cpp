// SPDX-License-Identifier: Apache-2.0
/// Rebalance plans, schedules and placements. A plan whose fingerprint does not fit is tried again with the right one
/// written in, so that the fuzzer reaches plans that someone forged with care; validate() must then report, never
/// crash.
#include <variant>

#include "fuzz/fuzz_check.hpp"
#include "switchyard/io/plan_json.hpp"

namespace {

using switchyard::ErrorCode;
using switchyard::io::placement_from_json;
using switchyard::io::rebalance_from_json;
using switchyard::io::to_json;

constexpr std::size_t kFingerprintDigits = 16;

/// @return `text` with the fingerprint that the refusal says it has instead of the one that it claims.
std::string forge(std::string text, std::string const& message) {
  std::size_t const claimed = message.find("says fingerprint ");
  std::size_t const actual = message.find("its content has ");
  if (claimed == std::string::npos || actual == std::string::npos) return {};
  std::size_t const place = text.find(message.substr(claimed + 17, kFingerprintDigits));
  if (place == std::string::npos) return {};
  return text.replace(place, kFingerprintDigits, message.substr(actual + 16, kFingerprintDigits));
}

using Plan = std::variant<switchyard::RebalancePlan, switchyard::RebalanceSchedule>;

std::optional<Plan> read_plan(std::string const& text, std::string* message) {
  return fuzz::attempt([&] { return rebalance_from_json(text, "in"); }, {ErrorCode::parse, ErrorCode::invalid_plan},
                       message);
}

void check_plan(std::string const& text) {
  std::string message;
  auto plan = read_plan(text, &message);
  std::string const forged = plan ? std::string() : forge(text, message);
  if (!forged.empty()) plan = read_plan(forged, &message);
  if (!plan) return;
  if (auto const* only_plan = std::get_if<switchyard::RebalancePlan>(&*plan)) (void)validate(*only_plan, true);
  std::visit(
      [](auto const& read) {
        (void)validate(read);
        std::string const written = to_json(read);
        Plan const again = rebalance_from_json(written, "in");
        std::string const rewritten = std::visit([](auto const& other) { return to_json(other); }, again);
        fuzz::require(again == Plan(read) && rewritten == written, "a plan changed on its way through JSON");
      },
      *plan);
}

void check_placement(std::string const& text) {
  for (int const ranks : {1, 2, 3}) {
    auto const placement = fuzz::attempt([&] { return placement_from_json(text, "in", 0, ranks); },
                                         {ErrorCode::parse, ErrorCode::invalid_plan});
    if (!placement) continue;
    auto const again = placement_from_json(to_json(*placement), "in", placement->num_experts(), placement->num_ranks());
    fuzz::require(again == *placement, "a placement changed on its way through JSON");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(fuzz::as_text(data, size));
  check_plan(text);
  check_placement(text);
  return 0;
}
