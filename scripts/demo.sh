#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the CLI and runs the main job on the embedded default.
set -eu
cd "$(dirname "$0")/.."

sh scripts/setup.sh
cmake --preset cpu-release >build-demo.log 2>&1 || { cat build-demo.log; rm -f build-demo.log; exit 1; }
rm -f build-demo.log
cmake --build --preset cpu-release --target switchyard_cli
build/cpu-release/tools/switchyard demo
