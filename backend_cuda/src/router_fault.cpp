// SPDX-License-Identifier: Apache-2.0
#include "router_fault.hpp"

#include <cstring>
#include <limits>

#include "cuda_error.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"

namespace switchyard::cuda {
namespace {

[[noreturn]] void throw_router_fault(std::uint64_t word, RouterFaultFacts const& facts) {
  auto const kind = static_cast<RouterFault>(word >> kRouterFaultShift);
  auto const detail = static_cast<std::int64_t>(word & ((std::uint64_t{1} << kRouterFaultShift) - 1));
  switch (kind) {
    case RouterFault::bias:
      internal::throw_bias_fault(detail >> 32, hd::bits_to<float>(static_cast<std::uint32_t>(detail)));
    case RouterFault::selection: internal::throw_selection_fault(detail / facts.experts, detail % facts.experts);
    case RouterFault::dropped: internal::throw_dropped_choice(detail, facts.top_k);
    case RouterFault::bad_id:
      throw_error(ErrorCode::invalid_argument,
                  fmt::format("token {}, slot {} names no expert of {}: pass the ids that route() wrote",
                              detail / facts.top_k, detail % facts.top_k, facts.experts));
    case RouterFault::log_sum: {
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      internal::throw_log_sum_fault(detail / 2, detail % 2 != 0 ? -kInfinity : kInfinity);
    }
    case RouterFault::count:
      throw_error(
          ErrorCode::invalid_argument,
          fmt::format("token count of expert {} is negative, or the sum of all counts is beyond 63 bits", detail));
    case RouterFault::sinkhorn:
      throw_error(ErrorCode::invalid_argument,
                  fmt::format("Sinkhorn: e^logit of token {}, expert {} overflows: subtract a maximum first",
                              detail / facts.experts, detail % facts.experts));
    default:
      internal::throw_logit_fault(facts.rules, detail % 2 != 0 ? hd::LogitFault::infinity : hd::LogitFault::nan,
                                  detail / 2 / facts.experts, detail / 2 % facts.experts);
  }
}

}  // namespace

RouterFaultWord::RouterFaultWord() : device_(sizeof(std::uint64_t)), host_(sizeof(std::uint64_t)) {
  Stream const stream;
  forget(stream);
  stream.view().synchronize();
}

void RouterFaultWord::forget(StreamView stream) const {
  constexpr std::uint8_t kNoFaultByte = 0xff;
  fill_bytes(device_, kNoFaultByte, stream);
}

void RouterFaultWord::check(RouterFaultFacts const& facts, StreamView stream) const {
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(host_.data(), device_.data(), sizeof(std::uint64_t), cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  std::uint64_t word = 0;
  std::memcpy(&word, host_.data(), sizeof word);
  if (word != ~std::uint64_t{0}) throw_router_fault(word, facts);
}

}  // namespace switchyard::cuda
