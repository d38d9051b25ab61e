// SPDX-License-Identifier: Apache-2.0
#include "demo/story.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace switchyard::demo {

void Story::begin(std::string const& title) {
  started_ = std::chrono::steady_clock::now();
  fmt::print("{}. {}\n", ++step_, title);
  std::fflush(stdout);
}

void Story::line(std::string const& label, std::string const& text) {
  fmt::print("   {:<10} {}\n", label, text);
}

void Story::check(std::string const& label, bool holds, std::string const& text) {
  good_ = good_ && holds;
  line(label, fmt::format("{}: {}", holds ? "ok" : "WRONG", text));
}

void Story::end() {
  std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - started_;
  fmt::print("   [{:.2f} s]\n\n", seconds.count());
  std::fflush(stdout);
}

}  // namespace switchyard::demo
