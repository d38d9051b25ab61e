// SPDX-License-Identifier: Apache-2.0
/// Stream and StreamView: an owned CUDA stream and a borrowed one. No CUDA header is needed to include this.
#pragma once

struct CUstream_st;

namespace switchyard::cuda {

class EventView;

/// A borrowed stream: freely copied, never destroyed. The default is CUDA's default stream.
class StreamView {
 public:
  StreamView() = default;
  explicit StreamView(CUstream_st* handle) noexcept : handle_(handle) {}

  /// @return the cudaStream_t.
  [[nodiscard]] CUstream_st* handle() const noexcept { return handle_; }
  /// Blocks the host until all work on the stream is done. @throws Error{cuda} also for an earlier failed kernel.
  void synchronize() const;
  /// Work issued to this stream from now on waits for `event`; the host does not. @throws Error{cuda}
  void wait(EventView event) const;

 private:
  CUstream_st* handle_ = nullptr;
};

/// Owns a stream that does not synchronise with the default one. Move-only; destroyed with the object.
class Stream {
 public:
  /// @throws Error{cuda}
  Stream();
  ~Stream();
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  Stream(Stream const&) = delete;
  Stream& operator=(Stream const&) = delete;

  [[nodiscard]] StreamView view() const noexcept { return StreamView(handle_); }
  operator StreamView() const noexcept { return view(); }  // NOLINT(google-explicit-constructor): borrowing is safe

 private:
  CUstream_st* handle_ = nullptr;
};

}  // namespace switchyard::cuda
