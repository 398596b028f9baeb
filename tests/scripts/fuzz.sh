#!/usr/bin/env bash
# Runs each fuzz target for a while. usage: fuzz.sh SECONDS
#
# The sanitizer needs unstable compiler flags; RUSTC_BOOTSTRAP lets the stable compiler take them, so that no second
# toolchain is needed.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS}
export RUSTC_BOOTSTRAP=1
cargo=${CARGO:-cargo}
"$cargo" fuzz --version >/dev/null 2>&1 || "$cargo" install cargo-fuzz --locked --quiet

targets=$("$cargo" fuzz list --fuzz-dir tests/fuzz)
"$cargo" fuzz build --fuzz-dir tests/fuzz
for target in $targets; do
    mkdir -p "tests/fuzz/corpus/$target"
    out=$("$cargo" fuzz run --fuzz-dir tests/fuzz "$target" "tests/fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 2>&1) || { echo "$out" | tail -40; exit 1; }
    echo "fuzz $target: $(echo "$out" | grep -E '^Done|DONE' | tail -1)"
done
