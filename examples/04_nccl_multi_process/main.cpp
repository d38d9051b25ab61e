// SPDX-License-Identifier: Apache-2.0
/// Moves expert rows between processes, one per GPU, while the old placement could still be served: begin, poll,
/// commit.
///
///   torchrun --no-python --nproc-per-node 2 ./example
///   srun -n 2 --gpus-per-task 1 ./example
///   mpirun -n 2 -x SWITCHYARD_RENDEZVOUS=node0:29500 ./example
///   RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 ./example &   (likewise for rank 1)
///   ./example --rank 0 --world 2 --rendezvous file:/shared/job7 &                            (likewise for rank 1)
///
/// Rank r holds experts 2r and 2r + 1; afterwards it holds those of the next rank. A row is filled with its expert's
/// number, so every rank can check what it has.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/rebalance.hpp"
#include "switchyard/cuda/system.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"

namespace sy = switchyard;

namespace {

constexpr int kSlots = 2;
constexpr std::int64_t kRowFloats = 1024;
constexpr auto kDeadline = std::chrono::seconds(60);

/// `shift` ranks further on than contiguous.
sy::ExpertPlacement shifted(int ranks, int shift) {
  std::vector<sy::ExpertId> slots;
  for (int slot = 0; slot < kSlots * ranks; ++slot) slots.emplace_back((slot + shift * kSlots) % (kSlots * ranks));
  return {/*num_layers=*/1, kSlots * ranks, sy::SlotLayout::uniform(ranks, kSlots), slots};
}

std::vector<float> rows_of(sy::ExpertPlacement const& placement, sy::RankId rank) {
  std::vector<float> rows;
  for (sy::ExpertId const expert : placement.rank_slots(/*layer=*/0, rank))
    rows.insert(rows.end(), kRowFloats, static_cast<float>(expert.value()));
  return rows;
}

bool move_rows(sy::cuda::NcclCommunicator& comm) {
  auto const before = shifted(comm.size(), 0);
  auto const after = shifted(comm.size(), 1);
  auto const schedule = sy::plan_schedule(before, after);

  sy::cuda::Stream const serving;
  auto const memory = sy::cuda::upload(rows_of(before, comm.rank()), serving);
  std::int64_t const row_bytes = kRowFloats * 4;
  sy::RegisteredWeights const weights({{{memory.as<std::byte>(), row_bytes, row_bytes, kSlots}}});

  sy::cuda::RebalanceExecutor executor(schedule, {.mode = sy::cuda::RebalanceMode::in_place});
  executor.begin({comm, comm}, weights, /*layer=*/0, serving);
  while (!executor.poll()) {
    // a round travels: a server would run a step with the old placement here
  }
  executor.commit(serving);
  return sy::cuda::download<float>(memory, serving) == rows_of(after, comm.rank());
}

/// --rank R --world N [--local-rank L] [--rendezvous host:port | file:/shared/path]; the launcher's variables say what
/// is not given here, and must not say otherwise.
sy::launch::LaunchFlags flags_of(int argc, char** argv) {
  sy::launch::LaunchFlags flags;
  for (int i = 1; i < argc; i += 2) {
    std::string const name = argv[i];
    if (i + 1 == argc) throw std::invalid_argument(name + " needs a value");
    std::string const value = argv[i + 1];
    if (name == "--rank") {
      flags.rank = std::stoi(value);
    } else if (name == "--world") {
      flags.world_size = std::stoi(value);
    } else if (name == "--local-rank") {
      flags.local_rank = std::stoi(value);
    } else if (name == "--rendezvous") {
      flags.rendezvous = value;
    } else {
      throw std::invalid_argument(name + ": use --rank, --world, --local-rank and --rendezvous");
    }
  }
  return flags;
}

int run(sy::launch::LaunchFlags const& flags) {
  if (sy::cuda::device_count() == 0) {
    std::printf("skipped: no GPU on this machine\n");
    return 0;
  }
  auto const config = sy::launch::launch_config(flags, sy::launch::launch_environment());
  if (cudaSetDevice(config.local_rank % sy::cuda::device_count()) != cudaSuccess)
    throw std::runtime_error("the device of this rank cannot be used");
  auto const group = sy::launch::join_group(config, sy::cuda::make_nccl_id, kDeadline);
  sy::cuda::NcclCommunicator comm(sy::cuda::NcclHandle::create(*group.client, kDeadline), *group.client);
  std::string const where = sy::cuda::describe_group(comm);
  if (config.rank == 0) std::printf("%s\n", where.c_str());
  bool const moved = move_rows(comm);
  comm.barrier({.operation = "end"});
  std::printf("rank %d of %d (%s): %s\n", config.rank, config.world_size, config.source.c_str(),
              moved ? "holds the next rank's experts" : "has a wrong row");
  return moved ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(flags_of(argc, argv));
  } catch (std::exception const& error) {
    std::fprintf(stderr, "example failed: %s\n", error.what());
    return 1;
  }
}
