// SPDX-License-Identifier: Apache-2.0
// Who am I and where do ranks meet: every launcher's variables, what is refused, and what the text says.
//
// By hand: torchrun sets RANK=3, WORLD_SIZE=8, LOCAL_RANK=3, MASTER_ADDR=node0, MASTER_PORT=29500; the configuration is
// rank 3 of 8 on device 3, meeting at node0:29500, or at node0:29501 where torchrun's agent says that its own store has
// the port. With SLURM_PROCID=2 beside it, nothing is believed.
#include "switchyard/launch/launch_config.hpp"

#include <doctest/doctest.h>

#include "support/error_text.hpp"

using namespace switchyard;
using launch::launch_config;
using launch::LaunchFlags;
using launch::Variables;
using support::error_text;

namespace {

Variables const kTorchrun{
    {"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}};

Variables with(Variables variables, Variables const& more) {
  for (auto const& [name, value] : more) variables[name] = value;
  return variables;
}

std::string refused(Variables const& variables, LaunchFlags const& flags = {}) {
  return error_text(ErrorCode::invalid_argument, [&] { static_cast<void>(launch_config(flags, variables)); });
}

void check_says(std::string const& text, std::string const& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("a process that nobody launched is rank 0 of 1") {
  auto const config = launch_config({}, {});
  CHECK(config.rank == 0);
  CHECK(config.world_size == 1);
  CHECK(config.source == "none");
}

TEST_CASE("torchrun") {
  auto const config = launch_config({}, kTorchrun);
  CHECK(config.rank == 3);
  CHECK(config.world_size == 8);
  CHECK(config.local_rank == 1);
  CHECK(config.host == "node0");
  CHECK(config.port == 29500);
  CHECK(config.source == "torchrun");
}

TEST_CASE("torchrun's agent keeps its store on the master port: the control channel takes the next one") {
  // What torchrun 2.x sets for rank 3 of 2 nodes with 4 processes each.
  Variables const all = with(kTorchrun, {{"GROUP_RANK", "0"},
                                         {"GROUP_WORLD_SIZE", "2"},
                                         {"LOCAL_WORLD_SIZE", "4"},
                                         {"ROLE_RANK", "3"},
                                         {"ROLE_NAME", "default"},
                                         {"ROLE_WORLD_SIZE", "8"},
                                         {"TORCHELASTIC_RESTART_COUNT", "0"},
                                         {"TORCHELASTIC_MAX_RESTARTS", "0"},
                                         {"TORCHELASTIC_RUN_ID", "none"},
                                         {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                         {"OMP_NUM_THREADS", "1"}});
  auto const config = launch_config({}, all);
  CHECK(config.host == "node0");
  CHECK(config.port == 29501);
  CHECK(launch_config({}, with(all, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).port == 29500);
  check_says(refused(with(all, {{"MASTER_PORT", "65535"}})), "there is none after it");
  CHECK(launch_config({}, with(all, {{"MASTER_PORT", "65535"}, {"SWITCHYARD_RENDEZVOUS", "a:65535"}})).port == 65535);
  // srun started the agents, one per node: Slurm's numbers are theirs.
  Variables const under_slurm{
      {"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_LOCALID", "0"}, {"SLURM_STEP_ID", "0"}};
  CHECK(launch_config({}, with(all, under_slurm)).local_rank == 1);
  check_says(refused(with(kTorchrun, under_slurm)), "torchrun says rank 3 of 8, Slurm says rank 1 of 2");
  check_says(refused(with(with(all, under_slurm), {{"SLURM_NTASKS", "3"}})), "Slurm says rank 1 of 3");
}

TEST_CASE("a meeting place that two sources name differently is refused") {
  Variables const both = with(kTorchrun, {{"NCCL_COMM_ID", "node0:29500"}});
  CHECK(launch_config({}, both).port == 29501);  // NCCL itself answers at 29500
  auto const text = refused(with(both, {{"NCCL_COMM_ID", "node1:29500"}}));
  check_says(text, "at node0:29500 says MASTER_ADDR and MASTER_PORT, at node1:29500 says NCCL_COMM_ID");
  check_says(refused(with(both, {{"NCCL_COMM_ID", "node0:29501"}})), "decide with SWITCHYARD_RENDEZVOUS");
  // What was said to this library alone decides, and must agree with itself.
  Variables const decided = with(both, {{"NCCL_COMM_ID", "node1:5"}, {"SWITCHYARD_RENDEZVOUS", "node2:7"}});
  CHECK(launch_config({}, decided).host == "node2");
  CHECK(launch_config({}, decided).port == 7);
  LaunchFlags flags;
  flags.rendezvous = "node2:7";
  CHECK(launch_config(flags, decided).port == 7);
  flags.rendezvous = "node2:8";
  check_says(refused(decided, flags), "at node2:8 says the flag for the rendezvous, at node2:7 says SWITCHYARD_RENDEZ");
  flags.rendezvous = "file:/shared/a";
  check_says(refused(decided, flags), "at /shared/a says the flag");
}

TEST_CASE("local ranks that disagree are refused by name") {
  Variables const mpi{
      {"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "2"}};
  check_says(refused(with(kTorchrun, mpi)), "torchrun says local rank 1, Open MPI says local rank 2");
  LaunchFlags flags;
  flags.local_rank = 0;
  check_says(refused(kTorchrun, flags), "the flag says local rank 0, torchrun says local rank 1");
  flags.local_rank = 1;
  CHECK(launch_config(flags, kTorchrun).local_rank == 1);
  flags.local_rank = 5;  // nobody else says it
  CHECK(launch_config(flags, {}).local_rank == 5);
}

TEST_CASE("Slurm meets at the first host of the job, on a port of the job") {
  Variables const slurm{{"SLURM_PROCID", "5"},
                        {"SLURM_NTASKS", "16"},
                        {"SLURM_LOCALID", "1"},
                        {"SLURM_JOB_NODELIST", "gpu[07-09,12],other"},
                        {"SLURM_JOB_ID", "40123"}};
  auto const config = launch_config({}, slurm);
  CHECK(config.rank == 5);
  CHECK(config.local_rank == 1);
  CHECK(config.host == "gpu07");
  CHECK(config.port == 20000 + 40123 % 20000);
  CHECK(launch_config({}, with(slurm, {{"SLURM_JOB_NODELIST", "a,b[1-2]"}})).host == "a");
  CHECK(launch_config({}, with(slurm, {{"SLURM_JOB_NODELIST", "alone"}})).host == "alone");
  check_says(refused(with(slurm, {{"SLURM_JOB_NODELIST", "gpu[07"}})), "bracket that does not close");
}

TEST_CASE("a shell inside a Slurm allocation is no rank of it") {
  auto const config = launch_config({}, with(kTorchrun, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}));
  CHECK(config.source == "torchrun");
}

TEST_CASE("Open MPI with NCCL_COMM_ID meets on the port after NCCL's") {
  auto const config = launch_config({}, {{"OMPI_COMM_WORLD_RANK", "1"},
                                         {"OMPI_COMM_WORLD_SIZE", "2"},
                                         {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                         {"NCCL_COMM_ID", "10.0.0.7:5000"}});
  CHECK(config.source == "Open MPI");
  CHECK(config.host == "10.0.0.7");
  CHECK(config.port == 5001);
}

TEST_CASE("flags and a shared file") {
  LaunchFlags flags;
  flags.rank = 1;
  flags.world_size = 2;
  flags.rendezvous = "file:/shared/job7";
  auto const config = launch_config(flags, {});
  CHECK(config.source == "flags");
  CHECK(config.file == "/shared/job7");
  CHECK(config.local_rank == 1);
  flags.rendezvous = "file:relative";
  check_says(refused({}, flags), "absolute path");
  flags.rendezvous = "nowhere";
  check_says(refused({}, flags), "neither host:port nor file:/path");
  flags.rendezvous = "host:70000";
  check_says(refused({}, flags), "70000");
}

TEST_CASE("sources that disagree are refused by name") {
  auto const text = refused(with(kTorchrun, {{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "8"}}));
  check_says(text, "torchrun says rank 3 of 8, Open MPI says rank 2 of 8");
  LaunchFlags flags;
  flags.rank = 3;
  flags.world_size = 4;
  check_says(refused(kTorchrun, flags), "flags says rank 3 of 4, torchrun says rank 3 of 8");
  flags.world_size = 8;
  CHECK(launch_config(flags, kTorchrun).local_rank == 1);  // agreeing sources complete each other
}

TEST_CASE("malformed, partial and impossible values name variable and value") {
  for (auto const* const bad : {"", "abc", "-1", "3x", "1099511627776", " 3"})
    check_says(refused(with(kTorchrun, {{"RANK", bad}})), std::string("RANK=") + bad + " is not a whole number");
  check_says(refused(with(kTorchrun, {{"RANK", "8"}})), "rank 8 of 8");
  check_says(refused(with(kTorchrun, {{"WORLD_SIZE", "0"}})), "WORLD_SIZE=0");
  check_says(refused({{"RANK", "0"}}), "RANK is set, but WORLD_SIZE is not");
  check_says(refused({{"RANK", "0"}, {"WORLD_SIZE", "2"}}), "does not know where the ranks meet");
  check_says(refused({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}), "only one of MASTER_ADDR");
  check_says(refused(with(kTorchrun, {{"MASTER_PORT", "0"}})), "MASTER_PORT=0");
  LaunchFlags flags;
  flags.rank = 1;
  check_says(refused({}, flags), "only one of the flags");
}
