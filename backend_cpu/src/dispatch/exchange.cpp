// SPDX-License-Identifier: Apache-2.0
// Exchange: blocks of rows to every rank of the EP lane, and back with the counts swapped.
#include <vector>

#include "stages.hpp"

namespace switchyard::cpu {
namespace {

std::vector<std::int64_t> in_bytes(std::vector<std::int64_t> rows, std::int64_t row_bytes) {
  for (std::int64_t& count : rows) count *= row_bytes;
  return rows;
}

}  // namespace

void exchange(StageContext const& context, RowExchange const& stage, char const* operation, ConstRows in, Rows out) {
  auto const send = in_bytes(stage.send_rows, in.row_bytes);
  auto const receive = in_bytes(stage.receive_rows, out.row_bytes);
  context.comm.all_to_all_v(in.bytes(), send, out.bytes(), receive,
                            {operation, context.configuration, context.deadline});
}

}  // namespace switchyard::cpu
