// SPDX-License-Identifier: Apache-2.0
/// Groups of ranks that share one GPU: threads, or under slow tools (few_cases.hpp) fibers of one thread. On threads
/// initcheck may see a rank free memory after another one has got and written it, and then finds it unwritten.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "few_cases.hpp"
#include "pair_report.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace cross_backend {

/// Runs `body(communicator)` on every rank; what a rank throws is a failure of the case.
template <typename Body>
void run_case(PairReport& report, int ranks, std::string const& name, Body const& body) {
  namespace cpu = switchyard::cpu;
  auto const scheduler = takes_few_cases() ? cpu::make_cooperative_scheduler() : cpu::make_thread_scheduler();
  try {
    cpu::run_ranks(*scheduler, ranks, {}, body);
  } catch (std::exception const& error) {
    report.failed(name + ": " + error.what());
  }
}

}  // namespace cross_backend
