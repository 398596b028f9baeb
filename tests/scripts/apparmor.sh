#!/usr/bin/env bash
# Boots a kernel with AppArmor in QEMU, loads the profiles of policies/apparmor into it, and runs the hostile worker under its own: by the
# profile alone, and by that with all other layers. What each attempt must meet is in policies/cases/hostile.toml. Ends with a count.
#
# KERNEL names another Linux than Debian's cloud kernel; it needs AppArmor and a serial port built in.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-apparmor-XXXXXX")
trap 'rm -rf "$work"' EXIT
hostile=$target/release/anchorhold-hostile-worker
[ -x "$hostile" ] || { echo "apparmor: $hostile is not built" >&2; exit 1; }

# Debian's kernel, with the modules left where they are: it needs none here.
kernel=${KERNEL:-$target/apparmor/vmlinuz}
if [ ! -s "$kernel" ]; then
    (
        . enclave-image/apt.sh
        apt_config "$work/apt" trixie
        apt-get -qq update
        package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -1)
        cd "$work"
        apt-get -qq download "$package"
    )
    mkdir -p "$target/apparmor"
    dpkg-deb --fsys-tarfile "$work"/linux-image-*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*'
    mv "$work"/boot/vmlinuz-* "$kernel"
fi

root=$work/root
mkdir -p "$root"/usr/bin "$root"/etc/anchorhold "$root"/run/anchorhold/audit
echo secret >"$root/etc/anchorhold/keeper.toml"
features=$tools/etc/apparmor.d/abi/4.0
"$tools/run/apparmor_parser" --config-file /dev/null --skip-kernel-load --skip-cache --quiet --base "$tools/etc/apparmor.d" \
    --policy-features "$features" --kernel-features "$features" --ofile "$root/profiles" policies/apparmor/anchorhold
cc -O1 -static -o "$root/init" tests/scripts/apparmor_init.c
cp "$hostile" "$root/usr/bin/anchorhold-worker"
ldd "$hostile" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root/$(dirname "$library")"
    cp -L "$library" "$root/$library"
done
(cd "$root" && find . | LC_ALL=C sort | "$tools/run/cpio" -o -H newc -R 0:0 --quiet) >"$work/initrd"

begun=$(date +%s.%N)
timeout 180 "$tools/run/qemu-system-x86_64" -machine q35 -accel tcg -m 512 -nodefaults -nographic -no-reboot -serial "file:$work/console" \
    -kernel "$kernel" -initrd "$work/initrd" \
    -append 'console=ttyS0 panic=-1 quiet loglevel=1 audit=1 lsm=landlock,lockdown,yama,integrity,apparmor,bpf'
took_s=$(awk -v from="$begun" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f", to - from }')
[ -z "${CONSOLE:-}" ] || cp "$work/console" "$CONSOLE"
python3 tests/scripts/apparmor.py policies/cases/hostile.toml "$work/console"
echo "apparmor: booted and tried in $took_s s"
