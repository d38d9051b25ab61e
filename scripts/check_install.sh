#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs a build into a scratch prefix and builds every example against it, as a user of the package would.
# Usage: check_install.sh <build folder> <scratch folder> [nccl]   nccl: only those that need NCCL and GPUs, and not run
set -eu
build=$1
scratch=$2
only=${3:-}
rm -rf "$scratch"
cmake --install "$build" --prefix "$scratch/prefix" >/dev/null
has_nccl=$(grep -rl 'NCCL::nccl' "$scratch/prefix" --include='switchyardTargets.cmake' || true)
for example in examples/*/; do
  name=$(basename "$example")
  case $name in
    *_nccl_*)
      if [ -z "$has_nccl" ]; then
        echo "-- $name skipped: the installed package has no CUDA or no NCCL"
        continue
      fi ;;
    *) [ "$only" != nccl ] || continue ;;
  esac
  cmake -S "$example" -B "$scratch/$name" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
  cmake --build "$scratch/$name"
  echo "-- $name"
  [ "$only" = nccl ] || "$scratch/$name/example"
done
