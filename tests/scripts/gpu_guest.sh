#!/usr/bin/env bash
# Boots the guest's kernels and first process, without a root, on a machine that has no GPU. A guest whose command line promises GPUs ends
# before it opens its disk: with NVIDIA's driver, which really runs and finds none, and on the kernel that has no driver. Without the promise
# the same guests go on to the disk. Then a first process of the test's: once the loader is closed, or the kernel locked down, no module is
# taken. Debian's kernel, which has a loader and is not locked down from the start, shows first that ours closes both. Ends with a count of the
# checks.
# usage: gpu_guest.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
init=$(enclave-image/init.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT

pack() { # FOLDER
    (cd "$work/$1" && find . -mindepth 1 | sort | "$tools/run/cpio" --quiet -o -H newc -R 0:0) >"$work/$1.initrd"
}
mkdir -p "$work"/base/{dev,proc,sys,root,usr/lib/anchorhold}
install -m 755 "$init" "$work/base/init"
echo production >"$work/base/usr/lib/anchorhold/flavour"
pack base
cp "$kernels/base" "$work/base.kernel"

digest=$(printf 'ab%.0s' {1..32})
boot() { # NAME KIND WORD...
    timeout 180 "$tools/run/qemu-system-x86_64" -machine q35 -accel tcg -cpu max -m 512 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$work/$2.kernel" -initrd "$work/$2.initrd" \
        -append "console=ttyS0 panic=-1 no_timer_check anchorhold.root=1:$digest:$digest ${*:3}" -serial "file:$work/$1"
}
checks=0
says() { # NAME WORDS
    grep -qF -- "$2" "$work/$1" || { echo "gpu: $1: the guest did not say: $2" >&2; tail -40 "$work/$1" >&2; exit 1; }
    echo "ok  $1: $2"
    checks=$((checks + 1))
}
boot promised base anchorhold.gpu=nvidia
says promised "guest-init: error: no NVIDIA device"
boot unknown base anchorhold.gpu=other
says unknown "guest-init: error: anchorhold.gpu= is not nvidia"
boot without base
says without "guest-init: error: /dev/vda"

# Debian's kernel and its module, signed by Debian: what refuses it is the loader's switch alone.
. enclave-image/apt.sh
debian=$(awk -F'"' '/^name .*"linux-image-/ { print $2 }' enclave-image/build.lock)
package=$("$target/release/anchorhold-image" fetch --lock enclave-image/build.lock --package "$debian" --cache "$target/image/packages" \
    --mirror "$(debian_mirror)")
mkdir "$work/package"
dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/package" --wildcards './boot/vmlinuz-*' '*/firmware/qemu_fw_cfg.ko.xz'
cp -r "$work/base" "$work/debian"
mkdir -p "$work"/debian/usr/lib/anchorhold/modules "$work"/probe/{dev,proc,sys}
echo demo >"$work/debian/usr/lib/anchorhold/flavour"
cc -O1 -static -D_GNU_SOURCE -Wall -Werror -o "$work/probe/init" tests/scripts/gpu_modules.c
"$tools/run/xz" -dc "$work"/package/usr/lib/modules/*/kernel/drivers/firmware/qemu_fw_cfg.ko.xz >"$work/probe/qemu_fw_cfg.ko"
cp "$work/probe/qemu_fw_cfg.ko" "$work/debian/usr/lib/anchorhold/modules"
for kind in debian probe; do
    pack $kind
    cp "$work"/package/boot/vmlinuz-* "$work/$kind.kernel"
done
boot debian-closed debian lsm=landlock,lockdown,yama
says debian-closed "Kernel is locked down from securityfs"
# The first thing that this first process asks after that, of a kernel that is not ours.
says debian-closed "guest-init: error: randomness is offered by"
boot debian-probe probe lsm=landlock,lockdown,yama -- disabled
says debian-probe $'before\ttaken'
says debian-probe $'closed\tyes'
says debian-probe $'after\tEPERM'
says debian-probe $'opened\tno'

with_driver=$(enclave-image/kernel.sh gpu)
cp -r "$work/base" "$work/gpu"
cp -r "$with_driver/modules" "$work/gpu/usr/lib/anchorhold"
cp "$with_driver"/modules/{nvidia,qemu_fw_cfg}.ko "$work/probe"
for kind in gpu probe; do
    pack $kind
    cp "$with_driver/gpu" "$work/$kind.kernel"
done
boot driver-promised gpu anchorhold.gpu=nvidia
says driver-promised "NVRM: No NVIDIA GPU found."
says driver-promised "guest-init: error: nvidia.ko finds no device"
boot driver-without gpu
says driver-without "guest-init: error: /dev/vda"

for way in disabled lockdown; do
    boot $way probe -- $way
    says $way $'driver\tENODEV'
    says $way $'before\ttaken'
    says $way $'closed\tyes'
    says $way $'after\tEPERM'
    says $way $'opened\tno'
done
echo "$checks checks of guests without GPUs passed"
