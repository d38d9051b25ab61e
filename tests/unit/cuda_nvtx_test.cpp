// SPDX-License-Identifier: Apache-2.0
// NvtxRange as a profiler sees it: this program is the profiler, by NVTX's static injection.
//
// By hand: an outer range "dispatch" around "exchange" gives +dispatch +exchange -exchange -dispatch.
#include <doctest/doctest.h>
#include <nvtx3/nvToolsExt.h>

#include <string>

#include "nvtx_range.hpp"

namespace {

std::string& seen() {
  static std::string text;
  return text;
}

nvtxDomainHandle_t NVTX_API create(char const* name) {
  seen() += std::string("[") + name + "]";
  return reinterpret_cast<nvtxDomainHandle_t>(&seen());
}
int NVTX_API push(nvtxDomainHandle_t, nvtxEventAttributes_t const* attributes) {
  seen() += std::string("+") + attributes->message.ascii;
  return 0;
}
int NVTX_API pop(nvtxDomainHandle_t) {
  seen() += "-";
  return 0;
}

int NVTX_API attach(NvtxGetExportTableFunc_t get_table) {
  auto const* const callbacks = static_cast<NvtxExportTableCallbacks const*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(create);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}

}  // namespace

TEST_CASE("ranges of one domain nest and carry the stage's name") {
  InitializeInjectionNvtx2_fnptr = attach;  // read at the first call
  {
    switchyard::cuda::NvtxRange const outer("dispatch");
    switchyard::cuda::NvtxRange const inner("exchange");
  }
  switchyard::cuda::NvtxRange const next("combine");
  CHECK(seen() == "[switchyard]+dispatch+exchange--+combine");
}
