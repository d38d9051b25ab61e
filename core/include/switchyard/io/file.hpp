// SPDX-License-Identifier: Apache-2.0
/// Whole files in and out: reads are bounded, writes are atomic.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace switchyard::io {

inline constexpr std::size_t kMaxInputBytes = std::size_t{1} << 30;

/// @return the whole file. @throws Error{io} if it cannot be read, is no regular file (FIFOs, devices and directories
/// are refused before anything is read) or is longer than `max_bytes`; the text names the path and the reason.
[[nodiscard]] std::string read_file(std::string const& path, std::size_t max_bytes = kMaxInputBytes);

/// Replaces `path` in one step: writes a temporary file beside it (exclusively created), syncs it, renames it, syncs
/// the directory. Until the rename a failure leaves nothing behind and an existing file untouched. A symbolic link is
/// kept and the file it points to replaced; an existing file keeps its permission bits; a target that is a directory
/// or a special file is refused. @throws Error{io}.
void write_file_atomically(std::string const& path, std::string_view content);

}  // namespace switchyard::io
