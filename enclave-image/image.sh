#!/usr/bin/env bash
# Builds an image: enclave-image/image.sh FLAVOUR PROFILE. Prints its folder.
#
# The profile gpu has a kernel and a worker of its own. That worker is compiled for the CUDA of the driver in the image.
set -euo pipefail
cd "$(dirname "$0")/.."
flavour=$1 profile=${2:-server}
target=${CARGO_TARGET_DIR:-$PWD/target}
. enclave-image/apt.sh
tools=$(enclave-image/tools.sh)
if [ "$profile" = gpu ]; then
    kernels=$(enclave-image/kernel.sh gpu)
    CUDA=12.4 tests/scripts/cuda.sh >&2
else
    kernels=$(enclave-image/kernel.sh)
fi
init=$(enclave-image/init.sh)
policy=()
# ANCHORHOLD_SELINUX=0 leaves the policy out, for finding out what it refuses. Such an image has another measurement.
if [ "${ANCHORHOLD_SELINUX:-1}" != 0 ]; then
    mkdir -p "$target/image"
    policies/selinux/build.sh "$target/image/selinux-policy" >&2
    policy=(--policy "$target/image/selinux-policy")
fi
out=$target/image/$flavour-$profile
rm -rf "$out"
"$target/release/anchorhold-image" build --flavour "$flavour" --profile "$profile" --repository . --programs "$target/release" \
    --init "$init" --kernels "$kernels" ${policy[@]+"${policy[@]}"} --tools "$tools" --cache "$target/image/packages" --mirror "$(debian_mirror)" \
    --jobs "$(nproc)" --out "$out" >&2
echo "$out"
