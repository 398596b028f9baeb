#!/usr/bin/env bash
# Boots the guest's kernel and first process, without a root, on a machine that has no GPU: a guest whose command line promises GPUs ends
# before it opens its disk. Without the promise the same guest goes on to the disk. Ends with a count of the checks.
# usage: gpu_guest.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
init=$(enclave-image/init.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir -p "$work"/root/{dev,proc,sys,root,usr/lib/anchorhold}
install -m 755 "$init" "$work/root/init"
echo production >"$work/root/usr/lib/anchorhold/flavour"
(cd "$work/root" && find . -mindepth 1 | sort | "$tools/run/cpio" --quiet -o -H newc -R 0:0) >"$work/initrd"

digest=$(printf 'ab%.0s' {1..32})
boot() { # NAME WORD...
    timeout 180 "$tools/run/qemu-system-x86_64" -machine q35 -accel tcg -cpu max -m 256 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$kernels/base" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 no_timer_check anchorhold.root=1:$digest:$digest ${*:2}" \
        -serial "file:$work/$1"
}
says() { # NAME WORDS
    grep -qF -- "$2" "$work/$1" || { echo "gpu: $1: the guest did not say: $2" >&2; tail -40 "$work/$1" >&2; exit 1; }
    echo "ok  $1: $2"
}
boot promised anchorhold.gpu=nvidia
says promised "guest-init: error: no NVIDIA device"
boot unknown anchorhold.gpu=other
says unknown "guest-init: error: anchorhold.gpu= is not nvidia"
boot without
says without "guest-init: error: /dev/vda"
echo "3 checks of a guest without GPUs passed"
