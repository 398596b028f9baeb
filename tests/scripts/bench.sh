#!/usr/bin/env bash
# Measures what the README states. JSON=FILE collects everything in one object: name to value, unit, peer and ratio.
# PEERS_PYTHON names a Python with sentence-transformers and onnxruntime; without it the embedding peers are left out.
# LLAMA_CPP names the folder of llama-batched-bench and LLAMA_GGUF its model in F16, of the model in ANCHORHOLD_DECODER or of the same
# shape; without them llama.cpp is left out.
set -euo pipefail
cargo=${CARGO:-cargo}
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
minilm=.demo/models/minilm
sh tests/models/fetch_minilm.sh "$minilm"

bench() { # PACKAGE BENCH [ARGUMENT ...]
    local package=$1 name=$2
    shift 2
    echo "== $name"
    local manifest=Cargo.toml
    [ "$package" != anchorhold-differential ] || manifest=tests/differential/Cargo.toml
    JSON="$parts/$name.json" "$cargo" bench --quiet --manifest-path "$manifest" --target-dir "${CARGO_TARGET_DIR:-target}" \
        -p "$package" --bench "$name" -- "$@"
}

bench anchorhold-verifier verify_snp
bench anchorhold-verifier verify_gpu
bench anchorhold-differential verify_tdx_peers
bench anchorhold-key-broker release
bench anchorhold-sealed-weights sealed_load
bench anchorhold-weights-store fetch
bench anchorhold-audit-log append
bench anchorhold-audit-report export
bench anchorhold-body-encryption bodies
bench anchorhold-client proxy
bench anchorhold-gateway overhead
bench anchorhold-e2e tenants
bench anchorhold-e2e topics
bench anchorhold-e2e connections
bench anchorhold-worker confinement "$PWD/$minilm" 8 "JSON=$parts/confinement.json"
echo "== streams held, and overload"
JSON="$parts/hold.json" tests/scripts/clients.sh bench
for threads in 1 2; do
    bench anchorhold-model embed "$threads" "JSON=$parts/embed-$threads.json"
    if [ -n "${PEERS_PYTHON:-}" ]; then
        "$PEERS_PYTHON" tests/models/bench_embed_peers.py "$minilm" "$threads" "JSON=$parts/peers-$threads.json"
    else
        echo "embedding peers: PEERS_PYTHON is not set, left out"
    fi
    bench anchorhold-model decode "$threads" "JSON=$parts/decode-$threads.json"
done

echo "== guest"
image=$(enclave-image/image.sh demo)
programs=${CARGO_TARGET_DIR:-target}/release
"$programs/anchorhold-boot" --image "$image" --tools "$(enclave-image/tools.sh)" --rate 4 --json "$parts/boot.told"
"$programs/anchorhold-demo" --rate 40 --json "$parts/demo.told" >/dev/null
python3 tests/scripts/guest_figures.py "$image" "$parts/boot.told" "$parts/demo.told" "$parts/guest.json"

echo "== confinement in the guest's kernel"
JSON="$parts/confinement_guest.json" tests/scripts/confinement_guest.sh

echo "== sizes"
JSON="$parts/verifier_size.json" tests/scripts/verifier_size.sh
python3 tests/scripts/bench_collect.py "$parts" "${CARGO_TARGET_DIR:-target}/release" "${JSON:-}"
