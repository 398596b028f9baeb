#!/usr/bin/env bash
# Makes a folder with Debian trixie's tools for building, measuring and booting the image, beside whatever Debian the
# machine runs. Needs neither root nor a chroot: apt resolves and checks the packages, dpkg-deb and tar unpack them without
# any maintainer script, and a wrapper for each tool names its loader and libraries. Prints the folder.
#
# ANCHORHOLD_TOOLS   the folder (target/image-tools)
# ANCHORHOLD_MIRROR  a Debian mirror, as http://host/debian (the machine's own)
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${ANCHORHOLD_TOOLS:-${CARGO_TARGET_DIR:-target}/image-tools}
case $tools in /*) ;; *) tools=$PWD/$tools ;; esac

packages=(qemu-system-x86 ovmf swtpm swtpm-tools secilc setools checkpolicy policycoreutils erofs-utils systemd-ukify
    systemd-boot-efi cryptsetup-bin zstd cpio kmod xz-utils apparmor tpm2-tools python3-minimal
    gcc-14 binutils libc6-dev libelf-dev flex bison bc make patch acpica-tools)
wrapped=(qemu-system-x86_64 swtpm swtpm_setup swtpm_ioctl secilc sesearch seinfo sediff checkpolicy mkfs.erofs fsck.erofs dump.erofs
    ukify veritysetup zstd cpio modinfo depmod xz apparmor_parser tpm2 flex bison m4 bc make patch iasl)

# Made anew when this file changes, and never left half made.
stamp=$(sha256sum "$0" | cut -d' ' -f1)
if [ "$(cat "$tools/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$tools"
    exit 0
fi

mkdir -p "$(dirname "$tools")"
new=$(mktemp -d "$tools.XXXXXX")
trap 'rm -rf "$new"' EXIT
apt=$new/apt
. enclave-image/apt.sh
apt_config "$apt" trixie

echo "tools: resolving" >&2
apt-get -qq update
apt-get -qq -y --download-only install "${packages[@]}" >/dev/null

echo "tools: unpacking $(find "$apt/var/cache/apt/archives" -name '*.deb' | wc -l) packages" >&2
mkdir -p "$new/usr"/{bin,sbin,lib,lib64}
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$new/$folder"; done
unpack() {
    for package in "${@:2}"; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --keep-directory-symlink --no-same-owner --exclude='./usr/share/'{doc,man,locale,info,lintian}'/*'
    done
}
export -f unpack
find "$apt/var/cache/apt/archives" -name '*.deb' -print0 | sort -z | xargs -0 -n 24 -P 2 bash -c 'unpack "$0" "$@"' "$new"
(cd "$apt/var/cache/apt/archives" && sha256sum ./*.deb) >"$new/packages.sha256"
rm -rf "$apt"

mkdir "$new/run"
for tool in "${wrapped[@]}"; do
    at=$(cd "$new" && ls usr/bin/"$tool" usr/sbin/"$tool" 2>/dev/null | head -1) || true
    [ -n "$at" ] || { echo "tools: no package brought $tool" >&2; exit 1; }
    # The folder may be moved, so a wrapper finds it from where it lies itself.
    {
        echo '#!/bin/sh'
        echo 'tools=$(dirname "$(dirname "$(readlink -f "$0")")")'
        echo 'export QEMU_MODULE_DIR="$tools/usr/lib/x86_64-linux-gnu/qemu" PATH="$tools/run:$PATH"'
        case $tool in flex | bison) echo 'export M4="$tools/run/m4" BISON_PKGDATADIR="$tools/usr/share/bison"' ;; esac
        echo 'libraries=$tools/usr/lib/x86_64-linux-gnu:$tools/usr/lib/x86_64-linux-gnu/swtpm:$tools/usr/lib/x86_64-linux-gnu/systemd'
        case $(head -c 64 "$new/$at" | tr -d '\0' | head -1) in
        '#!'*python3*)
            echo 'export PYTHONHOME="$tools/usr" PYTHONDONTWRITEBYTECODE=1'
            echo "exec \"\$tools/lib64/ld-linux-x86-64.so.2\" --library-path \"\$libraries\" \"\$tools/usr/bin/python3\" \"\$tools/$at\" \"\$@\""
            ;;
        '#!'*) echo "exec \"\$tools/$at\" \"\$@\"" ;;
        *)
            extra=
            case $tool in qemu-system*) extra=' -L "$tools/usr/share/qemu" -L "$tools/usr/share/seabios" -L "$tools/usr/lib/ipxe/qemu"' ;; esac
            echo "exec \"\$tools/lib64/ld-linux-x86-64.so.2\" --library-path \"\$libraries\" --argv0 $tool \"\$tools/$at\"$extra \"\$@\""
            ;;
        esac
    } >"$new/run/$tool"
    chmod 755 "$new/run/$tool"
done

# The compiler that kernels are built with. It starts programs of its own, so each of those has a wrapper as well, where -B lets it
# find them. A wrapper is called thousands of times and starts nothing but its program.
mkdir "$new/compiler"
compiler() { # NAME PROGRAM ARGUMENTS...
    local name=$1 program=$2
    shift 2
    [ -e "$new/$program" ] || { echo "tools: no package brought $program" >&2; exit 1; }
    {
        echo '#!/bin/sh'
        echo 'tools=${0%/compiler/*}'
        echo "exec \"\$tools/lib64/ld-linux-x86-64.so.2\" --library-path \"\$tools/usr/lib/x86_64-linux-gnu\" --argv0 \"\$tools/$program\" \"\$tools/$program\" $* \"\$@\""
    } >"$new/compiler/$name"
    chmod 755 "$new/compiler/$name"
}
compiler gcc usr/bin/x86_64-linux-gnu-gcc-14 '-B"$tools/compiler/"'
# For programs that run while a kernel is built: they are started by the tree's loader, not by the machine's.
compiler hostcc usr/bin/x86_64-linux-gnu-gcc-14 '-B"$tools/compiler/" --sysroot="$tools" -Wl,--dynamic-linker="$tools/lib64/ld-linux-x86-64.so.2" -Wl,-rpath,"$tools/usr/lib/x86_64-linux-gnu"'
for program in cc1 collect2; do compiler $program usr/libexec/gcc/x86_64-linux-gnu/14/$program; done
for program in as ld ar nm objcopy objdump readelf strip; do compiler $program usr/bin/x86_64-linux-gnu-$program; done

echo "$stamp" >"$new/stamp"
rm -rf "$tools"
chmod 755 "$new"
mv "$new" "$tools"
trap - EXIT
echo "$tools"
