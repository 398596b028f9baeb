#!/usr/bin/env bash
# Boots images in QEMU with OVMF and a virtual TPM, and holds the TPM's registers and the firmware's event log against what
# `anchorhold image measure` computed from the files: once a unified kernel image that the hypervisor hands over, once the same from a
# disk, once kernel, initrd and command line. usage: measured_boot.sh KERNEL [JSON]
#
# KERNEL is a Linux with EFI stub, TPM and serial port built in, such as Debian's cloud kernel. Ends with a count of what was equal.
# ANCHORHOLD_TOOLS is the folder of enclave-image/tools.sh.
set -euo pipefail
kernel=$(realpath "${1:?usage: measured_boot.sh KERNEL [JSON]}") json=${2:-}
cd "$(dirname "$0")/../.."
tools=$(enclave-image/tools.sh)
anchorhold=$(realpath "${CARGO_TARGET_DIR:-target}")/release/anchorhold
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-boot-XXXXXX")
tpm=
finish() {
    [ -z "$tpm" ] || kill "$tpm" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
line='console=ttyS0 panic=-1 quiet roothash=00'

# A first process that prints what the kernel has of the TPM, and switches off.
mkdir "$work/root"
cc -O1 -static -o "$work/root/init" tests/scripts/measured_boot.c
(cd "$work/root" && echo init | "$tools/run/cpio" -o -H newc -R 0:0 --quiet) >"$work/initrd"
printf 'ID=anchorhold\n' >"$work/osrel"
"$tools/run/ukify" build --linux="$kernel" --initrd="$work/initrd" --cmdline="$line" --os-release="@$work/osrel" --uname=test \
    --stub="$tools/usr/lib/systemd/boot/efi/linuxx64.efi.stub" --output="$work/uki.efi" >/dev/null 2>&1
mkdir -p "$work/esp/EFI/BOOT"
cp "$work/uki.efi" "$work/esp/EFI/BOOT/BOOTX64.EFI"

boot() { # NAME QEMU-ARGUMENTS...
    local name=$1 state=$work/$1.tpm
    shift
    mkdir "$state"
    "$tools/run/swtpm_setup" --tpm2 --tpmstate "$state" --pcr-banks sha256,sha384 --config <(:) >/dev/null 2>&1 || true
    "$tools/run/swtpm" socket --tpm2 --tpmstate dir="$state" --ctrl type=unixio,path="$state/socket" --flags startup-clear &
    tpm=$!
    timeout 120 "$tools/run/qemu-system-x86_64" -machine q35 -accel tcg -m 512 -nodefaults -nographic -no-reboot \
        -serial "file:$work/$name.log" \
        -drive "if=pflash,format=raw,readonly=on,file=$tools/usr/share/OVMF/OVMF_CODE_4M.fd" \
        -drive "if=pflash,format=raw,snapshot=on,file=$tools/usr/share/OVMF/OVMF_VARS_4M.fd" \
        -chardev "socket,id=tpm,path=$state/socket" -tpmdev emulator,id=tpm,chardev=tpm -device tpm-crb,tpmdev=tpm "$@"
    kill "$tpm" 2>/dev/null || true
    wait "$tpm" 2>/dev/null || true
    tpm=
}

begun=$(date +%s.%N)
boot uki -kernel "$work/uki.efi"
boot disk -drive "if=none,id=esp,format=raw,file=fat:rw:$work/esp" -device virtio-blk-pci,drive=esp
boot direct -kernel "$kernel" -initrd "$work/initrd" -append "$line"
booted_s=$(awk -v from="$begun" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f", to - from }')

"$anchorhold" image measure tpm --events --json --uki "$work/uki.efi" >"$work/uki.json"
"$anchorhold" image measure tpm --events --json --uki "$work/uki.efi" --on-disk >"$work/disk.json"
"$anchorhold" image measure tpm --events --json --kernel "$kernel" --initrd "$work/initrd" --command-line "$line" >"$work/direct.json"
python3 tests/scripts/measured_boot.py "$work" uki disk direct
if [ -n "$json" ]; then
    echo "{\"measured_boots_s\": $booted_s}" >"$json"
fi
