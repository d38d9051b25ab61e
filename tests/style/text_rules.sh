#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Rules on text that no compiler checks: licence line first, ASCII sources, no work left behind, formatting.
# Usage: text_rules.sh <source root>. Exit 1 with the offending files; a missing clang-format is said, not failed.
set -u
cd "$1" || exit 2
status=0
complain() {
  printf 'text rules: %s\n%s\n' "$1" "$2"
  status=1
}

folders=""
for folder in core backend_cpu backend_cuda sim tools tests bench examples; do
  [ -d "$folder" ] && folders="$folders $folder"
done
# Folder and file names of the project hold no spaces: splitting is meant throughout.
# shellcheck disable=SC2086
sources=$(find $folders -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | sort)

# shellcheck disable=SC2086
bad=$(for f in $sources; do head -n 1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f"; done)
[ -z "$bad" ] || complain "the first line must be the SPDX licence line" "$bad"

# shellcheck disable=SC2086
bad=$(LC_ALL=C grep -lP '[^\x00-\x7F]' $sources)
[ -z "$bad" ] || complain "sources are ASCII" "$bad"

# shellcheck disable=SC2086
bad=$(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources)
[ -z "$bad" ] || complain "no work is left behind in comments" "$bad"

# shellcheck disable=SC2086,SC2046
bad=$(grep -nE '\busing namespace\b|\bassert\(|std::abort|std::exit' $(find core/src core/include backend_cpu sim -name '*.hpp' -o -name '*.cpp'))
[ -z "$bad" ] || complain "the library neither asserts, aborts, exits nor imports namespaces" "$bad"

if command -v clang-format >/dev/null 2>&1 && clang-format --version | grep -q 'version 14'; then
  # shellcheck disable=SC2086
  bad=$(clang-format --dry-run --Werror $sources 2>&1 | grep -E '^[^ ].*error' | cut -d: -f1 | sort -u)
  [ -z "$bad" ] || complain "clang-format 14 would change these files" "$bad"
else
  echo "text rules: clang-format 14 is not installed, formatting not checked"
fi
exit $status
