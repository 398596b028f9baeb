#!/usr/bin/env bash
# Formatting and lints of every workspace, warnings refused; the verifier as a WebAssembly module, with its size.
set -euo pipefail
cargo=${CARGO:-cargo}
# One folder for all, so that what is equal is built once.
target=${CARGO_TARGET_DIR:-target}

for manifest in Cargo.toml tests/differential/Cargo.toml tests/fuzz/Cargo.toml tests/wasm-bindgen/Cargo.toml; do
    "$cargo" fmt --all --check --manifest-path "$manifest"
done
# Tests run the libraries that programs are linked with: no development dependency turns a feature on in one of them.
features() { # EDGES
    "$cargo" tree --workspace --edges "$1" --prefix none --format '{p} {f}' | sed 's/ (\*)$//' | sort -u
}
different=$(comm -23 <(features no-dev) <(features all))
[ -z "$different" ] || {
    printf 'lint: built otherwise for tests than for programs; see what tests/e2e/Cargo.toml says of features:\n%s\n' "$different" >&2
    exit 1
}
lint() { # MANIFEST ARGUMENT ...
    "$cargo" clippy --release --workspace --all-targets --quiet --target-dir "$target" --manifest-path "$@" -- -D warnings
}
lint Cargo.toml --features anchorhold-endorsements/paused-clock
lint tests/differential/Cargo.toml
CARGO=$cargo tests/scripts/verifier_size.sh wasm
