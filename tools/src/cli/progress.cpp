// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace switchyard::cli {

Progress::Progress(std::string what, std::int64_t total)
    : what_(std::move(what)), total_(total), shown_(isatty(STDERR_FILENO) == 1) {
  set(0);
}

Progress::~Progress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::set(std::int64_t done) {
  int const percent = total_ > 0 ? static_cast<int>(done * 100 / total_) : 100;
  if (!shown_ || percent == last_percent_) return;
  last_percent_ = percent;
  fmt::print(stderr, "\r\033[K{} {}/{} ({} %)", what_, done, total_, percent);
  std::fflush(stderr);
}

}  // namespace switchyard::cli
