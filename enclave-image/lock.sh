#!/usr/bin/env bash
# Prints image.lock anew: the packages that rootfs.toml names, in the versions that Debian has now.
set -euo pipefail
cd "$(dirname "$0")/.."
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
. enclave-image/apt.sh
apt_config "$apt" trixie forky
apt-get -qq update

cat <<'HEAD'
# The Debian packages that images are made of. Written by enclave-image/lock.sh; review every line that changes.
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
# The kernel's package has its version in its name.
lock "$(awk -F'"' '/^kernel / { print $2 }' enclave-image/rootfs.toml)"
for package in libc6/trixie libgcc-s1/trixie systemd-boot-efi/trixie ovmf-amdsev/forky ovmf-inteltdx/forky; do
    lock "${package%/*}=$(apt-cache madison "${package%/*}" | awk -F' *[|] *' -v suite="${package#*/}" '$3 ~ suite { print $2; exit }')"
done
