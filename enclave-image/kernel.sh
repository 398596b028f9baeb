#!/usr/bin/env bash
# Builds the guest's kernels from Debian's source: `base`, and `demo` for the image of the demonstration. Prints their folder. What was
# built is kept for as long as nothing changes that it is built from.
#
# kernel.sh            the kernels, built if they are not there
# kernel.sh DIR        builds them into DIR, whatever is there, and the other way round: first demo, then base
#
# ANCHORHOLD_KERNEL_JOBS   compilers at one time (one for each processor)
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
files=enclave-image/kernel
. enclave-image/apt.sh

# `locked NAME PACKAGE` prints the digest of a package of NAME.lock.
locked() {
    local digest
    digest=$(awk -F'"' -v name="$2" '/^name / { found = $2 == name } found && /^sha256 / { print $2 }' "enclave-image/$1.lock")
    [ -n "$digest" ] || { echo "kernel: $1.lock has no $2" >&2; return 1; }
    echo "$digest"
}

source=$(awk -F'"' '/^kernel / { print $2 }' enclave-image/rootfs.toml)
release=$(awk -F'"' '/^kernel / { print $4 }' enclave-image/rootfs.toml)
epoch=$(awk -F' *= *' '$1 == "epoch" { print $2 }' enclave-image/image.lock)
# What the bytes of a kernel depend on, beside its source.
compiler=(gcc-14-x86-64-linux-gnu cpp-14-x86-64-linux-gnu binutils-x86-64-linux-gnu libelf1t64 libzstd1)
for package in "${compiler[@]}"; do
    digest=$(locked build "$package")
    grep -q "^$digest " "$tools/packages.sha256" || {
        echo "kernel: the tools have another $package than build.lock names: run enclave-image/lock.sh build and review the difference" >&2
        exit 1
    }
done
key=$({
    sha256sum "$files"/*.config "$files"/patches/*.patch enclave-image/kernel.sh
    echo "$release $epoch"
    locked image "$source"
    for package in "${compiler[@]}"; do locked build "$package"; done
} | sha256sum | cut -c1-16)

out=${1:-$target/image/kernels/$key} order=(base demo)
if [ $# -gt 0 ]; then
    order=(demo base)
elif [ -e "$out/base" ] && [ -e "$out/demo" ]; then
    echo "$out"
    exit 0
fi
out=$(realpath -m "$out")
case $out$tools in *[[:space:]:]*) echo "kernel: Linux is not built in a path with blanks or colons" >&2; exit 1 ;; esac
mkdir -p "$out"
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

package=$("$target/release/anchorhold-image" fetch --lock enclave-image/image.lock --package "$source" --cache "$target/image/packages" --mirror "$(debian_mirror)")
echo "kernel: unpacking $source" >&2
# What other machines, sound and graphics are made of is never compiled here, and is a third of the source.
unused=()
for folder in tools/testing sound drivers/gpu drivers/media; do unused+=(--exclude="linux-source-*/$folder/*.[ch]"); done
dpkg-deb --fsys-tarfile "$package" | tar -x --to-stdout "./usr/src/$source.tar.xz" | "$tools/run/xz" -dc -T2 |
    tar -x -C "$work" --no-same-owner --exclude='linux-source-*/Documentation/*.[^K]*' --exclude='linux-source-*/arch/*.dts*' "${unused[@]}"
tree=$work/$source
for patch in "$files"/patches/*.patch; do
    "$tools/run/patch" -d "$tree" -p1 -s --fuzz=0 <"$patch" || { echo "kernel: $patch does not fit the source" >&2; exit 1; }
done

# Nothing of the machine, its user or its clock is in a kernel, nor of this environment. The compilers are the tools', by their names.
environment=(PATH="$tools/run:$PATH" HOME="$work" LC_ALL=C TZ=UTC KBUILD_BUILD_USER=anchorhold KBUILD_BUILD_HOST=anchorhold
    KBUILD_BUILD_VERSION=1 KBUILD_BUILD_TIMESTAMP="$(LC_ALL=C date -u -d "@$epoch")")
compilers=(CC="$tools/compiler/gcc" HOSTCC="$tools/compiler/hostcc")
for program in ld ar nm objcopy objdump readelf strip; do compilers+=("${program^^}=$tools/compiler/$program"); done
umask 022
build() {
    env -i "${environment[@]}" "$tools/run/make" -C "$tree" ARCH=x86_64 "${compilers[@]}" "$@" 2>&1 |
        awk -v to="$work/log" '{ print >to } /^  (CC|AS) / && ++n % 200 == 0 { print "kernel: " n " files compiled" >"/dev/stderr" }' || {
        tail -40 "$work/log" >&2
        echo "kernel: the build ended with an error" >&2
        return 1
    }
}

# Every line of a configuration holds, or there is no kernel: Linux drops what it does not know or finds in conflict, and says nothing.
holds() {
    local line name wrong=0
    while IFS= read -r line; do
        name=${line%%=*}
        case $line in
        *=n) ! grep -q "^$name=" "$tree/.config" || { echo "kernel: $line, but Linux has $(grep "^$name=" "$tree/.config")" >&2; wrong=1; } ;;
        *) grep -qxF -- "$line" "$tree/.config" || { echo "kernel: $line is not what Linux has" >&2; wrong=1; } ;;
        esac
    done < <(grep -h '^CONFIG_' "$@")
    return $wrong
}

for kernel in "${order[@]}"; do
    parts=("$files/base.config")
    [ "$kernel" = base ] || parts+=("$files/$kernel.config")
    cat "${parts[@]}" >"$work/wanted"
    build KCONFIG_ALLCONFIG="$work/wanted" allnoconfig
    holds "${parts[@]}"
    begun=$SECONDS
    echo "kernel: compiling $kernel" >&2
    build -j"${ANCHORHOLD_KERNEL_JOBS:-$(nproc)}" bzImage
    echo "kernel: compiled $kernel in $((SECONDS - begun)) s" >&2
    [ "$(cat "$tree/include/config/kernel.release")" = "$release" ] ||
        { echo "kernel: rootfs.toml names $release, the source is $(cat "$tree/include/config/kernel.release")" >&2; exit 1; }
    cp "$tree/arch/x86/boot/bzImage" "$out/$kernel.part"
    # What came out, and where its functions lie: its last words name addresses.
    grep -v '^#' "$tree/.config" | sed '/^$/d' >"$out/$kernel.config"
    cp "$tree/System.map" "$out/$kernel.map"
    mv "$out/$kernel.part" "$out/$kernel"
done
echo "$out"
