# Sourced, in the repository's folder.

# Of the SELinux policy that `image.sh` compiled.
policy=()
[ "${ANCHORHOLD_SELINUX:-1}" = 0 ] || policy=(--policy "$target/image/selinux-policy")

# `image_again FLAVOUR PROFILE KERNELS IMAGE WORK` builds an image a second time and compares every file: from another folder (WORK/another
# place), another day, another time zone, with another mask for new files and another number of jobs. The first process is compiled anew there,
# from a copy of the sources; the kernel is taken as it is (`make kernel-check` builds that anew), and so are the other programs.
image_again() {
    local flavour=$1 profile=$2 kernels=$3 image=$4 there="$5/another place" programs=$target/release init name at file
    mkdir -p "$there/source" "$there/programs"
    find . \( -name target -o -name .git -o -name .demo \) -prune -o -type f \( -name Cargo.toml -o -name '*.rs' -o -path './Cargo.lock' \
        -o -path './rust-toolchain.toml' -o -path './enclave-image/*' \) -print0 | xargs -0 cp --parents -t "$there/source"
    init=$("$there/source/enclave-image/init.sh" "$there/target")
    for name in $("$programs/anchorhold-image" programs --profile "$profile"); do
        # That one is compiled above.
        [ "$name" = anchorhold-guest-init ] || cp "$programs/$name" "$there/programs"
    done
    find "$there" -exec touch -h -d 2001-02-03 {} +
    (
        umask 077
        cd "$there"
        TZ=Pacific/Kiritimati LC_ALL=C "$programs/anchorhold-image" build --flavour "$flavour" --profile "$profile" --repository source \
            --programs programs --init "$init" --kernels "$kernels" ${policy[@]+"${policy[@]}"} --tools "$tools" \
            --cache "$target/image/packages" --jobs 1 --out "$there/image" >/dev/null
    )
    # A deployment's settings, and everything as one program.
    mkdir "$5/settings"
    printf '[attester]\nkind = "software"\n' >"$5/settings/keeper.toml"
    touch "$5/settings/"{guest,gateway}.toml
    for at in "$image" "$there/image"; do
        "$programs/anchorhold-image" settings --image "$at" --settings "$5/settings" --out "$5/initrd"
        "$programs/anchorhold-image" uki --image "$at" --initrd "$5/initrd" --tools "$tools" --out "$at/uki.efi"
    done
    for file in uki.efi kernel initrd root cmdline firmware-snp stub image.json; do
        cmp "$image/$file" "$there/image/$file"
    done
}
