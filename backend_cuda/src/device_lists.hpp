// SPDX-License-Identifier: Apache-2.0
/// DevicePlan::Lists: what of a plan lies on the device, and how it is made from the plan's integers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "path_steps.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_plan.hpp"
#include "switchyard/internal/combine_paths.hpp"

namespace switchyard::cuda {

/// A row map on the device, in 32 bits where its values fit.
struct DeviceMap {
  DeviceBuffer data;
  bool is_wide = false;
};

/// The same map by source, where a source has several places: each row is read once. Empty where it does not pay.
struct DevicePlaces {
  DeviceBuffer begin;   ///< [sources + 1] i64
  DeviceBuffer places;  ///< [rows] i32
  std::int64_t num_sources = 0;
};

/// A path step whose map lies on the device.
struct DeviceStep {
  PathStep step;          ///< a MapStep keeps no host map
  std::int64_t rows = 0;  ///< after the step
  DeviceMap map;
  DevicePlaces places;
};
/// The steps of a path, and past them the map of the rows that a rank sends to itself.
struct DevicePath {
  std::vector<DeviceStep> steps;
  std::optional<DeviceStep> own;
};

/// Sums of rows: terms of every sum in order, and where each term's weight stands.
struct DeviceTerms {
  DeviceBuffer begin;         ///< [sums + 1] i64
  DeviceBuffer rows;          ///< [terms] i64
  DeviceBuffer weight_index;  ///< [terms] i64, empty where terms have no weights
  DeviceBuffer inputs;        ///< [terms] i64 the sum that each term belongs to
  std::int64_t num_sums = 0;
  std::int64_t num_terms = 0;
};

/// Partials of one way to join TP ranks.
struct DevicePartials {
  MoveStep back;
  DeviceTerms joins;
};

/// Sums that the source makes of single rows: one per (token, rank), then one per token.
struct DeviceRankSums {
  DeviceTerms partials;
  DeviceTerms joins;
};

struct DevicePlan::Lists {
  Lists(DispatchPlan checked, DevicePlanOptions const& options);

  [[nodiscard]] DeviceTerms const& source_terms(SumOrder order);
  [[nodiscard]] DeviceRankSums const& rank_sums();
  [[nodiscard]] DeviceTerms const& expansion();
  [[nodiscard]] DevicePartials const& partials(TpJoin join);
  [[nodiscard]] DevicePath const& gradient_path();
  [[nodiscard]] DevicePath const& weight_path();
  [[nodiscard]] DeviceBuffer const& ones();
  /// [rows] i32 local experts of the rows that this rank joins, on the way home or in its share of its TP group's rows.
  [[nodiscard]] DeviceBuffer const& joined_experts(bool in_shares);

  DispatchPlan plan;
  ReceiveLayout layout;
  std::vector<std::int32_t> experts;
  DevicePath dispatch;
  DevicePath home;  ///< expert rows to (token, slot) rows

 private:
  std::optional<DeviceTerms> by_slot_;
  std::optional<DeviceTerms> by_expert_;
  std::optional<DeviceRankSums> rank_sums_;
  std::optional<DeviceTerms> expansion_;
  std::optional<DevicePartials> partials_[2];
  std::optional<DevicePath> gradient_path_;
  std::optional<DevicePath> weight_path_;
  std::optional<DeviceBuffer> ones_;
  std::optional<DeviceBuffer> joined_experts_[2];
};

}  // namespace switchyard::cuda
