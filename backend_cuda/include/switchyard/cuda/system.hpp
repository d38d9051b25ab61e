// SPDX-License-Identifier: Apache-2.0
/// SystemReport: what this process finds of driver, CUDA runtime, NCCL and GPUs; describe_group(): what all ranks find.
/// No CUDA header is needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace switchyard {
class Communicator;
}

namespace switchyard::cuda {

/// Versions as their makers count them: CUDA 13.0 is 13000, NCCL 2.28.9 is 22809; 0 = none.
struct SystemReport {
  struct Device {
    std::string name{};
    int major = 0;  ///< compute capability
    int minor = 0;
    std::int64_t memory_bytes = 0;
    bool has_code = false;  ///< this build holds kernels that the device can run
    std::string bus{};      ///< PCI address, e.g. "0000:1B:00.0"; empty where CUDA does not say it
    friend bool operator==(Device const&, Device const&) = default;
  };
  /// One ordered pair of devices.
  struct Peer {
    int from = 0;
    int to = 0;
    bool direct = false;          ///< `from` can load and store in the memory of `to`
    bool native_atomics = false;  ///< their link carries atomics, as NVLink does and PCIe does not
    friend bool operator==(Peer const&, Peer const&) = default;
  };

  bool has_cuda = false;  ///< compiled with the CUDA backend; false: nothing below was looked at
  bool has_nccl = false;
  std::string architectures{};  ///< compute capabilities compiled for, as CMake lists them
  int driver_version = 0;       ///< the newest CUDA that the driver serves
  int runtime_version = 0;
  int nccl_built = 0;     ///< of the header compiled against
  int nccl_loaded = 0;    ///< of the library in this process
  std::string problem{};  ///< why devices could not be listed, as CUDA puts it
  std::vector<Device> devices{};
  std::vector<Peer> peers{};
};

/// @return what is found; trouble is part of it, never thrown. Leaves the current device as it was.
[[nodiscard]] SystemReport system_report();

/// The line to print first on rank 0: versions of this library, CUDA and NCCL, every rank's host and device, and what
/// links them as far as this rank can see (NVLink, PCIe peer access, host memory, network). Collective; every rank
/// describes its current device. Makes no context on other devices.
/// @return e.g. "switchyard 0.1.0, CUDA 13.0, driver for CUDA 13.0, NCCL 2.28.9 (built with 2.28.9); ranks 0-1 on
/// node0:
///         NVIDIA H100 80GB HBM3 at 0000:1B:00.0 0000:43:00.0; links: NVLink between all"
/// @throws as Communicator::all_gather_v; Error{cuda} without a device.
[[nodiscard]] std::string describe_group(Communicator& comm);

}  // namespace switchyard::cuda
