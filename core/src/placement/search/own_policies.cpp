// SPDX-License-Identifier: Apache-2.0
#include "own_policies.hpp"

#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/incremental.hpp"

namespace switchyard::placement {

namespace {

/// Every part of a request.
RequestParts all_parts() {
  RequestParts parts;
  for (int part = 0; part < kNumRequestParts; ++part) {
    parts.add(static_cast<RequestPart>(part));
  }
  return parts;
}

/// A policy that reads the steps itself, because its objective may be evaluated step by step.
class SearchingPolicy : public PlacementPolicy {
 public:
  explicit SearchingPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override { return all_parts(); }
  [[nodiscard]] bool uses_steps() const noexcept override { return true; }

 private:
  std::string_view name_;
};

class BalancedPolicy final : public SearchingPolicy {
 public:
  using SearchingPolicy::SearchingPolicy;

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    return balance(load, request).placement;
  }
};

class IncrementalPolicy final : public SearchingPolicy {
 public:
  using SearchingPolicy::SearchingPolicy;

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    return improve_placement(load, request).placement;
  }
};

}  // namespace

std::unique_ptr<PlacementPolicy const> make_balanced(std::string_view name) {
  return std::make_unique<BalancedPolicy>(name);
}

std::unique_ptr<PlacementPolicy const> make_incremental(std::string_view name) {
  return std::make_unique<IncrementalPolicy>(name);
}

}  // namespace switchyard::placement
