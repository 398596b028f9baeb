// A driver, a cuBLASLt and an NVML of host memory and fibers, as one shared library under three names: it lets the very code that calls
// NVIDIA's libraries run where there are none. Everything is done at once, in the order of the calls; a captured stream keeps what it is
// asked for until its graph is launched. Handles are checked as far as they can be told from others.
#include "simt.cpp"

#include <functional>
#include <map>
#include <string>

namespace {

constexpr int INVALID = 1;
constexpr int CAPTURE_FORBIDDEN = 900;

using Work = std::function<int()>;

struct Stream {
    bool captures = false;
    std::vector<Work> captured;
};

struct Graph {
    std::vector<Work> works;
};

struct Layout {
    uint64_t lines, columns;
    int64_t pitch;
    int type;
};

std::map<uint64_t, std::vector<unsigned char>> memory;
int context;
bool current = false;

bool inside(uint64_t at, size_t bytes) {
    auto next = memory.upper_bound(at);
    if (next == memory.begin()) {
        return false;
    }
    --next;
    return at + bytes <= next->first + next->second.size() - 512;
}

int on(void *stream, Work work) {
    Stream &own = *static_cast<Stream *>(stream);
    if (own.captures) {
        own.captured.push_back(std::move(work));
        return 0;
    }
    return current ? work() : INVALID;
}

float wide(const uint16_t *from) {
    const uint32_t bits = (uint32_t)*from << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace

extern "C" {

int cuInit(unsigned flags) { return flags == 0 ? 0 : INVALID; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetAttribute(int *value, int attribute, int) {
    *value = attribute == 75 ? 9 : attribute == 97 ? 227 << 10 : 0;
    return attribute == 75 || attribute == 76 || attribute == 97 ? 0 : INVALID;
}
int cuDevicePrimaryCtxRetain(void **to, int) { return *to = &context, 0; }
int cuDevicePrimaryCtxRelease_v2(int) {
    current = false;
    return memory.empty() ? 0 : INVALID;
}
int cuCtxSetCurrent(void *given) {
    current = given == &context;
    return current ? 0 : INVALID;
}
int cuMemGetInfo_v2(size_t *free, size_t *total) { return *free = *total = 256 << 20, 0; }
int cuMemAlloc_v2(uint64_t *to, size_t bytes) {
    // What is in fresh memory is not said; here it is never zero.
    std::vector<unsigned char> block(bytes + 512, 0xff);
    const uint64_t start = ((uint64_t)(uintptr_t)block.data() + 255) / 256 * 256;
    *to = start;
    memory[start] = std::move(block);
    return current ? 0 : INVALID;
}
int cuMemFree_v2(uint64_t start) { return memory.erase(start) == 1 ? 0 : INVALID; }
int cuMemHostAlloc(void **to, size_t bytes, unsigned) {
    *to = std::malloc(bytes);
    return *to != nullptr ? 0 : INVALID;
}
int cuMemFreeHost(void *start) { return std::free(start), 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    if (static_cast<Stream *>(stream)->captures) {
        return CAPTURE_FORBIDDEN;
    }
    return inside(to, bytes) ? (std::memcpy((void *)to, from, bytes), 0) : INVALID;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    if (static_cast<Stream *>(stream)->captures) {
        return CAPTURE_FORBIDDEN;
    }
    return inside(from, bytes) ? (std::memcpy(to, (void *)from, bytes), 0) : INVALID;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    return on(stream, [=] { return inside(to, bytes) ? (std::memset((void *)to, value, bytes), 0) : INVALID; });
}
int cuStreamCreate(void **to, unsigned flags) { return *to = new Stream, flags == 1 ? 0 : INVALID; }
int cuStreamSynchronize(void *stream) { return static_cast<Stream *>(stream)->captures ? CAPTURE_FORBIDDEN : 0; }
int cuStreamWaitEvent(void *, void *, unsigned) { return 0; }
int cuStreamBeginCapture_v2(void *stream, int mode) {
    static_cast<Stream *>(stream)->captures = true;
    return mode == 1 ? 0 : INVALID;
}
int cuStreamEndCapture(void *stream, void **graph) {
    Stream &own = *static_cast<Stream *>(stream);
    *graph = new Graph{std::move(own.captured)};
    own = Stream{};
    return 0;
}
int cuEventCreate(void **to, unsigned flags) { return *to = new int, flags == 2 ? 0 : INVALID; }
int cuEventRecord(void *, void *) { return 0; }
int cuEventSynchronize(void *) { return 0; }
int cuModuleLoadData(void **to, const void *image) {
    *to = const_cast<void *>(image);
    return std::memcmp(image, "fibers", 6) == 0 ? 0 : 200;
}
int cuModuleGetFunction(void **to, void *, const char *name) { return *to = new std::string(name), 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) {
    const bool known = *static_cast<std::string *>(function) == "prefill_attention" && attribute == 8;
    return known && value == 227 << 10 ? 0 : INVALID;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared,
                   void *stream, void **arguments, void **) {
    // The driver copies the parameters before it returns: no more than ten, each of at most 32 bytes here.
    struct Cells {
        alignas(16) unsigned char bytes[10][32];
    };
    static const std::map<std::string, unsigned> counts{
        {"embed", 5}, {"rms_norm", 6}, {"last_norm", 6}, {"add_normed", 6}, {"add_bias", 4}, {"gate_multiply", 5},
        {"cap_logits", 4}, {"rope_write", 10}, {"prefill_attention", 6}, {"decode_attention", 6}, {"combine_parts", 5},
        {"draw_tokens", 4}};
    const std::string &name = *static_cast<std::string *>(function);
    Cells cells;
    for (unsigned at = 0; at < counts.at(name); at++) {
        std::memcpy(cells.bytes[at], arguments[at], sizeof cells.bytes[at]);
    }
    const Grid grid{x, y, z, threads, shared, 0};
    return on(stream, [=]() mutable {
        void *pointers[10];
        for (unsigned at = 0; at < 10; at++) {
            pointers[at] = cells.bytes[at];
        }
        return simt_launch(name.c_str(), &grid, 0, nullptr, pointers) == nullptr ? 0 : INVALID;
    });
}
int cuGraphInstantiateWithFlags(void **to, void *graph, unsigned long long) {
    *to = new Graph(*static_cast<Graph *>(graph));
    return 0;
}
int cuGraphDestroy(void *graph) { return delete static_cast<Graph *>(graph), 0; }
int cuGraphLaunch(void *graph, void *stream) {
    for (const Work &work : static_cast<Graph *>(graph)->works) {
        if (const int code = on(stream, work)) {
            return code;
        }
    }
    return 0;
}

int cublasLtCreate(void **to) { return *to = new int, 0; }
int cublasLtMatmulDescCreate(void **to, int compute, int scale) {
    *to = new bool(false);
    return compute == 68 && scale == 0 ? 0 : INVALID;
}
int cublasLtMatmulDescSetAttribute(void *product, int attribute, const void *value, size_t bytes) {
    *static_cast<bool *>(product) = attribute == 3 && bytes == 4 && *static_cast<const int *>(value) == 1;
    return 0;
}
int cublasLtMatrixLayoutCreate(void **to, int type, uint64_t lines, uint64_t columns, int64_t pitch) {
    *to = new Layout{lines, columns, pitch, type};
    return 0;
}
int cublasLtMatmulPreferenceCreate(void **to) { return *to = new int, 0; }
int cublasLtMatmulPreferenceSetAttribute(void *, int attribute, const void *, size_t bytes) {
    return attribute == 1 && bytes == 8 ? 0 : INVALID;
}
int cublasLtMatmulAlgoGetHeuristic(void *, void *, void *, void *, void *, void *, void *, int, void *found, int *count) {
    std::memset(found, 0, 96);
    *count = 1;
    return 0;
}
// By columns, as cuBLASLt counts: D = alpha * A^T B + beta * C.
int cublasLtMatmul(void *, void *product, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout, const void *beta,
                   const void *c, void *, void *d, void *d_layout, const void *, void *, size_t, void *stream) {
    const Layout left = *static_cast<Layout *>(a_layout), right = *static_cast<Layout *>(b_layout), out = *static_cast<Layout *>(d_layout);
    const float scale = *static_cast<const float *>(beta);
    if (!*static_cast<bool *>(product) || *static_cast<const float *>(alpha) != 1.0f || c != d || left.type != 14 || right.type != 14 ||
        out.type != 0 || left.lines != right.lines || out.lines != left.columns || out.columns != right.columns) {
        return 7;
    }
    return on(stream, [=] {
        if (!inside((uint64_t)a, 2 * left.pitch * left.columns) || !inside((uint64_t)d, 4 * out.pitch * out.columns)) {
            return 7;
        }
        for (uint64_t column = 0; column < out.columns; column++) {
            for (uint64_t line = 0; line < out.lines; line++) {
                float sum = 0.0f;
                for (uint64_t k = 0; k < left.lines; k++) {
                    sum += wide((const uint16_t *)a + line * left.pitch + k) * wide((const uint16_t *)b + column * right.pitch + k);
                }
                float &to = ((float *)d)[column * out.pitch + line];
                to = sum + (scale == 0.0f ? 0.0f : scale * to);
            }
        }
        return 0;
    });
}

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetConfComputeState(unsigned *state) { return state[0] = 2, state[1] = 1, state[2] = 0, 0; }
}
