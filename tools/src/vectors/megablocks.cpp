// SPDX-License-Identifier: Apache-2.0
#include "vectors/megablocks.hpp"

#include <fmt/format.h>

#include <vector>

#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/internal/to_size.hpp"
#include "vectors/dispatch_case.hpp"

namespace switchyard::tools {
namespace {

using io::JsonValue;

void compare_indices(Comparison& comparison, int rank, JsonValue const& golden, MegaBlocksIndices const& indices) {
  comparison.expect_list(rank, "indices", golden.at("indices"), indices.indices);
  comparison.expect_list(rank, "bin_ids", golden.at("bin_ids"), indices.bin_ids);
  comparison.expect_list(rank, "bins", golden.at("bins"), indices.bins);
  comparison.expect_list(rank, "tokens_per_expert", golden.at("tokens_per_expert"), indices.tokens_per_expert);
}

/// @param golden [local expert][capacity] of [source rank, source token], or null for an empty row, which is zeros.
void compare_bins(Comparison& comparison, int rank, JsonValue const& golden, RankResult const& result) {
  static_cast<void>(golden.array_size(to_size(result.plan.num_local_experts())));
  float const* row = result.dispatched.data();
  for (int local = 0; local < result.plan.num_local_experts(); ++local) {
    auto const bin = golden.at(to_size(local));
    std::int64_t const rows = result.plan.tokens_per_local_expert[to_size(local)];
    auto const field = fmt::format("expert_rows[{}]", local);
    comparison.expect(rank, field + ".length", 0, static_cast<std::int64_t>(bin.array_size()), rows);
    for (std::int64_t c = 0; c < rows && to_size(c) < bin.array_size(); ++c, row += kHidden) {
      auto const entry = bin.at(to_size(c));
      std::int64_t expected[] = {0, 0, 0};
      if (!entry.is_null()) {
        expected[0] = entry.at(std::size_t{0}).as_int(0, kMaxInt) + 1;
        expected[1] = entry.at(std::size_t{1}).as_int(0, kMaxInt) + 1;
        expected[2] = 1;
      }
      for (std::int64_t column = 0; column < kHidden; ++column)
        comparison.expect(rank, fmt::format("{}[{}]", field, c), column, expected[column],
                          static_cast<std::int64_t>(row[column]));
    }
  }
}

std::vector<RoutingMap> read_routings(JsonValue const& golden, int world, int num_experts) {
  int const top_k = static_cast<int>(golden.at("topk").as_int(1, num_experts));
  auto const ranks = golden.at("ranks");
  static_cast<void>(ranks.array_size(to_size(world)));
  std::vector<RoutingMap> routings;
  for (std::size_t rank = 0; rank < to_size(world); ++rank)
    routings.push_back(read_routing(ranks.at(rank), "topk_ids", "topk_weights", num_experts, top_k));
  return routings;
}

}  // namespace

std::string run_megablocks_case(JsonValue const& golden, DispatchBackend const& backend) {
  MegaBlocksConfig config;
  config.world = static_cast<int>(golden.at("world").as_int(1, kMaxRanks));
  config.capacity_factor = golden.at("capacity_factor").as_double();
  int const num_experts = static_cast<int>(golden.at("num_experts").as_int(1, 1 << 20));
  auto const routings = read_routings(golden, config.world, num_experts);
  auto const blocks = megablocks_grid(config.world, num_experts).expert_blocks;
  auto const placement = ExpertPlacement::contiguous(1, num_experts, blocks);
  auto const results = run_dispatch(backend, routings, placement, [&](Communicator& comm) {
    return plan_megablocks(comm, config, routings[comm.rank().index()], placement, 0);
  });
  Comparison comparison;
  compare_group(comparison, results);
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto const rank = static_cast<int>(i);
    auto const expected = golden.at("ranks").at(i);
    RankId const id{static_cast<std::int32_t>(i)};
    compare_indices(comparison, rank, expected,
                    megablocks_indices(assign_megablocks_rows(config, id, routings[i], placement, 0)));
    comparison.expect(rank, "expert_capacity", 0, expected.at("expert_capacity").as_int(0, kMaxInt),
                      results[i].plan.tokens_per_local_expert.front());
    compare_bins(comparison, rank, expected.at("expert_rows"), results[i]);
    compare_combined(comparison, rank, expected.at("combined"), results[i].combined);
  }
  return comparison.mismatch();
}

std::string run_megablocks_case(JsonValue const& golden) {
  return run_megablocks_case(golden, cpu_dispatch_backend());
}

}  // namespace switchyard::tools
