// From one line's products to turned queries, and to keys and values in the cache.
#pragma once

#include "layers.cuh"

// The largest head; server/cuda/src/plan.rs refuses larger ones.
constexpr unsigned MAX_HEAD = 256;

struct Heads {
    // Query heads, key heads, and features of a head.
    unsigned queries;
    unsigned keys;
    unsigned head;
};

// One block for each line and each head of query, key and value. Adds the bias, normalises the head, turns it, and writes it where
// attention looks for it. `bias`, `query_norm` and `key_norm` may be null. `angles` holds cosine and sine for each position and pair.
KERNEL rope_write(const unsigned *step_words, const float *mixed, const float *bias, const float *query_norm, const float *key_norm,
                  const float *angles, bf16 *queries, Cache cache, Heads heads, float epsilon) {
    __shared__ float part[MAX_HEAD];
    __shared__ float scratch[WARP];
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    const unsigned at = blockIdx.y;
    const unsigned head = heads.head;
    const unsigned all = heads.queries + 2 * heads.keys;
    const float *from = mixed + ((unsigned long long)line * all + at) * head;
    for (unsigned i = threadIdx.x; i < head; i += blockDim.x) {
        part[i] = from[i] + (bias != nullptr ? bias[at * head + i] : 0.0f);
    }
    __syncthreads();
    const bool is_query = at < heads.queries;
    const bool is_value = at >= heads.queries + heads.keys;
    const float *norm = is_query ? query_norm : key_norm;
    if (!is_value && norm != nullptr) {
        const float scale = rms_scale(part, head, epsilon, scratch);
        for (unsigned i = threadIdx.x; i < head; i += blockDim.x) {
            part[i] = part[i] * scale * norm[i];
        }
        __syncthreads();
    }
    const unsigned position = step.position(line);
    const unsigned row = step.row_of(line);
    bf16 *to;
    if (is_query) {
        to = queries + ((unsigned long long)line * heads.queries + at) * head;
    } else {
        const unsigned block = step.block(row, position / BLOCK);
        const unsigned own = at - heads.queries;
        to = (is_value ? cache.values(block, own - heads.keys) : cache.keys(block, own)) + position % BLOCK * head;
    }
    const unsigned half = head / 2;
    for (unsigned i = threadIdx.x; i < half; i += blockDim.x) {
        float first = part[i];
        float second = part[i + half];
        if (!is_value) {
            const float *angle = angles + ((unsigned long long)position * half + i) * 2;
            const float turned = first * angle[0] - second * angle[1];
            second = second * angle[0] + first * angle[1];
            first = turned;
        }
        to[i] = to_bf16(first);
        to[i + half] = to_bf16(second);
    }
}
