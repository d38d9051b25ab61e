#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check-gpu`: CUDA build and the bit-for-bit comparison on this machine's GPU. Fails when there is none.
#
# Where packages cannot be installed, unpack nlohmann-json3-dev, libtbb-dev, libtbb12 and librapidcheck-dev with dpkg -x into
# one folder and name it in SWITCHYARD_DEPS_DIR; fmt and doctest are expected on the machine.
set -eu
cd "$(dirname "$0")/.."
if ! nvidia-smi -L >/dev/null 2>&1; then
  echo "make check-gpu: no NVIDIA GPU on this machine" >&2
  exit 1
fi
cmake --preset cuda-release ${SWITCHYARD_DEPS_DIR:+-DCMAKE_PREFIX_PATH=$SWITCHYARD_DEPS_DIR/usr}
cmake --build --preset cuda-release --target switchyard_cuda_bits
nvidia-smi -L
exec build/cuda-release/tests/switchyard_cuda_bits
