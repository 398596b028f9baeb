#!/usr/bin/env bash
# Size of the verifier, optimised for size: a static program for x86_64 Linux with musl, and a module for WebAssembly; and its
# dependency count. usage: verifier_size.sh [wasm], which builds the module alone. JSON=FILE writes the numbers.
# A target that is not installed is left out with a message; the module alone must build.
set -euo pipefail
cargo=${CARGO:-cargo}
folder=${CARGO_TARGET_DIR:-target}/verifier-size
items=()

has_target() { rustup target list --installed 2>/dev/null | grep -qx "$1"; }

# Builds an example of the verifier for a target, by rustc itself, since cargo builds all development dependencies, `sev`
# among them, before any example.
build() { # TARGET EXAMPLE OUTPUT [RUSTC ARGUMENT ...]
    local target=$1 example=$2 output=$3 libraries=$folder/$1/release
    shift 3
    CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TARGET_DIR=$folder \
        "$cargo" build --quiet --release --target "$target" -p anchorhold-rats -p anchorhold-verifier
    rustc --edition 2024 --target "$target" -C opt-level=z -C lto=fat -C codegen-units=1 -C panic=abort -C strip=symbols "$@" \
        -L "dependency=$libraries/deps" -L "dependency=$folder/release/deps" --extern "anchorhold_rats=$libraries/libanchorhold_rats.rlib" \
        --extern "anchorhold_verifier=$libraries/libanchorhold_verifier.rlib" \
        -o "$output" "attestation/verifier/examples/$example.rs"
}

# States the size of a file in KiB.
state() { # NAME FILE
    local size=$(($(stat -c %s "$2") / 1024))
    echo "$1: $size KiB"
    items+=("{\"name\":\"$1\",\"value\":$size,\"unit\":\"KiB\"}")
}

module() {
    build wasm32-unknown-unknown verify_wasm "$folder/verify_wasm.wasm" --crate-type cdylib
    state "verifier for WebAssembly" "$folder/verify_wasm.wasm"
    if command -v node >/dev/null; then
        local samples=()
        [ ! -d ../shared/evidence ] || samples=(../shared/evidence)
        node tests/scripts/verify_wasm.mjs "$folder/verify_wasm.wasm" "${samples[@]}"
    fi
}

if [ "${1:-}" = wasm ]; then
    command -v clang >/dev/null || { echo "verifier for WebAssembly: clang is missing, for ring's C" >&2; exit 1; }
    has_target wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
    module
    exit
fi

crates=$("$cargo" tree -p anchorhold-verifier -e normal --prefix none --format '{p}' | sed 's/ (\*)$//' | sort -u | wc -l)
crates=$((crates - 1))
echo "crates below anchorhold-verifier: $crates"

if has_target x86_64-unknown-linux-musl; then
    # Nothing of the C library is used by ring's C and assembly, so the machine's own compiler will do.
    export CC_x86_64_unknown_linux_musl=${CC_x86_64_unknown_linux_musl:-$(command -v musl-gcc || echo gcc)}
    build x86_64-unknown-linux-musl verify_bundle "$folder/verify_bundle"
    state "static verifier" "$folder/verify_bundle"
else
    echo "static verifier: left out, rustup target add x86_64-unknown-linux-musl"
fi

if has_target wasm32-unknown-unknown; then
    module
else
    echo "verifier for WebAssembly: left out, rustup target add wasm32-unknown-unknown"
fi

if [ -n "${JSON:-}" ]; then
    (IFS=,; echo "[${items[*]}]") > "$JSON"
fi
