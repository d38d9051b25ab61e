// SPDX-License-Identifier: Apache-2.0
/// Progress: a counter on the terminal for long runs; silent when stderr is a file or a pipe.
#pragma once

#include <cstdint>
#include <string>

namespace switchyard::cli {

/// Writes "what done/total" over itself on stderr and wipes the line at the end.
class Progress {
 public:
  Progress(std::string what, std::int64_t total);
  ~Progress();
  Progress(Progress const&) = delete;
  Progress& operator=(Progress const&) = delete;

  void set(std::int64_t done);

 private:
  std::string what_;
  std::int64_t total_;
  bool shown_;
  int last_percent_ = -1;
};

}  // namespace switchyard::cli
