#!/usr/bin/env bash
# The npm package: the module for WebAssembly, optimised for size, its JavaScript, and its size. usage: wasm.sh [OUTPUT FOLDER]
# What is needed is a C compiler for ring (clang), and of two registries wasm-bindgen's program and, if there is npm, binaryen.
set -euo pipefail
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
folder=$target/wasm-package
tools=$target/tools
output=${1:-$target/npm}

command -v clang >/dev/null || { echo "wasm: clang is missing, for ring's C" >&2; exit 1; }
rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown

# The program has to be of the very version of the library.
version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
bindgen=${WASM_BINDGEN:-$tools/bin/wasm-bindgen}
if [ "$("$bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    CARGO_TARGET_DIR=$tools/build "$cargo" install --quiet wasm-bindgen-cli --version "$version" --root "$tools"
    bindgen=$tools/bin/wasm-bindgen
fi

CARGO_PROFILE_RELEASE_OPT_LEVEL=z CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TARGET_DIR=$folder \
    "$cargo" build --quiet --release --target wasm32-unknown-unknown -p anchorhold-wasm

mkdir -p "$output"
"$bindgen" --target web --no-typescript --out-dir "$output" --out-name anchorhold_wasm \
    "$folder/wasm32-unknown-unknown/release/anchorhold_wasm.wasm"
cp attestation/wasm/npm/package.json attestation/wasm/npm/index.js attestation/wasm/npm/index.d.ts "$output"

binaryen=132.0.0
optimiser=$tools/npm/node_modules/.bin/wasm-opt
if [ ! -x "$optimiser" ] && command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --prefix "$tools/npm" "binaryen@$binaryen" >&2 || true
fi
module=$output/anchorhold_wasm_bg.wasm
if [ -x "$optimiser" ]; then
    "$optimiser" -Oz --all-features "$module" -o "$module.new"
    mv "$module.new" "$module"
else
    echo "wasm: binaryen is missing, the module stays as rustc left it" >&2
fi
size=$(($(stat -c %s "$module") / 1024))
compressed=$(($(gzip -9 -c "$module" | wc -c) / 1024))
echo "npm package: module of $size KiB, $compressed KiB compressed"
