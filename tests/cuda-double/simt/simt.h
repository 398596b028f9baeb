// What the kernels use of CUDA C++, for a host compiler: the blocks of a launch run one after the other, the threads of a block as fibers
// that take turns at each barrier. Kernels see no difference but time.
//
// Stricter than a device: a barrier that some thread of the block or warp never reaches ends the launch with an error, dynamic shared memory holds
// NaNs until it is written, and threads run forwards or backwards as the launch says, so that a missing barrier shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __device__
#define __global__
#define __align__(n) alignas(n)
// Blocks of one launch, and the fibers of a block, run on one system thread.
#define __shared__ static thread_local
#define DYNAMIC_SHARED(name) unsigned char *name = simt::dynamic_shared()

struct dim3 {
    unsigned x, y, z;
};

namespace simt {

struct Place {
    dim3 thread_index;
    dim3 block_index;
    dim3 block_dim;
    dim3 grid_dim;
};

// Of the fiber that runs now.
extern thread_local Place *place;

unsigned char *dynamic_shared();
void block_barrier();
void warp_barrier();
// The 32 bits that another lane of the warp passed to the same call.
uint32_t exchange(uint32_t bits, unsigned lane_mask);

} // namespace simt

#define threadIdx (simt::place->thread_index)
#define blockIdx (simt::place->block_index)
#define blockDim (simt::place->block_dim)
#define gridDim (simt::place->grid_dim)

inline void __syncthreads() { simt::block_barrier(); }
inline void __syncwarp() { simt::warp_barrier(); }

template <class T> T __shfl_xor_sync(unsigned, T value, unsigned lane_mask) {
    static_assert(sizeof(T) % sizeof(uint32_t) == 0, "whole registers");
    uint32_t bits[sizeof(T) / sizeof(uint32_t)];
    std::memcpy(bits, &value, sizeof bits);
    for (uint32_t &each : bits) {
        each = simt::exchange(each, lane_mask);
    }
    std::memcpy(&value, bits, sizeof bits);
    return value;
}

using std::isfinite;

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline double __hiloint2double(int high, int low) {
    const uint64_t bits = (uint64_t)(uint32_t)high << 32 | (uint32_t)low;
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T> T atomicAdd(T *to, T value) {
    const T before = *to;
    *to += value;
    return before;
}

struct bf16 {
    uint16_t bits;
};

inline float __bfloat162float(bf16 value) {
    const uint32_t bits = (uint32_t)value.bits << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

// To nearest, ties to even; a NaN stays one.
inline bf16 __float2bfloat16_rn(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (std::isnan(value)) {
        return bf16{0x7fff};
    }
    return bf16{(uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// A fragment is whole in a warp's first lane and nothing in the others: which lane holds what is not said by CUDA either.
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    T values[16][16];
};

template <class Use, int M, int N, int K, class T, class Layout>
void fill_fragment(fragment<Use, M, N, K, T, Layout> &to, T value) {
    for (auto &line : to.values) {
        for (T &each : line) {
            each = value;
        }
    }
}

inline bool first_lane() { return threadIdx.x % 32 == 0; }

// CUDA wants pointers at multiples of 32 bytes and pitches of 16; the tests do not let less pass.
void check_matrix(const void *from, unsigned pitch, unsigned element);

template <class Use, int M, int N, int K, class T, class Layout>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &to, const T *from, unsigned pitch) {
    check_matrix(from, pitch, sizeof(T));
    simt::warp_barrier();
    constexpr bool by_columns = std::is_same<Layout, col_major>::value;
    for (int line = 0; first_lane() && line < 16; line++) {
        for (int column = 0; column < 16; column++) {
            to.values[line][column] = by_columns ? from[column * pitch + line] : from[line * pitch + column];
        }
    }
    simt::warp_barrier();
}

template <int M, int N, int K, class T>
void load_matrix_sync(fragment<accumulator, M, N, K, T> &to, const T *from, unsigned pitch, layout_t) {
    check_matrix(from, pitch, sizeof(T));
    simt::warp_barrier();
    for (int line = 0; first_lane() && line < 16; line++) {
        for (int column = 0; column < 16; column++) {
            to.values[line][column] = from[line * pitch + column];
        }
    }
    simt::warp_barrier();
}

template <int M, int N, int K, class T>
void store_matrix_sync(T *to, const fragment<accumulator, M, N, K, T> &from, unsigned pitch, layout_t) {
    check_matrix(to, pitch, sizeof(T));
    simt::warp_barrier();
    for (int line = 0; first_lane() && line < 16; line++) {
        for (int column = 0; column < 16; column++) {
            to[line * pitch + column] = from.values[line][column];
        }
    }
    simt::warp_barrier();
}

template <class D, class A, class B, class C> void mma_sync(D &d, const A &a, const B &b, const C &c) {
    if (!first_lane()) {
        return;
    }
    D sums = c;
    for (int line = 0; line < 16; line++) {
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < 16; column++) {
                sums.values[line][column] += __bfloat162float(a.values[line][k]) * __bfloat162float(b.values[k][column]);
            }
        }
    }
    d = sums;
}

} // namespace wmma
