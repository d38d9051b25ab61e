#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Looks for fused multiply-add in generated code that must not hold any (DESIGN 2.5 and 2.8).
# Usage: no_fma.sh host <object files...>
#        no_fma.sh kernel <nvcc> <.cu file> <nvcc options...>
# Exit 1 with the offending instructions; also when there is no multiplication at all, because then nothing was inspected.
set -u

# inspect <title> <fused pattern> <multiply pattern> < disassembly
inspect() {
  listing=$(cat)
  fused=$(printf '%s\n' "$listing" | grep -E "$2" | head -n 5)
  if [ -n "$fused" ]; then
    printf '%s: fused multiply-add:\n%s\n' "$1" "$fused"
    return 1
  fi
  multiplications=$(printf '%s\n' "$listing" | grep -cE "$3")
  if [ "$multiplications" -eq 0 ]; then
    echo "$1: no floating-point multiplication found, so nothing was inspected"
    return 1
  fi
  echo "$1: $multiplications multiplications, none fused"
}

kind=$1
shift
status=0
case $kind in
  host)
    [ $# -gt 0 ] || { echo "no object files given"; exit 1; }
    for object in "$@"; do
      # x86: vfmadd231ps ...; AArch64: fmadd, fmla ...
      objdump -d "$object" | inspect "$(basename "$object")" \
        '[[:space:]](vfn?m(add|sub)|fn?m(add|sub|la|ls))[0-9a-z]*[[:space:]]' '[[:space:]]v?f?mul(ps|ss|pd|sd)?[[:space:]]' || status=1
    done
    ;;
  kernel)
    nvcc=$1
    source=$2
    shift 2
    # The project's flags, and nvcc's default contraction: the intrinsics alone must be enough.
    for contraction in false true; do
      "$nvcc" -std=c++20 -ptx -fmad=$contraction "$@" -o - "$source" |
        inspect "$(basename "$source") -fmad=$contraction" 'fma\.rn\.f(32|64)' 'mul\.rn\.f(32|64)' || status=1
    done
    ;;
  *)
    echo "usage: no_fma.sh host|kernel ..."
    exit 2
    ;;
esac
exit $status
