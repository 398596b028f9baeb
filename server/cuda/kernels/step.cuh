// The packed description of one step, as server/cuda/src/step.rs writes it: a header of words, then arrays at the offsets that it gives.
// A graph that was captured for a number of rows reads everything else from here, so that it can be replayed for any sequences.
#pragma once

#include "portable.cuh"

struct Step {
    const unsigned *words;

    // Tokens of the step, one line each.
    __device__ unsigned lines() const { return words[0]; }
    // Sequences of the step.
    __device__ unsigned rows() const { return words[1]; }
    // Rows that append one token, and tiles of those that append more.
    __device__ unsigned decodes() const { return words[2]; }
    __device__ unsigned tiles() const { return words[3]; }

    __device__ unsigned token(unsigned line) const { return words[words[5] + line]; }
    __device__ unsigned position(unsigned line) const { return words[words[6] + line]; }
    __device__ unsigned row_of(unsigned line) const { return words[words[7] + line]; }
    // The first line of a row, how many it has, and its positions when the step is done.
    __device__ unsigned first_line(unsigned row) const { return words[words[8] + row]; }
    __device__ unsigned line_count(unsigned row) const { return words[words[9] + row]; }
    __device__ unsigned end(unsigned row) const { return words[words[10] + row]; }
    // The block that holds positions `64 * at` and on.
    __device__ unsigned block(unsigned row, unsigned at) const { return words[words[11] + row * words[4] + at]; }
    __device__ unsigned decode_row(unsigned at) const { return words[words[12] + at]; }
    // A tile is a row and the first of its lines that the tile takes.
    __device__ unsigned tile_row(unsigned at) const { return words[words[13] + 2 * at]; }
    __device__ unsigned tile_offset(unsigned at) const { return words[words[13] + 2 * at + 1]; }
    // How a row draws, if it does, in seven words.
    __device__ unsigned draw_word(unsigned row, unsigned at) const { return words[words[14] + 7 * row + at]; }
    __device__ bool draws(unsigned row) const { return draw_word(row, 0) != 0; }
    __device__ float temperature(unsigned row) const { return __uint_as_float(draw_word(row, 1)); }
    __device__ unsigned top_k(unsigned row) const { return draw_word(row, 2); }
    __device__ float top_p(unsigned row) const { return __uint_as_float(draw_word(row, 3)); }
    __device__ float min_p(unsigned row) const { return __uint_as_float(draw_word(row, 4)); }
    __device__ double uniform(unsigned row) const {
        return __hiloint2double((int)draw_word(row, 6), (int)draw_word(row, 5));
    }
};

// Where a layer's keys or values of one head at one block begin. A block holds all layers, so that erasing it is one fill:
// [layer][keys, values][head][position][feature].
struct Cache {
    bf16 *memory;
    // Elements of one block, and where this layer begins in it.
    unsigned long long block_len;
    unsigned long long layer;
    unsigned heads;
    unsigned head;

    __device__ bf16 *keys(unsigned block, unsigned at) const {
        return memory + block_len * block + layer + (unsigned long long)at * BLOCK * head;
    }
    __device__ bf16 *values(unsigned block, unsigned at) const {
        return keys(block, heads + at);
    }
};
