#!/usr/bin/env bash
# Runs every test and ends with a line that counts them. Exit 1 when one failed or none ran.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT

sh tests/models/fetch_minilm.sh .demo/models/minilm || exit 1
"${CARGO:-cargo}" test --release --workspace --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
awk '/^test result: / { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit (failed > 0 || passed == 0) }' "$log" || status=1
exit "$status"
