// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "switchyard/hd/replica_index.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/replica_routing.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard {

namespace {

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 46;

/// Streams of the draws that must not depend on the source rank are told apart from those that do by this bit.
constexpr std::uint64_t kSharedStream = std::uint64_t{1} << 63;

std::uint64_t as_bits(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

/// Moves each of the last `count` places' contents, chosen at random from the places up to it, to the back.
void draw_to_back(std::vector<std::int32_t>& values, std::size_t count, CounterRng const& rng, std::uint64_t& draw) {
  for (std::size_t i = values.size(); i > values.size() - count; --i) {
    std::swap(values[i - 1], values[static_cast<std::size_t>(rng.below(draw++, i))]);
  }
}

/// `count` replica indices, each of the `replicas` equally often up to one, in random order.
std::vector<std::int32_t> fair_choices(std::size_t replicas, std::size_t count, CounterRng const& rng) {
  std::vector<std::int32_t> candidates(replicas);
  std::iota(candidates.begin(), candidates.end(), 0);
  std::vector<std::int32_t> choices;
  for (std::size_t round = 0; round < count / replicas; ++round) {
    choices.insert(choices.end(), candidates.begin(), candidates.end());
  }
  std::uint64_t draw = 0;
  auto const rest = static_cast<std::ptrdiff_t>(count % replicas);
  draw_to_back(candidates, to_size(rest), rng, draw);
  choices.insert(choices.end(), candidates.end() - rest, candidates.end());
  draw_to_back(choices, choices.size(), rng, draw);
  return choices;
}

/// Equal blocks of ranks; the constructor made sure that they divide.
int node_of_rank(ExpertPlacement const& placement, int num_nodes, RankId rank) {
  return rank.value() / (placement.num_ranks() / num_nodes);
}

/// @return the index of the lowest replica on the rank, else on its node, else -1.
std::int32_t nearest(ExpertPlacement const& placement, int num_nodes, std::span<SlotId const> replicas, RankId rank) {
  auto const find = [&](auto const& is_near) {
    auto const found = std::find_if(replicas.begin(), replicas.end(),
                                    [&](SlotId slot) { return is_near(placement.layout().rank_of(slot)); });
    return found == replicas.end() ? -1 : static_cast<std::int32_t>(found - replicas.begin());
  };
  std::int32_t const own = find([&](RankId holder) { return holder == rank; });
  int const node = node_of_rank(placement, num_nodes, rank);
  return own >= 0 ? own : find([&](RankId holder) { return node_of_rank(placement, num_nodes, holder) == node; });
}

/// sglang_static for one expert and rank: ranks without a near replica share the replicas fairly.
std::int32_t static_choice(ReplicaRouting const& routing, ExpertPlacement const& placement, int layer, ExpertId expert,
                           std::span<SlotId const> replicas, RankId rank) {
  std::int32_t const near = nearest(placement, routing.num_nodes, replicas, rank);
  if (near >= 0 || replicas.size() <= 1) return std::max(near, 0);
  std::size_t remote = 0;
  std::size_t place = 0;
  for (RankId other(0); other.value() < placement.num_ranks(); ++other) {
    if (other == rank) place = remote;
    if (nearest(placement, routing.num_nodes, replicas, other) < 0) ++remote;
  }
  auto const stream = kSharedStream | as_bits(layer) << 32 | as_bits(expert.value());
  return fair_choices(replicas.size(), remote, CounterRng(routing.seed, stream))[place];
}

}  // namespace

ReplicaRouter::ReplicaRouter(ReplicaRouting const& routing, ExpertPlacement const& placement, int layer,
                             ReplicaSource const& source)
    : routing_(routing), table_(placement, layer), layer_(layer), source_(source) {
  SWITCHYARD_REQUIRE(
      source.rank.valid() && source.placement_rank.valid() && source.placement_rank.value() < placement.num_ranks(),
      invalid_argument, "source rank {} as rank {} of a placement with {} ranks", source.rank.value(),
      source.placement_rank.value(), placement.num_ranks());
  SWITCHYARD_REQUIRE(source.top_k >= 0 && source.top_k <= hd::kReplicaMaxTopK, invalid_argument,
                     "top-k of {} choices per token: between 0 and {} are supported", source.top_k,
                     hd::kReplicaMaxTopK);
  SWITCHYARD_REQUIRE(routing.num_nodes >= 1 && placement.num_ranks() % routing.num_nodes == 0, invalid_argument,
                     "{} ranks are not divisible by {} nodes: every node must have the same number of ranks",
                     placement.num_ranks(), routing.num_nodes);
  if (routing.rule == ReplicaRule::tensorrt_llm) earlier_.assign(to_size(placement.num_experts()), 0);
  if (routing.rule != ReplicaRule::sglang_static) return;
  for (ExpertId expert(0); expert.value() < placement.num_experts(); ++expert) {
    fixed_.push_back(static_choice(routing, placement, layer, expert, replicas(expert), source.placement_rank));
  }
}

SlotId ReplicaRouter::route(TokenIndex token, int k, ExpertId expert) {
  auto const slots = replicas(expert);
  SWITCHYARD_REQUIRE(!slots.empty(), invalid_placement,
                     "expert {} of layer {} has no slot, but token {} of rank {} chose it: the placement lost the "
                     "expert; drop the choice (-1) or plan a placement that holds it",
                     expert.value(), layer_, token.value(), source_.rank.value());
  SWITCHYARD_REQUIRE(token.valid() && token.value() < kMaxTokens && k >= 0 && k < std::max(source_.top_k, 1),
                     invalid_argument,
                     "choice {} of token {} of rank {}: tokens below {} and choices below {} are routed", k,
                     token.value(), source_.rank.value(), kMaxTokens, source_.top_k);
  return slots[to_size(index_of(token, k, expert, static_cast<std::int64_t>(slots.size())))];
}

/// Choices of the expert among the flat ones since the block began.
std::int64_t ReplicaRouter::earlier_in_block(std::int64_t flat, ExpertId expert) {
  if (flat / hd::kReplicaBlockChoices != block_) {
    block_ = flat / hd::kReplicaBlockChoices;
    std::fill(earlier_.begin(), earlier_.end(), 0);
  }
  return earlier_[expert.index()]++;
}

std::int64_t ReplicaRouter::index_of(TokenIndex token, int k, ExpertId expert, std::int64_t count) {
  std::int64_t known = 0;
  if (routing_.rule == ReplicaRule::sglang_static) known = fixed_[expert.index()];
  if (routing_.rule == ReplicaRule::tensorrt_llm) known = earlier_in_block(token.value() * source_.top_k + k, expert);
  return hd::replica_index({routing_.rule, routing_.seed, layer_, source_.rank.value(), source_.top_k}, token.value(),
                           k, count, known);
}

}  // namespace switchyard
