// SPDX-License-Identifier: Apache-2.0
/// NvtxRange: a named stretch of a host thread in NVTX's domain "switchyard", as profilers show it.
#pragma once

namespace switchyard::cuda {

/// Begins with the object and ends with it; ranges of one thread nest. Costs a few nanoseconds without a profiler, and
/// nothing in a build whose toolkit has no nvtx3 headers.
class NvtxRange {
 public:
  /// @param stage name of the operation, as in docs/ARCHITECTURE.md's life of a token; static storage
  explicit NvtxRange(char const* stage) noexcept;
  ~NvtxRange();
  NvtxRange(NvtxRange const&) = delete;
  NvtxRange& operator=(NvtxRange const&) = delete;
};

}  // namespace switchyard::cuda
