// SPDX-License-Identifier: Apache-2.0
/// Versions as their makers count them (CUDA's 13000 is 13.0, NCCL's 22809 is 2.28.9), and which of NCCL's share a
/// device interface. Needs neither.
#pragma once

#include <string>

namespace switchyard::cuda {

/// @return e.g. "13.0".
[[nodiscard]] std::string cuda_version_text(int version);
/// @return e.g. "2.28.9".
[[nodiscard]] std::string nccl_version_text(int version);

/// From 2.29 on the structures of NCCL's device interface carry their version: a newer library serves older programs,
/// never the other way round, and refuses those of 2.28. What is used of 2.28's lies at the same place in its patches 3
/// to 9; their lengths differ (LoadStoreTeam leaves room).
/// @param built of the headers. @param loaded of the library. @return why device code of the one cannot work with the
/// other, naming both; empty when it can. Pure.
[[nodiscard]] std::string device_api_problem(int built, int loaded);

/// @return why `what` cannot be made on a device of compute capability major.minor that this build, made for
/// `architectures`, has no code for. Pure.
[[nodiscard]] std::string missing_code_text(std::string const& what, std::string const& device, int major, int minor,
                                            std::string const& architectures);

}  // namespace switchyard::cuda
