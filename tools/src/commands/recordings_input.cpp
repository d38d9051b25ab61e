// SPDX-License-Identifier: Apache-2.0
#include "commands/recordings_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cli/options.hpp"
#include "switchyard/io/recording_jsonl.hpp"

namespace switchyard::cli {

bool is_dispatch_recording(std::string const& text) {
  std::size_t first = 0;
  while (first < text.size()) {
    std::size_t const end = std::min(text.find('\n', first), text.size());
    std::string_view const line = std::string_view(text).substr(first, end - first);
    auto const has = [&](char const* member) { return line.find(member) != std::string_view::npos; };
    if (has("\"kind\": \"") || has("\"kind\":\"") || has("\"topk_ids\"")) return has("\"routing\"") && has("\"ep\"");
    if ((has("\"routing\"") && has("\"ep\"")) || has("\"type\": \"dispatch\"") || has("\"type\":\"dispatch\""))
      return true;
    first = end + 1;
  }
  return false;
}

void add_recordings(Recordings& recordings, std::string const& text, std::string const& file) {
  auto read = io::parse_recordings(text, file);
  recordings.dropped_other += read.dropped_other;
  for (auto& call : read.calls) {
    if (recordings.of_rank.empty()) {
      recordings.of_rank.resize(static_cast<std::size_t>(call.grid.world()));
      recordings.first_file = file;
    }
    if (call.rank.index() >= recordings.of_rank.size()) {
      throw UsageError(fmt::format("{} records rank {}, {} a group of {} ranks: give the files of one group", file,
                                   call.rank.value(), recordings.first_file, recordings.of_rank.size()));
    }
    recordings.of_rank[call.rank.index()].push_back(std::move(call));
  }
}

std::size_t number_of_calls(Recordings const& recordings) {
  if (recordings.of_rank.empty()) {
    throw UsageError("no dispatch is recorded in the files: see docs/formats/recording.md for the format");
  }
  std::size_t const calls = recordings.of_rank.front().size();
  for (std::size_t rank = 0; rank < recordings.of_rank.size(); ++rank) {
    if (recordings.of_rank[rank].size() == calls) continue;
    throw UsageError(fmt::format("rank 0 records {} dispatches, rank {} {}: give complete files of all {} ranks, once",
                                 calls, rank, recordings.of_rank[rank].size(), recordings.of_rank.size()));
  }
  return calls;
}

std::vector<DispatchRecording> call_of(Recordings const& recordings, std::size_t call) {
  std::vector<DispatchRecording> group;
  for (auto const& of_rank : recordings.of_rank) group.push_back(of_rank[call]);
  return group;
}

}  // namespace switchyard::cli
