// One token of each row that draws, by the steps of server/engine/src/draw.rs in their order. One block for each row.
//
// Weights are f32 and sums f64, as there; but an exponential may differ from the host's in its last bit, and the order of additions is
// another. So the same token comes out unless a sum lies within such an error of a bound. The likeliest token involves no rounding.
#pragma once

#include "step.cuh"

// Stands in place of a token: there is none because a logit is not finite. server/cuda/src/step.rs has the same number.
constexpr unsigned NOT_FINITE = 0xffffffffu;
// No token, and a bound that no token is above.
constexpr unsigned NO_TOKEN = 0xffffffffu;
// Values of the 8 bits of a weight that one pass over the logits tells apart.
constexpr unsigned BINS = 256;
constexpr unsigned MOST_WARPS = 32;

// A double for each warp, a word for all, and what `cut_by` counts in each bin.
struct DrawScratch {
    double sums[MOST_WARPS];
    float floats[WARP];
    unsigned words[MOST_WARPS];
    unsigned counts[BINS];
    // In units of the last bit of the bin's weights, which share their exponent: exact, in whatever order they are added.
    unsigned long long units[BINS];
    unsigned bits;
    double rest;
    bool tied;
};

// The tokens that are left: those of a larger weight than `bits` says, and of the weight itself those up to `last`.
struct Cut {
    unsigned bits;
    unsigned last;

    __device__ bool keeps(unsigned weight, unsigned token) const {
        return weight > bits || (weight == bits && token <= last);
    }
};

// The weights of a row: 1 for the likeliest token, never negative, so that their bits are ordered as they are.
struct Weights {
    const float *logits;
    float top;
    float temperature;

    __device__ float of(unsigned token) const { return expf((logits[token] - top) / temperature); }
};

// The first of `count` tokens at which the running sum of `value` is above `share` of the whole plus `more`; NO_TOKEN when there is
// none. The range is cut into a piece for each warp, the piece that reaches the point again, until a thread can walk through it. Should
// the pieces of a piece sum to less than it did, its last token with a value is taken.
template <class Value>
__device__ unsigned first_above(const Value &value, unsigned count, double share, double more, DrawScratch &scratch) {
    const unsigned warps = blockDim.x / WARP;
    unsigned begin = 0;
    unsigned end = count;
    double point = 0.0;
    bool whole = true;
    while (whole || end - begin > WARP) {
        const unsigned piece = (end - begin + warps - 1) / warps;
        const unsigned from = begin + threadIdx.x / WARP * piece;
        double sum = 0.0;
        for (unsigned at = threadIdx.x % WARP; at < piece && from + at < end; at += WARP) {
            sum += value(from + at);
        }
        sum = warp_sum(sum);
        __syncthreads();
        if (threadIdx.x % WARP == 0) {
            scratch.sums[threadIdx.x / WARP] = sum;
        }
        __syncthreads();
        if (whole) {
            double all = 0.0;
            for (unsigned warp = 0; warp < warps; warp++) {
                all += scratch.sums[warp];
            }
            point = share * all + more;
        }
        double reached = 0.0;
        unsigned chosen = warps;
        unsigned last = 0;
        for (unsigned warp = 0; warp < warps && chosen == warps; warp++) {
            const double of_warp = scratch.sums[warp];
            if (reached + of_warp > point) {
                chosen = warp;
            } else {
                reached += of_warp;
            }
            last = of_warp > 0.0 ? warp : last;
        }
        if (chosen == warps) {
            if (whole) {
                return NO_TOKEN;
            }
            chosen = last;
            point = INFINITY;
        }
        begin += chosen * piece;
        end = end - begin < piece ? end : begin + piece;
        point -= reached;
        whole = false;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double reached = 0.0;
        unsigned found = NO_TOKEN;
        for (unsigned token = begin; token < end && !(reached > point); token++) {
            const double weight = value(token);
            reached += weight;
            found = weight > 0.0 ? token : found;
        }
        scratch.words[0] = found;
    }
    __syncthreads();
    const unsigned found = scratch.words[0];
    __syncthreads();
    return found;
}

// The significand of a weight as a whole number, and the value of its last bit.
__device__ inline unsigned significand(unsigned bits) {
    const unsigned fraction = bits & 0x7fffffu;
    return bits >> 23 > 0 ? fraction | 0x800000u : fraction;
}
__device__ inline double unit(unsigned bits) {
    const unsigned exponent = bits >> 23 > 0 ? bits >> 23 : 1;
    return ldexp(1.0, (int)exponent - 150);
}

// Counts the kept weights that share the bits above `shift + width` with `prefix` in bins of the `width` bits below.
__device__ inline void count_bins(const Weights &weights, unsigned vocabulary, const Cut &cut, unsigned prefix, unsigned shift,
                                  unsigned width, DrawScratch &scratch) {
    __syncthreads();
    for (unsigned bin = threadIdx.x; bin < BINS; bin += blockDim.x) {
        scratch.counts[bin] = 0;
        scratch.units[bin] = 0;
    }
    __syncthreads();
    for (unsigned token = threadIdx.x; token < vocabulary; token += blockDim.x) {
        const unsigned bits = __float_as_uint(weights.of(token));
        if (cut.keeps(bits, token) && bits >> shift >> width == prefix) {
            const unsigned bin = bits >> shift & ((1u << width) - 1);
            atomicAdd(&scratch.counts[bin], 1u);
            atomicAdd(&scratch.units[bin], (unsigned long long)significand(bits));
        }
    }
    __syncthreads();
}

// Cuts what `cut` keeps to the likeliest tokens: `most` of them, or, where that is 0, as few as reach `share` of their sum. Finds the
// last weight that is kept from its highest bits to its lowest, and then how many tokens of that very weight are.
__device__ inline Cut cut_by(const Weights &weights, unsigned vocabulary, const Cut &cut, unsigned most, double share,
                             DrawScratch &scratch) {
    constexpr unsigned SHIFTS[] = {23, 15, 7, 0};
    constexpr unsigned WIDTHS[] = {8, 8, 8, 7};
    unsigned prefix = 0;
    // What is still to be reached, in tokens or in weight; for thread 0 alone.
    double rest = most;
    for (unsigned pass = 0; pass < 4; pass++) {
        const unsigned shift = SHIFTS[pass];
        const unsigned width = WIDTHS[pass];
        count_bins(weights, vocabulary, cut, prefix, shift, width, scratch);
        if (threadIdx.x == 0) {
            const unsigned above = prefix << width;
            double whole = 0.0;
            for (unsigned bin = 1u << width; pass == 0 && most == 0 && bin-- > 0;) {
                whole += scratch.units[bin] * unit(bin << shift);
            }
            rest = pass == 0 && most == 0 ? share * whole : rest;
            unsigned chosen = 0;
            double before = rest;
            for (unsigned bin = 1u << width; bin-- > 0;) {
                if (scratch.counts[bin] == 0) {
                    continue;
                }
                // Stays at the last bin that holds a token when rounding lets none reach the rest.
                chosen = bin;
                before = rest;
                rest -= most > 0 ? scratch.counts[bin] : scratch.units[bin] * unit((above | bin) << shift);
                if (rest <= 0.0) {
                    break;
                }
            }
            rest = before;
            scratch.bits = above | chosen;
        }
        __syncthreads();
        prefix = scratch.bits;
    }
    if (threadIdx.x == 0) {
        const double tied = scratch.counts[prefix & ((1u << WIDTHS[3]) - 1)];
        const double weight = significand(prefix) * unit(prefix);
        double wanted = most > 0 ? rest : weight > 0.0 ? ceil(rest / weight) : 1.0;
        wanted = wanted < 1.0 ? 1.0 : wanted;
        scratch.tied = wanted < tied;
        scratch.rest = wanted;
    }
    __syncthreads();
    if (!scratch.tied) {
        return Cut{prefix, cut.bits == prefix ? cut.last : NO_TOKEN};
    }
    const auto ties = [&](unsigned token) {
        const unsigned bits = __float_as_uint(weights.of(token));
        return bits == prefix && cut.keeps(bits, token) ? 1.0 : 0.0;
    };
    return Cut{prefix, first_above(ties, vocabulary, 0.0, scratch.rest - 0.5, scratch)};
}

// The likeliest token, the lowest id on a tie, and its logit; NOT_FINITE when some logit is not.
__device__ inline unsigned likeliest(const float *logits, unsigned vocabulary, float &top, DrawScratch &scratch) {
    float best = -INFINITY;
    unsigned token = NO_TOKEN;
    bool finite = true;
    for (unsigned at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        const float logit = logits[at];
        finite = finite && isfinite(logit);
        if (logit > best) {
            best = logit;
            token = at;
        }
    }
    const bool broken = block_sum(finite ? 0.0f : 1.0f, scratch.floats) > 0.0f;
    for (unsigned step = WARP / 2; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(EVERY_LANE, best, step);
        const unsigned of = __shfl_xor_sync(EVERY_LANE, token, step);
        if (other > best || (other == best && of < token)) {
            best = other;
            token = of;
        }
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        scratch.floats[threadIdx.x / WARP] = best;
        scratch.words[threadIdx.x / WARP] = token;
    }
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.x / WARP; warp++) {
        const float other = scratch.floats[warp];
        if (other > best || (other == best && scratch.words[warp] < token)) {
            best = other;
            token = scratch.words[warp];
        }
    }
    __syncthreads();
    top = best;
    return broken ? NOT_FINITE : token;
}

KERNEL draw_tokens(const unsigned *step_words, const float *logits, unsigned *tokens, unsigned vocabulary) {
    __shared__ DrawScratch scratch;
    const Step step{step_words};
    const unsigned row = blockIdx.x;
    if (row >= step.rows() || !step.draws(row)) {
        return;
    }
    const float *own = logits + (unsigned long long)row * vocabulary;
    const float temperature = step.temperature(row);
    float top;
    unsigned token = likeliest(own, vocabulary, top, scratch);
    if (token != NOT_FINITE && temperature > 0.0f) {
        const Weights weights{own, top, temperature};
        Cut cut{0, NO_TOKEN};
        const unsigned top_k = step.top_k(row);
        if (top_k > 0 && top_k < vocabulary) {
            cut = cut_by(weights, vocabulary, cut, top_k, 0.0, scratch);
        }
        const float top_p = step.top_p(row);
        if (top_p < 1.0f) {
            cut = cut_by(weights, vocabulary, cut, 0, (double)top_p, scratch);
        }
        const float min_p = step.min_p(row);
        const auto kept = [&](unsigned at) {
            const float weight = weights.of(at);
            return weight >= min_p && cut.keeps(__float_as_uint(weight), at) ? (double)weight : 0.0;
        };
        const unsigned drawn = first_above(kept, vocabulary, step.uniform(row), 0.0, scratch);
        token = drawn == NO_TOKEN ? token : drawn;
    }
    if (threadIdx.x == 0) {
        tokens[row] = token;
    }
}
