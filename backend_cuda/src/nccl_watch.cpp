// SPDX-License-Identifier: Apache-2.0
// What a rank does while NCCL works: it watches the deadline, NCCL's own state and the group, and names the call when
// one of them ends the wait.
#include <thread>

#include "cuda_error.hpp"
#include "nccl_error.hpp"
#include "nccl_state.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {

using launch::CallKind;
using launch::CallNote;

CallNote NcclCommunicator::State::open(CallKind kind, CallOptions const& call) {
  CallNote note;
  note.kind = kind;
  note.sequence = next_sequence++;
  note.operation = std::string(call.operation);
  last_call = note;
  note.configuration = call.configuration;
  note.check = options.check;
  return note;
}

std::optional<launch::ControlClient::Checksums> NcclCommunicator::State::meet(CallNote const& note, Duration deadline) {
  try {
    return control.meet(note, deadline);
  } catch (...) {
    if (control.has_failed()) handle.abort();
    throw;
  }
}

/// The group's own error names call and ranks already; any other one gets the name of this rank and its last call.
void NcclCommunicator::State::fail_group(Error const& error) {
  handle.abort();
  if (control.has_failed()) throw Error(error);
  std::string const label = last_call.label();
  std::string text(error.message());
  if (text.rfind(label, 0) != 0) text = fmt::format("{} on rank {}: {}", label, control.rank(), text);
  control.fail(error.code(), text);
  throw_error(error.code(), text, error.file(), error.line());
}

void NcclCommunicator::State::require_alive() {
  control.throw_if_failed();
  SWITCHYARD_REQUIRE(handle.get() != nullptr, aborted,
                     "the NCCL communicator was aborted when an earlier call failed: make the group anew");
}

/// Polls until the last group call is issued: non-blocking communicators may defer it.
void NcclCommunicator::State::settle(Clock::time_point last, Duration deadline) {
  for (;;) {
    ncclResult_t state = ncclSuccess;
    SWITCHYARD_NCCL_TRY(handle.get(), ncclCommGetAsyncError(handle.get(), &state));
    if (state == ncclSuccess) return;
    if (state != ncclInProgress) require_no_async_error();
    pause(last, deadline);
  }
}

/// NCCL says that something failed, not whose fault it is. Where a peer died, the control channel knows its name a
/// moment sooner or later.
void NcclCommunicator::State::require_no_async_error() {
  ncclResult_t state = ncclSuccess;
  SWITCHYARD_NCCL_TRY(handle.get(), ncclCommGetAsyncError(handle.get(), &state));
  if (state == ncclSuccess || state == ncclInProgress) return;
  constexpr auto kNewsTime = std::chrono::milliseconds(500);
  for (auto const last = Clock::now() + kNewsTime; Clock::now() < last;) {
    control.throw_if_failed();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  throw_nccl_error(state, "asynchronous work", handle.get(), __FILE__, __LINE__);
}

/// One turn of a watchdog's loop.
void NcclCommunicator::State::pause(Clock::time_point last, Duration deadline) {
  control.throw_if_failed();
  if (Clock::now() >= last) expire(deadline);
  std::this_thread::yield();
}

/// Moves that ranks did not compare ended in no time; who does not come to the roll call is named.
void NcclCommunicator::State::expire(Duration deadline) {
  handle.abort();
  double const seconds = std::chrono::duration<double>(deadline).count();
  if (in_round) control.expire(seconds);
  control.call_roll(last_call);
  throw Error(ErrorCode::timeout,
              fmt::format("work on the stream took longer than the deadline of {:.3f} s, and all ranks answered a roll "
                          "call: a peer is slow, or left its call; the communicator was aborted",
                          seconds));
}

void NcclCommunicator::State::wait(StreamView on, Duration deadline) {
  auto const last = Clock::now() + deadline;
  for (;;) {
    cudaError_t const status = cudaStreamQuery(on.handle());
    if (status == cudaSuccess) return;
    if (status != cudaErrorNotReady) throw_cuda_error(status, "cudaStreamQuery", __FILE__, __LINE__);
    if (handle.get() != nullptr) require_no_async_error();
    pause(last, deadline);
  }
}

}  // namespace switchyard::cuda
