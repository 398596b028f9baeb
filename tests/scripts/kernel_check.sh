#!/usr/bin/env bash
# Builds the guest's kernels a second time and compares every byte: in another folder, with tools at another path, on another day, in
# another time zone, with another mask for new files and another number of jobs, and in the other order.
set -euo pipefail
cd "$(dirname "$0")/../.."
kernels=$(enclave-image/kernel.sh)
tools=$(enclave-image/tools.sh)
work=$(mktemp -d "$(dirname "$tools")/kernel-check-XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -al "$tools" "$work/elsewhere"
umask 077
again=$(ANCHORHOLD_TOOLS=$work/elsewhere TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 ANCHORHOLD_KERNEL_JOBS=$(($(nproc) + 1)) \
    enclave-image/kernel.sh "$work/again")
for file in base demo base.config demo.config; do
    cmp "$kernels/$file" "$again/$file"
    echo "ok  $file: equal, $(sha256sum <"$again/$file" | cut -c1-16)..., $(stat -c %s "$again/$file") bytes"
done
echo "the second build is equal, in $SECONDS s"
