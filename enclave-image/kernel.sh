#!/usr/bin/env bash
# Builds the guest's kernels from Debian's source: `base`, and `demo` for the image of the demonstration; or `gpu` and its modules, which are
# NVIDIA's driver and, for the demonstration, the driver of fw_cfg. Prints their folder. What was built is kept for as long as nothing
# changes that it is built from.
#
# kernel.sh [gpu]      the kernels, built if they are not there
# kernel.sh [gpu] DIR  builds them into DIR, whatever is there, and the other way round: first demo, then base
#
# ANCHORHOLD_KERNEL_JOBS   compilers at one time (one for each processor)
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
files=enclave-image/kernel
. enclave-image/apt.sh
# What is built, and from which files.
order=(base demo) inputs=("$files"/{base,demo}.config) patches=("$files"/patches/*.patch)
if [ "${1:-}" = gpu ]; then
    shift
    order=(gpu) inputs=("$files"/{base,gpu}.config "$files"/patches/driver/*.patch) patches+=("$files"/patches/gpu/*.patch)
fi

# `locked NAME PACKAGE` prints the digest of a package of NAME.lock.
locked() {
    local digest
    digest=$(awk -F'"' -v name="$2" '/^name / { found = $2 == name } found && /^sha256 / { print $2 }' "enclave-image/$1.lock")
    [ -n "$digest" ] || { echo "kernel: $1.lock has no $2" >&2; return 1; }
    echo "$digest"
}

source=$(awk -F'"' '/^kernel / { print $2 }' enclave-image/rootfs.toml)
release=$(awk -F'"' '/^kernel / { print $4 }' enclave-image/rootfs.toml)
driver=$(awk -F'"' '/^driver / { print $2 }' enclave-image/rootfs.toml)
driver_release=$(awk -F'"' '/^driver / { print $4 }' enclave-image/rootfs.toml)
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
    sha256sum "${inputs[@]}" "${patches[@]}" enclave-image/kernel.sh
    echo "${order[*]} $release $epoch"
    locked image "$source"
    [ "${order[0]}" != gpu ] || { echo "$driver_release" && locked gpu "$driver"; }
    for package in "${compiler[@]}"; do locked build "$package"; done
} | sha256sum | cut -c1-16)

# The kernels come last: where they are, everything is.
is_there() {
    local kernel
    for kernel in "${order[@]}"; do [ -e "$out/$kernel" ] || return 1; done
}
out=${1:-$target/image/kernels/$key}
if [ $# -gt 0 ]; then
    [ "${order[0]}" = gpu ] || order=(demo base)
elif is_there; then
    echo "$out"
    exit 0
fi
out=$(realpath -m "$out")
case $out$tools in *[[:space:]:]*) echo "kernel: Linux is not built in a path with blanks or colons" >&2; exit 1 ;; esac
mkdir -p "$out"
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetched() { # LOCK PACKAGE
    "$target/release/anchorhold-image" fetch --lock "enclave-image/$1.lock" --package "$2" --cache "$target/image/packages" --mirror "$(debian_mirror)"
}
package=$(fetched image "$source")
echo "kernel: unpacking $source" >&2
# What other machines, sound and graphics are made of is never compiled here, and is a third of the source.
unused=()
for folder in tools/testing sound drivers/gpu drivers/media; do unused+=(--exclude="$source/$folder/*.[ch]"); done
dpkg-deb --fsys-tarfile "$package" | tar -x --to-stdout "./usr/src/$source.tar.xz" | "$tools/run/xz" -dc -T2 |
    tar -x -C "$work" --no-same-owner --exclude='linux-source-*/Documentation/*.[^K]*' --exclude='linux-source-*/arch/*.dts*' "${unused[@]}"
tree=$work/$source
apply() { # FOLDER PATCH...
    local folder=$1 patch
    shift
    for patch in "$@"; do
        "$tools/run/patch" -d "$folder" -p1 -s --fuzz=0 <"$patch" || { echo "kernel: $patch does not fit the source" >&2; return 1; }
    done
}
apply "$tree" "${patches[@]}"

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
    done <"$1"
    return $wrong
}

# Of lines with one name the last counts.
merged() {
    awk -F= '/^CONFIG_/ { if (!($1 in line)) name[++count] = $1; line[$1] = $0 } END { for (at = 1; at <= count; at++) print line[name[at]] }' "$@"
}

# NVIDIA's driver, beside the kernel that it is for. Its core is an object file of Debian's package, which is compiled from its source there;
# the interface to the kernel is compiled here, with the kernel's compiler and flags. UBSAN's traps are left out of both: the driver indexes
# arrays past their declared ends where it means to, and no GPU was there to find each such place.
build_driver() {
    local at=$tree/nvidia-open package module
    package=$(fetched gpu "$driver")
    dpkg-deb --fsys-tarfile "$package" | tar -x --to-stdout ./usr/src/nvidia-open-kernel.tar.xz | "$tools/run/xz" -dc |
        tar -x -C "$work" --no-same-owner modules/nvidia-open-kernel/{Kbuild,Makefile,conftest.sh,header-presence-tests.mk,common,nvidia,nvidia-uvm}
    # Within the tree, so that no path of this machine is a name of one of its files.
    mv "$work/modules/nvidia-open-kernel" "$at"
    apply "$at" "$files"/patches/driver/*.patch
    "$tools/compiler/strip" --strip-debug "$at/nvidia/nv-kernel.o_binary"
    build -j"$jobs" M=nvidia-open NV_KERNEL_MODULES="nvidia nvidia-uvm" NV_KERNEL_SOURCES="$tree" NV_KERNEL_OUTPUT="$tree" NV_SPECTRE_V2=1 \
        UBSAN_SANITIZE=n modules
    for module in nvidia nvidia-uvm; do
        [ "$("$tools/run/modinfo" -F version "$at/$module.ko")" = "$driver_release" ] ||
            { echo "kernel: rootfs.toml names $driver_release of $driver, which is another" >&2; return 1; }
    done
    "$tools/compiler/nm" -u "$at/nvidia.ko" | grep ' crypto_alloc_aead$' >/dev/null ||
        { echo "kernel: the driver was built without its half of confidential mode" >&2; return 1; }
}

# Modules as they lie in an initrd.
take_modules() {
    local module
    mkdir -p "$out/modules"
    for module in "$tree"/nvidia-open/nvidia.ko "$tree"/nvidia-open/nvidia-uvm.ko "$tree"/drivers/firmware/qemu_fw_cfg.ko; do
        "$tools/compiler/strip" --strip-debug -o "$out/modules/$(basename "$module")" "$module"
    done
}

jobs=${ANCHORHOLD_KERNEL_JOBS:-$(nproc)}
configure() { # KERNEL
    local parts=("$files/base.config")
    [ "$1" = base ] || parts+=("$files/$1.config")
    merged "${parts[@]}" >"$work/wanted"
    build KCONFIG_ALLCONFIG="$work/wanted" allnoconfig
    holds "$work/wanted"
}

for kernel in "${order[@]}"; do
    configure "$kernel"
    begun=$SECONDS
    echo "kernel: compiling $kernel" >&2
    build -j"$jobs" bzImage
    if [ "$kernel" = gpu ]; then
        build -j"$jobs" modules
        build_driver
        take_modules
    fi
    echo "kernel: compiled $kernel in $((SECONDS - begun)) s" >&2
    [ "$(cat "$tree/include/config/kernel.release")" = "$release" ] ||
        { echo "kernel: rootfs.toml names $release, the source is $(cat "$tree/include/config/kernel.release")" >&2; exit 1; }
    cp "$tree/arch/x86/boot/bzImage" "$out/$kernel.part"
    # What came out, and where its functions lie: its last words name addresses.
    grep -v '^#' "$tree/.config" | sed '/^$/d' >"$out/$kernel.config"
    cp "$tree/System.map" "$out/$kernel.map"
    mv "$out/$kernel.part" "$out/$kernel"
done
# The kernel for GPUs is compiled only where one is asked for. That it could be configured is seen here.
if [ "${order[0]}" != gpu ]; then
    apply "$tree" "$files"/patches/gpu/*.patch
    configure gpu
fi
echo "$out"
