// SPDX-License-Identifier: Apache-2.0
// What doctor says of the driver, the CUDA runtime, NCCL, the GPUs and their links.
#include <fmt/format.h>

#include <algorithm>

#include "cli/table.hpp"
#include "commands/doctor_findings.hpp"

namespace switchyard::cli {
namespace {

using enum FindingLevel;

constexpr int kOldestNccl = 22800;

std::string cuda_version(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string nccl_version(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

/// Too few GPUs, whatever the reason, is a failure only when GPUs were asked for.
FindingLevel missing_gpu(int wanted_gpus) {
  return wanted_gpus > 0 ? fail : warn;
}

Finding driver_finding(cuda::SystemReport const& gpu, int wanted_gpus) {
  if (gpu.driver_version == 0)
    return {missing_gpu(wanted_gpus), "driver", "no NVIDIA driver answers",
            "install one, or in a container pass the GPUs in (--gpus all); the CPU backend needs none"};
  if (gpu.driver_version < gpu.runtime_version)
    return {fail, "driver",
            fmt::format("serves CUDA {}, this build needs {}", cuda_version(gpu.driver_version),
                        cuda_version(gpu.runtime_version)),
            "update the driver, or build with a toolkit that it serves"};
  return {ok, "driver",
          fmt::format("serves CUDA {}, this build needs {}", cuda_version(gpu.driver_version),
                      cuda_version(gpu.runtime_version)),
          ""};
}

Finding nccl_finding(cuda::SystemReport const& gpu) {
  if (!gpu.has_nccl)
    return {warn, "nccl", "this build has no NCCL: ranks exchange device memory through the host",
            "install NCCL 2.28 or newer and configure again"};
  std::string const found =
      fmt::format("{} loaded, {} built against", nccl_version(gpu.nccl_loaded), nccl_version(gpu.nccl_built));
  if (gpu.nccl_loaded < kOldestNccl)
    return {fail, "nccl", found, "put NCCL 2.28 or newer first in LD_LIBRARY_PATH: a framework may bring an older one"};
  if (gpu.nccl_loaded < gpu.nccl_built)
    return {warn, "nccl", found, "load the version built against: an older library lacks what its header promised"};
  return {ok, "nccl", found, ""};
}

Finding count_finding(cuda::SystemReport const& gpu, int wanted_gpus) {
  auto const count = static_cast<int>(gpu.devices.size());
  std::string const found =
      fmt::format("{} found{}{}", count, wanted_gpus > 0 ? fmt::format(", {} asked for", wanted_gpus) : "",
                  gpu.problem.empty() ? "" : fmt::format("; CUDA says: {}", gpu.problem));
  if (count > 0 && count >= wanted_gpus) return {ok, "gpus", found, ""};
  return {missing_gpu(wanted_gpus), "gpus", found,
          "look at nvidia-smi, at CUDA_VISIBLE_DEVICES and at what the container was given"};
}

Finding device_finding(cuda::SystemReport const& gpu, std::size_t index) {
  auto const& device = gpu.devices[index];
  std::string const found =
      fmt::format("{}: {}, compute capability {}.{}, {}; built for {}", index, device.name, device.major, device.minor,
                  human_bytes(device.memory_bytes), gpu.architectures.empty() ? "none" : gpu.architectures);
  if (device.has_code) return {ok, "gpu", found, ""};
  return {fail, "gpu", found,
          fmt::format("configure with -DCMAKE_CUDA_ARCHITECTURES={}{}", device.major, device.minor)};
}

void judge_links(cuda::SystemReport const& gpu, std::vector<Finding>& findings) {
  if (gpu.devices.size() < 2) return findings.push_back({ok, "links", "fewer than two GPUs: no links to look at", ""});
  std::string apart;
  std::string slow;
  for (auto const& peer : gpu.peers) {
    if (!peer.direct) apart += fmt::format(" {}->{}", peer.from, peer.to);
    if (peer.direct && !peer.native_atomics) slow += fmt::format(" {}->{}", peer.from, peer.to);
  }
  if (!apart.empty())
    findings.push_back({warn, "links", "no direct access between GPUs:" + apart,
                        "the fused path is off there and NCCL goes through host memory: look at nvidia-smi topo -m, "
                        "IOMMU and ACS settings"});
  if (!slow.empty())
    findings.push_back({warn, "links", "direct access without native atomics (PCIe, not NVLink):" + slow,
                        "figures of NVLink do not hold here: look at nvidia-smi nvlink --status"});
  if (apart.empty() && slow.empty())
    findings.push_back({ok, "links",
                        fmt::format("all {} pairs reach each other directly, with native atomics", gpu.peers.size()),
                        ""});
}

}  // namespace

void judge_gpus(DoctorFacts const& facts, int wanted_gpus, std::vector<Finding>& findings) {
  if (!facts.gpu.has_cuda)
    return findings.push_back(
        {missing_gpu(wanted_gpus), "gpus",
         "this build has no CUDA backend, so GPUs were not looked at; everything on the CPU works",
         "configure with the preset cuda-release (nvcc 13, NCCL 2.28) to use GPUs"});
  findings.push_back(driver_finding(facts.gpu, wanted_gpus));
  findings.push_back(nccl_finding(facts.gpu));
  findings.push_back(count_finding(facts.gpu, wanted_gpus));
  for (std::size_t i = 0; i < facts.gpu.devices.size(); ++i) findings.push_back(device_finding(facts.gpu, i));
  judge_links(facts.gpu, findings);
}

}  // namespace switchyard::cli
