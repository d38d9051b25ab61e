// SPDX-License-Identifier: Apache-2.0
// docs/compatibility.md is what the code says: written here from prepare_traits() and incompatibility(), and compared
// with the committed page. SWITCHYARD_WRITE_DOCS=1 writes the page instead.
//
// By hand: `flex` moves plain rows, which the exact engine takes, so its cell without quantisation is "yes";
// fp8_tensor_dynamic before the exchange has one scale for all rows of a rank and nothing that could travel: "no (1)".
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "switchyard/cpu/prepare_finalize.hpp"
#include "switchyard/experts/compatibility.hpp"

using namespace switchyard;
using cpu::kAllPrepareKinds;

namespace {

char const* const kHead =
    "# Which ways of moving rows fit which experts\n\n"
    "Generated from the code by `experts_table_test` (SWITCHYARD_WRITE_DOCS=1 rewrites it). Ways: "
    "`switchyard/cpu/prepare_finalize.hpp`; "
    "experts: the exact engine; row dtypes f32, bf16, f16 alike. Every \"yes\" is run against plain loops by "
    "`experts_layer_test`.\n\n";

PrepareTraits traits_of(cpu::PrepareKind kind, QuantizeWhen when, QuantScheme scheme) {
  cpu::PrepareOptions options;
  options.quantize = when;
  if (when != QuantizeWhen::never) {
    options.quant.emplace();
    options.quant->scheme = scheme;
  }
  return cpu::prepare_traits(kind, options);
}

/// Numbers the reasons in the order in which they first appear.
class Page {
 public:
  Page() : text_(kHead) { add_header(); }

  void add_row(std::string const& name, QuantizeWhen when, QuantScheme scheme) {
    text_ += fmt::format("| {} | {} |", name, to_string(when));
    for (auto const kind : kAllPrepareKinds) text_ += fmt::format(" {} |", cell(traits_of(kind, when, scheme)));
    text_ += '\n';
  }

  [[nodiscard]] std::string finished() const {
    std::string text = text_ + "\n";
    for (std::size_t i = 0; i < reasons_.size(); ++i) text += std::to_string(i + 1) + ". " + reasons_[i] + "\n";
    return text;
  }

 private:
  void add_header() {
    text_ += "| rows are quantised by | when |";
    for (auto const kind : kAllPrepareKinds) text_ += fmt::format(" {} |", to_string(kind));
    text_ += "\n| --- | --- |";
    for (std::size_t i = 0; i < kAllPrepareKinds.size(); ++i) text_ += " --- |";
    text_ += "\n";
  }

  std::string cell(PrepareTraits const& prepare) {
    auto const reason = incompatibility(prepare, exact_experts_traits());
    if (!reason) return prepare.output_format == RowFormat::standard ? "yes, standard" : "yes, batched";
    auto found = std::find(reasons_.begin(), reasons_.end(), *reason);
    if (found == reasons_.end()) found = reasons_.insert(reasons_.end(), *reason);
    return fmt::format("no ({})", found - reasons_.begin() + 1);
  }

  std::string text_;
  std::vector<std::string> reasons_;
};

std::string page_of_code() {
  Page page;
  page.add_row("nothing", QuantizeWhen::never, QuantScheme::fp8_token);
  for (QuantScheme const scheme : kAllQuantSchemes)
    for (auto const when : {QuantizeWhen::before_exchange, QuantizeWhen::after_exchange})
      page.add_row(std::string(to_string(scheme)), when, scheme);
  return page.finished();
}

}  // namespace

TEST_CASE("the committed table is the code's") {
  std::string const expected = page_of_code();
  char const* const write = std::getenv("SWITCHYARD_WRITE_DOCS");
  if (write != nullptr && std::string(write) == "1") std::ofstream(SWITCHYARD_COMPATIBILITY_DOC) << expected;
  std::ostringstream page;
  page << std::ifstream(SWITCHYARD_COMPATIBILITY_DOC).rdbuf();
  CHECK_MESSAGE(page.str() == expected, "run this test with SWITCHYARD_WRITE_DOCS=1 and look at the difference");
}
