// SPDX-License-Identifier: Apache-2.0
/// Svg: one inline drawing, and the escaping that everything written into a page goes through.
#pragma once

#include <string>
#include <string_view>

namespace switchyard::cli::html {

/// @return `text` with the characters that mean something to HTML replaced; control characters become U+FFFD.
[[nodiscard]] std::string escaped(std::string_view text);

/// @return the colour of a load relative to the mean: blue below 1, grey at 1, red from there to 2 and beyond.
[[nodiscard]] std::string load_colour(double ratio);
/// @return a shade of one hue for a share in [0, 1].
[[nodiscard]] std::string share_colour(double share);

/// Collects shapes; coordinates are pixels.
class Svg {
 public:
  Svg(double width, double height, std::string_view label);

  /// @param tooltip plain text, escaped here; empty for none.
  void rect(double x, double y, double width, double height, std::string_view fill, std::string_view tooltip = {});
  /// @param anchor start, middle or end.
  void text(double x, double y, std::string_view content, std::string_view anchor = "start");
  void line(double x1, double y1, double x2, double y2, std::string_view css_class);
  /// @param points "x,y x,y ...".
  void polyline(std::string_view points);
  void circle(double x, double y, double radius, std::string_view tooltip);
  [[nodiscard]] std::string str() const { return out_ + "</svg>\n"; }

 private:
  std::string out_;
};

}  // namespace switchyard::cli::html
