// SPDX-License-Identifier: Apache-2.0
/// try_together(): a step of a setup that every rank takes alone and whose failure anywhere is known everywhere.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::cuda {

/// What went wrong on one rank of a group.
struct GroupProblem {
  RankId rank;
  ErrorCode code = ErrorCode::internal;
  std::string text;

  /// With the rank in front.
  [[nodiscard]] std::string sentence() const;
  [[noreturn]] void raise() const { throw_error(code, sentence()); }
};

/// Collective. @return the problem of the lowest rank that has one; a deadline that passed only when no rank has
/// another problem, which those that waited waited for. The same on all ranks, its text cut to 500 bytes
/// @throws what `comm` throws
[[nodiscard]] std::optional<GroupProblem> agree(Communicator& comm, std::string_view operation,
                                                std::optional<GroupProblem> const& mine);

/// Collective: runs this rank's part, which must not wait for other ranks.
template <typename Part>
[[nodiscard]] std::optional<GroupProblem> try_together(Communicator& comm, std::string_view operation,
                                                       Part const& part) {
  std::optional<GroupProblem> problem;
  try {
    part();
  } catch (Error const& error) {
    problem = GroupProblem{comm.rank(), error.code(), std::string(error.message())};
  }
  return agree(comm, operation, problem);
}

}  // namespace switchyard::cuda
