#!/usr/bin/env bash
# What `anchorhold image measure` computes against what other projects' programs compute, over Debian's firmware for SEV-SNP and TDX:
# sev-snp-measure from PyPI, the crate `sev`, and systemd-measure. Ends with a count of the comparisons.
#
# FIRMWARE_DIR       where the firmware packages are kept for the next run (target/measure)
# ANCHORHOLD_MIRROR  a Debian mirror, as http://host/debian (the machine's own)
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
anchorhold=$target/release/anchorhold
kept=${FIRMWARE_DIR:-$target/measure}
mkdir -p "$kept"
kept=$(realpath "$kept")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compared=0
same() { # WHAT OURS THEIRS
    [ -n "$2" ] && [ "$2" = "$3" ] || { printf 'measure: %s differs\n  ours   %s\n  theirs %s\n' "$1" "$2" "$3" >&2; exit 1; }
    compared=$((compared + 1))
}

# Firmware with a place for the hashes of kernel, initrd and command line, and firmware for TDX. Debian's next release has both, for
# every architecture; apt checks them against Debian's signature.
if [ ! -e "$kept/OVMF.amdsev.fd" ] || [ ! -e "$kept/OVMF.inteltdx.ms.fd" ]; then
    . enclave-image/apt.sh
    apt_config "$work/apt" forky
    apt-get -qq update
    (cd "$work" && apt-get -qq download ovmf-amdsev ovmf-inteltdx)
    for package in "$work"/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work"; done
    cp "$work"/usr/share/ovmf/OVMF.{amdsev,inteltdx.ms}.fd "$kept"
fi
(cd "$kept" && sha256sum OVMF.amdsev.fd OVMF.inteltdx.ms.fd)

peer=$kept/sev-snp-measure
if [ ! -x "$peer/bin/sev-snp-measure" ]; then
    python3 -m venv "$peer"
    "$peer/bin/pip" install --quiet --disable-pip-version-check sev-snp-measure==0.0.13
fi

printf 'a kernel' >"$work/kernel"
head -c 3000000 /dev/zero >"$work/initrd"
line='console=ttyS0 roothash=00'
for firmware in "$kept/OVMF.amdsev.fd" tests/vectors/measure/firmware.fd; do
    for model in EPYC-v4 EPYC-Rome EPYC-Milan EPYC-Genoa EPYC-Turin; do
        for vcpus in 1 2 8; do
            for features in 0x1 0x21; do
                ours=$("$anchorhold" image measure snp --firmware "$firmware" --kernel "$work/kernel" --initrd "$work/initrd" \
                    --command-line "$line" --vcpus "$vcpus" --vcpu-type "$model" --sev-features "$features" | cut -d' ' -f1)
                theirs=$("$peer/bin/sev-snp-measure" --mode snp --ovmf "$firmware" --kernel "$work/kernel" --initrd "$work/initrd" \
                    --append "$line" --vcpus "$vcpus" --vcpu-type "$model" --guest-features "$features")
                same "launch digest of $vcpus x $model, $features" "$ours" "sha384:$theirs"
            done
        done
    done
    ours=$("$anchorhold" image measure snp --firmware "$firmware" --vcpus 2 --hypervisor ec2 | cut -d' ' -f1)
    theirs=$("$peer/bin/sev-snp-measure" --mode snp --ovmf "$firmware" --vcpus 2 --vcpu-type EPYC-v4 --vmm-type ec2 --guest-features 0x1)
    same "launch digest on EC2" "$ours" "sha384:$theirs"
done
echo "sev-snp-measure: $compared launch digests are equal"

ANCHORHOLD_SNP_FIRMWARE=$kept/OVMF.amdsev.fd \
    ${CARGO:-cargo} test --quiet --release --manifest-path tests/differential/Cargo.toml --target-dir "$target" --test launch_digest -- --nocapture >"$work/sev.log" 2>&1 ||
    { cat "$work/sev.log" >&2; exit 1; }
equal=$(sed -n 's/^.*compared \([0-9]*\) launch digests$/\1/p' "$work/sev.log")
[ -n "$equal" ] || { echo "measure: the comparison with the sev crate did not say how much it compared" >&2; exit 1; }
echo "sev: $equal launch digests are equal"
compared=$((compared + equal))

# systemd-measure comes with the image's tools, where they are.
tools=${ANCHORHOLD_TOOLS:-$target/image-tools}
if [ -x "$tools/usr/lib/systemd/systemd-measure" ]; then
    printf 'ID=anchorhold\n' >"$work/osrel"
    printf 'sbat,1\n' >"$work/sbat"
    printf '%s' "$line" >"$work/cmdline"
    printf '6.12.118' >"$work/uname"
    printf 'an initial file system\n' >"$work/uki-initrd"
    libraries=$tools/usr/lib/x86_64-linux-gnu
    theirs=$("$tools/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/systemd" "$tools/usr/lib/systemd/systemd-measure" \
        calculate --phase= --bank=sha256 --bank=sha384 --linux=tests/vectors/measure/kernel.efi --osrel="$work/osrel" \
        --cmdline="$work/cmdline" --uname="$work/uname" --sbat="$work/sbat" --initrd="$work/uki-initrd" | grep '^11:' | cut -d= -f2)
    ours=$("$anchorhold" image measure tpm --uki tests/vectors/measure/unified.efi | grep '^pcr *11 ' | cut -d: -f2)
    same "PCR 11" "$(sort <<<"$ours")" "$(sort <<<"$theirs")"
    echo "systemd-measure: PCR 11 is equal in both banks"
fi
"$anchorhold" image measure tdx --firmware "$kept/OVMF.inteltdx.ms.fd" --uki tests/vectors/measure/unified.efi

# Tables of ACPI out of the tools' QEMU: two firmwares place devices alike, and a machine with more processors has other tables.
qemu=$tools/run/qemu-system-x86_64
if [ -x "$qemu" ]; then
    plain=$tools/usr/share/ovmf/OVMF.fd
    tables() { # NAME FIRMWARE CPUS
        "$target/release/anchorhold-image" acpi --qemu "$qemu" --firmware "$2" --cpus "$3" --memory 1024 --out "$work/$1" >"$work/$1.list"
        (cd "$work/$1" && sha384sum table-loader rsdp tables)
    }
    of_rtmr0() { "$anchorhold" image measure tdx --firmware "$plain" --memory $((1024 << 20)) --acpi "$work/$1" | grep '^rtmr0 '; }
    first=$(tables tdx "$kept/OVMF.inteltdx.ms.fd" 2)
    same "ACPI of the plain firmware" "$(tables plain "$plain" 2)" "$first"
    same "RTMR0 with them" "$(of_rtmr0 plain)" "$(of_rtmr0 tdx)"
    more=$(tables more "$plain" 4)
    [ "$(of_rtmr0 more)" != "$(of_rtmr0 plain)" ] && [ "$more" != "$first" ] || { echo "measure: four processors have the tables of two" >&2; exit 1; }
    # Debian's firmware for TDX holds Microsoft's keys.
    ! "$anchorhold" image measure tdx --firmware "$kept/OVMF.inteltdx.ms.fd" --memory $((1024 << 20)) --acpi "$work/tdx" 2>"$work/keys" ||
        { echo "measure: RTMR0 of firmware with keys was computed" >&2; exit 1; }
    grep -q 'keys or other variables' "$work/keys" || { cat "$work/keys" >&2; exit 1; }
    echo "ACPI: the files are those that Debian's firmware for TDX and its OVMF get alike, $(tr '\n' ' ' <"$work/tdx.list")"
    of_rtmr0 plain
fi
echo "measure: $compared comparisons"
