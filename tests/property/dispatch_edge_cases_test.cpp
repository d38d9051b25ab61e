// SPDX-License-Identifier: Apache-2.0
// The edge cases of a dispatch, each with a defined result, through every family: rows and combined tokens against
// plain loops, and gradients in which ranks without tokens or rows take part. docs/edge-cases.md is the table of
// results; what is refused by name is tested where the refusal is made.
//
// By hand, "fewer than K experts": one token that chose expert 2 in slot 1 of 3 adds one product, weight(slot 1) * row.
#include "support/dispatch_edge_cases.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/dispatch_family_run.hpp"
#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/gather_step.hpp"

using namespace switchyard;
using support::Family;
using support::RunCase;

namespace {

std::vector<float> expected_rows(RunCase const& run, Family const& family, DispatchPlan const& plan) {
  bool const megablocks = family.family == DispatchFamily::megablocks;
  int const rank = plan.rank.value();
  auto const& owned =
      run.input.experts_of_ep[static_cast<std::size_t>(megablocks ? rank % run.input.ep : rank / run.input.tp)];
  std::vector<float> rows;
  std::int64_t end = 0;
  for (std::size_t local = 0; local < owned.size(); ++local) {
    for (std::size_t source = 0; source < run.input.routing.size(); ++source)
      for (std::size_t token = 0; token < run.input.routing[source].size(); ++token)
        for (auto const& choice : run.input.routing[source][token])
          for (std::int64_t c = 0; choice.expert == owned[local] && c < run.hidden; ++c)
            rows.push_back(run.element<float>(static_cast<int>(source), static_cast<std::int64_t>(token), c));
    end += plan.tokens_per_local_expert[local] * run.hidden;
    rows.resize(static_cast<std::size_t>(end), 0.0F);  // empty rows of bins
  }
  return rows;
}

/// Gradients of ones: a token's is its number of rows times the parts that are joined, a weight's the sum of its row.
void check_backward(RunCase const& run, Family const& family, Communicator& comm) {
  auto const plan = support::plan_of(family, run, comm);
  auto const routing = run.routing(comm.rank().value());
  std::int64_t const hidden = run.hidden;
  std::vector<float> const ones(static_cast<std::size_t>(plan.num_expert_rows() * hidden), 1.0F);
  std::vector<float> const token_ones(static_cast<std::size_t>(plan.num_tokens * hidden), 1.0F);
  std::vector<float> tokens(token_ones.size(), -12345.0F);
  std::vector<float> rows(ones.size(), -12345.0F);
  std::vector<float> weights(static_cast<std::size_t>(plan.num_tokens * plan.slot_columns), -12345.0F);
  auto const results = ConstTensorView::matrix(std::span<float const>(ones), plan.num_expert_rows(), hidden);
  cpu::CombineInputs inputs;
  inputs.weights = routing.weights();
  cpu::CpuExecutor executor(comm);
  executor.dispatch_backward(plan, CombineRecipe::source_slot_order(), results, {},
                             TensorView::matrix(std::span(tokens), plan.num_tokens, hidden));
  executor.combine_backward(plan, ConstTensorView::matrix(std::span<float const>(token_ones), plan.num_tokens, hidden),
                            results, inputs, TensorView::matrix(std::span(rows), plan.num_expert_rows(), hidden),
                            weights);
  auto const& own = run.input.routing[comm.rank().index()];
  auto const parts = static_cast<float>(run.input.tp);
  for (std::size_t token = 0; token < own.size(); ++token) {
    for (std::int64_t c = 0; c < hidden; ++c)
      CHECK(tokens[token * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(c)] ==
            parts * static_cast<float>(own[token].size()));
    std::vector<float> expected(static_cast<std::size_t>(plan.slot_columns), 0.0F);
    for (auto const& choice : own[token])
      expected[static_cast<std::size_t>(choice.k)] = parts * static_cast<float>(hidden);
    for (std::size_t slot = 0; slot < expected.size(); ++slot)
      CHECK(weights[token * expected.size() + slot] == expected[slot]);
  }
}

/// Address space without memory behind it, until it is touched.
class SparseBytes {
 public:
  explicit SparseBytes(std::size_t bytes)
      : bytes_(bytes),
        data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~SparseBytes() {
    if (data_ != MAP_FAILED) munmap(data_, bytes_);
  }
  SparseBytes(SparseBytes const&) = delete;
  SparseBytes& operator=(SparseBytes const&) = delete;
  [[nodiscard]] std::byte* data() const { return data_ == MAP_FAILED ? nullptr : static_cast<std::byte*>(data_); }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace

TEST_CASE("every edge case gives its defined result in every family, forward and backward") {
  for (auto const& edge : support::edge_cases())
    for (auto const& family : support::all_families()) {
      CAPTURE(edge.name);
      CAPTURE(family.name);
      auto const scheduler = cpu::make_cooperative_scheduler(3);
      auto const outputs = support::run_family<float>(family, edge.run, *scheduler);
      auto const combined = support::expected_combined<float>(edge.run);
      std::vector<DispatchPlan> plans;
      for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
        CAPTURE(rank);
        CHECK(outputs[rank].rows == expected_rows(edge.run, family, outputs[rank].plan));
        CHECK(outputs[rank].combined == combined[rank]);
        plans.push_back(outputs[rank].plan);
      }
      CHECK(validate_group(plans).empty());
      cpu::run_ranks(*scheduler, static_cast<int>(plans.size()), {},
                     [&](Communicator& comm) { check_backward(edge.run, family, comm); });
    }
}

TEST_CASE("rows beyond 2^31 elements and 2^32 bytes are addressed right") {
  std::int64_t const row_bytes = 4096;
  std::int64_t const far_row = (std::int64_t{1} << 32) / row_bytes + 3;  // starts past 2^32 bytes
  SparseBytes const memory(static_cast<std::size_t>((far_row + 1) * row_bytes));
  if (memory.data() == nullptr) {
    MESSAGE("skipped: 4 GiB of address space are not to be had");
    return;
  }
  std::byte* const far = memory.data() + far_row * row_bytes;
  std::memset(far, 0x3f, static_cast<std::size_t>(row_bytes));
  std::vector<std::byte> row(static_cast<std::size_t>(row_bytes));
  hd::gather_row(memory.data(), row_bytes, &far_row, 0, row.data());
  CHECK(std::memcmp(row.data(), far, row.size()) == 0);
  std::vector<std::int64_t> const map(static_cast<std::size_t>(far_row), 0);
  hd::gather_row(far, row_bytes, map.data(), far_row - 1, memory.data());  // output past 2^32 bytes
  CHECK(std::memcmp(memory.data() + (far_row - 1) * row_bytes, far, row.size()) == 0);

  float const weight = 2;
  std::vector<bf16_t> sum(static_cast<std::size_t>(row_bytes / 2));  // row far_row starts past 2^31 elements
  hd::combine_row(reinterpret_cast<bf16_t const*>(memory.data()), row_bytes / 2, row_bytes / 2, &far_row, &weight, 1,
                  sum.data());
  CHECK(to_float(sum.back()) == 2 * to_float(bf16_t{0x3f3f}));
  CHECK(hd::combine_element(reinterpret_cast<bf16_t const*>(memory.data()), row_bytes / 2, row_bytes / 2 - 1, &far_row,
                            &weight, 1)
            .bits == sum.back().bits);
}
