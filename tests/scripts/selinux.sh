#!/usr/bin/env bash
# The policy of the guest: it compiles, always to the same bytes; every claim in it is one that some rule could break, and that rule is
# refused; what serving processes may do is what the golden texts say. UPDATE_GOLDEN=1 writes those anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
policy=policies/selinux
tools=$(enclave-image/tools.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "selinux: $*" >&2; exit 1; }

$policy/build.sh "$work/policy"
mkdir "$work/elsewhere"
cp -r $policy "$work/elsewhere/selinux"
mkdir -p "$work/enclave-image"
printf '#!/bin/sh\necho %s\n' "$tools" >"$work/enclave-image/tools.sh"
chmod 755 "$work/enclave-image/tools.sh"
"$work/elsewhere/selinux/build.sh" "$work/again"
cmp -s "$work/policy" "$work/again" || fail "two builds of the policy differ"
echo "selinux: policy of $(stat -c %s "$work/policy") bytes, sha256 $(sha256sum <"$work/policy" | cut -d' ' -f1)"

# A rule that breaks a claim, for each line of violations.cil.
broken=0
while IFS= read -r rule; do
    case $rule in ''|';'*) continue ;; esac
    echo "$rule" >"$work/rule.cil"
    if $policy/build.sh "$work/broken" "$work/rule.cil" >"$work/said" 2>&1; then fail "no claim refuses $rule"; fi
    grep -q 'neverallow check failed' "$work/said" || { cat "$work/said" >&2; fail "refused, and not by a claim: $rule"; }
    sed -n 's/^neverallow check failed at .*rules.cil:\([0-9]*\).*/\1/p' "$work/said" >>"$work/lines"
    broken=$((broken + 1))
done <$policy/violations.cil
# Each claim is broken by one of them: a claim over types that nobody has would hold of any policy.
grep -n '^(neverallow ' $policy/rules.cil | cut -d: -f1 | sort >"$work/claims"
sort -u "$work/lines" >"$work/hit"
untried=$(comm -23 "$work/claims" "$work/hit")
[ -z "$untried" ] || fail "no line of violations.cil breaks the claims at rules.cil:$(echo $untried | tr ' ' ',')"
echo "selinux: $broken rules that break one of $(wc -l <"$work/claims") claims were refused"

for type in worker_t device_worker_t gpu_attester_t gpu_acceptor_t gateway_t fetcher_t collector_t keeper_t init_t; do
    "$tools/run/sesearch" -A -s $type "$work/policy" | sed '/^$/d' | LC_ALL=C sort >"$work/$type"
    if [ -n "${UPDATE_GOLDEN:-}" ]; then cp "$work/$type" "$policy/golden/$type.txt"; fi
    diff -u "$policy/golden/$type.txt" "$work/$type" || fail "what $type may do is not what golden/$type.txt says"
done
echo "selinux: worker_t has $(wc -l <"$work/worker_t") rules, gateway_t $(wc -l <"$work/gateway_t")"

# The profiles for machines with AppArmor instead: this one need not have it, so the features are those of a file.
features="$tools/etc/apparmor.d/abi/4.0"
"$tools/run/apparmor_parser" --config-file /dev/null --skip-kernel-load --skip-cache --quiet --base "$tools/etc/apparmor.d" \
    --policy-features "$features" --kernel-features "$features" --ofile "$work/profiles" policies/apparmor/anchorhold 2>"$work/said" ||
    { cat "$work/said" >&2; fail "the profiles for AppArmor do not compile"; }
[ -s "$work/profiles" ] || fail "the profiles for AppArmor compile to nothing"
for program in keeper gateway worker device-worker gpu-attester gpu-acceptor fetcher collector; do
    grep -qaF "anchorhold-$program" "$work/profiles" || fail "no profile for anchorhold-$program"
done
echo "selinux: profiles for AppArmor of $(stat -c %s "$work/profiles") bytes"
