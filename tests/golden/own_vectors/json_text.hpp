// SPDX-License-Identifier: Apache-2.0
/// JSON as text, built from finished pieces: the same pieces always give the same bytes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace own_vectors {

/// Appends only: g++ 12 at -O3 misreads operator+ of a literal and a string (its bug 105651).
inline std::string enclosed(std::string_view open, std::string_view inner, std::string_view close) {
  std::string all(open);
  all.append(inner).append(close);
  return all;
}

inline std::string text(std::string_view plain) {
  return enclosed("\"", plain, "\"");
}

inline std::string flag(bool value) {
  return value ? "true" : "false";
}

inline std::string joined(std::vector<std::string> const& pieces, std::string const& separator) {
  std::string all;
  for (auto const& piece : pieces) {
    if (!all.empty()) all.append(separator);
    all.append(piece);
  }
  return all;
}

/// One line.
inline std::string list(std::vector<std::string> const& pieces) {
  return enclosed("[", joined(pieces, ", "), "]");
}

/// One line for every element.
inline std::string lines(std::vector<std::string> const& pieces) {
  return enclosed("[\n", joined(pieces, ",\n"), "\n]");
}

inline std::string list(std::vector<int> const& numbers) {
  std::vector<std::string> pieces;
  for (int const number : numbers) pieces.push_back(std::to_string(number));
  return list(pieces);
}

/// Anything whose elements list() can write.
template <typename Rows>
std::string table(Rows const& rows) {
  std::vector<std::string> pieces;
  for (auto const& row : rows) pieces.push_back(list(std::vector<int>(row.begin(), row.end())));
  return list(pieces);
}

using Members = std::vector<std::pair<std::string, std::string>>;

inline std::string object(Members const& members, std::string const& separator = ", ") {
  std::vector<std::string> pieces;
  for (auto const& [key, value] : members) pieces.push_back(enclosed(text(key), ": ", value));
  return enclosed("{", joined(pieces, separator), "}");
}

/// n / 64 as a decimal number, exactly.
inline std::string sixty_fourths(int n) {
  std::string const whole = std::to_string(n / 64);
  if (n % 64 == 0) return whole;
  std::string digits = std::to_string(1000000 + n % 64 * 15625).substr(1);
  digits.erase(digits.find_last_not_of('0') + 1);
  return enclosed(whole, ".", digits);
}

}  // namespace own_vectors
