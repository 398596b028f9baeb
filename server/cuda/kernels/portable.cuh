// What the kernels need of CUDA C++, from nvcc's headers, or from a host compiler with the tests' "simt.h" in their place. The kernels are
// one source: nothing else in this folder asks which compiler reads it.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <mma.h>
using bf16 = __nv_bfloat16;
namespace wmma = nvcuda::wmma;
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#else
#include "simt.h"
#endif

#define KERNEL extern "C" __global__ void

constexpr unsigned WARP = 32;
constexpr unsigned EVERY_LANE = 0xffffffffu;
// Positions of one block of the cache; server/cuda/src/step.rs has the same number.
constexpr unsigned BLOCK = 64;

__device__ inline float to_float(bf16 value) { return __bfloat162float(value); }
__device__ inline bf16 to_bf16(float value) { return __float2bfloat16_rn(value); }

// The sum over a warp, the same in every lane. The order of the additions is fixed.
__device__ inline float warp_sum(float value) {
    for (unsigned step = WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(EVERY_LANE, value, step);
    }
    return value;
}

__device__ inline float warp_max(float value) {
    for (unsigned step = WARP / 2; step > 0; step /= 2) {
        value = fmaxf(value, __shfl_xor_sync(EVERY_LANE, value, step));
    }
    return value;
}

__device__ inline double warp_sum(double value) {
    for (unsigned step = WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(EVERY_LANE, value, step);
    }
    return value;
}

// The sum over a block of whole warps, the same in every thread. `scratch` holds one float for each warp.
__device__ inline float block_sum(float value, float *scratch) {
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        scratch[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    float sum = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) {
        sum += scratch[warp];
    }
    return sum;
}
