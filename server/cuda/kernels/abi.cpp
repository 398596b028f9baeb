// Holds what server/cuda/src/driver/ffi.rs says of NVIDIA's libraries against NVIDIA's headers. Compiled by `make cuda` and never linked.
#include <cuda.h>
#include <type_traits>

// What Rust calls `*mut c_void`, `c_int`, `c_uint`, `usize`, `u64` and `*const c_void` must be passed as what the headers declare.
template <class Declared, class Called> constexpr bool passes_as() {
    if constexpr (std::is_pointer<Declared>::value) {
        return std::is_pointer<Called>::value;
    } else if constexpr (std::is_enum<Declared>::value) {
        return std::is_same<Called, int>::value && sizeof(Declared) == sizeof(int);
    } else if constexpr (std::is_integral<Declared>::value) {
        return std::is_integral<Called>::value && sizeof(Declared) == sizeof(Called);
    }
    return false;
}

template <class Declared, class Called> struct Same;
template <class Answer, class... Declared, class... Called> struct Same<Answer(Declared...), int(Called...)> {
    static_assert(sizeof(Answer) == sizeof(int), "an answer is an int");
    static_assert(sizeof...(Declared) == sizeof...(Called), "as many arguments");
    static constexpr bool value = (passes_as<Declared, Called>() && ...);
};

#define CALLED(function, ...) static_assert(Same<decltype(function), int(__VA_ARGS__)>::value, #function)

using Opaque = void *;
using Size = size_t;
using Wide = unsigned long long;
using Count = unsigned;

CALLED(cuInit, Count);
CALLED(cuDeviceGetCount, int *);
CALLED(cuDeviceGet, int *, int);
CALLED(cuDeviceGetAttribute, int *, int, int);
CALLED(cuDevicePrimaryCtxRetain, Opaque *, int);
CALLED(cuDevicePrimaryCtxRelease_v2, int);
CALLED(cuCtxSetCurrent, Opaque);
CALLED(cuMemAlloc_v2, Wide *, Size);
CALLED(cuMemFree_v2, Wide);
CALLED(cuMemGetInfo_v2, Size *, Size *);
CALLED(cuMemHostAlloc, Opaque *, Size, Count);
CALLED(cuMemFreeHost, Opaque);
CALLED(cuMemcpyHtoDAsync_v2, Wide, const void *, Size, Opaque);
CALLED(cuMemcpyDtoHAsync_v2, Opaque, Wide, Size, Opaque);
CALLED(cuMemsetD8Async, Wide, unsigned char, Size, Opaque);
CALLED(cuStreamCreate, Opaque *, Count);
CALLED(cuStreamSynchronize, Opaque);
CALLED(cuStreamWaitEvent, Opaque, Opaque, Count);
CALLED(cuStreamBeginCapture_v2, Opaque, int);
CALLED(cuStreamEndCapture, Opaque, Opaque *);
CALLED(cuEventCreate, Opaque *, Count);
CALLED(cuEventRecord, Opaque, Opaque);
CALLED(cuEventSynchronize, Opaque);
CALLED(cuModuleLoadData, Opaque *, const void *);
CALLED(cuModuleGetFunction, Opaque *, Opaque, const char *);
CALLED(cuFuncSetAttribute, Opaque, int, int);
CALLED(cuLaunchKernel, Opaque, Count, Count, Count, Count, Count, Count, Count, Opaque, Opaque *, Opaque *);
CALLED(cuGraphInstantiateWithFlags, Opaque *, Opaque, Wide);
CALLED(cuGraphDestroy, Opaque);
CALLED(cuGraphLaunch, Opaque, Opaque);

static_assert(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == 75 && CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == 76, "");
static_assert(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN == 97, "");
static_assert(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES == 8, "");
static_assert(CU_STREAM_NON_BLOCKING == 1 && CU_EVENT_DISABLE_TIMING == 2 && CU_STREAM_CAPTURE_MODE_THREAD_LOCAL == 1, "");

// The wheel of cuBLAS is ten times all others together and is installed only where it is wanted (ANCHORHOLD_CUBLAS_HEADERS).
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
CALLED(cublasLtCreate, Opaque *);
CALLED(cublasLtMatmulDescCreate, Opaque *, int, int);
CALLED(cublasLtMatmulDescSetAttribute, Opaque, int, const void *, Size);
CALLED(cublasLtMatrixLayoutCreate, Opaque *, int, Wide, Wide, long long);
CALLED(cublasLtMatmulPreferenceCreate, Opaque *);
CALLED(cublasLtMatmulPreferenceSetAttribute, Opaque, int, const void *, Size);
CALLED(cublasLtMatmulAlgoGetHeuristic, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, int, void *, int *);
CALLED(cublasLtMatmul, Opaque, Opaque, const void *, const void *, Opaque, const void *, Opaque, const void *, const void *, Opaque, void *,
       Opaque, const void *, void *, Size, Opaque);
static_assert(CUBLAS_COMPUTE_32F == 68 && CUDA_R_32F == 0 && CUDA_R_16BF == 14 && CUBLAS_OP_T == 1, "");
static_assert(CUBLASLT_MATMUL_DESC_TRANSA == 3 && CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == 1, "");
static_assert(sizeof(cublasLtMatmulAlgo_t) == 64 && sizeof(cublasLtMatmulHeuristicResult_t) == 96, "");
static_assert(offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) == 64, "");
static_assert(offsetof(cublasLtMatmulHeuristicResult_t, state) == 72, "");
#endif
