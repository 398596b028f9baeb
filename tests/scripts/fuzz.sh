#!/usr/bin/env bash
# Runs each fuzz target for a while, as many at a time as there are processors. usage: fuzz.sh SECONDS
#
# The sanitizer needs unstable compiler flags; RUSTC_BOOTSTRAP lets the stable compiler take them, so that no second
# toolchain is needed.
set -euo pipefail
seconds=${1:?usage: fuzz.sh SECONDS}
export RUSTC_BOOTSTRAP=1
cargo=${CARGO:-cargo}
"$cargo" fuzz --version >/dev/null 2>&1 || CARGO_PROFILE_DEV_DEBUG=0 "$cargo" install cargo-fuzz --locked --quiet --debug

targets=$("$cargo" fuzz list --fuzz-dir tests/fuzz)
"$cargo" fuzz build --fuzz-dir tests/fuzz
# What a target begins with, so that it gets past the first bytes at once. Those that are not named here make good evidence
# themselves and read their input as a list of changes to it.
seeds() {
    case $1 in
        attestation_document) echo tests/vectors/simulated/document.json ;;
        accepted) echo tests/vectors/fuzz/accepted.json ;;
        api_keys) echo tests/vectors/fuzz/api-keys.toml ;;
        certificate_wrapper) echo tests/vectors/fuzz/wrapper.bin ;;
        metrics_text) echo tests/vectors/fuzz/metrics.txt ;;
        client_files) echo tests/vectors/client/*.json* ;;
        audit_bundle | audit_dossier) echo tests/vectors/audit/bundle.tar ;;
        audit_entry) echo tests/vectors/audit/entries.jsonl ;;
        release_policy) echo policies/release/*.toml ;;
        sealed_manifest) echo tests/vectors/sealed-weights/seeds/manifest.json ;;
        sealed_card) echo tests/vectors/sealed-weights/seeds/card*.json ;;
        weights_index) echo tests/vectors/sealed-weights/seeds/index.json ;;
        model_signature) echo tests/vectors/sealed-weights/seeds/statement.json tests/vectors/model-signing/*.sig ;;
        model_config) echo tests/models/*/config.json ;;
        gguf_header) echo tests/vectors/gguf/*.gguf ;;
        key_config) echo tests/vectors/body-encryption/key-config*.bin ;;
        kek_settings) echo tests/vectors/kek/kek.toml tests/vectors/kek/request.json ;;
        kek_share) echo tests/vectors/kek/share-*.txt ;;
        kek_transit) echo tests/vectors/kek/transit-*.json ;;
        signed_note) echo tests/vectors/audit/checkpoint.note ;;
        snp_report) echo tests/vectors/simulated/report-v5.bin ;;
        tlog_policy) echo tests/vectors/audit/policy.txt ;;
        tlog_proof) echo tests/vectors/audit/leaf.tlog-proof ;;
        store_url) echo tests/vectors/store/*.txt ;;
        kernel_record) echo tests/vectors/kernel-audit/*.txt ;;
        x509_certificate) echo tests/vectors/simulated/vcek.der attestation/attester/fixtures/ask.der ;;
    esac
}
for target in $targets; do
    mkdir -p "tests/fuzz/corpus/$target"
    for seed in $(seeds "$target"); do
        cp "$seed" "tests/fuzz/corpus/$target/$(echo "$seed" | tr / -)"
    done
    if [ "$target" = sealed_manifest ]; then # it signs what it is given, so it begins with a payload too
        sed 's/.*"payload":"\([^"]*\)".*/\1/' tests/vectors/sealed-weights/seeds/manifest.json | base64 -d >tests/fuzz/corpus/sealed_manifest/payload
    fi
done
run() {
    local out
    out=$("$cargo" fuzz run --fuzz-dir tests/fuzz "$1" "tests/fuzz/corpus/$1" -- \
        -max_total_time="$seconds" -len_control=0 -rss_limit_mb=2048 -timeout=10 2>&1) || { echo "$out" | tail -40; return 1; }
    echo "fuzz $1: $(echo "$out" | grep -E '^Done|DONE' | tail -1)"
}
export -f run
export cargo seconds
# Each is built already; xargs ends with an error if one of them found something.
printf '%s\n' $targets | xargs -P "$(nproc)" -I{} bash -c 'run {}'
