#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check`: everything CI runs. Every stage says what it did; the last lines say what was skipped and why.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
jobs=$(nproc)
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
ctest --preset cpu-release -j "$jobs"

stage "install tree and examples"
sh scripts/check_install.sh "$root/build/cpu-release" "$root/build/consumer"

stage "AddressSanitizer and UBSan subset"
# Whether a source includes what it uses, the release build has shown.
cmake --preset asan-ubsan -DSWITCHYARD_PRECOMPILED_HEADERS=ON
cmake --build --preset asan-ubsan --target switchyard_asan_subset
ctest --preset asan-ubsan -L asan_subset -j "$jobs"

stage "CUDA compile"
if command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; then
  gpu=no
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then gpu=yes; fi
  # Kernels that nothing here can run are compiled in the quickest way.
  if [ "$gpu" = yes ]; then effort=""; else effort="-Ofc=max"; fi
  # In the release build's folder, so that what CUDA does not touch is not compiled again; configuring it as above undoes it.
  cmake --preset cpu-release -DSWITCHYARD_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=90 -DCMAKE_CUDA_FLAGS="$effort"
  cmake --build --preset cpu-release
  cmake --build --preset cpu-release --target all_verify_interface_header_sets
  sh scripts/check_install.sh "$root/build/cpu-release" "$root/build/consumer" nccl
  # Device code and the host side of the GPU's paths, run on the host; programs that need a GPU say that they are skipped.
  ctest --preset cpu-release -R '^(cuda|c_abi)_' -j "$jobs"
  if [ ! -x build/cpu-release/tests/cuda_emulated_step_test ]; then
    skip "emulated device code, NCCL communicator, examples with NCCL: NCCL was not found on this machine"
  fi
  if [ "$gpu" = yes ]; then
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
