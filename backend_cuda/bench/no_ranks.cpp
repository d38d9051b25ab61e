// SPDX-License-Identifier: Apache-2.0
// What benchmarks between ranks say in a build without NCCL.
#include "gpu_benches.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

[[noreturn]] void refuse() {
  throw switchyard::Error(switchyard::ErrorCode::unsupported,
                          "this build has no NCCL: install NCCL 2.28 or newer and configure again");
}

}  // namespace

std::string describe_ranks() {
  refuse();
}
void bench_ranks(Results&, int, std::vector<std::int64_t> const&) {
  refuse();
}
void bench_fused_steps(Results&, int, std::vector<std::int64_t> const&) {
  refuse();
}
void bench_budget_steps(Results&, int, std::vector<std::int64_t> const&) {
  refuse();
}
switchyard::bench::AllToAllTable bench_alltoallv(switchyard::bench::AllToAllBench const&, Echo) {
  refuse();
}
switchyard::bench::AllToAllTable bench_exchanges(int, Issue, Echo) {
  refuse();
}

}  // namespace gpu_bench
