#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs missing Debian packages when it may, otherwise prints the one command that does. Usage: setup.sh [extra packages...]
set -eu

# g++, cmake and ninja build; the rest are the libraries of DESIGN 8 (why each: docs/adr/0001-dependencies.md).
packages="g++ cmake ninja-build libfmt-dev nlohmann-json3-dev libtbb-dev libboost-program-options-dev
  doctest-dev librapidcheck-dev libbenchmark-dev $*"

missing=""
for package in $packages; do
  case $package in
    g++) command -v c++ >/dev/null 2>&1 && continue ;;
    cmake) command -v cmake >/dev/null 2>&1 && continue ;;
    ninja-build) command -v ninja >/dev/null 2>&1 && continue ;;
  esac
  if command -v dpkg-query >/dev/null 2>&1; then
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
  fi
done
[ -n "$missing" ] || exit 0

install_command="apt-get update && apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "switchyard: these Debian 12 packages, or your system's equivalents, are needed:$missing" >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo"
else
  echo "switchyard: packages are missing. Run this as root, then try again:" >&2
  echo "  $install_command" >&2
  exit 1
fi
echo "switchyard: installing$missing"
$as_root apt-get update -q
# Package names never hold spaces: splitting is meant.
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing
