// SPDX-License-Identifier: Apache-2.0
/// What every report page shares: its head and style, figures on cards, text as it is printed.
#pragma once

#include <string>
#include <string_view>

namespace switchyard::cli::html {

/// @return everything up to the first heading; no network, no script.
[[nodiscard]] std::string page_head(std::string_view title);
[[nodiscard]] std::string page_end();
/// @return one figure with its label, both escaped.
[[nodiscard]] std::string card(std::string_view label, std::string const& value);
/// @return lines as they are, escaped.
[[nodiscard]] std::string preformatted(std::string const& text);

}  // namespace switchyard::cli::html
