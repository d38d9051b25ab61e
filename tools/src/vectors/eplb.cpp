// SPDX-License-Identifier: Apache-2.0
#include "vectors/eplb.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <set>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/policy.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::vectors {

namespace {

using io::JsonValue;
using Row = std::vector<std::int64_t>;
using Table = std::vector<Row>;

constexpr std::int64_t kMinInt = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxSize = 1 << 20;

int size_member(JsonValue const& vector, std::string_view key) {
  return static_cast<int>(vector.at(key).as_int(1, kMaxSize));
}

Row read_row(JsonValue const& value) {
  return value.int_array(kMinInt, kMaxInt);
}

Table read_table(JsonValue const& value) {
  Table table;
  for (std::size_t i = 0; i < value.array_size(); ++i) {
    table.push_back(read_row(value.at(i)));
  }
  return table;
}

/// @return empty when equal.
template <typename Value>
std::string compare(std::string_view what, Value const& expected, Value const& found) {
  return expected == found ? std::string() : fmt::format("{}: expected {}, got {}", what, expected, found);
}

/// The first text that is not empty.
std::string first_of(std::initializer_list<std::string> texts) {
  auto const found = std::find_if(texts.begin(), texts.end(), [](std::string const& text) { return !text.empty(); });
  return found == texts.end() ? std::string() : *found;
}

ExpertPlacement read_placement(JsonValue const& rows, int num_experts, int slots_per_rank) {
  std::vector<ExpertId> ids;
  std::size_t const slots = rows.at(std::size_t{0}).array_size();
  if (slots == 0 || slots % to_size(slots_per_rank) != 0) {
    rows.fail(fmt::format("{} slots are not divisible by {} per rank", slots, slots_per_rank));
  }
  for (std::size_t layer = 0; layer < rows.array_size(); ++layer) {
    static_cast<void>(rows.at(layer).array_size(slots));
    for (std::int64_t const id : read_row(rows.at(layer))) {
      ids.emplace_back(static_cast<std::int32_t>(id));
    }
  }
  auto const layout = SlotLayout::uniform(static_cast<int>(slots) / slots_per_rank, slots_per_rank);
  return ExpertPlacement(static_cast<int>(rows.array_size()), num_experts, layout, std::move(ids));
}

RankMapping read_mapping(JsonValue const& vector) {
  RankMapping mapping;
  if (vector.at("rank_mapping").is_null()) {
    return mapping;
  }
  auto const mode = vector.at("mode").as_string();
  if (mode != "scale_up" && mode != "scale_down") {
    vector.at("mode").fail("the mode of a mapping is scale_up or scale_down");
  }
  mapping.mode = mode == "scale_up" ? ScaleMode::scale_up : ScaleMode::scale_down;
  for (std::int64_t const rank : read_row(vector.at("rank_mapping"))) {
    mapping.new_rank_of.emplace_back(static_cast<std::int32_t>(rank));
  }
  return mapping;
}

Table table_of(ExpertPlacement const& placement) {
  Table table;
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    Row row;
    for (ExpertId const expert : placement.layer(layer)) {
      row.push_back(expert.value());
    }
    table.push_back(std::move(row));
  }
  return table;
}

/// What vLLM calls TransferMetadata, plus the messages, as the vectors write them.
struct RankView {
  Table sends;
  Table receives;
  Row is_unchanged;
  Row is_received_locally;
  Row receive_primary_mask;
  Row receive_expert_ids;
  Row receive_rows;
};

RankView view_of(RebalancePlan const& plan, int layer, RankId rank) {
  auto const& lists = plan.layers[to_size(layer)].ranks[rank.index()];
  auto const before = plan.before.rank_slots(layer, rank);
  auto const after = plan.after.rank_slots(layer, rank);
  RankView view;
  for (std::size_t row = 0; row < before.size(); ++row) {
    view.is_unchanged.push_back(before[row] == after[row] ? 1 : 0);
  }
  view.is_received_locally = view.is_unchanged;
  view.receive_primary_mask.assign(before.size(), 0);
  for (auto const& copy : lists.local_copies) {
    view.is_received_locally.at(copy.target_row.index()) = 1;
  }
  for (auto const& send : lists.sends) {
    view.sends.push_back({send.expert.value(), send.to.value()});
  }
  for (auto const& receive : lists.receives) {
    view.receives.push_back({receive.expert.value(), receive.from.value(), receive.target_row.value()});
    view.receive_primary_mask.at(receive.target_row.index()) = 1;
    view.receive_expert_ids.push_back(receive.expert.value());
    view.receive_rows.push_back(receive.target_row.value());
  }
  return view;
}

std::string compare_rank(JsonValue const& expected, RankView const& found) {
  return first_of({
      compare("sends", read_table(expected.at("sends")), found.sends),
      compare("recvs", read_table(expected.at("recvs")), found.receives),
      compare("is_unchanged", read_row(expected.at("is_unchanged")), found.is_unchanged),
      compare("is_received_locally", read_row(expected.at("is_received_locally")), found.is_received_locally),
      compare("recv_primary_mask", read_row(expected.at("recv_primary_mask")), found.receive_primary_mask),
      compare("recv_expert_ids", read_row(expected.at("recv_expert_ids")), found.receive_expert_ids),
      compare("recv_dst_rows", read_row(expected.at("recv_dst_rows")), found.receive_rows),
  });
}

/// [row][expert, old slot] of one rank after the move.
Table final_rows(RebalancePlan const& plan, int layer, RankId rank, std::vector<SlotId> const& origins) {
  Table rows;
  auto const first = plan.before.layout().first_slot(rank).index();
  for (int row = 0; row < plan.before.layout().slots_of(rank); ++row) {
    SlotId const origin = origins[first + to_size(row)];
    rows.push_back({plan.before.expert_at(layer, origin).value(), origin.value()});
  }
  return rows;
}

std::string compare_layer(JsonValue const& expected, RebalancePlan const& plan, int layer) {
  auto const origins = provenance(plan, layer);
  auto const ranks = expected.at("ranks");
  auto const final = expected.at("final");
  static_cast<void>(ranks.array_size(to_size(plan.before.num_ranks())));
  for (RankId rank(0); rank.value() < plan.before.num_ranks(); ++rank) {
    auto const text =
        first_of({compare_rank(ranks.at(rank.index()), view_of(plan, layer, rank)),
                  compare("final", read_table(final.at(rank.index())), final_rows(plan, layer, rank, origins))});
    if (!text.empty()) {
      return fmt::format("layer {}, rank {}: {}", layer, rank.value(), text);
    }
  }
  return {};
}

std::string compare_expanded(JsonValue const& vector, std::string_view key, ExpertPlacement const& found) {
  auto const expected = vector.find(key);
  return expected ? compare(key, read_table(*expected), table_of(found)) : std::string();
}

std::string run_valid(JsonValue const& vector, RebalancePlan const& plan) {
  auto text = first_of(
      {compare_expanded(vector, "expanded_old", plan.before), compare_expanded(vector, "expanded_new", plan.after)});
  auto const violations = validate(plan);
  if (text.empty() && !violations.empty()) {
    text = fmt::format("{} violations, first: {}", violations.size(), violations.front().text);
  }
  auto const layers = vector.at("layers");
  static_cast<void>(layers.array_size(to_size(plan.before.num_layers())));
  for (int layer = 0; text.empty() && layer < plan.before.num_layers(); ++layer) {
    text = compare_layer(layers.at(to_size(layer)), plan, layer);
  }
  return text;
}

/// Moves one rank's rows, which name their expert and slot. @return how they differ from the final ones
std::string move_rank(JsonValue const& vector, RebalancePlan const& plan, Communicator& comm,
                      tools::DispatchBackend const& backend) {
  std::vector<SlotId> unmoved;
  for (int slot = 0; slot < plan.before.num_slots(); ++slot) unmoved.emplace_back(slot);
  std::vector<std::int64_t> rows;
  for (int layer = 0; layer < plan.before.num_layers(); ++layer)
    for (Row const& row : final_rows(plan, layer, comm.rank(), unmoved))
      rows.insert(rows.end(), row.begin(), row.end());
  backend.move(comm, plan, rows);
  auto next = rows.begin();
  for (int layer = 0; layer < plan.before.num_layers(); ++layer) {
    Table found;
    for (int row = 0; row < plan.before.layout().slots_of(comm.rank()); ++row, next += 2)
      found.push_back({next[0], next[1]});
    auto const expected = vector.at("layers").at(to_size(layer)).at("final").at(comm.rank().index());
    auto const text = compare("rows", read_table(expected), found);
    if (!text.empty()) return fmt::format("moved, layer {}, rank {}: {}", layer, comm.rank().value(), text);
  }
  return {};
}

std::string run_invalid(JsonValue const& vector, ExpertPlacement const& before, ExpertPlacement const& after,
                        RankMapping const& mapping) {
  std::set<std::string> expected;
  for (std::size_t i = 0; i < vector.at("reasons").array_size(); ++i) {
    expected.insert(vector.at("reasons").at(i).as_string());
  }
  std::set<std::string> found;
  for (auto const& violation : check_request(before, after, mapping)) {
    found.emplace(to_string(violation.rule));
  }
  if (expected != found) {
    return compare("reasons", expected, found);
  }
  try {
    static_cast<void>(plan_rebalance(before, after, mapping));
  } catch (Error const&) {
    return {};
  }
  return "plan_rebalance accepts a request that must be refused";
}

Table log2phy_of(std::vector<std::vector<SlotId>> const& replica_slots, std::size_t width) {
  Table table;
  for (auto const& slots : replica_slots) {
    Row row(width, -1);
    std::transform(slots.begin(), slots.end(), row.begin(), [](SlotId slot) { return slot.value(); });
    table.push_back(std::move(row));
  }
  return table;
}

ExpertLoad read_weights(JsonValue const& rows, int num_experts) {
  std::vector<double> values;
  for (std::size_t layer = 0; layer < rows.array_size(); ++layer) {
    static_cast<void>(rows.at(layer).array_size(to_size(num_experts)));
    auto const row = rows.at(layer).double_array();
    values.insert(values.end(), row.begin(), row.end());
  }
  return ExpertLoad(1, static_cast<int>(rows.array_size()), num_experts, std::move(values));
}

std::string compare_replicas(JsonValue const& vector, DeepSeekResult const& result, std::size_t layer) {
  auto const& replicas = result.replica_slots[layer];
  Row counts;
  for (auto const& slots : replicas) {
    counts.push_back(static_cast<std::int64_t>(slots.size()));
  }
  auto const width = to_size(vector.at("max_logcnt").as_int(1, kMaxSize));
  if (auto const largest = *std::max_element(counts.begin(), counts.end()); to_size(largest) > width) {
    return fmt::format("layer {}: an expert has {} replicas, expected at most {}", layer, largest, width);
  }
  auto const text =
      first_of({compare("logcnt", read_row(vector.at("logcnt").at(layer)), counts),
                compare("log2phy", read_table(vector.at("log2phy").at(layer)), log2phy_of(replicas, width))});
  return text.empty() ? text : fmt::format("layer {}: {}", layer, text);
}

}  // namespace

std::string run_eplb_exec_case(JsonValue const& vector) {
  int const num_experts = size_member(vector, "num_logical_experts");
  int const slots_per_rank = size_member(vector, "num_local_experts");
  auto const before = read_placement(vector.at("old"), num_experts, slots_per_rank);
  auto const after = read_placement(vector.at("new"), num_experts, slots_per_rank);
  auto const mapping = read_mapping(vector);
  if (vector.find("reasons")) {
    return run_invalid(vector, before, after, mapping);
  }
  try {
    return run_valid(vector, plan_rebalance(before, after, mapping));
  } catch (Error const& error) {
    if (error.code() == ErrorCode::parse) {
      throw;
    }
    return fmt::format("refused: {}", error.what());
  }
}

std::string run_eplb_moved_case(JsonValue const& vector, tools::DispatchBackend const& backend) {
  std::string const text = run_eplb_exec_case(vector);
  if (!text.empty() || vector.find("reasons")) return text;
  int const num_experts = size_member(vector, "num_logical_experts");
  int const slots_per_rank = size_member(vector, "num_local_experts");
  auto const plan = plan_rebalance(read_placement(vector.at("old"), num_experts, slots_per_rank),
                                   read_placement(vector.at("new"), num_experts, slots_per_rank), read_mapping(vector));
  std::vector<std::string> texts(to_size(plan.before.num_ranks()));
  backend.run(plan.before.num_ranks(),
              [&](Communicator& comm) { texts[comm.rank().index()] = move_rank(vector, plan, comm, backend); });
  auto const wrong = std::find_if(texts.begin(), texts.end(), [](std::string const& said) { return !said.empty(); });
  return wrong == texts.end() ? std::string() : *wrong;
}

std::string run_eplb_policy_case(JsonValue const& vector) {
  auto const load = read_weights(vector.at("weight"), size_member(vector, "num_logical"));
  PolicyRequest const request{size_member(vector, "num_gpus"), size_member(vector, "num_slots"),
                              size_member(vector, "num_nodes"), size_member(vector, "num_groups")};
  auto const result = deepseek_rebalance(load, request, vector.at("hierarchical").as_bool());
  if (!(make_policy("deepseek")->place(load, request) == result.placement)) {
    return "the policy \"deepseek\" chose another mode than the vector says";
  }
  auto text = compare("phy2log", read_table(vector.at("phy2log")), table_of(result.placement));
  for (std::size_t layer = 0; text.empty() && layer < result.replica_slots.size(); ++layer) {
    text = compare_replicas(vector, result, layer);
  }
  return text;
}

}  // namespace switchyard::vectors
