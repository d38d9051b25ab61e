// SPDX-License-Identifier: Apache-2.0
// The only file that sees NCCL's device header: where each rank's window lies in this rank's address space.
#include <nccl.h>
#include <nccl_device.h>

#include "cuda_error.hpp"
#include "fused_kernels.hpp"

namespace switchyard::cuda {

namespace {

__global__ void window_pointers_kernel(ncclWindow_t window, int world, std::byte** peers) {
  for (int peer = static_cast<int>(threadIdx.x); peer < world; peer += static_cast<int>(blockDim.x))
    peers[peer] = static_cast<std::byte*>(ncclGetLsaPointer(window, 0, peer));
}

}  // namespace

/// Room for the structures of another patch of NCCL 2.28, which say neither their version nor their length.
constexpr std::size_t kRoomBytes = 4096;

struct LoadStoreTeam::Answer {
  ncclDevComm device;
  std::byte room[kRoomBytes];
};

LoadStoreTeam::LoadStoreTeam(ncclComm* comm) : comm_(comm), answer_(new Answer()) {
  // No barriers: rows carry tags with the number of their operation, which no barrier has to clear.
#ifdef NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER
  ncclDevCommRequirements const requirements = NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER;  // NCCL 2.29 asks for it
  issued_ = ncclDevCommCreate(comm, &requirements, &answer_->device);
#else
  struct Asked {
    ncclDevCommRequirements requirements;
    std::byte room[kRoomBytes];
  };
  Asked const nothing{};
  issued_ = ncclDevCommCreate(comm, &nothing.requirements, &answer_->device);
#endif
}
LoadStoreTeam::~LoadStoreTeam() {
  // A device communicator that NCCL may still write to is left to the communicator's end.
  ncclResult_t state = ncclInProgress;
  if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess || state == ncclInProgress) return;
  if (state == ncclSuccess && answer_->device.lsaSize > 0) (void)ncclDevCommDestroy(comm_, &answer_->device);
  delete answer_;
}
int LoadStoreTeam::size() const noexcept {
  return answer_->device.lsaSize;
}

void launch_window_pointers(ncclWindow_vidmem* window, int world, std::byte** peers, StreamView stream) {
  window_pointers_kernel<<<1, 32, 0, stream.handle()>>>(window, world, peers);
  check_launch("window_pointers_kernel");
}

}  // namespace switchyard::cuda
