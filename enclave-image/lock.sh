#!/usr/bin/env bash
# Prints image.lock anew, the packages that images are made of, in the versions that Debian has now; with `build`, build.lock; with `gpu`,
# gpu.lock.
set -euo pipefail
which=${1:-image}
cd "$(dirname "$0")/.."
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
. enclave-image/apt.sh
# NVIDIA's own are outside of what Debian answers for.
if [ "$which" != image ]; then ANCHORHOLD_COMPONENTS='main contrib non-free non-free-firmware'; fi
apt_config "$apt" trixie forky
apt-get -qq update

case $which in
image) echo '# The Debian packages that images are made of. Written by enclave-image/lock.sh; review every line that changes.' ;;
build) echo '# Debian packages that are in no image. Written by enclave-image/lock.sh build; review every line that changes.' ;;
gpu) echo '# The Debian packages that images of the profile gpu have beside. Written by enclave-image/lock.sh gpu; review every line that changes.' ;;
*) echo "lock: image, build or gpu" >&2; exit 2 ;;
esac
cat <<'HEAD'
# A mirror keeps a version only for a while: a release keeps the packages themselves.

# The time that everything in an image has: 2026-01-01.
epoch = 1767225600
HEAD
lock() {
    apt-cache show --no-all-versions "$1" | awk '
        /^Package: / { name = $2 }
        /^Version: / { version = $2 }
        /^Filename: / { path = $2 }
        /^SHA256: / { digest = $2 }
        END {
            archive = path ~ /^pool\/updates\// ? "debian-security" : "debian"
            printf "\n[[package]]\nname    = \"%s\"\nversion = \"%s\"\narchive = \"%s\"\npath    = \"%s\"\nsha256  = \"%s\"\n", name, version, archive, path, digest
        }'
}
version() { # PACKAGE SUITE
    apt-cache madison "$1" | awk -F' *[|] *' -v suite="$2" '$3 ~ suite { print $2; exit }'
}
if [ "$which" = build ]; then
    printf '\n# What the bytes of a kernel depend on beside its source: the compiler, and what packs it.\n'
    for package in gcc-14-x86-64-linux-gnu cpp-14-x86-64-linux-gnu binutils-x86-64-linux-gnu libelf1t64 libzstd1; do
        lock "$package=$(version "$package" trixie)"
    done
    printf "\n# NVIDIA's compiler for the worker in images with GPUs, of the CUDA that their driver is for.\n"
    lock "nvidia-cuda-toolkit=$(version nvidia-cuda-toolkit trixie)"
    printf "\n# Debian's own kernel, which tests hold ours against. Its package has its version in its name.\n"
    lock "$(apt-cache show "linux-image-cloud-amd64=$(version linux-image-cloud-amd64 trixie)" | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')"
    exit
fi
if [ "$which" = gpu ]; then
    # One release of NVIDIA's, in all its parts.
    driver=$(awk -F'"' '/^driver / { print $2 }' enclave-image/rootfs.toml)
    for package in "$driver" firmware-nvidia-gsp libcuda1 libnvidia-ptxjitcompiler1 libnvidia-ml1 libcublaslt12; do
        lock "$package=$(version "$package" trixie)"
    done
    exit
fi
source=$(awk -F'"' '/^kernel / { print $2 }' enclave-image/rootfs.toml)
for package in "$source/trixie" libc6/trixie libgcc-s1/trixie systemd-boot-efi/trixie ovmf-amdsev/forky ovmf-inteltdx/forky; do
    lock "${package%/*}=$(version "${package%/*}" "${package#*/}")"
done
