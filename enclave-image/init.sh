#!/usr/bin/env bash
# Builds anchorhold-guest-init for the initrd: linked statically, without any path of this machine in it. Prints where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-${CARGO_TARGET_DIR:-target}}
triple=x86_64-unknown-linux-gnu
home=${CARGO_HOME:-$HOME/.cargo}
# Each argument is one of rustc's; a folder may have blanks in its name.
flags=(-C target-feature=+crt-static -C relocation-model=static "--remap-path-prefix=$home/registry/src=/crates" "--remap-path-prefix=$PWD=/anchorhold"
    "--remap-path-prefix=$(rustc --print sysroot)=/rust")
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${flags[@]}")
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%?}
"${CARGO:-cargo}" build --quiet --locked --profile image --target "$triple" --target-dir "$target" -p anchorhold-guest-init >&2
echo "$target/$triple/image/anchorhold-guest-init"
