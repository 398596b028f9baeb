#!/usr/bin/env bash
# Where memory lies in a guest with two NUMA nodes, of which the first has the processor: that of a process in a worker's group with the other
# node (`nodes` of the keeper's `[worker.group]`) on that one, that of a process which nobody placed beside the processor, and a node that
# the guest has not is refused. The guest's own kernel, in QEMU; what far memory costs is not seen there. Ends with a count.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$(enclave-image/tools.sh)
kernels=$(enclave-image/kernel.sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/anchorhold-numa-XXXXXX")
trap 'rm -rf "$work"' EXIT
"${CARGO:-cargo}" build --quiet --release -p anchorhold-confine --example placement
. tests/scripts/program_guest.sh
guest_pack "$target/release/examples/placement"

boot() { # NODES
    guest_boot 300 "$1" -smp 1 -m 768 -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=256M \
        -numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,memdev=m1
}
checks=0
ok() {
    echo "ok  $1"
    checks=$((checks + 1))
}
lies_on() { # WHO NODE
    local told
    told=$(sed -n "s/^$1 on nodes: //p" "$work/told")
    # What was taken, and nothing of it elsewhere.
    awk -v node="$2" -v RS='[ \n]' -F= '{ all += $2 } $1 == node { there = $2 } END { exit !(there >= 65536 && there == all) }' <<<"$told" ||
        { echo "numa: $1: wanted on node $2, KiB are: $told" >&2; cat "$work/told" >&2; exit 1; }
    ok "$1: on node $2, $told KiB"
}
boot 1
lies_on free 0
lies_on placed 1
boot 5
grep '^nodes 5: .*cpuset.mems' "$work/told" >/dev/null || { echo "numa: a node that is not there was not refused" >&2; cat "$work/told" >&2; exit 1; }
ok "$(grep '^nodes 5: ' "$work/told")"
echo "$checks checks of a guest with two nodes passed"
