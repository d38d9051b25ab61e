// SPDX-License-Identifier: Apache-2.0
/// Packets of codes and scales over slots of fixed size, what traffic() says of them, and with them everything that is
/// compared of one batch.
#pragma once

#include <numeric>
#include <string>
#include <vector>

#include "budget_rank.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/quantize.hpp"

namespace cross_backend {

/// Rows to other ranks by core's plan, and what slots for them hold, against what traffic() says of `more_bytes` per
/// row since `before`.
inline void compare_sent(BudgetRank& rank, cuda::BudgetTraffic const& before, std::int64_t more_bytes) {
  BudgetCase const& given = rank.given();
  DispatchPlan const& plan = rank.core_plan();
  auto const* const exchange = plan.find<RowExchange>();
  std::int64_t const peers = plan.setup.grid.world() - 1;
  std::int64_t rows = peers * plan.num_tokens;  // AllGather
  if (exchange != nullptr)
    rows = std::accumulate(exchange->send_rows.begin(), exchange->send_rows.end(),
                           -exchange->send_rows[plan.rank.index()]);
  bool const sends_singles =
      given.family() == DispatchFamily::megatron_alltoall || given.family() == DispatchFamily::megablocks;
  cuda::BudgetOptions const& options = rank.budget().options();
  std::int64_t const slot = sends_singles ? options.single_rows : options.carried_rows;
  std::int64_t const moved = given.exact_splits ? rows : peers * slot;
  auto const after = rank.gpu().traffic(rank.budget(), rank.stream());
  std::int64_t const said_needed = after.needed_bytes - before.needed_bytes;
  std::int64_t const said_moved = after.moved_bytes - before.moved_bytes;
  rank.report().compared(2);
  if (said_needed == rows * more_bytes && said_moved == moved * more_bytes) return;
  rank.report().failed(given.name() + ": " + std::to_string(rows) + " rows of " + std::to_string(moved) +
                       " to others, traffic says " + std::to_string(said_needed / more_bytes) + " of " +
                       std::to_string(said_moved / more_bytes));
}

/// Tokens as e4m3 codes and a scale for every four of them, side by side.
struct Packets {
  static constexpr std::int64_t kColumns = 12;
  static constexpr std::int64_t kBytes = kColumns + kColumns / 4 * 4;
  static constexpr std::int64_t kFloats = kBytes / 4;
  static QuantSpec spec() { return {QuantScheme::fp8_group, 4}; }

  explicit Packets(support::RankBatch const& part) {
    for (std::int64_t i = 0; i < part.count * kColumns; ++i)
      tokens.push_back(to_bf16(static_cast<float>((i * 37 + part.first) % 509) / 64.0F - 3.0F));
    auto const quantised =
        cpu::quantize(spec(), ConstTensorView::matrix(std::span<bf16_t const>(tokens), part.count, kColumns));
    on_host.resize(static_cast<std::size_t>(part.count * kFloats));
    for (std::int64_t token = 0; token < part.count; ++token) {
      auto* const to = reinterpret_cast<std::byte*>(on_host.data()) + token * kBytes;
      std::memcpy(to, quantised.codes.data() + token * kColumns, kColumns);
      std::memcpy(to + kColumns, quantised.scales.data() + token * kColumns, kColumns);
    }
  }
  std::vector<bf16_t> tokens;
  std::vector<float> on_host;  ///< packets, which the CPU moves as rows of f32
};

/// Packets that either backend made.
inline void compare_packets(BudgetRank& rank) {
  Packets const packets(rank.part());
  std::int64_t const tokens = rank.part().count;
  std::int64_t const rows = rank.budget().expert_rows();
  std::int64_t const planned = rank.core_plan().num_expert_rows();
  std::vector<float> expected(static_cast<std::size_t>(rows * Packets::kFloats), poison<float>());
  rank.cpu().dispatch(rank.core_plan(), BudgetRank::host(packets.on_host, tokens, Packets::kFloats),
                      BudgetRank::host(expected, planned, Packets::kFloats));
  auto const values = cuda::upload(packets.tokens, rank.stream());
  auto const in = poisoned<std::uint8_t>(tokens * Packets::kBytes, rank.stream());
  auto const out = poisoned<std::uint8_t>(rows * Packets::kBytes, rank.stream());
  cuda::QuantizeParams params{values.data(), DType::bf16, tokens, Packets::kColumns, in.as<std::byte>(), nullptr};
  params.scales = params.codes + Packets::kColumns;
  params.code_stride_bytes = params.scale_stride_bytes = Packets::kBytes;
  cuda::launch_quantize(Packets::spec(), params, rank.stream());
  auto const before = rank.gpu().traffic(rank.budget(), rank.stream());
  rank.gpu().dispatch(rank.budget(), in.view(DType::u8, {tokens, Packets::kBytes}),
                      out.view(DType::u8, {rows, Packets::kBytes}), rank.stream());
  rank.gpu().check(rank.budget(), rank.stream());
  rank.compare_rows("packets", Packets::kFloats, expected, cuda::download<float>(out, rank.stream()));
  constexpr std::int64_t kNames = 4;  // bytes per row of the dispatch before
  if (rank.given().tp == 1) compare_sent(rank, before, Packets::kBytes - kNames);
}

inline void compare_all(BudgetRank& rank) {
  rank.compare_calls();
  compare_packets(rank);
}

}  // namespace cross_backend
