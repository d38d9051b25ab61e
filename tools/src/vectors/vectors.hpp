// SPDX-License-Identifier: Apache-2.0
/// Golden-vector files: tells the kind of every case and runs the kinds that this build has.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::vectors {

/// What became of the cases of one kind.
struct KindResult {
  std::string kind;
  std::int64_t passed = 0;
  std::int64_t failed = 0;
  std::int64_t skipped = 0;
  std::string first_mismatch{};  ///< with its origin: file, list, index and name
  std::string skip_reason{};
};

/// @return every kind that a golden file can hold, in the order of reports.
[[nodiscard]] std::vector<std::string> kind_names();

/// Where plans are executed: on the CPU reference, or by CudaExecutor with all ranks on one GPU.
enum class VectorBackend : std::uint8_t { cpu, cuda };

/// Runs the cases of a file whose text is `text`. Kinds that occur are reported, in the order above; with
/// cuda, kinds that execute no plan are skipped.
/// @param only a kind, or empty for all. @param progress called with (done, total) before every case; may be empty.
/// @throws Error{parse} for a malformed file or a case of no known kind; Error{unsupported} for cuda in a build without
/// it, Error{cuda} without a usable GPU.
[[nodiscard]] std::vector<KindResult> run_vectors(std::string_view text, std::string const& file_name,
                                                  std::string const& only, VectorBackend backend,
                                                  std::function<void(std::int64_t, std::int64_t)> const& progress);

}  // namespace switchyard::vectors
