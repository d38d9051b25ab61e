// SPDX-License-Identifier: Apache-2.0
#include "html/svg.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace switchyard::cli::html {
namespace {

struct Colour {
  double red;
  double green;
  double blue;
};

std::string mix(Colour const& from, Colour const& to, double share) {
  auto const part = [&](double a, double b) { return static_cast<int>(a + (b - a) * share + 0.5); };
  return fmt::format("#{:02x}{:02x}{:02x}", part(from.red, to.red), part(from.green, to.green),
                     part(from.blue, to.blue));
}

constexpr Colour kEven{242, 242, 240};
constexpr Colour kCold{49, 104, 178};
constexpr Colour kHot{196, 30, 45};
constexpr Colour kDarkHot{90, 0, 20};

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (char const c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? std::string("\xef\xbf\xbd") : std::string(1, c);
    }
  }
  return out;
}

std::string load_colour(double ratio) {
  if (ratio <= 1) return mix(kCold, kEven, std::clamp(ratio, 0.0, 1.0));
  if (ratio <= 2) return mix(kEven, kHot, ratio - 1);
  return mix(kHot, kDarkHot, std::min(ratio - 2, 1.0));
}

std::string share_colour(double share) {
  return share <= 0 ? "#fafaf8" : mix({226, 236, 233}, {0, 88, 84}, std::clamp(share, 0.0, 1.0));
}

Svg::Svg(double width, double height, std::string_view label)
    : out_(fmt::format(
          "<svg role=\"img\" aria-label=\"{}\" width=\"{:.0f}\" height=\"{:.0f}\" viewBox=\"0 0 {:.0f} {:.0f}\">\n",
          escaped(label), width, height, width, height)) {}

void Svg::rect(double x, double y, double width, double height, std::string_view fill, std::string_view tooltip) {
  out_ += fmt::format("<rect x=\"{:.5g}\" y=\"{:.5g}\" width=\"{:.4g}\" height=\"{:.4g}\" fill=\"{}\"", x, y, width,
                      height, fill);
  out_ += tooltip.empty() ? std::string("/>\n") : fmt::format("><title>{}</title></rect>\n", escaped(tooltip));
}

void Svg::text(double x, double y, std::string_view content, std::string_view anchor) {
  out_ += fmt::format("<text x=\"{:.5g}\" y=\"{:.5g}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(content));
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css_class) {
  out_ += fmt::format("<line x1=\"{:.5g}\" y1=\"{:.5g}\" x2=\"{:.5g}\" y2=\"{:.5g}\" class=\"{}\"/>\n", x1, y1, x2, y2,
                      css_class);
}

void Svg::polyline(std::string_view points) {
  out_ += fmt::format("<polyline points=\"{}\"/>\n", points);
}

void Svg::circle(double x, double y, double radius, std::string_view tooltip) {
  out_ += fmt::format("<circle cx=\"{:.5g}\" cy=\"{:.5g}\" r=\"{:.3g}\"><title>{}</title></circle>\n", x, y, radius,
                      escaped(tooltip));
}

}  // namespace switchyard::cli::html
