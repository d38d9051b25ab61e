// SPDX-License-Identifier: Apache-2.0
#include "html/page.hpp"

#include <fmt/format.h>

#include "html/svg.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli::html {
namespace {

constexpr char kStyle[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#1c1c1a;background:#fff;margin:24px "
    "auto;max-width:1360px;padding:0 20px}\n"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}p{margin:4px 0 10px;max-width:900px}\n"
    "svg{display:block;max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#444}\n"
    ".axis{stroke:#888}.bound{stroke:#c41e2d;stroke-width:2}polyline{fill:none;stroke:#005854;stroke-width:2}circle{"
    "fill:#c41e2d}\n"
    ".side{display:flex;flex-wrap:wrap;gap:24px}.cards{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}\n"
    ".card{border:1px solid #ddd;border-radius:6px;padding:8px 14px;min-width:130px}.card "
    "b{display:block;font-size:20px}\n"
    "pre{background:#f6f6f4;padding:12px;overflow-x:auto;font-size:13px}\n"
    ".scale{display:flex;align-items:center;gap:8px}.scale i{width:22px;height:14px;display:inline-block}\n";

}  // namespace

std::string page_head(std::string_view title) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
         "<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
         escaped(title) + "</title>\n<style>\n" + kStyle + "</style>\n</head>\n<body>\n";
}

std::string page_end() {
  return "<p>switchyard " SWITCHYARD_VERSION_STRING "</p>\n</body>\n</html>\n";
}

std::string card(std::string_view label, std::string const& value) {
  return fmt::format("<div class=\"card\">{}<b>{}</b></div>\n", escaped(label), escaped(value));
}

std::string preformatted(std::string const& text) {
  std::string out = "<pre>", line;
  for (char const c : text) {
    if (c != '\n') {
      line += c;
      continue;
    }
    out += escaped(line) + "\n";
    line.clear();
  }
  return out + escaped(line) + "</pre>\n";
}

}  // namespace switchyard::cli::html
