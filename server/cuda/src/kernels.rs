//! The kernels of `kernels/*.cuh`, each with a function that makes a launch of it.

use crate::device::{Address, Argument, CacheView, Heads, Launch, Scores};

macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A kernel of the embedded module.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kernel { $($(#[$doc])* $variant),* }

        impl Kernel {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in the module.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

kernels! {
    /// Token vectors of the step.
    Embed = "embed",
    /// RMS norm of each line.
    RmsNorm = "rms_norm",
    /// RMS norm of the last line of each row.
    LastNorm = "last_norm",
    /// Adds the RMS norm of one line to another.
    AddNormed = "add_normed",
    /// Adds a bias to each line.
    AddBias = "add_bias",
    /// The gate of the feed-forward part.
    GateMultiply = "gate_multiply",
    /// Bounds the logits.
    CapLogits = "cap_logits",
    /// Biases, norms and turns heads, and writes keys and values to the cache.
    RopeWrite = "rope_write",
    /// Attention of rows that append several tokens.
    PrefillAttention = "prefill_attention",
    /// Attention of rows that append one token, in parts.
    DecodeAttention = "decode_attention",
    /// Puts the parts together.
    CombineParts = "combine_parts",
    /// Draws a token of each row that wants one.
    DrawTokens = "draw_tokens",
}

/// Threads of a block that works on one line.
const LINE_THREADS: u32 = 256;
/// Threads of a block that works on one head.
const HEAD_THREADS: u32 = 64;
/// Blocks that share a wide line.
const ACROSS: u32 = 16;
/// Threads of a block of the attention of several tokens, `PREFILL_THREADS` of `kernels/attention.cuh`.
const PREFILL_THREADS: u32 = 128;
/// Threads of a block of the attention of one token, `DECODE_THREADS`.
const DECODE_THREADS: u32 = 128;
/// Threads of a block that draws.
const DRAW_THREADS: u32 = 512;
/// Query heads that a block of it takes together, `TOGETHER`.
const TOGETHER: u32 = 8;
/// Parts into which a row's positions are cut there. Always as many, so that a row's answer does not depend on the others.
pub(crate) const PARTS: u32 = 16;

fn by_line(kernel: Kernel, lines: u32, arguments: Vec<Argument>) -> Launch {
    Launch { kernel, grid: [lines, 1, 1], threads: LINE_THREADS, shared: 0, arguments }
}

/// What every kernel of a step is given first, and how many lines it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct On {
    /// The step's description.
    pub(crate) step: Address,
    /// Lines, or rows, at most; those that the step does not have are left alone.
    pub(crate) count: u32,
}

/// A norm's weight and its epsilon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormWeight {
    /// f32, one for each feature.
    pub(crate) weight: Address,
    /// Added to the mean square.
    pub(crate) epsilon: f32,
}

/// `x = table[token] * scale`
pub(crate) fn embed(on: On, table: Address, x: Address, (hidden, scale): (u32, f32)) -> Launch {
    use Argument::{Address as At, Float, Number};
    by_line(Kernel::Embed, on.count, vec![At(on.step), At(table), At(x), Number(hidden), Float(scale)])
}

/// `out = norm(x)`, in bf16.
pub(crate) fn rms_norm(on: On, x: Address, norm: NormWeight, (out, hidden): (Address, u32)) -> Launch {
    normed(Kernel::RmsNorm, on, [x, norm.weight, out], (hidden, norm.epsilon))
}

/// The same of the last line of each row.
pub(crate) fn last_norm(on: On, x: Address, norm: NormWeight, (out, hidden): (Address, u32)) -> Launch {
    normed(Kernel::LastNorm, on, [x, norm.weight, out], (hidden, norm.epsilon))
}

/// `x += norm(added)`
pub(crate) fn add_normed(on: On, added: Address, norm: NormWeight, (x, hidden): (Address, u32)) -> Launch {
    normed(Kernel::AddNormed, on, [added, norm.weight, x], (hidden, norm.epsilon))
}

fn normed(kernel: Kernel, on: On, pointers: [Address; 3], (hidden, epsilon): (u32, f32)) -> Launch {
    let mut arguments = vec![Argument::Address(on.step)];
    arguments.extend(pointers.map(Argument::Address));
    arguments.extend([Argument::Number(hidden), Argument::Float(epsilon)]);
    by_line(kernel, on.count, arguments)
}

/// `x += bias`
pub(crate) fn add_bias(on: On, bias: Address, x: Address, hidden: u32) -> Launch {
    use Argument::{Address as At, Number};
    by_line(Kernel::AddBias, on.count, vec![At(on.step), At(bias), At(x), Number(hidden)])
}

/// How a gate is bent, with the number that `gate_multiply` knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Bend {
    /// `x * sigmoid(x)`
    Silu = 0,
    /// GELU with a tanh.
    GeluTanh = 1,
}

/// `out = bend(gate) * up` in bf16, of lines that hold the gate, then the up.
pub(crate) fn gate_multiply(on: On, wide: Address, out: Address, (width, bend): (u32, Bend)) -> Launch {
    use Argument::{Address as At, Number};
    Launch {
        kernel: Kernel::GateMultiply,
        grid: [on.count, ACROSS.min(width.div_ceil(LINE_THREADS)), 1],
        threads: LINE_THREADS,
        shared: 0,
        arguments: vec![At(on.step), At(wide), At(out), Number(width), Number(bend as u32)],
    }
}

/// Keeps logits between minus and plus `cap`.
pub(crate) fn cap_logits(on: On, logits: Address, vocabulary: u32, cap: f32) -> Launch {
    use Argument::{Address as At, Float, Number};
    Launch {
        kernel: Kernel::CapLogits,
        grid: [on.count, ACROSS, 1],
        threads: LINE_THREADS,
        shared: 0,
        arguments: vec![At(on.step), At(logits), Number(vocabulary), Float(cap)],
    }
}

/// What a layer does to its products before attention. Absent parts are [`Address::NULL`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turning {
    /// f32, of query, key and value.
    pub(crate) bias: Address,
    /// f32, one for each feature of a query head.
    pub(crate) query_norm: Address,
    /// f32, one for each feature of a key head.
    pub(crate) key_norm: Address,
    /// f32 cosine and sine of each position and pair of features.
    pub(crate) angles: Address,
    /// Added to a head's mean square.
    pub(crate) epsilon: f32,
}

/// From `mixed` (f32) to turned queries (bf16), and to keys and values in the cache.
pub(crate) fn rope_write(
    on: On,
    (mixed, queries): (Address, Address),
    turning: &Turning,
    (cache, heads): (CacheView, Heads),
) -> Launch {
    use Argument::{Address as At, Float};
    Launch {
        kernel: Kernel::RopeWrite,
        grid: [on.count, heads.queries + 2 * heads.keys, 1],
        threads: HEAD_THREADS,
        shared: 0,
        arguments: vec![
            At(on.step),
            At(mixed),
            At(turning.bias),
            At(turning.query_norm),
            At(turning.key_norm),
            At(turning.angles),
            At(queries),
            Argument::Cache(cache),
            Argument::Heads(heads),
            Float(turning.epsilon),
        ],
    }
}

/// The layer whose cache an attention reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attended {
    /// Where it lies.
    pub(crate) cache: CacheView,
    /// Its heads.
    pub(crate) heads: Heads,
    /// Its scores.
    pub(crate) scores: Scores,
}

/// Attention of `on.count` tiles.
pub(crate) fn prefill_attention(on: On, queries: Address, attended: &Attended, out: Address) -> Launch {
    use Argument::Address as At;
    let Attended { cache, heads, scores } = *attended;
    Launch {
        kernel: Kernel::PrefillAttention,
        grid: [on.count, heads.queries, 1],
        threads: PREFILL_THREADS,
        shared: prefill_shared(heads.head),
        arguments: vec![
            At(on.step),
            At(queries),
            Argument::Cache(cache),
            Argument::Heads(heads),
            Argument::Scores(scores),
            At(out),
        ],
    }
}

/// Bytes of shared memory of [`prefill_attention`] for this head, as `kernels/attention.cuh` lays them out.
pub(crate) const fn prefill_shared(head: u32) -> u32 {
    let pitch = head.next_multiple_of(16) + 8;
    let halves = 3 * 64 * pitch + 64 * 72;
    let floats = 64 * 72 + 64 * pitch + 2 * 64;
    2 * halves + 4 * floats
}

/// Attention of `on.count` rows with one token each, into `parts` (f32).
pub(crate) fn decode_attention(on: On, queries: Address, attended: &Attended, parts: Address) -> Launch {
    use Argument::Address as At;
    let Attended { cache, heads, scores } = *attended;
    let chunks = (heads.queries / heads.keys.max(1)).div_ceil(TOGETHER);
    Launch {
        kernel: Kernel::DecodeAttention,
        grid: [on.count, heads.keys * chunks, PARTS],
        threads: DECODE_THREADS,
        shared: 0,
        arguments: vec![
            At(on.step),
            At(queries),
            Argument::Cache(cache),
            Argument::Heads(heads),
            Argument::Scores(scores),
            At(parts),
        ],
    }
}

/// Bytes that [`decode_attention`] writes for each row.
pub(crate) const fn parts_bytes(heads: Heads) -> usize {
    (heads.queries * PARTS * (heads.head + 2)) as usize * 4
}

/// Puts the parts of `on.count` rows together.
pub(crate) fn combine_parts(on: On, parts: Address, heads: Heads, out: Address) -> Launch {
    use Argument::{Address as At, Number};
    Launch {
        kernel: Kernel::CombineParts,
        grid: [on.count, heads.queries, 1],
        threads: HEAD_THREADS,
        shared: 0,
        arguments: vec![At(on.step), At(parts), Argument::Heads(heads), Number(PARTS), At(out)],
    }
}

/// The tokens of the rows that draw, out of `logits` (f32); the others' places are left alone.
pub(crate) fn draw_tokens(on: On, logits: Address, tokens: Address, vocabulary: u32) -> Launch {
    use Argument::{Address as At, Number};
    Launch {
        kernel: Kernel::DrawTokens,
        grid: [on.count, 1, 1],
        threads: DRAW_THREADS,
        shared: 0,
        arguments: vec![At(on.step), At(logits), At(tokens), Number(vocabulary)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_those_of_the_module() {
        let listed = include_str!("../kernels/names.inc");
        let named: String = Kernel::ALL.iter().map(|kernel| format!("CALL({})\n", kernel.name())).collect();
        assert_eq!(listed, named);
    }

    #[test]
    fn shared_memory_fits_a_device_of_compute_capability_8_0() {
        assert!(prefill_shared(128) <= 163 << 10);
        assert!(prefill_shared(256) <= 227 << 10, "9.0 takes the largest head");
    }
}
