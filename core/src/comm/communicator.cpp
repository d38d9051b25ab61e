// SPDX-License-Identifier: Apache-2.0
#include "switchyard/comm/communicator.hpp"

namespace switchyard {

std::vector<std::int64_t> all_gather_i64(Communicator& comm, std::span<std::int64_t const> values,
                                         CallOptions const& options) {
  auto const ranks = static_cast<std::size_t>(comm.size());
  std::vector<std::int64_t> gathered(ranks * values.size());
  std::vector<std::int64_t> const bytes(ranks, static_cast<std::int64_t>(values.size_bytes()));
  comm.all_gather_v(std::as_bytes(values), std::as_writable_bytes(std::span(gathered)), bytes, options);
  return gathered;
}

}  // namespace switchyard
