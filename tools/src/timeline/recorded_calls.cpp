// SPDX-License-Identifier: Apache-2.0
#include "timeline/recorded_calls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "switchyard/types/error.hpp"

namespace switchyard::cli {
namespace {

constexpr int kMaxLayers = 1 << 20;

/// Recorded lists that say how many rows go where. The others are orders, which take no time on links.
constexpr std::array<std::string_view, 8> kCounts{"rows_per_slot",
                                                  "gathered_tokens",
                                                  "num_out_tokens",
                                                  "input_splits",
                                                  "output_splits",
                                                  "output_splits_tp",
                                                  "num_global_tokens_per_local_expert",
                                                  "tokens_per_local_expert"};

/// [calls] layer numbers as recorded.
std::vector<int> layers_of(Recordings const& recordings) {
  std::vector<int> layers;
  for (DispatchRecording const& call : recordings.of_rank.front()) layers.push_back(call.layer);
  return layers;
}

/// How long the run of equal layers at the beginning is.
int first_batches(std::vector<int> const& layers) {
  auto const end = std::find_if(layers.begin(), layers.end(), [&](int layer) { return layer != layers.front(); });
  return static_cast<int>(end - layers.begin());
}

/// How many runs of `batches` calls ascend at the beginning.
int first_layers(std::vector<int> const& layers, int batches) {
  auto const run = static_cast<std::size_t>(batches);
  std::size_t calls = run;
  while (calls < layers.size() && layers[calls] > layers[calls - run]) calls += run;
  return static_cast<int>(calls / run);
}

int given(ParsedOptions const& options, char const* name) {
  return options.has(name) ? options.small_integer(name, 1, kMaxLayers) : 1;
}

void refuse_other(ParsedOptions const& options, char const* name, int recorded) {
  if (options.has(name) && given(options, name) != recorded)
    throw UsageError(
        fmt::format("--{} {}: the recording has {}, leave the option out", name, given(options, name), recorded));
}

/// The shape that the first step has; the calls need not have it.
CallShape shape_of(std::vector<int> const& layers, ParsedOptions const& options) {
  CallShape shape;
  if (std::all_of(layers.begin(), layers.end(), [&](int layer) { return layer == layers.front(); })) {
    shape.layers = given(options, "layers");
    shape.batches = given(options, "batches");
  } else {
    shape.batches = first_batches(layers);
    shape.layers = first_layers(layers, shape.batches);
    refuse_other(options, "layers", shape.layers);
    refuse_other(options, "batches", shape.batches);
  }
  shape.steps = static_cast<int>(layers.size()) / (shape.layers * shape.batches);
  return shape;
}

void require_whole_steps(std::vector<int> const& layers, CallShape const& shape) {
  auto const each = static_cast<std::size_t>(shape.layers) * static_cast<std::size_t>(shape.batches);
  for (std::size_t call = 0; call < layers.size(); ++call)
    if (int const expected = layers[call % each]; layers[call] != expected)
      throw UsageError(fmt::format(
          "dispatch {} (counted from 0) is of layer {}; after the order of the first step, {} layers of {} batches, it "
          "would be of layer {}: record the same layers in every step",
          call, layers[call], shape.layers, shape.batches, expected));
  if (layers.size() % each != 0 || shape.steps == 0)
    throw UsageError(
        fmt::format("{} dispatches are no whole steps of {} layers and {} batches: the recording ends in "
                    "step {}, cut that off in the files of all ranks",
                    layers.size(), shape.layers, shape.batches, shape.steps));
}

std::string name_of(std::size_t call, int layer, CallShape const& shape) {
  auto const batches = static_cast<std::size_t>(shape.batches);
  std::size_t const step = call / (static_cast<std::size_t>(shape.layers) * batches);
  std::string name = fmt::format("step {} layer {}", step, layer);
  return shape.batches > 1 ? name + fmt::format(" batch {}", call % batches) : name;
}

void require_recorded_counts(std::vector<DispatchRecording> const& group, std::vector<DispatchPlan> const& plans) {
  auto const wrong = check_recordings(group, plans).first_mismatch;
  if (!wrong) return;
  auto const spelled = [](std::optional<std::int64_t> value) { return value ? fmt::format("{}", *value) : "nothing"; };
  throw UsageError(
      fmt::format("rank {} records {}[{}] as {}, its routing gives {}: `switchyard check` compares all of "
                  "the recording",
                  wrong->rank.value(), wrong->field, wrong->index, spelled(wrong->got), spelled(wrong->expected)));
}

/// The plans of one call. What is compared is thrown away.
TimedPlans plans_of_call(std::vector<DispatchRecording> group) {
  bool counted = false;
  for (DispatchRecording& call : group) {
    std::erase_if(call.fields, [](RecordedField const& field) {
      return std::find(kCounts.begin(), kCounts.end(), field.name) == kCounts.end();
    });
    counted = counted || !call.fields.empty();
  }
  TimedPlans plans;
  plans.group = true;
  plans.dispatch = reference_plans(group);
  if (counted) require_recorded_counts(group, plans.dispatch);
  for (DispatchRecording& call : group) call.fields.clear();
  plans.recorded = std::move(group);
  return plans;
}

/// Calls of one recording have equally many phases.
void require_alike(TimedPlans const& a, TimedPlans const& b) {
  auto const &first = a.dispatch.front().setup, &other = b.dispatch.front().setup;
  if (first.family != other.family || !(first.grid == other.grid))
    throw UsageError(fmt::format("{} on tp {} x ep {}, the first dispatch is {} on tp {} x ep {}: time them apart",
                                 to_string(other.family), other.grid.tp, other.grid.ep, to_string(first.family),
                                 first.grid.tp, first.grid.ep));
}

}  // namespace

TimedPlans recorded_plans(Recordings const& recordings, std::string const& text, ParsedOptions const& options) {
  std::size_t const calls = number_of_calls(recordings);
  auto const layers = layers_of(recordings);
  TimedPlans plans;
  plans.shape = shape_of(layers, options);
  require_whole_steps(layers, plans.shape);
  for (std::size_t call = 0; call < calls; ++call) {
    std::string const name = name_of(call, layers[call], plans.shape);
    try {
      plans.calls.push_back(plans_of_call(call_of(recordings, call)));
      require_alike(plans.calls.front(), plans.calls.back());
    } catch (Error const& error) {
      throw UsageError(fmt::format("dispatch {} of {}, {}: {}", call, recordings.first_file, name, error.message()));
    } catch (UsageError const& error) {
      throw UsageError(fmt::format("dispatch {} of {}, {}: {}", call, recordings.first_file, name, error.what()));
    }
    plans.calls.back().call_name = name;
  }
  FingerprintBuilder digest;
  digest.add(0, text);
  plans.digest = digest.result().to_hex();
  return plans;
}

std::vector<sim::TrafficPhase> phases_of_calls(std::vector<TimedPlans> const& calls, ParsedOptions const& options,
                                               sim::ClusterSpec const& cluster) {
  std::vector<sim::TrafficPhase> phases;
  for (TimedPlans const& call : calls) {
    for (auto& phase : phases_of(call, options, cluster)) {
      phase.name += " (" + call.call_name + ")";
      phases.push_back(std::move(phase));
    }
  }
  return phases;
}

}  // namespace switchyard::cli
