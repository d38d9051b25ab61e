#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check`: everything CI runs. Every stage says what it did; the last lines say what was skipped and why.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
skipped=""
started=$(date +%s)

stage() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - started))"; }
skip() { skipped="$skipped
  $1"; }

# The last two read in Python what convert writes.
sh scripts/setup.sh python3-numpy python3-yaml
if [ -z "${SWITCHYARD_GOLDEN_DIR:-}" ]; then skip "peers' golden vectors: SWITCHYARD_GOLDEN_DIR is not set (own vectors ran)"; fi
if [ -z "${SWITCHYARD_DATA_DIR:-}" ]; then skip "tests on recorded routing: SWITCHYARD_DATA_DIR is not set"; fi

stage "release build"
cmake --preset cpu-release
cmake --build --preset cpu-release
cmake --build --preset cpu-release --target all_verify_interface_header_sets

stage "tests (release)"
ctest --preset cpu-release

stage "install tree and examples"
sh scripts/check_install.sh "$root/build/cpu-release" "$root/build/consumer"

stage "AddressSanitizer and UBSan subset"
cmake --preset asan-ubsan
cmake --build --preset asan-ubsan --target switchyard_asan_subset
ctest --preset asan-ubsan -L asan_subset

stage "CUDA compile"
if command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; then
  # In the release build's folder, so that what CUDA does not touch is not compiled again; configuring it as above undoes it.
  cmake --preset cpu-release -DSWITCHYARD_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=90
  cmake --build --preset cpu-release --target switchyard_cuda_bits switchyard_cuda_executor switchyard_cuda_bench
  # Device code of small fused steps, run on the host. The target is there where NCCL's headers are.
  if cmake --build --preset cpu-release --target help | grep -q cuda_emulated_step_test; then
    cmake --build --preset cpu-release --target cuda_emulated_step_test
    ctest --preset cpu-release -R cuda_emulated_step_test
  else
    skip "emulated device code: no NCCL headers on this machine"
  fi
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
    build/cpu-release/tests/switchyard_cuda_bits
  else
    skip "CUDA run: compiled for one architecture, but this machine has no GPU (make check-gpu on one that has)"
  fi
else
  skip "CUDA compile: no nvcc on this machine"
fi

stage "done"
echo "not run here: ThreadSanitizer, timed fuzzing, exhaustive sweeps (make check-deep; results in docs/check-deep.md)"
if [ -n "$skipped" ]; then echo "skipped:$skipped"; else echo "skipped: nothing"; fi
