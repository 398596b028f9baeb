// Everything of a layer but products and attention. One block for each line, so that a line's result depends on the line alone.
#pragma once

#include "step.cuh"

// x[line] = table[token] * scale
KERNEL embed(const unsigned *step_words, const bf16 *table, float *x, unsigned hidden, float scale) {
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    const bf16 *from = table + (unsigned long long)step.token(line) * hidden;
    float *to = x + (unsigned long long)line * hidden;
    for (unsigned at = threadIdx.x; at < hidden; at += blockDim.x) {
        to[at] = to_float(from[at]) * scale;
    }
}

__device__ inline float rms_scale(const float *x, unsigned count, float epsilon, float *scratch) {
    float sum = 0.0f;
    for (unsigned at = threadIdx.x; at < count; at += blockDim.x) {
        sum += x[at] * x[at];
    }
    sum = block_sum(sum, scratch);
    return 1.0f / sqrtf(sum / (float)count + epsilon);
}

// out[line] = x[line] / rms(x[line]) * weight
KERNEL rms_norm(const unsigned *step_words, const float *x, const float *weight, bf16 *out, unsigned hidden, float epsilon) {
    __shared__ float scratch[WARP];
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    const float *from = x + (unsigned long long)line * hidden;
    bf16 *to = out + (unsigned long long)line * hidden;
    const float scale = rms_scale(from, hidden, epsilon, scratch);
    for (unsigned at = threadIdx.x; at < hidden; at += blockDim.x) {
        to[at] = to_bf16(from[at] * scale * weight[at]);
    }
}

// The same for the last line of each row; out has one line for each row.
KERNEL last_norm(const unsigned *step_words, const float *x, const float *weight, bf16 *out, unsigned hidden, float epsilon) {
    __shared__ float scratch[WARP];
    const Step step{step_words};
    const unsigned row = blockIdx.x;
    if (row >= step.rows()) {
        return;
    }
    const unsigned line = step.first_line(row) + step.line_count(row) - 1;
    const float *from = x + (unsigned long long)line * hidden;
    bf16 *to = out + (unsigned long long)row * hidden;
    const float scale = rms_scale(from, hidden, epsilon, scratch);
    for (unsigned at = threadIdx.x; at < hidden; at += blockDim.x) {
        to[at] = to_bf16(from[at] * scale * weight[at]);
    }
}

// x[line] += added[line] / rms(added[line]) * weight
KERNEL add_normed(const unsigned *step_words, const float *added, const float *weight, float *x, unsigned hidden, float epsilon) {
    __shared__ float scratch[WARP];
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    const float *from = added + (unsigned long long)line * hidden;
    float *to = x + (unsigned long long)line * hidden;
    const float scale = rms_scale(from, hidden, epsilon, scratch);
    for (unsigned at = threadIdx.x; at < hidden; at += blockDim.x) {
        to[at] += from[at] * scale * weight[at];
    }
}

// x[line] += bias
KERNEL add_bias(const unsigned *step_words, const float *bias, float *x, unsigned hidden) {
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    float *to = x + (unsigned long long)line * hidden;
    for (unsigned at = threadIdx.x; at < hidden; at += blockDim.x) {
        to[at] += bias[at];
    }
}

constexpr unsigned GATE_GELU_TANH = 1;

// out[line] = bend(wide[line][..width]) * wide[line][width..]
KERNEL gate_multiply(const unsigned *step_words, const float *wide, bf16 *out, unsigned width, unsigned gate) {
    const Step step{step_words};
    const unsigned line = blockIdx.x;
    if (line >= step.lines()) {
        return;
    }
    const float *from = wide + (unsigned long long)line * 2 * width;
    bf16 *to = out + (unsigned long long)line * width;
    for (unsigned at = threadIdx.x + blockIdx.y * blockDim.x; at < width; at += blockDim.x * gridDim.y) {
        const float x = from[at];
        float bent;
        if (gate == GATE_GELU_TANH) {
            bent = 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
        } else {
            bent = x / (1.0f + expf(-x));
        }
        to[at] = to_bf16(bent * from[width + at]);
    }
}

// logits = cap * tanh(logits / cap)
KERNEL cap_logits(const unsigned *step_words, float *logits, unsigned vocabulary, float cap) {
    const Step step{step_words};
    const unsigned row = blockIdx.x;
    if (row >= step.rows()) {
        return;
    }
    float *line = logits + (unsigned long long)row * vocabulary;
    for (unsigned at = threadIdx.x + blockIdx.y * blockDim.x; at < vocabulary; at += blockDim.x * gridDim.y) {
        line[at] = cap * tanhf(line[at] / cap);
    }
}
