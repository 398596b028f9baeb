#!/usr/bin/env bash
# Formatting and lints of every workspace, warnings refused; the verifier as a WebAssembly module, with its size; and that the
# npm package's module builds.
set -euo pipefail
cargo=${CARGO:-cargo}
# One folder for all, so that what is equal is built once.
target=${CARGO_TARGET_DIR:-target}

for manifest in Cargo.toml tests/differential/Cargo.toml tests/fuzz/Cargo.toml tests/wasm-bindgen/Cargo.toml; do
    "$cargo" fmt --all --check --manifest-path "$manifest"
done
for manifest in Cargo.toml tests/differential/Cargo.toml; do
    "$cargo" clippy --release --workspace --all-targets --quiet --manifest-path "$manifest" --target-dir "$target" -- -D warnings
done
CARGO=$cargo tests/scripts/verifier_size.sh wasm
"$cargo" build --quiet --release --target wasm32-unknown-unknown --target-dir "$target/wasm" -p anchorhold-wasm
