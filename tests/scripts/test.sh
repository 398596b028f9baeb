#!/usr/bin/env bash
# Runs every test and ends with a line that counts them. Exit 1 when one failed or none ran.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT

sh tests/models/fetch_minilm.sh .demo/models/minilm || exit 1
# One folder for both workspaces, so that what is equal is built once.
target=${CARGO_TARGET_DIR:-target}
status=0
tests() { # ARGUMENT ...
    "${CARGO:-cargo}" test --release --workspace --no-fail-fast --target-dir "$target" "$@" 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || status=1
}
tests
# With a clock that stands still, which is in no other build.
tests --features anchorhold-endorsements/paused-clock --test paused_clock
tests --manifest-path tests/differential/Cargo.toml
awk '/^test result: / { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit (failed > 0 || passed == 0) }' "$log" || status=1
exit "$status"
