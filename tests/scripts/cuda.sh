#!/usr/bin/env bash
# Compiles the CUDA kernels, holds our declarations against NVIDIA's headers, and builds the worker with the kernels in it. Needs no GPU.
# PYTHON names the interpreter. CUDA names the release whose compiler it is: 13.0, from PyPI's wheels, for drivers from 580 on; or 12.4, from
# Debian's package and PyPI's headers, for drivers from 550 on, as in the guest's image.
set -euo pipefail
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}
kernels=server/cuda/kernels
most=$((64 << 20))

cuda_release=${CUDA:-13.0}
case $cuda_release in
# The compiler writes code for compute capability 9.0 and PTX for what is newer or as old as 8.0.
13.0)
    wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96)
    if [ -n "${ANCHORHOLD_CUBLAS_HEADERS:-}" ]; then wheels+=(nvidia-cublas==13.0.2.14); fi
    ;;
# The wheel of this release's nvcc has ptxas alone, beside headers; and that of its cccl was withdrawn, of which one header is read.
12.4)
    wheels=(nvidia-cuda-nvcc-cu12==12.4.131 nvidia-cuda-runtime-cu12==12.4.127 nvidia-cuda-cccl-cu12==12.6.77)
    if [ -n "${ANCHORHOLD_CUBLAS_HEADERS:-}" ]; then wheels+=(nvidia-cublas-cu12==12.4.5.8); fi
    ;;
*) echo "cuda: CUDA is 13.0 or 12.4" >&2; exit 2 ;;
esac
venv=$target/cuda-compiler-$cuda_release
if ! [ -x "$venv/bin/pip" ]; then "${PYTHON:-python3}" -m venv "$venv"; fi
"$venv/bin/pip" install --quiet --no-deps "${wheels[@]}"
packages=$(echo "$venv"/lib/python3*/site-packages/nvidia)

if [ "$cuda_release" = 13.0 ]; then
    cuda=$packages/cu13
else
    # One folder, as NVIDIA's own installer lays it out, out of a package that is locked by digest.
    cuda=$venv/cuda
    . enclave-image/apt.sh
    "$cargo" build --quiet --release -p anchorhold-image-builder
    package=$("$target/release/anchorhold-image" fetch --lock enclave-image/build.lock --package nvidia-cuda-toolkit \
        --cache "$target/image/packages" --mirror "$(debian_mirror)")
    rm -rf "$cuda"
    mkdir -p "$cuda"/{bin,include,usr}
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$cuda" ./usr/bin ./usr/lib/nvidia-cuda-toolkit/{bin,libdevice}
    mv "$cuda"/usr/bin/{ptxas,fatbinary,cudafe++} "$cuda"/usr/lib/nvidia-cuda-toolkit/bin/{nvcc,cicc} "$cuda/bin"
    mv "$cuda/usr/lib/nvidia-cuda-toolkit/libdevice" "$cuda"
    rm -r "$cuda/usr"
    printf '%s\n' 'TOP = $(_HERE_)/..' 'NVVMIR_LIBRARY_DIR = $(TOP)/libdevice' 'PATH += $(TOP)/bin:' 'INCLUDES += "-I$(TOP)/include"' >"$cuda/bin/nvcc.profile"
    cp -r "$packages"/cuda_runtime/include/. "$packages"/cuda_nvcc/include/. "$cuda/include"
    cp -r "$packages/cuda_cccl/include/nv" "$cuda/include"
    if [ -n "${ANCHORHOLD_CUBLAS_HEADERS:-}" ]; then cp "$packages"/cublas/include/* "$cuda/include"; fi
fi

c++ -std=c++17 -fsyntax-only -I "$cuda/include" "$kernels/abi.cpp"
out=$target/cuda-kernels.fatbin
"$cuda/bin/nvcc" -fatbin -O3 -std=c++17 -Werror all-warnings \
    -gencode arch=compute_80,code=compute_80 -gencode arch=compute_90,code=sm_90 -o "$out" "$kernels/kernels.cu"
ANCHORHOLD_CUDA_KERNELS=$(realpath "$out") "$cargo" build --release -p anchorhold-cuda
program=$target/release/anchorhold-worker-cuda
size=$(stat -c %s "$program")
echo "$program: $size bytes, $(stat -c %s "$out") of them kernels of CUDA $cuda_release"
[ "$size" -le "$most" ] || { echo "the program is longer than $most bytes" >&2; exit 1; }
