// SPDX-License-Identifier: Apache-2.0
/// RebalanceExecutor::State: a rank's progress through a rebalance, and the steps of which its calls are made.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "rebalance_layer.hpp"
#include "rebalance_moves.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/rebalance.hpp"

namespace switchyard::cuda {

/// How far a layer has come; the same on all survivors of a failure.
struct LayerProgress {
  int rounds_done = 0;
  bool next_round_started = false;
  bool committed = false;
};

struct RebalanceExecutor::State {
  using Source = std::variant<RebalancePlan const*, RebalanceSchedule const*>;
  State(Source the_source, RebalanceOptions const& the_options);

  [[nodiscard]] RebalanceSchedule const* schedule() const {
    auto const* found = std::get_if<RebalanceSchedule const*>(&source);
    return found != nullptr ? *found : nullptr;
  }
  template <typename Get>
  [[nodiscard]] auto const& field(Get const& get) const {
    return std::visit(
        [&](auto const* plan) -> auto const& { return get(*plan); }, source);
  }
  [[nodiscard]] ExpertPlacement const& before() const {
    return field([](auto const& plan) -> auto const& { return plan.before; });
  }
  [[nodiscard]] ExpertPlacement const& after() const {
    return field([](auto const& plan) -> auto const& { return plan.after; });
  }
  [[nodiscard]] int num_layers() const { return before().num_layers(); }
  [[nodiscard]] bool is_layer_buffered(int layer) const {
    return schedule() == nullptr || is_buffered(*schedule(), layer);
  }
  [[nodiscard]] CallOptions call(std::string_view operation) const {
    return {.operation = operation, .configuration = agreement, .deadline = options.deadline};
  }

  void join(RebalanceLinks const& links, RegisteredWeights const& weights);
  void check_shapes(RebalanceLinks const& links, RegisteredWeights const& weights) const;
  [[nodiscard]] LayerMoves moves(int layer) const;
  void follow(StreamView caller);
  void lead(StreamView caller);
  void issue_round(RebalanceLinks const& links, RebalanceLayer& rows, int round);
  void finish_round(RebalanceLinks const& links, RebalanceLayer& rows, int round);
  void run_rounds(RebalanceLinks const& links, RebalanceLayer& rows);
  void write(RebalanceLayer& rows, std::span<OwnCopy const> copies);
  void commit(RebalanceLayer& rows);
  void execute_in_place(RebalanceLinks const& links, RegisteredWeights const& weights);
  void execute_buffered(RebalanceLinks const& links, RegisteredWeights const& weights);
  void profile_layer(RebalanceLinks const& links, RebalanceLayer& rows, RebalanceResult& sizes);

  Source source;
  RebalanceOptions options;
  std::vector<RankId> living{};
  RankId me{};
  std::uint64_t agreement = 0;
  std::vector<LayerProgress> progress{};
  RebalanceResult result{};
  Stream stream{};
  Event caller_done{};
  Event rows_done{};
  std::unique_ptr<RebalanceLayer> moving{};  // the layer under way
  std::optional<RebalanceLinks> links{};     // between begin() and commit()
  int round = 0;
  bool all_here = false;
};

}  // namespace switchyard::cuda
