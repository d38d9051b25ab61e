// SPDX-License-Identifier: Apache-2.0
#include "layer_replay.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::rebalance {

namespace {

template <typename Posted>
bool earlier_pair(Posted const& a, Posted const& b) {
  return std::tie(a.from, a.to) < std::tie(b.from, b.to);
}

template <typename Posted>
std::vector<ExpertId> experts_of(std::span<Posted const> posted) {
  std::vector<ExpertId> experts;
  std::transform(posted.begin(), posted.end(), std::back_inserter(experts), [](Posted const& p) { return p.expert; });
  return experts;
}

/// Experts of `a` that are not in `b`, as multisets.
std::vector<ExpertId> surplus(std::vector<ExpertId> a, std::vector<ExpertId> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  std::vector<ExpertId> rest;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(rest));
  return rest;
}

/// The first entries of `posted` that belong to the pair.
template <typename Posted>
std::span<Posted const> prefix_of_pair(std::span<Posted const> posted, RankId from, RankId to) {
  std::size_t count = 0;
  while (count < posted.size() && posted[count].from == from && posted[count].to == to) {
    ++count;
  }
  return posted.first(count);
}

}  // namespace

LayerReplay::LayerReplay(RebalancePlan const& plan, int layer)
    : lists_(plan.layers[to_size(layer)]),
      layout_(plan.before.layout()),
      before_(plan.before.layer(layer)),
      after_(plan.after.layer(layer)),
      layer_(layer),
      written_(before_.size(), false),
      received_(before_.size(), false) {
  for (SlotId slot(0); slot.index() < before_.size(); ++slot) {
    origin_.push_back(slot);
  }
  for (RankId rank(0); rank.value() < layout_.num_ranks(); ++rank) {
    copy_locally(rank);
    post_sends(rank);
    post_receives(rank);
  }
  deliver();
  for (RankId rank(0); rank.value() < layout_.num_ranks(); ++rank) {
    duplicate(rank);
  }
  compare_with_after();
}

void LayerReplay::copy_locally(RankId rank) {
  for (auto const& copy : lists_.ranks[rank.index()].local_copies) {
    SlotId const source = slot_of(rank, copy.source_row, "local copy");
    SlotId const target = slot_of(rank, copy.target_row, "local copy");
    if (!source.valid() || !target.valid()) {
      continue;
    }
    if (before_[source.index()] != copy.expert) {
      report(PlanRule::wrong_source, rank,
             fmt::format("a local copy of expert {} reads row {}, which holds expert {} before the move",
                         copy.expert.value(), copy.source_row.value(), before_[source.index()].value()));
    }
    write(rank, target, copy.expert, source, "a local copy");
  }
}

void LayerReplay::post_sends(RankId rank) {
  for (auto const& send : lists_.ranks[rank.index()].sends) {
    SlotId const source = slot_of(rank, send.source_row, "send");
    if (!check_peer(rank, send.to, "send") || !source.valid()) {
      continue;
    }
    if (before_[source.index()] != send.expert) {
      report(
          PlanRule::wrong_source, rank,
          fmt::format("the send of expert {} to rank {} reads row {}, which holds expert {} before the move",
                      send.expert.value(), send.to.value(), send.source_row.value(), before_[source.index()].value()));
    }
    messages_.push_back({rank, send.to, send.expert, source});
  }
}

void LayerReplay::post_receives(RankId rank) {
  for (auto const& receive : lists_.ranks[rank.index()].receives) {
    SlotId const target = slot_of(rank, receive.target_row, "receive");
    if (check_peer(rank, receive.from, "receive") && target.valid()) {
      expectations_.push_back({receive.from, rank, receive.expert, target});
    }
  }
}

void LayerReplay::deliver() {
  std::stable_sort(messages_.begin(), messages_.end(), earlier_pair<Message>);
  std::stable_sort(expectations_.begin(), expectations_.end(), earlier_pair<Expectation>);
  std::span<Message const> messages(messages_);
  std::span<Expectation const> expectations(expectations_);
  while (!messages.empty() || !expectations.empty()) {
    auto const of = [](auto const& posted) { return std::pair(posted.from, posted.to); };
    auto const pair = messages.empty()       ? of(expectations.front())
                      : expectations.empty() ? of(messages.front())
                                             : std::min(of(messages.front()), of(expectations.front()));
    auto const sent = prefix_of_pair(messages, pair.first, pair.second);
    auto const awaited = prefix_of_pair(expectations, pair.first, pair.second);
    deliver_pair(sent, awaited);
    messages = messages.subspan(sent.size());
    expectations = expectations.subspan(awaited.size());
  }
}

void LayerReplay::deliver_pair(std::span<Message const> messages, std::span<Expectation const> expectations) {
  bool in_order = !report_unmatched(messages, expectations);
  for (std::size_t i = 0; i < std::min(messages.size(), expectations.size()); ++i) {
    auto const& message = messages[i];
    auto const& expectation = expectations[i];
    if (in_order && message.expert != expectation.expert) {
      in_order = false;
      report(
          PlanRule::order_mismatch, message.to,
          fmt::format("message {} from rank {} to rank {} is expert {}, but the receiver awaits expert {} there: "
                      "messages of a pair match in list order",
                      i, message.from.value(), message.to.value(), message.expert.value(), expectation.expert.value()));
    }
    received_[expectation.target.index()] = true;
    write(message.to, expectation.target, expectation.expert, message.payload, "a receive");
  }
}

bool LayerReplay::report_unmatched(std::span<Message const> messages, std::span<Expectation const> expectations) {
  auto const sent = experts_of(messages);
  auto const awaited = experts_of(expectations);
  auto const not_awaited = surplus(sent, awaited);
  auto const not_sent = surplus(awaited, sent);
  for (ExpertId const expert : not_awaited) {
    report(PlanRule::unmatched_send, messages.front().from,
           fmt::format("expert {} is sent to rank {}, which does not await it from rank {}", expert.value(),
                       messages.front().to.value(), messages.front().from.value()));
  }
  for (ExpertId const expert : not_sent) {
    report(PlanRule::unmatched_receive, expectations.front().to,
           fmt::format("expert {} is awaited from rank {}, which does not send it to rank {}", expert.value(),
                       expectations.front().from.value(), expectations.front().to.value()));
  }
  return !not_awaited.empty() || !not_sent.empty();
}

void LayerReplay::duplicate(RankId rank) {
  for (auto const& copy : lists_.ranks[rank.index()].duplicates) {
    SlotId const source = slot_of(rank, copy.source_row, "duplicate");
    SlotId const target = slot_of(rank, copy.target_row, "duplicate");
    if (!source.valid() || !target.valid()) {
      continue;
    }
    SlotId const payload = origin_[source.index()];
    if (!received_[source.index()] || before_[payload.index()] != copy.expert) {
      report(PlanRule::wrong_source, rank,
             fmt::format("a duplicate of expert {} reads row {}, which did not receive that expert in this layer",
                         copy.expert.value(), copy.source_row.value()));
    }
    write(rank, target, copy.expert, payload, "a duplicate");
  }
}

void LayerReplay::compare_with_after() {
  for (SlotId slot(0); slot.index() < after_.size(); ++slot) {
    ExpertId const wanted = after_[slot.index()];
    if (wanted == kNoExpert || wanted == before_[slot.index()]) {
      continue;
    }
    RankId const rank = layout_.rank_of(slot);
    ExpertId const found = before_[origin_[slot.index()].index()];
    if (!written_[slot.index()]) {
      report(PlanRule::unwritten_row, rank,
             fmt::format("row {} must change from expert {} to {} and nothing writes it", row_of(slot),
                         before_[slot.index()].value(), wanted.value()));
    } else if (found != wanted) {
      report(PlanRule::wrong_target, rank,
             fmt::format("row {} ends with the bytes of expert {} instead of {}", row_of(slot), found.value(),
                         wanted.value()));
    }
  }
}

SlotId LayerReplay::slot_of(RankId rank, LocalExpertId row, std::string_view what) {
  int const rows = layout_.slots_of(rank);
  if (row.value() < 0 || row.value() >= rows) {
    report(PlanRule::id_out_of_range, rank,
           fmt::format("a {} names row {}, but the rank has rows [0, {})", what, row.value(), rows));
    return SlotId(-1);
  }
  return SlotId(layout_.first_slot(rank).value() + row.value());
}

bool LayerReplay::check_peer(RankId rank, RankId peer, std::string_view what) {
  if (peer.value() < 0 || peer.value() >= layout_.num_ranks()) {
    report(PlanRule::id_out_of_range, rank,
           fmt::format("a {} names rank {}, but the group has ranks [0, {})", what, peer.value(), layout_.num_ranks()));
    return false;
  }
  if (peer == rank) {
    report(PlanRule::self_transfer, rank, fmt::format("a {} of the rank names the rank itself", what));
    return false;
  }
  return true;
}

void LayerReplay::write(RankId rank, SlotId target, ExpertId expert, SlotId payload, std::string_view what) {
  auto const old_expert = before_[target.index()];
  auto const new_expert = after_[target.index()];
  if (new_expert != expert || new_expert == old_expert) {
    report(PlanRule::wrong_target, rank,
           fmt::format("{} writes expert {} to row {}, which has expert {} before and must have {} after", what,
                       expert.value(), row_of(target), old_expert.value(), new_expert.value()));
  }
  if (written_[target.index()]) {
    report(PlanRule::written_twice, rank,
           fmt::format("{} of expert {} writes row {}, which another operation has written", what, expert.value(),
                       row_of(target)));
  }
  written_[target.index()] = true;
  origin_[target.index()] = payload;
}

void LayerReplay::report(PlanRule rule, RankId rank, std::string text) {
  violations_.push_back({rule, layer_, rank, fmt::format("layer {}, rank {}: {}", layer_, rank.value(), text)});
}

}  // namespace switchyard::rebalance
