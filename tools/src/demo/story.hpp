// SPDX-License-Identifier: Apache-2.0
/// Story: prints the demo step by step. Everything but the times in brackets is the same in every run.
#pragma once

#include <chrono>
#include <string>

namespace switchyard::demo {

class Story {
 public:
  /// Starts step `title`; its lines follow.
  void begin(std::string const& title);
  /// One line of facts under a label.
  void line(std::string const& label, std::string const& text);
  /// A check with its verdict; a failed one makes good() false.
  void check(std::string const& label, bool holds, std::string const& text);
  /// Ends the step with the time it took.
  void end();

  [[nodiscard]] bool good() const { return good_; }

 private:
  int step_ = 0;
  bool good_ = true;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace switchyard::demo
