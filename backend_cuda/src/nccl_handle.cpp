// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "nccl_error.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/internal/require.hpp"
#include "versions.hpp"

namespace switchyard::cuda {
namespace {

using Clock = std::chrono::steady_clock;

char const* advice(ncclResult_t result) {
  switch (result) {
    case ncclSystemError:
      return "; a system call or the network failed: set NCCL_DEBUG=WARN, check NCCL_SOCKET_IFNAME and the size of "
             "/dev/shm";
    case ncclRemoteError: return "; a peer failed or its process ended: look at the other ranks' output";
    case ncclInvalidUsage:
      return "; two ranks may share one GPU: give every rank a device of its own (local rank, CUDA_VISIBLE_DEVICES)";
    default: return "";
  }
}

/// The call before the first one.
launch::CallNote start_note() {
  launch::CallNote note;
  note.sequence = -1;
  note.operation = "NCCL start";
  note.single_phase = true;
  return note;
}

}  // namespace

void throw_nccl_error(ncclResult_t result, char const* call, ncclComm_t comm, char const* file, int line) {
  char const* const last = ncclGetLastError(comm);
  throw_error(ErrorCode::nccl,
              fmt::format("{} failed: {} ({}){}", call, ncclGetErrorString(result), last == nullptr ? "" : last,
                          advice(result)),
              file, line);
}

std::vector<std::byte> make_nccl_id() {
  ncclUniqueId id{};
  SWITCHYARD_NCCL_TRY(nullptr, ncclGetUniqueId(&id));
  std::vector<std::byte> bytes(sizeof id);
  std::memcpy(bytes.data(), &id, sizeof id);
  return bytes;
}

std::string describe_nccl() {
  int version = 0;
  SWITCHYARD_NCCL_TRY(nullptr, ncclGetVersion(&version));
  return fmt::format("NCCL {} at run time, {} at compile time", nccl_version_text(version),
                     nccl_version_text(NCCL_VERSION_CODE));
}

struct NcclHandle::Held {
  Held(ncclComm* given, bool own) : comm(given), is_owned(own) {}
  Held(Held const&) = delete;
  Held& operator=(Held const&) = delete;
  // Abort, not destroy: it never waits for peers, and every call that was promised to be complete is.
  ~Held() {
    if (is_owned && comm != nullptr) (void)ncclCommAbort(comm);
  }
  ncclComm* comm;
  bool is_owned;
};

NcclHandle NcclHandle::create(std::span<std::byte const> id, int rank, int world_size, Duration deadline) {
  return join(id, rank, world_size, deadline, nullptr);
}

NcclHandle NcclHandle::create(launch::ControlClient& control, Duration deadline) {
  static_cast<void>(control.meet(start_note(), deadline));
  try {
    return join(control.blob(), control.rank(), control.world_size(), deadline, &control);
  } catch (Error const& error) {
    if (!control.has_failed())
      control.fail(error.code(),
                   fmt::format("{} on rank {}: {}", start_note().label(), control.rank(), error.message()));
    throw;
  }
}

NcclHandle NcclHandle::join(std::span<std::byte const> id, int rank, int world_size, Duration deadline,
                            launch::ControlClient* control) {
  ncclUniqueId unique{};
  SWITCHYARD_REQUIRE(id.size() == sizeof unique, invalid_argument, "an NCCL id has {} bytes, got {}", sizeof unique,
                     id.size());
  std::memcpy(&unique, id.data(), sizeof unique);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  auto held = std::make_shared<Held>(nullptr, true);
  ncclComm*& comm = held->comm;
  auto const last = Clock::now() + deadline;
  SWITCHYARD_NCCL_TRY(nullptr, ncclCommInitRankConfig(&comm, world_size, unique, rank, &config));
  for (;;) {
    ncclResult_t state = ncclSuccess;
    SWITCHYARD_NCCL_TRY(comm, ncclCommGetAsyncError(comm, &state));
    if (state == ncclSuccess) return NcclHandle(std::move(held));
    if (state != ncclInProgress) throw_nccl_error(state, "ncclCommInitRankConfig", comm, __FILE__, __LINE__);
    if (control != nullptr) control->throw_if_failed();
    bool const is_late = Clock::now() >= last;
    if (is_late && control != nullptr) control->call_roll(start_note());
    SWITCHYARD_REQUIRE(!is_late, timeout,
                       "rank {} of {} could not join the NCCL communicator within {:.3f} s{}: NCCL chose an interface "
                       "that the others cannot reach (NCCL_SOCKET_IFNAME, NCCL_DEBUG=INFO), or a rank was not started",
                       rank, world_size, std::chrono::duration<double>(deadline).count(),
                       control == nullptr ? "" : ", though all ranks answered a roll call");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

NcclHandle NcclHandle::borrow(ncclComm* comm) noexcept {
  return NcclHandle(std::make_shared<Held>(comm, false));
}

NcclHandle::NcclHandle(std::shared_ptr<Held> held) noexcept : held_(std::move(held)) {}
NcclHandle::~NcclHandle() = default;
NcclHandle::NcclHandle(NcclHandle&&) noexcept = default;
NcclHandle& NcclHandle::operator=(NcclHandle&&) noexcept = default;

NcclHandle NcclHandle::share() const noexcept {
  return NcclHandle(held_);
}

ncclComm* NcclHandle::get() const noexcept {
  return held_ == nullptr ? nullptr : held_->comm;
}

void NcclHandle::abort() noexcept {
  if (get() == nullptr) return;
  (void)ncclCommAbort(std::exchange(held_->comm, nullptr));
}

}  // namespace switchyard::cuda
