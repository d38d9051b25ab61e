// SPDX-License-Identifier: Apache-2.0
// The machines people have. Every constant that is not a plain count names where it comes from.
#include "switchyard/internal/require.hpp"
#include "switchyard/sim/cluster_spec.hpp"
#include "switchyard/sim/grouped_gemm.hpp"

namespace switchyard::sim {
namespace {

constexpr char const* kPortSource = "vendor's NVLink figure per GPU and direction";
constexpr char const* kPairSource =
    "largest bus bandwidth of NCCL all-to-all on 2 GPUs at 512 MiB, nccl-tests as published by "
    "ai-dynamo/aiconfigurator";
constexpr char const* kNicSource = "achieved figures in SimAI's calbusbw.h: 48.5 GB/s for CX7 and BF3, 23.5 for CX6";
constexpr char const* kNvlinkLatencySource = "NCCL tuner (tuning.cc), NVLink, ring, LL128: 1.9 us";
constexpr char const* kNetworkLatencySource = "NCCL tuner (tuning.cc), network, ring, LL128: 4.0 us";
constexpr char const* kNetworkMessageSource = "NCCL tuner: post overhead of 1 us on Intel hosts";
constexpr char const* kMessageSource =
    "assumed: a tenth of the network's; calibrate to have it measured (docs/simulator.md)";
constexpr char const* kSmSource = "multiprocessor count that the driver reports for this GPU";
constexpr char const* kUplinkSource = "no oversubscription assumed: NICs per leaf times their rate";

/// @param device the GPU's name as its driver gives it
void add_sms(ClusterSpec& spec, std::string_view device) {
  spec.sms_per_gpu = sms_of_device(device);
  spec.sources["sms_per_gpu"] = kSmSource;
}

ClusterSpec nvlink_box(std::string name, int gpus, double gpu_gb_per_s, double peer_gb_per_s) {
  ClusterSpec spec;
  spec.name = std::move(name);
  spec.gpus_per_node = gpus;
  spec.intra_node = {NodeFabric::nvswitch, gpu_gb_per_s, peer_gb_per_s, 1.9, 0.1, 1, 0, 0};
  spec.sources = {{"intra_node.gpu_gb_per_s", kPortSource},
                  {"intra_node.peer_gb_per_s", kPairSource},
                  {"intra_node.latency_us", kNvlinkLatencySource},
                  {"intra_node.message_us", kMessageSource}};
  return spec;
}

/// Rail-optimised fat tree without oversubscription: a leaf's uplinks carry what its NICs can send.
void add_rails(ClusterSpec& spec, int nics, double nic_gb_per_s, int nodes_per_leaf) {
  spec.network = {
      nics, nic_gb_per_s, 4.0, 1.0, true, nodes_per_leaf, nic_gb_per_s * nodes_per_leaf, NetworkRouting::rail_forward};
  spec.sources["network.nic_gb_per_s"] = kNicSource;
  spec.sources["network.latency_us"] = kNetworkLatencySource;
  spec.sources["network.message_us"] = kNetworkMessageSource;
  spec.sources["network.leaf_uplink_gb_per_s"] = kUplinkSource;
}

ClusterSpec dgx(std::string name, std::string_view device, double gpu_gb_per_s, double peer_gb_per_s,
                double nic_gb_per_s) {
  ClusterSpec spec = nvlink_box(std::move(name), 8, gpu_gb_per_s, peer_gb_per_s);
  add_sms(spec, device);
  add_rails(spec, 8, nic_gb_per_s, 32);
  return spec;
}

ClusterSpec nvl72() {
  ClusterSpec spec = nvlink_box("gb200-nvl72", 72, 900, 345);
  add_sms(spec, "NVIDIA GB200");
  add_rails(spec, 72, 48.5, 8);
  return spec;
}

/// Measured NCCL all-to-all falls to 5 GB/s for 4 and 2 GB/s for 8 GPUs: the host bridge is what they share.
ClusterSpec l40s() {
  ClusterSpec spec;
  spec.name = "l40s-8";
  spec.gpus_per_node = 8;
  spec.intra_node = {NodeFabric::pcie, 32, 22, 2.5, 0.5, 2, 32, 16};
  spec.network = {1, 12, 4.0, 1.0, false, 32, 384, NetworkRouting::direct};
  spec.sources = {{"intra_node.gpu_gb_per_s", "PCIe 4.0 x16, one direction"},
                  {"intra_node.peer_gb_per_s", "measured NCCL all-to-all of 2 GPUs: 22 GB/s"},
                  {"intra_node.host_bridge_gb_per_s",
                   "set so that 8 GPUs get the measured 2 GB/s each: 6/7 of 16 GB/s sent cross the bridge"},
                  {"intra_node.latency_us", "NCCL tuner, PCIe 2.5 us (LL128)"},
                  {"intra_node.message_us", "assumed: half of the network's"},
                  {"intra_node.pcie_switch_gb_per_s", "PCIe 4.0 x16 towards the host, one direction"},
                  {"network.nic_gb_per_s", "NCCL tuner's default of a 100 Gb/s adapter"},
                  {"network.latency_us", kNetworkLatencySource},
                  {"network.message_us", kNetworkMessageSource},
                  {"network.leaf_uplink_gb_per_s", kUplinkSource}};
  add_sms(spec, "NVIDIA L40S");
  return spec;
}

std::string joined_names() {
  std::string text;
  for (auto const& name : cluster_preset_names()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

ClusterSpec one_node(std::string_view name) {
  if (name == "dgx-h100") return dgx("dgx-h100", "NVIDIA H100 80GB HBM3", 450, 280, 48.5);
  if (name == "dgx-h200") return dgx("dgx-h200", "NVIDIA H200", 450, 299, 48.5);
  if (name == "dgx-b200") return dgx("dgx-b200", "NVIDIA B200", 900, 332, 48.5);
  if (name == "dgx-a100") return dgx("dgx-a100", "NVIDIA A100-SXM4-80GB", 300, 164, 23.5);
  if (name == "gb200-nvl72") return nvl72();
  SWITCHYARD_REQUIRE(name == "l40s-8", invalid_argument, "there is no cluster preset \"{}\": use one of {}", name,
                     joined_names());
  return l40s();
}

}  // namespace

std::vector<std::string> cluster_preset_names() {
  return {"dgx-h100", "dgx-h200", "dgx-b200", "gb200-nvl72", "dgx-a100", "l40s-8"};
}

ClusterSpec cluster_preset(std::string_view name, int nodes) {
  ClusterSpec spec = one_node(name);
  spec.nodes = nodes;
  require_valid(spec);
  return spec;
}

}  // namespace switchyard::sim
