// SPDX-License-Identifier: Apache-2.0
#include "versions.hpp"

#include <fmt/format.h>

namespace switchyard::cuda {

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

std::string device_api_problem(int built, int loaded) {
  constexpr int kFirstWithVersions = 22900;
  int const built_minor = built / 100;
  int const loaded_minor = loaded / 100;
  bool const is_same_major = loaded / 10000 == built / 10000;
  bool const fits =
      is_same_major && (built >= kFirstWithVersions ? loaded_minor >= built_minor : loaded_minor == built_minor);
  if (fits) return {};
  return fmt::format(
      "built with NCCL {}, but NCCL {} is loaded: {}; build with the headers of the library that is loaded",
      nccl_version_text(built), nccl_version_text(loaded),
      built >= kFirstWithVersions ? "device code needs the same NCCL or a newer one"
                                  : "device code of NCCL 2.28 works with 2.28 only");
}

std::string missing_code_text(std::string const& what, std::string const& device, int major, int minor,
                              std::string const& architectures) {
  return fmt::format(
      "{}: {} has compute capability {}.{}, and this build has code for {} only: configure with "
      "CMAKE_CUDA_ARCHITECTURES={}{}, or use the CPU backend",
      what, device, major, minor, architectures, major, minor);
}

}  // namespace switchyard::cuda
