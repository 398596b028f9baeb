# Sourced, in the repository's folder, with the folders $tools, $kernels and $work: one program of ours as all that runs in the guest's kernel.

# `guest_pack PROGRAM [NAME FOLDER]` writes the initrd: the program with its libraries, tests/scripts/confinement_init.c, which starts it in a
# control group, and FOLDER as /NAME.
guest_pack() {
    local root=$work/root library
    mkdir "$root"
    cp "$1" "$root/confinement"
    ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root/$(dirname "$library")"
        cp -L "$library" "$root/$library"
    done
    [ $# -lt 3 ] || cp -r "$3" "$root/$2"
    cc -O1 -static -o "$root/init" tests/scripts/confinement_init.c
    (cd "$root" && find . | LC_ALL=C sort | "$tools/run/cpio" -o -H newc -R 0:0 --quiet) >"$work/initrd"
}

# `guest_boot SECONDS WORDS QEMU-ARGUMENTS...` runs it with these words as its arguments, for as long at most, and writes what it told into
# $work/told. KVM is asked for with ACCEL=kvm.
guest_boot() {
    timeout "$1" "$tools/run/qemu-system-x86_64" -machine q35 -accel "${ACCEL:-tcg}" -cpu max "${@:3}" -nodefaults -nographic -no-reboot \
        -serial "file:$work/console" -kernel "$kernels/demo" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 quiet no_timer_check -- $2"
    # The firmware clears the screen before the first word.
    sed 's/\r//; s/.*\x1b\[2J//' <"$work/console" >"$work/told"
}
