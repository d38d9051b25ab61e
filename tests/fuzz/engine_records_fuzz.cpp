// SPDX-License-Identifier: Apache-2.0
/// vLLM's statistics and Megatron's traces as loads; the traces also as routings, which must survive writing and
/// reading.
#include "fuzz/load_checks.hpp"
#include "switchyard/io/route_trace.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace switchyard::io;
  std::string_view const text = fuzz::as_text(data, size);
  fuzz::check_load(text);
  auto const trace = fuzz::attempt([&] { return parse_route_trace(text, "in", 0); }, {switchyard::ErrorCode::parse});
  if (!trace || trace->format != RouteFormat::megatron_trace) return 0;
  std::string const written = write_route_trace(*trace, RouteFormat::megatron_trace);
  RouteTrace const again = parse_route_trace(written, "in", 0);
  fuzz::require(write_route_trace(again, RouteFormat::megatron_trace) == written, "a trace changed on its way");
  return 0;
}
