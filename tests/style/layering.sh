#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Enforces the dependency rule of docs/ARCHITECTURE.md on #include lines:
#   hd <- core <- {backend_cpu, backend_cuda, sim} <- tools; backends never include each other; oracles share no code with core.
# Usage: layering.sh <source root>. Prints every offending line; exit 1 if there is one.
set -u
cd "$1" || exit 2
status=0

# forbid <why> <pattern> <folders...>: no include line in the folders may match.
forbid() {
  why=$1
  pattern=$2
  shift 2
  for folder in "$@"; do
    [ -d "$folder" ] || continue
    hits=$(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)" "$folder" \
      --include='*.hpp' --include='*.cpp' --include='*.cu' --include='*.cuh')
    if [ -n "$hits" ]; then
      printf '%s\n%s\n' "layering: $why" "$hits"
      status=1
    fi
  done
}

public="core/include backend_cpu/include backend_cuda/include sim/include"
# shellcheck disable=SC2086
forbid "public headers must not reach fmt, nlohmann, TBB, Boost or our internals" \
  'fmt/|nlohmann/|tbb/|oneapi/|boost/|switchyard/internal/|switchyard/hd/' $public
forbid "core knows no backend, no simulator, no threads library, no CUDA, no NCCL, no Boost" \
  'switchyard/(cpu|cuda|sim)/|tbb/|oneapi/|cuda|nccl|cub/|boost/' core
forbid "hd is arithmetic only: no fmt, no JSON, no other room" \
  'fmt/|nlohmann/|switchyard/(internal|routing|dispatch|experts|placement|rebalance|comm|io)/' core/hd
forbid "backend_cpu includes no other backend and no simulator" 'switchyard/(cuda|sim)/|cuda|nccl|boost/' backend_cpu
forbid "backend_cuda includes no other backend and no simulator" 'switchyard/(cpu|sim)/|tbb/|boost/' backend_cuda
forbid "kernels see neither fmt nor JSON" 'fmt/|nlohmann/|switchyard/internal/' backend_cuda/kernels
forbid "the simulator consumes plans, never backends" 'switchyard/(cpu|cuda)/|tbb/|cuda|nccl|boost/' sim
forbid "an oracle shares no code with what it checks" 'switchyard/' tests/oracle
forbid "examples use the installed package only" 'switchyard/(hd|internal)/|support/|oracle/' examples
exit $status
