#!/usr/bin/env bash
# On a machine with a GPU: the self-test, the parity tests and the throughput of the CUDA decoder. Exit 3 where there is none.
set -euo pipefail
tests/scripts/cuda.sh
target=${CARGO_TARGET_DIR:-target}
status=0
"$target/release/anchorhold-worker-cuda" --self-test || status=$?
if [ "$status" -eq 3 ]; then
    echo "gpu-check: nothing was checked: there is no usable GPU here" >&2
    exit 3
elif [ "$status" -ne 0 ]; then
    exit "$status"
fi
ANCHORHOLD_CUDA_KERNELS=$(realpath "$target/cuda-kernels.fatbin") "${CARGO:-cargo}" test --release -p anchorhold-cuda-double --test gpu -- \
    --ignored --nocapture --test-threads 1
