# SPDX-License-Identifier: Apache-2.0
# The entry points a person types. Everything else is CMake: see CMakePresets.json and CONTRIBUTING.md.
.PHONY: help demo check check-deep check-gpu clean

help:
	@echo "make demo        build, then plan, prove and rehearse a rebalance on 32 emulated ranks (no GPU)"
	@echo "make check       build and run all tests, sanitizer subset, install and examples, CUDA compile"
	@echo "make check-deep  ThreadSanitizer, full sanitizer runs, timed fuzzing, exhaustive sweeps"
	@echo "make check-gpu   build for CUDA and compare with the CPU bit for bit on the GPUs of this machine"

demo:
	@sh scripts/demo.sh

check:
	@sh scripts/check.sh

check-deep:
	@sh scripts/check_deep.sh

check-gpu:
	@sh scripts/check_gpu.sh

clean:
	rm -rf build
