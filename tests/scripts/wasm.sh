#!/usr/bin/env bash
# The npm package: the module for WebAssembly, optimised for size, its JavaScript, and its size. usage: wasm.sh [OUTPUT FOLDER]
# What is needed is a C compiler for ring (clang); with npm, binaryen makes the module smaller.
set -euo pipefail
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
# The verifier's folder, since what is optimised for size is the same.
folder=$target/verifier-size
tools=$target/tools
output=${1:-$target/npm}

command -v clang >/dev/null || { echo "wasm: clang is missing, for ring's C" >&2; exit 1; }
rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown

# wasm-bindgen's program has to be of the very version of the library in the module, and says so itself when it is not.
"$cargo" build --quiet --release --locked --manifest-path tests/wasm-bindgen/Cargo.toml --target-dir "$tools/wasm-bindgen"

CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TARGET_DIR=$folder \
    "$cargo" build --quiet --release --target wasm32-unknown-unknown -p anchorhold-wasm

mkdir -p "$output"
"$tools/wasm-bindgen/release/anchorhold-wasm-bindgen" "$folder/wasm32-unknown-unknown/release/anchorhold_wasm.wasm" "$output"
cp attestation/wasm/npm/package.json attestation/wasm/npm/index.js attestation/wasm/npm/index.d.ts "$output"

binaryen=132.0.0
optimiser=$tools/npm/node_modules/.bin/wasm-opt
if [ ! -x "$optimiser" ] && command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --prefix "$tools/npm" "binaryen@$binaryen" >&2 || true
fi
module=$output/anchorhold_wasm_bg.wasm
if [ -x "$optimiser" ]; then
    # The features that rustc turns on for this target, and no others: what it makes must load wherever rustc's module does.
    "$optimiser" -Oz --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext --enable-mutable-globals \
        --enable-reference-types --enable-multivalue "$module" -o "$module.new"
    mv "$module.new" "$module"
else
    echo "wasm: binaryen is missing, the module stays as rustc left it" >&2
fi
size=$(($(stat -c %s "$module") / 1024))
compressed=$(($(gzip -9 -c "$module" | wc -c) / 1024))
echo "npm package: module of $size KiB, $compressed KiB compressed"
