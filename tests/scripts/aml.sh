#!/usr/bin/env bash
# Boots the guest's kernel and Debian's on a machine whose host wrote hostile AML, and sees what the AML could tell its host. The same
# programs succeed on Debian's kernel: what ours refuses is not refused by a mistake in them. Ends with a count of the checks.
# usage: aml.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
. enclave-image/apt.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-aml-XXXXXX")
trap 'rm -rf "$work"' EXIT

name=$(awk -F'"' '/^name *= "linux-image-/ { print $2 }' enclave-image/build.lock)
package=$("$target/release/anchorhold-image" fetch --lock enclave-image/build.lock --package "$name" --cache "$target/image/packages" \
    --mirror "$(debian_mirror)")
dpkg-deb --fsys-tarfile "$package" | tar -x --to-stdout "./boot/vmlinuz-${name#linux-image-}" >"$work/debian"
cp "$kernels/base" "$work/ours"

hostile=()
for program in device ram table; do
    "$tools/run/iasl" -p "$work/$program" "tests/scripts/aml/$program.asl" >"$work/iasl" 2>&1 || { cat "$work/iasl" >&2; exit 1; }
    hostile+=(-acpitable "file=$work/$program.aml")
done
# There is no root: the kernel panics after it has run the tables, and the machine ends.
for kernel in debian ours; do
    timeout 120 "$tools/run/qemu-system-x86_64" -machine q35 -accel tcg -cpu max -m 256 -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$work/$kernel" -append "secret=1 console=ttyS0 panic=-1" "${hostile[@]}" -serial "file:$work/$kernel.console" \
        -chardev "file,id=host,path=$work/$kernel.told" -device isa-debugcon,iobase=0xe9,chardev=host
done

told() { tr -d '\n' <"$work/$1.told"; }
is() { # WHAT WANTED FOUND
    [ "$2" = "$3" ] || { echo "aml: $1: wanted $2, the host was told $3" >&2; tail -50 "$work/ours.console" >&2; exit 1; }
    echo "ok  $1: the host was told $3"
}
is "Debian's kernel, the control" DdRsecretWTt "$(told debian)"
# A letter of the table is left as it was.
is "ours" DdRTB "$(told ours)"
grep -q 'refused: an access to 0x20000' "$work/ours.console" || { echo "aml: the kernel did not say what it refused" >&2; exit 1; }
echo "ok  ours says what it refused: $(grep -m1 -o 'ACPI: OSL: refused.*' "$work/ours.console" | tr -d '\r')"
echo "3 checks of hostile AML passed"
