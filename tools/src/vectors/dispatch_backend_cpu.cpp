// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cpu/rebalance_executor.hpp"
#include "vectors/dispatch_backend.hpp"
#include "vectors/moved_rows.hpp"

namespace switchyard::tools {
namespace {

class CpuRank final : public RankExecutor {
 public:
  CpuRank(Communicator& comm, DispatchPlan const& plan) : executor_(comm), plan_(plan) {}
  void dispatch(ConstTensorView tokens, TensorView rows) override { executor_.dispatch(plan_, tokens, rows); }
  void combine(ConstTensorView expert_rows, std::span<float const> weights, TensorView out) override {
    executor_.combine(plan_, CombineRecipe::source_slot_order(), expert_rows, weights, out);
  }

 private:
  cpu::CpuExecutor executor_;
  DispatchPlan const& plan_;
};

void run_cooperatively(int ranks, std::function<void(Communicator&)> const& body) {
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, ranks, {}, body);
}

void move_on_host(Communicator& comm, RebalancePlan const& plan, std::span<std::int64_t> rows) {
  cpu::RebalanceExecutor executor(plan);
  executor.execute(comm, moved_rows(plan, comm.rank(), std::as_writable_bytes(rows).data()));
}

}  // namespace

DispatchBackend const& cpu_dispatch_backend() {
  static constexpr DispatchBackend kBackend{
      run_cooperatively,
      [](Communicator& comm, DispatchPlan const& plan) -> std::unique_ptr<RankExecutor> {
        return std::make_unique<CpuRank>(comm, plan);
      },
      move_on_host};
  return kBackend;
}

}  // namespace switchyard::tools
