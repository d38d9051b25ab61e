// SPDX-License-Identifier: Apache-2.0
#include "nvtx_range.hpp"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>

namespace switchyard::cuda {
namespace {

nvtxDomainHandle_t domain() noexcept {
  static nvtxDomainHandle_t const handle = nvtxDomainCreateA("switchyard");
  return handle;
}

}  // namespace

NvtxRange::NvtxRange(char const* stage) noexcept {
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = stage;
  static_cast<void>(nvtxDomainRangePushEx(domain(), &attributes));
}

NvtxRange::~NvtxRange() {
  static_cast<void>(nvtxDomainRangePop(domain()));
}

}  // namespace switchyard::cuda
#else
namespace switchyard::cuda {

NvtxRange::NvtxRange(char const*) noexcept {}
NvtxRange::~NvtxRange() = default;

}  // namespace switchyard::cuda
#endif
