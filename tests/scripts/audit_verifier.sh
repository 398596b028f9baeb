#!/usr/bin/env bash
# Builds the static verifier of audit logs for x86_64 Linux with musl, optimised for size, into target/audit-verifier, and states its
# size and digest, which belongs into the README of dossiers (`anchorhold audit dossier --verifier`). JSON=FILE writes the figures.
set -euo pipefail
cargo=${CARGO:-cargo}
target=x86_64-unknown-linux-musl
folder=${CARGO_TARGET_DIR:-target}/audit-verifier

rustup target list --installed 2>/dev/null | grep -qx "$target" || rustup target add "$target"
# Nothing of the C library is used by ring's C and assembly, so the machine's own compiler will do.
export CC_x86_64_unknown_linux_musl=${CC_x86_64_unknown_linux_musl:-$(command -v musl-gcc || echo gcc)}
# Paths of the machine would make the digest hang on where it was built.
remap="--remap-path-prefix=$PWD=anchorhold --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
RUSTFLAGS="$remap" CARGO_PROFILE_IMAGE_OPT_LEVEL=z CARGO_PROFILE_IMAGE_STRIP=none CARGO_TARGET_DIR=$folder \
    "$cargo" build --quiet --profile image --target "$target" -p anchorhold-audit-verifier
built=$folder/$target/image/anchorhold-audit
program=$folder/anchorhold-audit

# Static, and without the C library's way to a socket or a name server; that names are read at all is seen by one that must be there.
if readelf -lW "$built" | grep -q INTERP; then echo "$built is not static" >&2; exit 1; fi
names=$(nm "$built" | cut -d ' ' -f 3)
grep -qx main <<<"$names" || { echo "no names in $built" >&2; exit 1; }
if grep -xE 'socket|connect|bind|getaddrinfo' <<<"$names"; then echo "$built can reach a network" >&2; exit 1; fi
strip -o "$program" "$built"
"$program" --help >/dev/null
size=$(($(stat -c %s "$program") / 1024))
echo "audit verifier: $size KiB, sha256 $(sha256sum "$program" | cut -d ' ' -f 1), $program"
[ -z "${JSON:-}" ] || echo "[{\"name\":\"static audit verifier\",\"value\":$size,\"unit\":\"KiB\"}]" >"$JSON"
