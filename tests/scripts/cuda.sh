#!/usr/bin/env bash
# Compiles the CUDA kernels with nvcc from its PyPI wheels, holds our declarations against NVIDIA's headers, and builds the worker with the
# kernels in it. Needs no GPU. PYTHON names the interpreter.
set -euo pipefail
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
kernels=server/cuda/kernels
# Stay below a driver of CUDA 13.0; the compiler writes code for compute capability 9.0 and PTX for what is newer or as old as 8.0.
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96)
if [ -n "${ANCHORHOLD_CUBLAS_HEADERS:-}" ]; then wheels+=(nvidia-cublas==13.0.2.14); fi
most=$((64 << 20))

venv=$target/cuda-compiler
if ! [ -x "$venv/bin/pip" ]; then "${PYTHON:-python3}" -m venv "$venv"; fi
"$venv/bin/pip" install --quiet --no-deps "${wheels[@]}"
cuda=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)

c++ -std=c++17 -fsyntax-only -I "$cuda/include" "$kernels/abi.cpp"
out=$target/cuda-kernels.fatbin
"$cuda/bin/nvcc" -fatbin -O3 -std=c++17 -Werror all-warnings \
    -gencode arch=compute_80,code=compute_80 -gencode arch=compute_90,code=sm_90 -o "$out" "$kernels/kernels.cu"
ANCHORHOLD_CUDA_KERNELS=$(realpath "$out") "$cargo" build --release -p anchorhold-cuda
program=$target/release/anchorhold-worker-cuda
size=$(stat -c %s "$program")
echo "$program: $size bytes, $(stat -c %s "$out") of them kernels"
[ "$size" -le "$most" ] || { echo "the program is longer than $most bytes" >&2; exit 1; }
