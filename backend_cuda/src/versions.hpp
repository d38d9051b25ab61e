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

/// NCCL 2.28 promised no binary compatibility of its device interface, not even between patches; from 2.29 on its
/// structures carry their version, and a newer library serves older programs, never the other way round.
/// @param built of the headers. @param loaded of the library. @return why device code of the one cannot work with the
/// other, naming both; empty when it can. Pure.
[[nodiscard]] std::string device_api_problem(int built, int loaded);

}  // namespace switchyard::cuda
