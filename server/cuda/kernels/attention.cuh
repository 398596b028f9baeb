// Attention over the blocks of the cache: many queries of one row on tensor cores, or one query for each row with its positions split.
//
// Both walk the positions in the order and the cuts of the blocks, and a position that a query does not see changes no number, so that an
// answer does not depend on what else is in the step.
#pragma once

#include "rope.cuh"

struct Scores {
    // Multiplies the scores.
    float scale;
    // Keeps them between minus and plus this; 0 for no bound.
    float cap;
    // How many positions a query sees, itself included.
    unsigned window;
};

__device__ inline float bend(float score, Scores scores) {
    score *= scores.scale;
    return scores.cap > 0.0f ? scores.cap * tanhf(score / scores.cap) : score;
}

// The first position that a query at `position` sees.
__device__ inline unsigned first_seen(unsigned position, Scores scores) {
    return position + 1 > scores.window ? position + 1 - scores.window : 0;
}

// Queries of one tile: four warps of sixteen. server/cuda/src/step.rs has the same number.
constexpr unsigned TILE = 64;
constexpr unsigned PREFILL_THREADS = TILE / 16 * WARP;
// Keeps the lines of a matrix on different banks.
constexpr unsigned PAD = 8;

// One block of threads for each tile and query head. Shared memory, with `d` the head rounded up to sixteen:
// queries, keys, values [64][d + 8] and shares [64][72] in bf16, scores [64][72], answers [64][d + 8], and two numbers for each query in f32.
KERNEL prefill_attention(const unsigned *step_words, const bf16 *queries, Cache cache, Heads heads, Scores scores, bf16 *out) {
    DYNAMIC_SHARED(arena);
    const Step step{step_words};
    if (blockIdx.x >= step.tiles()) {
        return;
    }
    const unsigned row = step.tile_row(blockIdx.x);
    const unsigned offset = step.tile_offset(blockIdx.x);
    const unsigned left = step.line_count(row) - offset;
    const unsigned count = left < TILE ? left : TILE;
    const unsigned first_line = step.first_line(row) + offset;
    const unsigned first = step.position(first_line);
    const unsigned query_head = blockIdx.y;
    const unsigned key_head = query_head / (heads.queries / heads.keys);
    const unsigned head = heads.head;
    const unsigned depth = (head + 15) / 16 * 16;
    const unsigned pitch = depth + PAD;
    constexpr unsigned across = BLOCK + PAD;

    bf16 *query = (bf16 *)arena;
    bf16 *key = query + TILE * pitch;
    bf16 *value = key + BLOCK * pitch;
    bf16 *share = value + BLOCK * pitch;
    float *score = (float *)(share + TILE * across);
    float *answer = score + TILE * across;
    float *most = answer + TILE * pitch;
    float *sum = most + TILE;

    for (unsigned at = threadIdx.x; at < TILE * pitch; at += blockDim.x) {
        const unsigned line = at / pitch;
        const unsigned feature = at % pitch;
        const bool there = line < count && feature < head;
        query[at] = there ? queries[((unsigned long long)(first_line + line) * heads.queries + query_head) * head + feature] : to_bf16(0.0f);
        answer[at] = 0.0f;
    }
    for (unsigned at = threadIdx.x; at < TILE; at += blockDim.x) {
        most[at] = -INFINITY;
        sum[at] = 0.0f;
    }
    const unsigned warp = threadIdx.x / WARP;
    const unsigned lane = threadIdx.x % WARP;
    const unsigned own = warp * 16;
    // Two lanes for each query of the warp, each with half of the columns.
    const unsigned line = own + lane / 2;
    const unsigned side = lane % 2;
    const unsigned position = first + line;
    const unsigned from = first_seen(position, scores);
    const unsigned last_block = (first + count - 1) / BLOCK;
    for (unsigned at_block = first_seen(first, scores) / BLOCK; at_block <= last_block; at_block++) {
        const unsigned block = step.block(row, at_block);
        const bf16 *keys = cache.keys(block, key_head);
        const bf16 *values = cache.values(block, key_head);
        __syncthreads();
        for (unsigned at = threadIdx.x; at < BLOCK * pitch; at += blockDim.x) {
            const unsigned slot = at / pitch;
            const unsigned feature = at % pitch;
            // What lies behind the last position was never written, or is another's: it does not enter even as zero times itself.
            const bool there = feature < head && at_block * BLOCK + slot < first + count;
            key[at] = there ? keys[slot * head + feature] : to_bf16(0.0f);
            value[at] = there ? values[slot * head + feature] : to_bf16(0.0f);
        }
        __syncthreads();
        for (unsigned n = 0; n < BLOCK; n += 16) {
            wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
            wmma::fill_fragment(sums, 0.0f);
            for (unsigned k = 0; k < depth; k += 16) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::row_major> a;
                wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::col_major> b;
                wmma::load_matrix_sync(a, query + own * pitch + k, pitch);
                wmma::load_matrix_sync(b, key + n * pitch + k, pitch);
                wmma::mma_sync(sums, a, b, sums);
            }
            wmma::store_matrix_sync(score + own * across + n, sums, across, wmma::mem_row_major);
        }
        __syncwarp();
        float *line_scores = score + line * across + side * (BLOCK / 2);
        float highest = -INFINITY;
        for (unsigned at = 0; at < BLOCK / 2; at++) {
            const unsigned seen = at_block * BLOCK + side * (BLOCK / 2) + at;
            const bool visible = line < count && seen >= from && seen <= position;
            line_scores[at] = visible ? bend(line_scores[at], scores) : -INFINITY;
            highest = fmaxf(highest, line_scores[at]);
        }
        highest = fmaxf(highest, __shfl_xor_sync(EVERY_LANE, highest, 1));
        const float before = most[line];
        const float now = fmaxf(before, highest);
        // A query that has seen nothing yet has nothing to shrink.
        const float shrink = before == -INFINITY ? 0.0f : expf(before - now);
        float added = 0.0f;
        bf16 *line_shares = share + line * across + side * (BLOCK / 2);
        for (unsigned at = 0; at < BLOCK / 2; at++) {
            const bf16 part = to_bf16(line_scores[at] == -INFINITY ? 0.0f : expf(line_scores[at] - now));
            line_shares[at] = part;
            // The sum is of what is multiplied, so that the shares of a query add up to one.
            added += to_float(part);
        }
        added += __shfl_xor_sync(EVERY_LANE, added, 1);
        for (unsigned feature = side; feature < depth; feature += 2) {
            answer[line * pitch + feature] *= shrink;
        }
        __syncwarp();
        if (side == 0) {
            most[line] = now;
            sum[line] = sum[line] * shrink + added;
        }
        for (unsigned n = 0; n < depth; n += 16) {
            wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
            wmma::load_matrix_sync(sums, answer + own * pitch + n, pitch, wmma::mem_row_major);
            for (unsigned k = 0; k < BLOCK; k += 16) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, bf16, wmma::row_major> a;
                wmma::fragment<wmma::matrix_b, 16, 16, 16, bf16, wmma::row_major> b;
                wmma::load_matrix_sync(a, share + own * across + k, across);
                wmma::load_matrix_sync(b, value + k * pitch + n, pitch);
                wmma::mma_sync(sums, a, b, sums);
            }
            wmma::store_matrix_sync(answer + own * pitch + n, sums, pitch, wmma::mem_row_major);
        }
        __syncwarp();
    }
    if (line < count) {
        bf16 *to = out + ((unsigned long long)(first_line + line) * heads.queries + query_head) * head;
        for (unsigned feature = side; feature < head; feature += 2) {
            to[feature] = to_bf16(answer[line * pitch + feature] / sum[line]);
        }
    }
}

// Query heads that one block of threads takes together.
constexpr unsigned TOGETHER = 8;
constexpr unsigned DECODE_THREADS = 128;

// One block of threads for each row that appends one token, each key head with up to eight of its query heads, and each part of the row's
// positions. `parts` gets for each row, query head and part: the answer of the part, its highest score and the sum of its shares.
KERNEL decode_attention(const unsigned *step_words, const bf16 *queries, Cache cache, Heads heads, Scores scores, float *parts) {
    __shared__ float query[TOGETHER * MAX_HEAD];
    __shared__ float score[TOGETHER * BLOCK];
    __shared__ float shrinks[TOGETHER];
    const Step step{step_words};
    if (blockIdx.x >= step.decodes()) {
        return;
    }
    const unsigned row = step.decode_row(blockIdx.x);
    const unsigned line = step.first_line(row);
    const unsigned position = step.position(line);
    const unsigned head = heads.head;
    const unsigned group = heads.queries / heads.keys;
    const unsigned chunks = (group + TOGETHER - 1) / TOGETHER;
    const unsigned key_head = blockIdx.y / chunks;
    const unsigned chunk = blockIdx.y % chunks * TOGETHER;
    const unsigned together = group - chunk < TOGETHER ? group - chunk : TOGETHER;
    const unsigned query_head = key_head * group + chunk;
    const unsigned from = first_seen(position, scores);
    const unsigned first_block = from / BLOCK;
    const unsigned blocks = position / BLOCK + 1 - first_block;
    const unsigned share = (blocks + gridDim.z - 1) / gridDim.z;
    const unsigned begin = first_block + blockIdx.z * share;
    const unsigned end = begin + share < first_block + blocks ? begin + share : first_block + blocks;

    for (unsigned at = threadIdx.x; at < together * head; at += blockDim.x) {
        query[at] = to_float(queries[((unsigned long long)line * heads.queries + query_head) * head + at]);
    }
    const unsigned warp = threadIdx.x / WARP;
    const unsigned lane = threadIdx.x % WARP;
    float answer[TOGETHER][MAX_HEAD / DECODE_THREADS];
    for (unsigned g = 0; g < TOGETHER; g++) {
        for (unsigned part = 0; part < MAX_HEAD / DECODE_THREADS; part++) {
            answer[g][part] = 0.0f;
        }
    }
    // Warp `w` keeps these two for the queries `w`, `w + 4`; every lane has them.
    float most[TOGETHER / 4];
    float sum[TOGETHER / 4];
    for (unsigned at = 0; at < TOGETHER / 4; at++) {
        most[at] = -INFINITY;
        sum[at] = 0.0f;
    }
    for (unsigned at_block = begin; at_block < end; at_block++) {
        const unsigned block = step.block(row, at_block);
        const bf16 *keys = cache.keys(block, key_head);
        const bf16 *values = cache.values(block, key_head);
        __syncthreads();
        for (unsigned slot = warp; slot < BLOCK; slot += DECODE_THREADS / WARP) {
            const unsigned seen = at_block * BLOCK + slot;
            const bool visible = seen >= from && seen <= position;
            for (unsigned g = 0; g < together; g++) {
                float product = 0.0f;
                if (visible) {
                    for (unsigned feature = lane; feature < head; feature += WARP) {
                        product += query[g * head + feature] * to_float(keys[slot * head + feature]);
                    }
                }
                product = warp_sum(product);
                if (lane == 0) {
                    score[g * BLOCK + slot] = visible ? bend(product, scores) : -INFINITY;
                }
            }
        }
        __syncthreads();
        for (unsigned g = warp, own = 0; g < together; g += DECODE_THREADS / WARP, own++) {
            const float first = score[g * BLOCK + lane];
            const float second = score[g * BLOCK + WARP + lane];
            const float now = fmaxf(most[own], warp_max(fmaxf(first, second)));
            const float shrink = most[own] == -INFINITY ? 0.0f : expf(most[own] - now);
            const float first_share = first == -INFINITY ? 0.0f : expf(first - now);
            const float second_share = second == -INFINITY ? 0.0f : expf(second - now);
            score[g * BLOCK + lane] = first_share;
            score[g * BLOCK + WARP + lane] = second_share;
            sum[own] = sum[own] * shrink + warp_sum(first_share + second_share);
            most[own] = now;
            if (lane == 0) {
                shrinks[g] = shrink;
            }
        }
        __syncthreads();
        const unsigned seen = position + 1 - at_block * BLOCK;
        const unsigned slots = seen < BLOCK ? seen : BLOCK;
        for (unsigned part = 0; part < MAX_HEAD / DECODE_THREADS; part++) {
            const unsigned feature = threadIdx.x + part * DECODE_THREADS;
            if (feature >= head) {
                continue;
            }
            for (unsigned g = 0; g < TOGETHER; g++) {
                answer[g][part] *= g < together ? shrinks[g] : 0.0f;
            }
            for (unsigned slot = 0; slot < slots; slot++) {
                // A position before the window may be of another's block, or erased: its value is not looked at.
                if (at_block * BLOCK + slot < from) {
                    continue;
                }
                const float value = to_float(values[slot * head + feature]);
                for (unsigned g = 0; g < TOGETHER; g++) {
                    if (g < together) {
                        answer[g][part] += score[g * BLOCK + slot] * value;
                    }
                }
            }
        }
    }
    const unsigned long long width = head + 2;
    for (unsigned g = 0; g < TOGETHER; g++) {
        if (g >= together) {
            continue;
        }
        float *to = parts + (((unsigned long long)blockIdx.x * heads.queries + query_head + g) * gridDim.z + blockIdx.z) * width;
        for (unsigned part = 0; part < MAX_HEAD / DECODE_THREADS; part++) {
            const unsigned feature = threadIdx.x + part * DECODE_THREADS;
            if (feature < head) {
                to[feature] = answer[g][part];
            }
        }
        if (warp == g % (DECODE_THREADS / WARP) && lane == 0) {
            to[head] = most[g / (DECODE_THREADS / WARP)];
            to[head + 1] = sum[g / (DECODE_THREADS / WARP)];
        }
    }
}

// Puts the parts of each row and query head together, in their order.
KERNEL combine_parts(const unsigned *step_words, const float *parts, Heads heads, unsigned count, bf16 *out) {
    const Step step{step_words};
    if (blockIdx.x >= step.decodes()) {
        return;
    }
    const unsigned line = step.first_line(step.decode_row(blockIdx.x));
    const unsigned head = heads.head;
    const unsigned long long width = head + 2;
    const float *own = parts + ((unsigned long long)blockIdx.x * heads.queries + blockIdx.y) * count * width;
    float most = -INFINITY;
    for (unsigned part = 0; part < count; part++) {
        most = fmaxf(most, own[part * width + head]);
    }
    float sum = 0.0f;
    for (unsigned part = 0; part < count; part++) {
        const float highest = own[part * width + head];
        sum += highest == -INFINITY ? 0.0f : own[part * width + head + 1] * expf(highest - most);
    }
    bf16 *to = out + ((unsigned long long)line * heads.queries + blockIdx.y) * head;
    for (unsigned feature = threadIdx.x; feature < head; feature += blockDim.x) {
        float answer = 0.0f;
        for (unsigned part = 0; part < count; part++) {
            const float highest = own[part * width + head];
            answer += highest == -INFINITY ? 0.0f : own[part * width + feature] * expf(highest - most);
        }
        to[feature] = to_bf16(answer / sum);
    }
}
