#!/usr/bin/env bash
# usage: supply_chain.sh sbom|advisories
#
# PROFILE is the image's, server if it is not named. What is listed of ours are the programs that rootfs.toml has for it; of gpu, NVIDIA's
# packages too.
# sbom writes target/supply-chain/sbom.json; with IMAGE, an image's folder, provenance.json beside it, over the image's files and the list.
# advisories holds the list against RUSTSEC, a folder with RustSec's database, and DEBIAN, Debian's security tracker as JSON. What it prints
# ends with what a rebuild would fix.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
out=$target/supply-chain
mkdir -p "$out"
"$cargo" build --quiet --release -p anchorhold-supply-chain -p anchorhold-image-builder
program=$target/release/anchorhold-supply-chain

"$cargo" metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-gnu >"$out/metadata.json"
profile=${PROFILE:-server}
listed=$("$target/release/anchorhold-image" programs --profile "$profile")
programs=()
for name in $listed; do programs+=(--program "$name"); done
locks=(enclave-image/image.lock)
if [ "$profile" = gpu ]; then locks+=(enclave-image/gpu.lock); fi
epoch=$(awk -F ' *= *' '$1 == "epoch" { print $2 }' enclave-image/image.lock)
"$program" sbom --metadata "$out/metadata.json" --lock Cargo.lock "${locks[@]/#/--packages=}" "${programs[@]}" --name anchorhold \
    --version "$(awk -F '"' '/^version = / { print $2; exit }' Cargo.toml)" --at "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" >"$out/sbom.json"
rm "$out/metadata.json"

case ${1:?usage: supply_chain.sh sbom|advisories} in
sbom)
    echo "$out/sbom.json: $(grep -c '"bom-ref"' "$out/sbom.json") components"
    if [ -n "${IMAGE:-}" ]; then
        subjects=(--subject "sbom.json=$out/sbom.json")
        for file in "$IMAGE"/*; do [ ! -f "$file" ] || subjects+=(--subject "$(basename "$file")=$file"); done
        materials=()
        for file in Cargo.lock "${locks[@]}" enclave-image/{build.lock,rootfs.toml} enclave-image/kernel/*.config \
            enclave-image/kernel/patches/{,*/}*.patch rust-toolchain.toml; do materials+=(--material "$file=$file"); done
        "$program" provenance "${subjects[@]}" "${materials[@]}" ${SIGN:+--sign "$SIGN"} >"$out/provenance.json"
        echo "$out/provenance.json"
    fi
    ;;
advisories)
    [ -n "${RUSTSEC:-}${DEBIAN:-}" ] || { echo "advisories: name RUSTSEC, DEBIAN or both" >&2; exit 2; }
    "$program" advisories --sbom "$out/sbom.json" ${RUSTSEC:+--rustsec "$RUSTSEC"} ${DEBIAN:+--debian "$DEBIAN"} --release "${RELEASE:-trixie}"
    ;;
esac
