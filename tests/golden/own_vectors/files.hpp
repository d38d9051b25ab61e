// SPDX-License-Identifier: Apache-2.0
/// The texts of the project's own golden files, computed by the oracles alone.
#pragma once

#include <string>

namespace own_vectors {

/// @return the whole file, the same bytes in every call and on every machine.
std::string alltoall_file();
std::string eplb_exec_file();
std::string eplb_policy_file();

}  // namespace own_vectors
