#!/usr/bin/env bash
# Size of a static verifier, for x86_64 Linux with musl, optimised for size; its dependency count; whether the verifier
# builds for WebAssembly. JSON=FILE writes the numbers. A target that is not installed is left out with a message.
set -euo pipefail
cargo=${CARGO:-cargo}
target=x86_64-unknown-linux-musl
folder=${CARGO_TARGET_DIR:-target}/verifier-size
items=()

has_target() { rustup target list --installed 2>/dev/null | grep -qx "$1"; }

crates=$("$cargo" tree -p anchorhold-verifier -e normal --prefix none --format '{p}' | sed 's/ (\*)$//' | sort -u | wc -l)
crates=$((crates - 1))
echo "crates below anchorhold-verifier: $crates"

if has_target "$target"; then
    # Nothing of the C library is used by ring's C and assembly, so the machine's own compiler will do.
    export CC_x86_64_unknown_linux_musl=${CC_x86_64_unknown_linux_musl:-$(command -v musl-gcc || echo gcc)}
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
    export CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols
    CARGO_TARGET_DIR=$folder "$cargo" build --quiet --release --target "$target" -p anchorhold-rats -p anchorhold-verifier
    # By rustc itself, since cargo builds all development dependencies, `sev` among them, before any example.
    libraries=$folder/$target/release
    rustc --edition 2024 --target "$target" -C opt-level=z -C lto=fat -C codegen-units=1 -C panic=abort -C strip=symbols \
        -L "dependency=$libraries/deps" -L "dependency=$folder/release/deps" --extern "anchorhold_rats=$libraries/libanchorhold_rats.rlib" \
        --extern "anchorhold_verifier=$libraries/libanchorhold_verifier.rlib" \
        -o "$folder/verify_bundle" attestation/verifier/examples/verify_bundle.rs
    bytes=$(stat -c %s "$folder/verify_bundle")
    echo "static verifier: $((bytes / 1024)) KiB"
    items+=("{\"name\":\"static verifier\",\"value\":$((bytes / 1024)),\"unit\":\"KiB\"}")
else
    echo "static verifier: left out, rustup target add $target"
fi

if has_target wasm32-unknown-unknown; then
    if CARGO_TARGET_DIR=$folder "$cargo" check --quiet --release --target wasm32-unknown-unknown -p anchorhold-verifier; then
        echo "verifier for wasm32-unknown-unknown: builds"
    else
        echo "verifier for wasm32-unknown-unknown: does not build"
    fi
else
    echo "verifier for wasm32-unknown-unknown: left out, rustup target add wasm32-unknown-unknown"
fi

if [ -n "${JSON:-}" ]; then
    (IFS=,; echo "[${items[*]}]") > "$JSON"
fi
