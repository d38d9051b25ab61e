#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check-gpu`: CUDA build, CPU against GPU bit for bit, NCCL conformance, several processes, then benchmarks.
# Usage: check_gpu.sh [folder for logs and JSON]   (default: SWITCHYARD_GPU_OUT, else build/gpu-report)
#
# SWITCHYARD_GPUS    how many GPUs to use, and to fail without (default: 1; 2 or more add NCCL between GPUs, and stages
#                    between ranks then run on 2 and on all of them)
# SWITCHYARD_STAGES  which stages, e.g. "bits executor" (default: build bits router planner executor allocations budget steps
#                    experts fast rebalance c_abi examples conformance processes faults kernels plans ranks vectors bench); try4 and try8 (4 and 8 processes on 2 GPUs), sanitizer
#                    (one GPU) and sanitizer_ranks (one process per GPU) are run only when named
# SWITCHYARD_FAULTS  which of the faults, by stage name (default: all)
# SWITCHYARD_TOOLS   which tools of compute-sanitizer (default: memcheck racecheck initcheck synccheck; sanitizer_ranks has
#                    memcheck alone)
# SWITCHYARD_GOLDEN_DIR where the peers' recorded vectors lie; without it the stage vectors is left out
# SWITCHYARD_REQUIRE_FUSED 1: a missing fused path is a failure, 0: it is said and passed over (default: 1 where every pair
#                    of GPUs is joined by NVLink)
# SWITCHYARD_BUILD   build folder (default: build/cuda-release)
# SWITCHYARD_DEPS_DIR where packages cannot be installed, unpack nlohmann-json3-dev, libtbb-dev, libtbb12, doctest-dev and
#                    librapidcheck-dev with dpkg -x into one folder and name it here; fmt is expected on the machine
#
# Every program runs under a deadline and leaves <stage>.log; a failed stage does not stop the ones after it. What was not
# built (no NCCL, cuBLAS or Boost here) is said and passed over. Exit 0 when all stages passed, 1 when one failed or GPUs
# are missing.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${1:-${SWITCHYARD_GPU_OUT:-build/gpu-report}}
gpus=${SWITCHYARD_GPUS:-1}
stages=${SWITCHYARD_STAGES:-build bits router planner executor allocations budget steps experts fast rebalance c_abi examples conformance processes faults kernels plans ranks vectors bench}
build=${SWITCHYARD_BUILD:-build/cuda-release}
programs=$build/tests
there=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
if [ "$there" -lt "$gpus" ]; then
  echo "make check-gpu: $gpus GPUs wanted, $there found" >&2
  exit 1
fi
mkdir -p "$out" || exit 1
failed=""
groups="" # numbers of ranks that stages between GPUs run with
[ "$gpus" -gt 1 ] && groups=2
[ "$gpus" -gt 2 ] && groups="2 $gpus"

# stage <name> <seconds> <command...>: runs with a deadline and a log.
stage() {
  name=$1
  seconds=$2
  shift 2
  printf '%s ... ' "$name"
  if timeout -k 10 "$seconds" "$@" >"$out/$name.log" 2>&1; then
    echo "ok: $(tail -n 1 "$out/$name.log")"
  else
    echo "FAILED with $? (see $out/$name.log): $(tail -n 1 "$out/$name.log")"
    failed="$failed $name"
  fi
}

# built <program>: whether it was built; says so when not.
built() {
  [ -x "$1" ] && return 0
  echo "$(basename "$1") ... not built here"
  return 1
}

# ranks_of <count> <program>: one process per rank on this host; every rank's log follows the other.
ranks_of() {
  count=$1
  program=$2
  shift 2
  pids=""
  rank=0
  last=""
  while [ "$rank" -lt "$count" ]; do
    # shellcheck disable=SC2086 # a tool and its options
    env RANK="$rank" WORLD_SIZE="$count" LOCAL_RANK="$rank" MASTER_ADDR=127.0.0.1 MASTER_PORT="$port" \
      ${hostid:+NCCL_HOSTID="$hostid$rank"} "$@" ${SWITCHYARD_UNDER:-} "$program" >"$out/rank$rank.$port.part" 2>&1 &
    pids="$pids $!"
    [ "$rank" = "${victim:-none}" ] && last=$!
    rank=$((rank + 1))
  done
  status=0
  for pid in $pids; do
    [ "$pid" = "$last" ] || wait "$pid" || status=1
  done
  [ -z "$last" ] || kill -KILL "$last" 2>/dev/null # it may be stopped, and then never ends by itself
  rank=0
  while [ "$rank" -lt "$count" ]; do
    cat "$out/rank$rank.$port.part"
    rank=$((rank + 1))
  done
  return $status
}

wants() {
  case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# Called back by timeout, which runs programs and no shell functions.
if [ "${SWITCHYARD_RANKS_OF:-}" != "" ]; then
  port=$SWITCHYARD_PORT
  hostid=${SWITCHYARD_HOSTID:-}
  victim=${SWITCHYARD_VICTIM:-none}
  program=$programs/${SWITCHYARD_PROGRAM:-switchyard_nccl_ranks}
  trap 'echo "time is up; so far:"; tail -n 3 "$out"/rank*."$port".part; exit 124' TERM
  if [ "$victim" != none ]; then
    ranks_of "$SWITCHYARD_RANKS_OF" "$program" SWITCHYARD_DIE_AT="$victim"
  else
    ranks_of "$SWITCHYARD_RANKS_OF" "$program"
  fi
  exit $?
fi

{
  nvidia-smi -L
  nvidia-smi --query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem --format=csv
  nvidia-smi topo -m
  nvcc --version || /usr/local/cuda/bin/nvcc --version
  cmake --version
  c++ --version
} >"$out/machine.log" 2>&1
nvidia-smi -L

if wants build; then
  targets="switchyard_cuda_bits switchyard_cuda_executor switchyard_cuda_planner switchyard_cuda_bins switchyard_cuda_budget"
  targets="$targets switchyard_cuda_experts switchyard_cuda_rebalance switchyard_cuda_steps switchyard_cuda_allocations switchyard_cuda_router"
  targets="$targets switchyard_gpu_kernels switchyard_gpu_planner switchyard_gpu_router switchyard_gpu_experts"
  # Warnings are errors with the compilers CI has; newer ones warn of things inside fmt.
  stage configure 120 cmake --preset cuda-release -B "$build" -DSWITCHYARD_WARNINGS_AS_ERRORS=OFF ${SWITCHYARD_DEPS_DIR:+-DCMAKE_PREFIX_PATH=$SWITCHYARD_DEPS_DIR/usr}
  if grep -q 'Found NCCL\|NCCL_VERSION' "$out/configure.log" "$build/CMakeCache.txt" 2>/dev/null; then
    targets="$targets switchyard_nccl_conformance switchyard_nccl_ranks switchyard_nccl_budget switchyard_nccl_rebalance switchyard_nccl_layer"
    targets="$targets c_abi_device_test switchyard_example_03 switchyard_example_04"
    targets="$targets switchyard_gpu_ranks switchyard_gpu_alltoallv"
    targets="$targets switchyard_gpu_fused switchyard_gpu_budgets"
    grep -q 'cuBLAS was not found' "$out/configure.log" || targets="$targets switchyard_gpu_layers"
  fi
  grep -q 'cuBLAS was not found' "$out/configure.log" || targets="$targets switchyard_cuda_fast_test switchyard_gpu_fast_experts"
  grep -q 'Boost.Program_options was not found' "$out/configure.log" || targets="$targets switchyard_cli"
  # shellcheck disable=SC2086
  stage build 550 cmake --build "$build" --target $targets
fi
wants bits && stage bits 120 "$programs/switchyard_cuda_bits"
wants router && stage router 120 "$programs/switchyard_cuda_router"
wants planner && stage planner 200 "$programs/switchyard_cuda_planner"
wants planner && built "$programs/switchyard_cuda_bins" && stage bins 100 "$programs/switchyard_cuda_bins"
wants executor && stage executor 400 "$programs/switchyard_cuda_executor"
wants allocations && built "$programs/switchyard_cuda_allocations" &&
  stage allocations 100 "$programs/switchyard_cuda_allocations"
wants budget && built "$programs/switchyard_cuda_budget" && stage budget 200 "$programs/switchyard_cuda_budget"
wants steps && built "$programs/switchyard_cuda_steps" && stage steps 200 "$programs/switchyard_cuda_steps"
wants experts && stage experts 300 "$programs/switchyard_cuda_experts"
wants fast && built "$programs/switchyard_cuda_fast_test" && stage fast 200 "$programs/switchyard_cuda_fast_test"
if wants rebalance; then
  stage rebalance 200 "$programs/switchyard_cuda_rebalance"
  for group in $groups; do
    stage "nccl_rebalance_$group" 200 env SWITCHYARD_GPUS="$group" "$programs/switchyard_nccl_rebalance"
  done
fi
wants c_abi && built "$programs/c_abi_device_test" && stage c_abi 60 "$programs/c_abi_device_test"
wants conformance && built "$programs/switchyard_nccl_conformance" &&
  SWITCHYARD_GPUS=$gpus stage conformance 400 "$programs/switchyard_nccl_conformance"

# between <stage> <seconds> <ranks> <port> [NAME=value...]: one process per rank.
between() {
  label=$1
  limit=$2
  count=$3
  at=$4
  shift 4
  stage "$label" "$limit" env SWITCHYARD_RANKS_OF="$count" SWITCHYARD_PORT="$at" "$@" sh "$0" "$out"
}
# Whether every pair of GPUs here is joined by NVLink.
one_nvlink_domain() {
  nvidia-smi topo -m | awk -v n="$there" '
    /^GPU[0-9]/ { ++rows; for (i = 2; i <= n + 1; ++i) links += $i ~ /^NV[0-9]+$/ }
    END { exit !(n > 1 && rows == n && links == n * (n - 1)) }'
}
if [ -z "${SWITCHYARD_REQUIRE_FUSED:-}" ]; then
  SWITCHYARD_REQUIRE_FUSED=0
  one_nvlink_domain && SWITCHYARD_REQUIRE_FUSED=1
fi
export SWITCHYARD_REQUIRE_FUSED
# Example 04 by a launcher's variables, then by flags as in a plain shell.
if wants examples && built "$programs/switchyard_example_03"; then
  stage example_03 60 "$programs/switchyard_example_03"
  for group in ${groups:-1}; do
    between "example_04_$group" 60 "$group" $((29670 + 2 * group)) SWITCHYARD_PROGRAM=switchyard_example_04
    # shellcheck disable=SC2016 # the inner shell expands them
    stage "example_04_flags_$group" 60 sh -c '
      rank=0
      pids=""
      while [ "$rank" -lt "$1" ]; do
        "$2" --rank "$rank" --world "$1" --local-rank "$rank" --rendezvous "file:$3" &
        pids="$pids $!"
        rank=$((rank + 1))
      done
      for pid in $pids; do wait "$pid" || exit 1; done
    ' flags "$group" "$programs/switchyard_example_04" "$(cd "$out" && pwd)/meeting-place"
  done
fi
# The caller's ncclComm_t with peers: all ranks have its id from NCCL_COMM_ID.
if wants c_abi && built "$programs/c_abi_device_test"; then
  for group in $groups; do
    between "c_abi_$group" 60 "$group" $((29690 + 2 * group)) SWITCHYARD_PROGRAM=c_abi_device_test \
      NCCL_COMM_ID=127.0.0.1:$((29690 + 2 * group))
  done
fi
if wants processes && built "$programs/switchyard_nccl_ranks"; then
  for group in ${groups:-1}; do
    between "processes_$group" 300 "$group" $((29530 + group))
    built "$programs/switchyard_nccl_budget" &&
      between "budget_$group" 200 "$group" $((29600 + group)) SWITCHYARD_PROGRAM=switchyard_nccl_budget
    built "$programs/switchyard_nccl_layer" &&
      between "layer_$group" 100 "$group" $((29650 + group)) SWITCHYARD_PROGRAM=switchyard_nccl_layer
  done
fi
# One rank of the group gets a signal in the middle of a phase; the others must end by themselves with a typed error that
# names it.
fault() {
  case " ${SWITCHYARD_FAULTS:-$1} " in *" $1 "*) ;; *) return 0 ;; esac
  between "$1" 60 "$gpus" "$2" SWITCHYARD_VICTIM="$3" SWITCHYARD_DIE_BY="$4" SWITCHYARD_DIE_IN="$5" \
    SWITCHYARD_PROGRAM="${6:-switchyard_nccl_ranks}"
}
if wants faults && [ "$gpus" -gt 1 ]; then
  last=$((gpus - 1))
  fault killed_peer 29512 1 KILL calls
  fault killed_rank0 29513 0 KILL calls
  fault killed_in_exchange 29515 "$last" KILL exchange
  fault killed_in_fused 29520 "$last" KILL fused
  fault stopped_peer 29516 1 STOP calls
  fault stopped_rank0 29517 0 STOP calls
  fault stopped_in_exchange 29518 "$last" STOP exchange
  fault stopped_rank0_in_exchange 29521 0 STOP exchange
  fault stopped_in_fused 29519 "$last" STOP fused
  first=29560
  for phase in init create_memory create_group planned rebalance; do
    fault "killed_in_$phase" "$first" "$last" KILL "$phase"
    fault "stopped_in_$phase" $((first + 1)) "$last" STOP "$phase"
    first=$((first + 2))
  done
  if built "$programs/switchyard_nccl_budget"; then
    fault killed_in_slots 29522 "$last" KILL slots switchyard_nccl_budget
    fault stopped_in_slots 29523 "$last" STOP slots switchyard_nccl_budget
    fault killed_in_replay 29524 "$last" KILL replay switchyard_nccl_budget
    fault stopped_in_replay 29525 "$last" STOP replay switchyard_nccl_budget
  fi
fi
# An attempt: NCCL refuses two ranks on one GPU of one host, so every process claims a host of its own.
if wants try4; then
  between try4 300 4 29514 SWITCHYARD_REQUIRE_FUSED=0 NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 NCCL_SOCKET_IFNAME=lo SWITCHYARD_HOSTID=host
fi
if wants try8; then
  between try8 300 8 29526 SWITCHYARD_CASES=1 SWITCHYARD_REQUIRE_FUSED=0 NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 \
    NCCL_SOCKET_IFNAME=lo SWITCHYARD_HOSTID=host
fi
wants kernels && stage kernels 120 "$programs/switchyard_gpu_kernels" "$out/kernels.json"
wants kernels && stage expert_kernels 120 "$programs/switchyard_gpu_experts" "$out/experts.json"
wants kernels && built "$programs/switchyard_gpu_fast_experts" &&
  stage fast_kernels 120 "$programs/switchyard_gpu_fast_experts" "$out/fast_experts.json"
wants plans && stage plans 120 "$programs/switchyard_gpu_planner" "$out/plans.json"
wants plans && built "$programs/switchyard_gpu_router" && stage routes 60 "$programs/switchyard_gpu_router" "$out/routes.json"
if wants ranks; then
  for group in $groups; do
    stage "ranks_$group" 300 "$programs/switchyard_gpu_ranks" "$out/ranks$group.json" "$group"
    stage "fused_$group" 200 "$programs/switchyard_gpu_fused" "$out/fused$group.json" "$group"
    stage "budgets_$group" 200 "$programs/switchyard_gpu_budgets" "$out/budgets$group.json" "$group"
    built "$programs/switchyard_gpu_layers" &&
      stage "layers_$group" 200 "$programs/switchyard_gpu_layers" "$out/layers$group.json" "$group"
    stage "alltoallv_$group" 200 "$programs/switchyard_gpu_alltoallv" "$out/alltoallv$group.json" "$group"
  done
fi
# What the peers recorded, through the GPU's executors.
if wants vectors && [ -n "${SWITCHYARD_GOLDEN_DIR:-}" ] && built "$build/tools/switchyard"; then
  for file in megatron_dev megablocks_dev eplb_exec_dev; do
    stage "vectors_$file" 100 "$build/tools/switchyard" vectors "$SWITCHYARD_GOLDEN_DIR/$file.json" --backend cuda
  done
fi
# The CLI measures the same; here that it starts, finds all GPUs and writes what `calibrate` reads.
cli=$build/tools/switchyard
if wants bench && built "$cli"; then
  stage doctor 60 "$cli" doctor --gpus "$gpus"
  stage bench_plan 120 "$cli" bench plan --backend cuda --json "$out/bench_plan.json"
  [ "$gpus" -gt 1 ] && stage bench_alltoallv 200 "$cli" bench alltoallv --backend cuda --gpus "$gpus" \
    --json "$out/bench_alltoallv.json" --csv "$out/bench_alltoallv.csv"
  [ "$gpus" -gt 1 ] && stage bench_dispatch 200 "$cli" bench dispatch --backend cuda --gpus "$gpus" --tokens 4096 \
    --json "$out/bench_dispatch.json"
  stage calibrate 60 "$cli" calibrate "$out/bench_plan.json"
fi
# Few cases each: the tools take up to a hundred times as long. NCCL asks the driver for kernels of other architectures,
# which memcheck would report; racecheck loses track of launches by several threads at once.
tools=${SWITCHYARD_TOOLS:-memcheck racecheck initcheck synccheck}
under() {
  case $1 in
  memcheck) options="--report-api-errors=no" ;;
  racecheck) options="--force-blocking-launches" ;;
  *) options="" ;;
  esac
  echo "compute-sanitizer --tool $1 $options --error-exitcode 9 --print-limit 20"
}
if wants sanitizer; then
  for tool in $tools; do
    for part in router executor planner bins budget steps experts fast_test rebalance; do
      # cuBLAS writes results in ways that initcheck does not see (docs/DETERMINISM.md).
      [ "$tool $part" = "initcheck fast_test" ] && continue
      # shellcheck disable=SC2046
      built "$programs/switchyard_cuda_$part" &&
        SWITCHYARD_CASES=3 stage "${tool}_$part" 300 $(under "$tool") "$programs/switchyard_cuda_$part"
    done
  done
fi
# under_memcheck <program> <port>
under_memcheck() {
  built "$programs/$1" && between "memcheck_$1" 300 2 "$2" SWITCHYARD_CASES=1 SWITCHYARD_PROGRAM="$1" \
    SWITCHYARD_UNDER="$(under memcheck)"
}
if wants sanitizer_ranks && [ "$gpus" -gt 1 ]; then
  under_memcheck switchyard_nccl_ranks 29641
  under_memcheck switchyard_nccl_budget 29642
fi

if [ -n "$failed" ]; then
  echo "check-gpu: FAILED:$failed"
  exit 1
fi
echo "check-gpu: all stages passed; logs and JSON in $out"
