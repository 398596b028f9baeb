#!/usr/bin/env bash
# The image: built twice and compared, booted, and booted with one thing changed. Ends with a count of the checks.
# JSON=FILE writes the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
programs=$target/release
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-image-XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
ok() {
    passed=$((passed + 1))
    echo "ok  $1"
}
since() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f", to - from }'; }

begun=$(date +%s.%N)
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
image=$(enclave-image/image.sh demo 2>/dev/null)
built_s=$(since "$begun")

begun=$(date +%s.%N)
. tests/scripts/image_again.sh
image_again demo server "$kernels" "$image" "$work"
again_s=$(since "$begun")
ok "second build: equal byte for byte, in ${again_s} s; first process compiled anew and equal"

other=()
if [ "${#policy[@]}" -gt 0 ]; then
    # One permission more, which no claim forbids.
    echo '(allow keeper_t etc_t (file (lock)))' >"$work/more.cil"
    policies/selinux/build.sh "$work/other-policy" "$work/more.cil" >/dev/null
    other=(--other-policy "$work/other-policy")
fi

for flavour in production debug; do
    "$programs/anchorhold-image" build --flavour $flavour --repository . --programs "$programs" --init "$(enclave-image/init.sh)" \
        --kernels "$kernels" ${policy[@]+"${policy[@]}"} --tools "$tools" --cache "$target/image/packages" --jobs 2 --out "$work/$flavour" >/dev/null
    ! cmp -s "$image/cmdline" "$work/$flavour/cmdline" || { echo "demo and $flavour have one root hash" >&2; exit 1; }
done
! cmp -s "$work/production/cmdline" "$work/debug/cmdline" || { echo "production and debug have one root hash" >&2; exit 1; }
ok "flavours: three roots"

"$programs/anchorhold-image-test" --image "$image" --production "$work/production" --tools "$tools" --programs "$programs" --init "$(enclave-image/init.sh)" \
    --kernels "$kernels" ${policy[@]+"${policy[@]}"} ${other[@]+"${other[@]}"} --cache "$target/image/packages" --passed "$passed"
if [ "${#policy[@]}" -gt 0 ]; then
    "$programs/anchorhold-hostile-test" --programs "$programs" --init "$(enclave-image/init.sh)" --kernels "$kernels" "${policy[@]}" --tools "$tools" \
        --cache "$target/image/packages"
fi
if [ -n "${JSON:-}" ]; then
    echo "{\"image_build_s\": $built_s, \"image_second_build_s\": $again_s}" >"$JSON"
fi
