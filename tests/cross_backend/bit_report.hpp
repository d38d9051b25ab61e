// SPDX-License-Identifier: Apache-2.0
/// BitReport: compares bytes computed by the GPU with the CPU's, prints one line per check, and counts failures.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace cross_backend {

class BitReport {
 public:
  /// Compares element by element, as bits. Prints the first difference.
  template <typename T>
  void compare(std::string const& name, std::vector<T> const& cpu, std::vector<T> const& gpu,
               std::string const& note = "") {
    std::size_t differing = cpu.size() == gpu.size() ? 0 : 1;
    std::size_t first = 0;
    for (std::size_t i = 0; i < cpu.size() && i < gpu.size(); ++i)
      if (std::memcmp(&cpu[i], &gpu[i], sizeof(T)) != 0 && differing++ == 0) first = i;
    state(differing == 0, name + ": " + std::to_string(cpu.size()) + " values compared, " + std::to_string(differing) +
                              " differ" + (note.empty() ? "" : "; " + note));
    if (differing != 0 && first < cpu.size() && first < gpu.size())
      std::printf("       first at %zu: CPU 0x%s GPU 0x%s\n", first, hex(&cpu[first], sizeof(T)).c_str(),
                  hex(&gpu[first], sizeof(T)).c_str());
  }
  /// States a condition of its own, e.g. that the data can show a difference.
  void state(bool holds, std::string const& text) {
    std::printf("%s %s\n", holds ? "ok    " : "FAILED", text.c_str());
    ++checks_;
    if (!holds) ++failures_;
  }
  [[nodiscard]] int checks() const { return checks_; }
  [[nodiscard]] int failures() const { return failures_; }

 private:
  static std::string hex(void const* bytes, std::size_t size) {
    std::string text;
    for (std::size_t i = size; i-- > 0;) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(static_cast<unsigned char const*>(bytes)[i]));
      text += digits;
    }
    return text;
  }

  int checks_ = 0;
  int failures_ = 0;
};

}  // namespace cross_backend
