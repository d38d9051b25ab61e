// SPDX-License-Identifier: Apache-2.0
#include "fused_window.hpp"

#include <chrono>
#include <thread>
#include <utility>

#include "cuda_error.hpp"
#include "fused_kernels.hpp"
#include "nccl_error.hpp"
#include "nccl_versions.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

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
  explicit Registration(NcclHandle given) : handle(std::move(given)) {}
  Registration(Registration const&) = delete;
  Registration& operator=(Registration const&) = delete;
  ~Registration() {
    if (window != nullptr && handle.get() != nullptr) (void)ncclCommWindowDeregister(handle.get(), window);
    handle.abort();  // before the memory goes: the communicator may still map it
    if (memory != nullptr) (void)ncclMemFree(memory);
  }
  NcclHandle handle;
  void* memory = nullptr;
  ncclWindow_t window = nullptr;
};

FusedWindow::FusedWindow(NcclHandle handle, int world, std::int64_t bytes, std::int64_t zeroed_bytes, Duration deadline)
    : registration_(std::make_unique<Registration>(std::move(handle))),
      peers_(checked_mul(world, std::int64_t{sizeof(std::byte*)})) {
  Registration& own = *registration_;
  Patience const patience(deadline);
  require_device_api();
  SWITCHYARD_REQUIRE(ncclMemAlloc(&own.memory, to_size(bytes)) == ncclSuccess, out_of_memory,
                     "a window of {} bytes could not be allocated: lower max_tokens", bytes);
  Stream const stream;
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(own.memory, 0, to_size(zeroed_bytes), stream.view().handle()));
  ncclResult_t const issued =
      ncclCommWindowRegister(own.handle.get(), own.memory, to_size(bytes), &own.window, NCCL_WIN_COLL_SYMMETRIC);
  settle(own.handle, issued, "ncclCommWindowRegister", patience);
  SWITCHYARD_REQUIRE(own.window != nullptr, unsupported,
                     "no fused path: {} registers no symmetric windows here: the driver lacks virtual memory "
                     "management, or NCCL_WIN_ENABLE or NCCL_CUMEM_ENABLE is 0",
                     describe_nccl());
  LoadStoreTeam team(own.handle.get());
  settle(own.handle, team.issued(), "ncclDevCommCreate", patience);
  SWITCHYARD_REQUIRE(team.size() == world, unsupported,
                     "no fused path: only {} of {} ranks reach each other by loads and stores (NVLink or one host's "
                     "P2P), says {}",
                     team.size(), world, describe_nccl());
  launch_window_pointers(own.window, world, peers_.as<std::byte*>(), stream);
  stream.view().synchronize();
}

FusedWindow::~FusedWindow() = default;

std::byte* FusedWindow::data() const noexcept {
  return static_cast<std::byte*>(registration_->memory);
}

}  // namespace switchyard::cuda
