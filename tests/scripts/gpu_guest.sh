#!/usr/bin/env bash
# Boots the guest's kernels and first process, without a root, on a machine that has no GPU. A guest whose command line promises GPUs ends
# before it opens its disk: with NVIDIA's driver, which really runs and finds none, and on the kernel that has no driver. Without the promise
# the same guests go on to the disk. Then a first process of the test's: once the loader is closed, or the kernel locked down, no module is
# taken. Ends with a count of the checks.
# usage: gpu_guest.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
with_driver=$(enclave-image/kernel.sh gpu)
init=$(enclave-image/init.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT

pack() { # FOLDER
    (cd "$work/$1" && find . -mindepth 1 | sort | "$tools/run/cpio" --quiet -o -H newc -R 0:0) >"$work/$1.initrd"
}
mkdir -p "$work"/base/{dev,proc,sys,root,usr/lib/anchorhold}
install -m 755 "$init" "$work/base/init"
echo production >"$work/base/usr/lib/anchorhold/flavour"
cp -r "$work/base" "$work/gpu"
cp -r "$with_driver/modules" "$work/gpu/usr/lib/anchorhold"
mkdir -p "$work"/probe/{dev,proc,sys}
cc -O1 -static -D_GNU_SOURCE -Wall -Werror -o "$work/probe/init" tests/scripts/gpu_modules.c
cp "$with_driver"/modules/{nvidia,qemu_fw_cfg}.ko "$work/probe"
for initrd in base gpu probe; do pack $initrd; done
cp "$kernels/base" "$work/base.kernel"
for kernel in gpu probe; do cp "$with_driver/gpu" "$work/$kernel.kernel"; done

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
