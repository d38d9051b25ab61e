// SPDX-License-Identifier: Apache-2.0
#include "fused_window.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "allocation_fault.hpp"
#include "cuda_error.hpp"
#include "fused_kernels.hpp"
#include "nccl_error.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "versions.hpp"

namespace switchyard::cuda {
namespace {

using Clock = std::chrono::steady_clock;

/// How long the setup may take.
struct Patience {
  explicit Patience(Duration given)
      : seconds(std::chrono::duration<double>(given).count()), last(Clock::now() + given) {}
  double seconds;
  Clock::time_point last;
};

/// Waits until a call on a non-blocking communicator is complete.
void settle(NcclHandle const& handle, ncclResult_t issued, char const* call, Patience const& patience) {
  ncclResult_t state = issued;
  while (state == ncclInProgress || state == ncclSuccess) {
    if (ncclCommGetAsyncError(handle.get(), &state) != ncclSuccess) break;
    if (state == ncclSuccess) return;
    SWITCHYARD_REQUIRE(Clock::now() < patience.last, timeout,
                       "fused setup: {} took longer than the deadline of {:.3f} s: a rank did not come to it; the next "
                       "call of the group names a rank that is gone",
                       call, patience.seconds);
    std::this_thread::yield();
  }
  throw_nccl_error(state, call, handle.get(), __FILE__, __LINE__);
}

void require_device_api() {
  int loaded = 0;
  SWITCHYARD_NCCL_TRY(nullptr, ncclGetVersion(&loaded));
  std::string const problem = device_api_problem(NCCL_VERSION_CODE, loaded);
  SWITCHYARD_REQUIRE(problem.empty(), unsupported, "no fused path: {}", problem);
}

}  // namespace

struct FusedWindow::Registration {
  Registration() = default;
  Registration(Registration const&) = delete;
  Registration& operator=(Registration const&) = delete;
  ~Registration() {
    if (handle) {
      if (window != nullptr && handle->get() != nullptr) (void)ncclCommWindowDeregister(handle->get(), window);
      handle->abort();  // before the memory goes: the communicator may still map it
    }
    if (memory != nullptr) (void)ncclMemFree(memory);
  }
  std::optional<NcclHandle> handle;
  void* memory = nullptr;
  ncclWindow_t window = nullptr;
};

FusedWindow::FusedWindow(int world, std::int64_t bytes, std::int64_t zeroed_bytes)
    : world_(world),
      bytes_(bytes),
      registration_(std::make_unique<Registration>()),
      peers_(checked_mul(world, std::int64_t{sizeof(std::byte*)})) {
  require_device_api();
  void*& memory = registration_->memory;
  bool const has_memory = !allocation_must_fail() && ncclMemAlloc(&memory, to_size(bytes)) == ncclSuccess;
  if (!has_memory) (void)cudaGetLastError();  // told below; not for the next launch to find
  SWITCHYARD_REQUIRE(has_memory, out_of_memory, "a window of {} bytes could not be allocated: lower max_tokens", bytes);
  Stream const stream;
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(memory, 0, to_size(zeroed_bytes), stream.view().handle()));
  stream.view().synchronize();
}

void FusedWindow::open(NcclHandle handle, Duration deadline) {
  Registration& own = *registration_;
  NcclHandle const& group = own.handle.emplace(std::move(handle));
  Patience const patience(deadline);
  ncclResult_t const issued =
      ncclCommWindowRegister(group.get(), own.memory, to_size(bytes_), &own.window, NCCL_WIN_COLL_SYMMETRIC);
  settle(group, issued, "ncclCommWindowRegister", patience);
  SWITCHYARD_REQUIRE(own.window != nullptr, unsupported,
                     "no fused path: {} registers no symmetric windows here: the driver lacks virtual memory "
                     "management, or NCCL_WIN_ENABLE or NCCL_CUMEM_ENABLE is 0",
                     describe_nccl());
  LoadStoreTeam team(group.get());
  settle(group, team.issued(), "ncclDevCommCreate", patience);
  SWITCHYARD_REQUIRE(team.size() == world_, unsupported,
                     "no fused path: only {} of {} ranks reach each other by loads and stores (NVLink or one host's "
                     "P2P), says {}",
                     team.size(), world_, describe_nccl());
  Stream const stream;
  launch_window_pointers(own.window, world_, peers_.as<std::byte*>(), stream);
  stream.view().synchronize();
}

FusedWindow::~FusedWindow() = default;

std::byte* FusedWindow::data() const noexcept {
  return static_cast<std::byte*>(registration_->memory);
}

}  // namespace switchyard::cuda
