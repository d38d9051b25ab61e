// SPDX-License-Identifier: Apache-2.0
// The communicator conformance suite on NCCL: one process, a thread and a GPU per rank; 1 rank, 2, and as many as there
// are GPUs up to the number in SWITCHYARD_GPUS (default 2). Then a rank that has no memory. Exit 77 (skipped) without a
// GPU.
//
// By hand, 2 ranks: the first allocation of rank 1 for a gathering of 4,096 bytes each fails; both ranks get
// out_of_memory "all_gather_v #0 "gather": rank 1 could not take part: ...", and the same call again gives both ranks
// all bytes.
#define DOCTEST_CONFIG_IMPLEMENT
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "allocation_fault.hpp"
#include "conformance/communicator_conformance.hpp"
#include "support/rank_harness_nccl.hpp"
#include "switchyard/cuda/device.hpp"

namespace switchyard::test {
namespace {

std::set<int> group_sizes() {
  char const* const wanted = std::getenv("SWITCHYARD_GPUS");
  int const limit = wanted != nullptr ? std::atoi(wanted) : 2;
  int const most = std::min(limit, cuda::device_count());
  return {1, std::min(2, most), most};
}

TEST_CASE("NcclCommunicator conforms at every check level") {
  NcclHarness harness;
  for (int const ranks : group_sizes())
    for (CheckLevel check : {CheckLevel::digest, CheckLevel::full, CheckLevel::off}) {
      std::printf("conformance: %d ranks, check level %d\n", ranks, static_cast<int>(check));
      std::fflush(stdout);
      check_communicator(harness, ranks, check);
    }
}

/// Every byte of what rank `rank` contributes.
std::byte byte_of(int rank) {
  return static_cast<std::byte>(rank + 1);
}

void gather(Communicator& comm, std::int64_t bytes, std::vector<std::byte>& all) {
  auto const ranks = static_cast<std::size_t>(comm.size());
  std::vector<std::byte> const mine(static_cast<std::size_t>(bytes), byte_of(comm.rank().value()));
  std::vector<std::int64_t> const sizes(ranks, bytes);
  all.assign(ranks * mine.size(), std::byte{0});
  comm.all_gather_v(mine, all, sizes, {.operation = "gather"});
}

/// The last rank's allocation number `fault` of a larger gathering than before fails. @return what is wrong
std::string gather_without_memory(Communicator& comm, int fault, std::int64_t bytes) {
  int const poor = comm.size() - 1;
  std::vector<std::byte> all;
  try {
    cuda::fail_allocation_after(comm.rank().value() == poor ? fault : -1);
    gather(comm, bytes, all);
    return "the call passed";
  } catch (Error const& error) {
    std::string const part = "\"gather\": rank " + std::to_string(poor) + " could not take part";
    bool const right = error.code() == ErrorCode::out_of_memory && error.message().find(part) != std::string::npos;
    if (!right) return error.what();
  }
  if (std::count(all.begin(), all.end(), std::byte{0}) != static_cast<std::ptrdiff_t>(all.size())) return "bytes moved";
  gather(comm, bytes, all);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i] != byte_of(static_cast<int>(i) / static_cast<int>(bytes))) return "another byte at " + std::to_string(i);
  return {};
}

TEST_CASE("a rank without memory calls its call off, and the group goes on") {
  constexpr int kAllocations = 4;  // pinned and device memory, out and in
  NcclHarness harness;
  for (int const ranks : group_sizes()) {
    if (ranks < 2) continue;
    auto const ends = harness.run(ranks, CheckLevel::digest, [](Communicator& comm) {
      for (int fault = 0; fault < kAllocations; ++fault) {
        auto const problem = gather_without_memory(comm, fault, std::int64_t{4096} << fault);
        if (!problem.empty()) throw Error(ErrorCode::internal, "fault " + std::to_string(fault) + ": " + problem);
      }
    });
    for (RankEnd const& end : ends) CHECK_MESSAGE(!end.failed, end.text);
  }
}

}  // namespace
}  // namespace switchyard::test

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (switchyard::cuda::device_count() == 0) {
    std::printf("skipped: no CUDA device on this machine\n");
    return kSkipped;
  }
  std::printf("%s, %s, %d devices\n", switchyard::cuda::describe_nccl().c_str(),
              switchyard::cuda::describe_device().c_str(), switchyard::cuda::device_count());
  return doctest::Context(argc, argv).run();
}
