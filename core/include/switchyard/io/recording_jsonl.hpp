// SPDX-License-Identifier: Apache-2.0
/// JSONL form of dispatch recordings (docs/formats/recording.md), one dispatch call of one rank per line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/recording.hpp"

namespace switchyard::io {

struct RecordingReadResult {
  std::vector<DispatchRecording> calls;  ///< in file order
  std::int64_t dropped_other = 0;        ///< lines of other types, skipped
};

/// @throws Error{parse} naming source, line, path and value for anything malformed, unknown members included.
[[nodiscard]] RecordingReadResult parse_recordings(std::string_view content, std::string const& source_name);

/// @return one line, newline included, that parse_recordings() reads back. A dense routing is written as its experts.
[[nodiscard]] std::string to_jsonl(DispatchRecording const& call);

}  // namespace switchyard::io
