#!/usr/bin/env bash
# The image for GPUs, built twice and compared as `make image-test` does it with the others, and how large it is. JSON=FILE writes the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# Beside the image: what is unpacked is larger than some machines' /tmp.
mkdir -p "$target/image"
work=$(mktemp -d "$target/image/again-XXXXXX")
trap 'rm -rf "$work"' EXIT
tools=$(enclave-image/tools.sh)
begun=$SECONDS
image=$(enclave-image/image.sh demo gpu 2>"$work/log") || { tail -40 "$work/log" >&2; exit 1; }
kernels=$(enclave-image/kernel.sh gpu)
built_s=$((SECONDS - begun))
begun=$SECONDS
. tests/scripts/image_again.sh
image_again demo gpu "$kernels" "$image" "$work"
echo "ok  second build: equal byte for byte, in $((SECONDS - begun)) s; the first in $built_s s"
size() { stat -Lc %s "$1"; }
for file in kernel initrd root; do echo "$file: $(size "$image/$file") bytes"; done
for module in "$kernels"/modules/*.ko; do echo "$(basename "$module"): $(size "$module") bytes, packed into the initrd"; done
total=$(($(size "$image/kernel") + $(size "$image/initrd") + $(size "$image/root")))
echo "image: $total bytes"
[ -z "${JSON:-}" ] || printf '[{"name": "gpu_image_bytes", "value": %s, "unit": "bytes"}, {"name": "gpu_root_bytes", "value": %s, "unit": "bytes"}]\n' \
    "$total" "$(size "$image/root")" >"$JSON"
