// SPDX-License-Identifier: Apache-2.0
/// The test program as NVTX's profiler, by static injection: what ranges begin and end.
#pragma once

#include <mutex>
#include <string>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>

namespace support {
namespace nvtx {

struct Log {
  std::mutex mutex{};
  std::string text{};
};
inline Log& log() {
  static Log one;
  return one;
}
inline void append(std::string const& event) {
  std::lock_guard const lock(log().mutex);
  log().text += event;
}

inline nvtxDomainHandle_t NVTX_API create(char const* name) {
  append(std::string("[") + name + "]");
  return reinterpret_cast<nvtxDomainHandle_t>(&log());
}
inline int NVTX_API push(nvtxDomainHandle_t, nvtxEventAttributes_t const* attributes) {
  bool const is_text = attributes->messageType == NVTX_MESSAGE_TYPE_ASCII;  // other libraries register theirs
  append(std::string("+") + (is_text ? attributes->message.ascii : "") + ";");
  return 0;
}
inline int NVTX_API pop(nvtxDomainHandle_t) {
  append("-");
  return 0;
}

inline int NVTX_API attach(NvtxGetExportTableFunc_t get_table) {
  auto const* const callbacks = static_cast<NvtxExportTableCallbacks const*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(create);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}

}  // namespace nvtx

/// Before the first range of the process. @return whether ranges can be listened to in this build
inline bool listen_to_ranges() {
  InitializeInjectionNvtx2_fnptr = nvtx::attach;  // read at the first call
  return true;
}
/// "[domain]" when one is made, "+name;" when a range begins and "-" when one ends, of all threads.
inline std::string ranges_seen() {
  std::lock_guard const lock(nvtx::log().mutex);
  return nvtx::log().text;
}

}  // namespace support
#else
namespace support {

inline bool listen_to_ranges() {
  return false;
}
inline std::string ranges_seen() {
  return {};
}

}  // namespace support
#endif
