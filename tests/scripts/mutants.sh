#!/usr/bin/env bash
# Mutation test of one crate. usage: mutants.sh PACKAGE [ARGUMENT OF cargo-mutants ...]
#
# cargo-mutants changes one place at a time in a copy of the sources (a condition turned round, a function that returns at
# once) and runs the package's tests. A mutant that no test notices is a test that is missing, or code that does nothing.
# The lists are in mutants.out (or under --output): missed.txt, caught.txt, timeout.txt, unviable.txt (does not compile).
#
# One mutant costs a build of the package with all its tests and their run: for anchorhold-audit-log 3 s and 14 s on two idle cores, ten times
# that on busy ones. MUTANTS_TMP=/dev/shm takes the copy into memory, where tests that sync are a third faster. For hundreds of mutants there
# is mutants.py, which builds once and lets the environment choose the mutant: here are those that it lists as `left`. Or pick a part:
#   --shard 3/40          the fourth fortieth of the mutants
#   --file '*/snp/*.rs'   some files
#   --re 'in judge'       some names
#   --features paused-clock   which the tests of anchorhold-endorsements need
# Tests of other packages are added with --test-package NAME. SKIP='case_27_ long_log' leaves out tests whose names hold one of these words: a
# test of minutes is run for each mutant, and may show nothing of it.
set -euo pipefail
package=${1:?usage: mutants.sh PACKAGE [ARGUMENT ...]}
shift
cargo=${CARGO:-cargo}
"$cargo" mutants --version >/dev/null 2>&1 || "$cargo" install cargo-mutants --locked --quiet

# The copy must see the real samples where the tests look for them, beside the project.
TMPDIR=$(mktemp -d -p "${MUTANTS_TMP:-${TMPDIR:-/tmp}}")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
[ ! -d ../shared ] || ln -s "$(realpath ../shared)" "$TMPDIR/shared"

# Programs that must not compile say nothing of a mutant, and take minutes.
skipped=(--skip case_05_verified_values_come_only_from_the_verifier)
for word in ${SKIP:-}; do skipped+=(--skip "$word"); done

# The copy is built where it stands.
env -u CARGO_TARGET_DIR nice -n 19 "$cargo" mutants --package "$package" --profile mutants --jobs 1 \
    --cap-lints true --minimum-test-timeout 120 "$@" -- -- "${skipped[@]}"
