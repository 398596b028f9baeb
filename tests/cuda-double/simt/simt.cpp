// The fibers behind "simt.h", and the call of a kernel by its name with the argument array that cuLaunchKernel takes.
#include "kernels.cu"

#include <csetjmp>
#include <cstdlib>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace simt {

thread_local Place *place = nullptr;

namespace {

constexpr size_t STACK_LEN = 64 << 10;
constexpr unsigned MAX_THREADS = 1024;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    Place place;
    State state;
    bool begun;
    jmp_buf jump;
    ucontext_t context;
    // What it passes in this exchange and passed in the last one, in turn, so that one barrier suffices.
    uint32_t passed[2];
    unsigned exchanges;
};

struct Engine {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> stacks;
    alignas(128) unsigned char shared[256 << 10];
    jmp_buf jump;
    ucontext_t context;
    unsigned count = 0;
    unsigned current = 0;
    void (*body)(void *) = nullptr;
    void *argument = nullptr;
    const char *error = nullptr;
};

thread_local Engine *engine = nullptr;

// The life of a fiber: a thread of one block after the other. It is made once, because making one takes system calls.
void enter() {
    for (;;) {
        Engine &all = *engine;
        all.body(all.argument);
        Fiber &fiber = all.fibers[all.current];
        fiber.state = State::done;
        if (_setjmp(fiber.jump) == 0) {
            _longjmp(engine->jump, 1);
        }
    }
}

// Goes back to the scheduler until the barrier opens.
void wait(State state) {
    Fiber &fiber = engine->fibers[engine->current];
    fiber.state = state;
    if (_setjmp(fiber.jump) == 0) {
        _longjmp(engine->jump, 1);
    }
}

void run_fiber(unsigned index) {
    Engine &all = *engine;
    all.current = index;
    Fiber &fiber = all.fibers[index];
    place = &fiber.place;
    if (_setjmp(all.jump) != 0) {
        return;
    }
    if (fiber.begun) {
        _longjmp(fiber.jump, 1);
    }
    fiber.begun = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = all.stacks.data() + STACK_LEN * index;
    fiber.context.uc_stack.ss_size = STACK_LEN;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    swapcontext(&all.context, &fiber.context);
}

// Opens the barriers that all who must have reached; false when there is none.
bool open_barriers() {
    Engine &all = *engine;
    bool opened = false;
    for (unsigned first = 0; first < all.count; first += WARP) {
        bool whole = true;
        for (unsigned at = first; at < first + WARP; at++) {
            whole = whole && all.fibers[at].state == State::at_warp_barrier;
        }
        for (unsigned at = first; whole && at < first + WARP; at++) {
            all.fibers[at].state = State::ready;
        }
        opened = opened || whole;
    }
    bool whole = true;
    for (unsigned at = 0; at < all.count; at++) {
        whole = whole && all.fibers[at].state == State::at_block_barrier;
    }
    for (unsigned at = 0; whole && at < all.count; at++) {
        all.fibers[at].state = State::ready;
    }
    return opened || whole;
}

const char *run_block(bool backwards) {
    Engine &all = *engine;
    for (;;) {
        unsigned done = 0;
        for (unsigned turn = 0; turn < all.count; turn++) {
            const unsigned index = backwards ? all.count - 1 - turn : turn;
            if (all.fibers[index].state == State::ready) {
                run_fiber(index);
            }
            done += all.fibers[index].state == State::done;
        }
        if (all.error != nullptr) {
            return all.error;
        }
        if (done == all.count) {
            return nullptr;
        }
        if (!open_barriers()) {
            return "a barrier that not every thread reached";
        }
    }
}

} // namespace

unsigned char *dynamic_shared() { return engine->shared; }

void block_barrier() { wait(State::at_block_barrier); }

void warp_barrier() { wait(State::at_warp_barrier); }

uint32_t exchange(uint32_t bits, unsigned lane_mask) {
    Fiber &own = engine->fibers[engine->current];
    const unsigned turn = own.exchanges++ % 2;
    own.passed[turn] = bits;
    warp_barrier();
    return engine->fibers[engine->current ^ lane_mask].passed[turn];
}

struct Launch {
    dim3 grid;
    unsigned threads;
    unsigned shared;
    bool backwards;
};

const char *run(const Launch &launch, void (*body)(void *), void *argument) {
    if (launch.threads == 0 || launch.threads % WARP != 0 || launch.threads > MAX_THREADS) {
        return "threads are not whole warps, or too many";
    }
    static thread_local Engine own;
    if (launch.shared > sizeof own.shared) {
        return "too much shared memory";
    }
    engine = &own;
    if (own.fibers.empty()) {
        own.fibers.resize(MAX_THREADS);
        own.stacks.resize(STACK_LEN * MAX_THREADS);
    }
    own.count = launch.threads;
    own.body = body;
    own.argument = argument;
    own.error = nullptr;
    const dim3 grid = launch.grid;
    for (unsigned long long at = 0; at < 1ull * grid.x * grid.y * grid.z; at++) {
        // Quiet NaNs in every format that the kernels use.
        std::memset(own.shared, 0xff, launch.shared);
        const dim3 block{(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y), (unsigned)(at / grid.x / grid.y)};
        for (unsigned thread = 0; thread < own.count; thread++) {
            Fiber &fiber = own.fibers[thread];
            fiber.place = Place{dim3{thread, 0, 0}, block, dim3{own.count, 1, 1}, grid};
            fiber.state = State::ready;
            fiber.exchanges = 0;
        }
        if (const char *error = run_block(launch.backwards)) {
            return error;
        }
    }
    return nullptr;
}

template <class... Arguments> struct Call {
    void (*kernel)(Arguments...);
    void **arguments;

    template <size_t... At> void with(std::index_sequence<At...>) {
        kernel(*static_cast<std::remove_reference_t<Arguments> *>(arguments[At])...);
    }

    static void body(void *call) { static_cast<Call *>(call)->with(std::index_sequence_for<Arguments...>{}); }
};

template <class... Arguments>
const char *call(void (*kernel)(Arguments...), unsigned count, const unsigned *sizes, void **arguments, const Launch &launch) {
    constexpr size_t wanted[] = {sizeof(Arguments)...};
    if (sizes != nullptr && count != sizeof...(Arguments)) {
        return "wrong number of arguments";
    }
    for (unsigned at = 0; sizes != nullptr && at < count; at++) {
        if (sizes[at] != wanted[at]) {
            return "an argument is of another size";
        }
    }
    Call<Arguments...> one{kernel, arguments};
    return run(launch, Call<Arguments...>::body, &one);
}

} // namespace simt

namespace wmma {

void check_matrix(const void *from, unsigned pitch, unsigned element) {
    if (reinterpret_cast<uintptr_t>(from) % 32 != 0 || pitch * element % 16 != 0) {
        simt::engine->error = "a matrix is not aligned as tensor cores want it";
    }
}

} // namespace wmma

struct Grid {
    unsigned x, y, z, threads, shared, backwards;
};

// Runs a kernel; null when it ran, else what was wrong with the launch. `sizes` are those of the arguments, in bytes; null when nobody
// knows them, as behind cuLaunchKernel.
extern "C" const char *simt_launch(const char *name, const Grid *grid, unsigned count, const unsigned *sizes, void **arguments) {
    const simt::Launch launch{dim3{grid->x, grid->y, grid->z}, grid->threads, grid->shared, grid->backwards != 0};
#define CALL(kernel) \
    if (std::strcmp(name, #kernel) == 0) { \
        return simt::call(kernel, count, sizes, arguments, launch); \
    }
#include "names.inc"
#undef CALL
    return "no such kernel";
}
