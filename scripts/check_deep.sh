#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make check-deep`: what takes too long for every change. Prints a summary in Markdown at the end (also in
# build/check-deep.md); commit it as docs/check-deep.md. SWITCHYARD_FUZZ_SECONDS sets the time per fuzzer (default 60).
set -eu
cd "$(dirname "$0")/.."
fuzz_seconds=${SWITCHYARD_FUZZ_SECONDS:-60}
mkdir -p build
report=build/check-deep.md
log=build/check-deep.log
: >"$log"

sh scripts/setup.sh clang libclang-rt-14-dev

{
  echo "# Result of make check-deep"
  echo
  echo "Commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(nproc) cores, $(c++ --version | head -n 1)."
  echo
  echo "| part | result |"
  echo "| --- | --- |"
} >"$report"
row() { printf '| %s | %s |\n' "$1" "$2" | tee -a "$report"; }

# run_tests <title> <preset> <ctest arguments...>: one row with ctest's own closing line.
run_tests() {
  title=$1
  preset=$2
  shift 2
  printf '\n== %s\n' "$title"
  cmake --preset "$preset" >>"$log"
  cmake --build --preset "$preset" >>"$log" || { row "$title" "build FAILED (see $log)"; return 1; }
  result=passed
  ctest --preset "$preset" "$@" >build/ctest.out 2>&1 || result=FAILED
  cat build/ctest.out >>"$log"
  row "$title" "$result: $(grep -E 'tests passed' build/ctest.out | head -n 1)"
  [ "$result" = passed ]
}

failed=0
run_tests "ThreadSanitizer, all tests" tsan -LE style || failed=1
run_tests "AddressSanitizer + UBSan, all tests" asan-ubsan -LE style || failed=1
run_tests "checked standard library (debug), all tests" cpu-debug -LE style || failed=1
SWITCHYARD_EXHAUSTIVE=1
export SWITCHYARD_EXHAUSTIVE
run_tests "exhaustive sweeps (release)" cpu-release -L "unit|property" --timeout 3600 || failed=1

printf '\n== timed fuzzing, %s s each\n' "$fuzz_seconds"
cmake --preset fuzz >>"$log"
cmake --build --preset fuzz --target switchyard_fuzzers >>"$log"
for harness in build/fuzz/tests/*_fuzz; do
  name=$(basename "$harness")
  corpus=tests/fuzz/corpus/${name%_fuzz}
  scratch=build/fuzz/found/$name
  dictionary=tests/fuzz/dictionaries/${name%_fuzz}.dict
  [ -f "$dictionary" ] || dictionary=""
  mkdir -p "$scratch"
  if "$harness" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
      ${dictionary:+-dict="$dictionary"} -artifact_prefix="$scratch/" "$scratch" "$corpus" >build/fuzz.out 2>&1; then
    result=clean
  else
    result="FAILED, see $scratch"
    failed=1
  fi
  cat build/fuzz.out >>"$log"
  row "fuzz $name" "$result: $(grep -oE 'number_of_executed_units: [0-9]+' build/fuzz.out | grep -oE '[0-9]+$') executions"
done

printf '\n'
cat "$report"
exit $failed
