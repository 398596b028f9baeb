#!/usr/bin/env bash
# Compiles the policy: build.sh FILE. The same sources give the same bytes. A rule that breaks a claim (neverallow) is refused.
# Further arguments are CIL files that are compiled with it, for tests.
set -euo pipefail
out=$(realpath -m "${1:?usage: build.sh FILE [CIL...]}")
shift
here=$(cd "$(dirname "$0")" && pwd)
more=()
for file in "$@"; do more+=("$(realpath "$file")"); done
tools=$("$here/../../enclave-image/tools.sh")
# The newest version that Linux 6.12 reads. Labels of files are in the image's table of files, so none are written here.
exec "$tools/run/secilc" --policyvers 33 --output "$out" --filecontext /dev/null \
    "$here/classes.cil" "$here/base.cil" "$here/rules.cil" "${more[@]}"
