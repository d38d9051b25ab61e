// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/policy.hpp"

#include <array>

#include "policy_request.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard {

namespace {

enum class Mode { original, hierarchical, global };

class DeepSeekPolicy final : public PlacementPolicy {
 public:
  DeepSeekPolicy(std::string_view name, Mode mode) : name_(name), mode_(mode) {}

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] ExpertPlacement place(ExpertLoad const& load, PolicyRequest const& request) const override {
    placement::require_basic_request(request, load.num_experts());
    bool const divides = request.num_groups % request.num_nodes == 0;
    return deepseek_rebalance(load, request, mode_ == Mode::hierarchical || (mode_ == Mode::original && divides))
        .placement;
  }

 private:
  std::string_view name_;
  Mode mode_;
};

using Baseline = ExpertPlacement (*)(int num_layers, int num_experts, SlotLayout const& layout);

/// A placement that ignores the loads.
class BaselinePolicy final : public PlacementPolicy {
 public:
  BaselinePolicy(std::string_view name, Baseline make) : name_(name), make_(make) {}

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] ExpertPlacement place(ExpertLoad const& load, PolicyRequest const& request) const override {
    placement::require_basic_request(request, load.num_experts());
    return make_(load.num_layers(), load.num_experts(), SlotLayout::balanced(request.num_ranks, request.num_slots));
  }

 private:
  std::string_view name_;
  Baseline make_;
};

struct KnownPolicy {
  std::string_view name;
  std::unique_ptr<PlacementPolicy const> (*make)(std::string_view name);
};

template <Mode kMode>
std::unique_ptr<PlacementPolicy const> make_deepseek(std::string_view name) {
  return std::make_unique<DeepSeekPolicy>(name, kMode);
}

template <Baseline kMake>
std::unique_ptr<PlacementPolicy const> make_baseline(std::string_view name) {
  return std::make_unique<BaselinePolicy>(name, kMake);
}

constexpr std::array kPolicies = {
    KnownPolicy{"deepseek", make_deepseek<Mode::original>},
    KnownPolicy{"deepseek-hierarchical", make_deepseek<Mode::hierarchical>},
    KnownPolicy{"deepseek-global", make_deepseek<Mode::global>},
    KnownPolicy{"contiguous", make_baseline<&ExpertPlacement::trivial>},
    KnownPolicy{"round-robin", make_baseline<&ExpertPlacement::round_robin>},
};

}  // namespace

std::unique_ptr<PlacementPolicy const> make_policy(std::string_view name) {
  std::string known;
  for (auto const& policy : kPolicies) {
    if (policy.name == name) {
      return policy.make(policy.name);
    }
    known += known.empty() ? "" : ", ";
    known += policy.name;
  }
  throw_error(ErrorCode::invalid_argument, fmt::format("no policy is called \"{}\": use one of {}", name, known));
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (auto const& policy : kPolicies) {
    names.emplace_back(policy.name);
  }
  return names;
}

}  // namespace switchyard
