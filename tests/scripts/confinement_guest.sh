#!/usr/bin/env bash
# What the confinement costs the main job in the guest's own kernel, control groups included: the benchmark `confinement` as the only program
# of a machine in QEMU. Under TCG all ways are slow alike, so their ratios are what is read. KVM is asked for with ACCEL=kvm.
# usage: confinement_guest.sh [ROUNDS [REQUESTS]]; JSON=FILE writes the figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
minilm=.demo/models/minilm
sh tests/models/fetch_minilm.sh "$minilm"
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-confinement-XXXXXX")
trap 'rm -rf "$work"' EXIT

program=$("$cargo" bench --quiet --no-run --message-format json -p anchorhold-worker --bench confinement |
    python3 -c 'import json, sys
for line in sys.stdin:
    told = json.loads(line)
    if told.get("executable") and told["target"]["name"] == "confinement": print(told["executable"])')
. tests/scripts/program_guest.sh
guest_pack "$program" model "$minilm"
guest_boot 1500 "/model ${1:-4} ${2:-1} JSON=/dev/ttyS0" -smp 2 -m 3072
grep -v '^\[{' "$work/told" || true
grep -q '^grouped ' "$work/told" || { echo "confinement: no figures from the guest" >&2; exit 1; }
[ -z "${JSON:-}" ] || grep '^\[{' "$work/told" | sed 's/"embed_/"guest_embed_/g' >"$JSON"
