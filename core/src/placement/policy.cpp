// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/policy.hpp"

#include <array>

#include "peers/peer_policies.hpp"
#include "policy_request.hpp"
#include "search/own_policies.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/placement/objective.hpp"

namespace switchyard {

namespace {

enum class Mode { original, hierarchical, global };

class DeepSeekPolicy final : public PlacementPolicy {
 public:
  DeepSeekPolicy(std::string_view name, Mode mode) : name_(name), mode_(mode) {}

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  /// One node holds a group, and so an expert, when experts are packed by node.
  [[nodiscard]] RequestParts honours(PolicyRequest const& request) const override {
    RequestParts parts{RequestPart::window};
    if (is_hierarchical(request)) {
      parts.add(RequestPart::max_nodes_per_group);
      parts.add(RequestPart::max_nodes_per_expert);
    }
    return parts;
  }

 private:
  [[nodiscard]] bool is_hierarchical(PolicyRequest const& request) const {
    bool const divides = request.num_groups % request.num_nodes == 0;
    return mode_ == Mode::hierarchical || (mode_ == Mode::original && divides);
  }
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    return deepseek_rebalance(load, request, is_hierarchical(request)).placement;
  }

  std::string_view name_;
  Mode mode_;
};

using Baseline = ExpertPlacement (*)(int num_layers, int num_experts, SlotLayout const& layout);

/// A placement that ignores the loads.
class BaselinePolicy final : public PlacementPolicy {
 public:
  BaselinePolicy(std::string_view name, Baseline make) : name_(name), make_(make) {}

  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override { return {RequestPart::slot_layout}; }

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    return make_(load.num_layers(), load.num_experts(), slot_layout_of(request));
  }

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
    KnownPolicy{"vllm", placement::make_vllm},
    KnownPolicy{"sglang-vec", placement::make_sglang_vec},
    KnownPolicy{"sglang-vec-hierarchical", placement::make_sglang_vec_hierarchical},
    KnownPolicy{"sglang-elastic", placement::make_sglang_elastic},
    KnownPolicy{"tensorrt-llm", placement::make_tensorrt_llm},
    KnownPolicy{"ascend-default", placement::make_ascend_default},
    KnownPolicy{"swift", placement::make_swift},
    KnownPolicy{"balanced", placement::make_balanced},
    KnownPolicy{"incremental", placement::make_incremental},
};

void require_honoured(PlacementPolicy const& policy, PolicyRequest const& request) {
  RequestParts const asked = requested_parts(request);
  RequestParts const honoured = policy.honours(request);
  for (int i = 0; i < kNumRequestParts; ++i) {
    auto const part = static_cast<RequestPart>(i);
    SWITCHYARD_REQUIRE(!asked.has(part) || honoured.has(part), invalid_argument,
                       "policy {} does not take {} into account: leave it out or choose a policy that does",
                       policy.name(), to_string(part));
  }
}

}  // namespace

ExpertPlacement PlacementPolicy::place(ExpertLoad const& load, PolicyRequest const& request) const {
  validate(request, load.num_layers(), load.num_experts());
  require_honoured(*this, request);
  return uses_steps() ? do_place(load, request) : do_place(reduce_window(load, request.window), request);
}

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
