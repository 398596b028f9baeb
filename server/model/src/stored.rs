//! The forms in which the files store numbers, and what the numbers are.
//!
//! Q8_0, Q4_K and Q6_K are those of ggml (`ggml-common.h`, `ggml-quants.c`): blocks of a few scales and many small integers.

use crate::numbers::{half, wide};
use anchorhold_sealed_weights::Dtype;

/// How a tensor stores its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    Bf16,
    /// 32 numbers in 34 bytes: a scale in half precision, then an integer of 8 bits each.
    Q8_0,
    /// 256 numbers in 144 bytes: see [`Q4K`].
    Q4K,
    /// 256 numbers in 210 bytes: see [`Q6K`].
    Q6K,
}

/// Numbers of a block of [`Stored::Q8_0`].
pub(crate) const SMALL: usize = 32;
/// Numbers of a block of [`Stored::Q4K`] and [`Stored::Q6K`].
pub(crate) const LARGE: usize = 256;

impl Stored {
    /// The form of this element type; `None` for what is not computed with.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::Bf16 => Some(Self::Bf16),
            Dtype::Q8_0 => Some(Self::Q8_0),
            Dtype::Q4K => Some(Self::Q4K),
            Dtype::Q6K => Some(Self::Q6K),
            _ => None,
        }
    }

    /// Whether the numbers are integers with scales.
    pub(crate) fn is_quantised(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4K | Self::Q6K)
    }

    /// Numbers and bytes of a block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (SMALL, 34),
            Self::Q4K => (LARGE, 144),
            Self::Q6K => (LARGE, 210),
        }
    }

    /// Bytes of a row of `depth` numbers; `None` if it does not end with a block.
    pub(crate) fn bytes(self, depth: usize) -> Option<usize> {
        let (numbers, bytes) = self.block();
        if depth.is_multiple_of(numbers) { (depth / numbers).checked_mul(bytes) } else { None }
    }

    /// The numbers of a row.
    pub(crate) fn numbers(self, row: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => convert(row, out, f32::from_le_bytes),
            Self::F16 => convert(row, out, half),
            Self::Bf16 => convert(row, out, wide),
            Self::Q8_0 => blocks(row, out, q8_0),
            Self::Q4K => blocks(row, out, |block, out| Q4K::of(block).numbers(out)),
            Self::Q6K => blocks(row, out, |block, out| Q6K::of(block).numbers(out)),
        }
    }
}

/// Straight-line code per number, which the compiler turns into wide moves.
fn convert<const N: usize>(row: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(row.as_chunks::<N>().0) {
        *out = number(*bytes);
    }
}

fn blocks<const BYTES: usize, const NUMBERS: usize>(
    row: &[u8],
    out: &mut [f32],
    numbers: impl Fn(&[u8; BYTES], &mut [f32; NUMBERS]),
) {
    for (block, out) in row.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        numbers(block, out);
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; SMALL]) {
    let [low, high, quants @ ..] = block;
    let scale = half([*low, *high]);
    for (out, quant) in out.iter_mut().zip(quants) {
        *out = scale * f32::from(quant.cast_signed());
    }
}

/// A block of Q4_K: eight groups of 32 integers of 4 bits, each with a scale and a minimum of 6 bits.
/// A number is `scale * group_scale * quant - minimum * group_minimum`.
pub(crate) struct Q4K<'a> {
    /// In half precision.
    pub(crate) scale: [u8; 2],
    pub(crate) minimum: [u8; 2],
    /// Below 64.
    pub(crate) scales: [u8; 8],
    pub(crate) minimums: [u8; 8],
    quants: &'a [u8; 128],
}

impl<'a> Q4K<'a> {
    pub(crate) fn of(block: &'a [u8; 144]) -> Self {
        let [a, b, c, d, rest @ ..] = block;
        let (packed, quants): (&[u8; 12], &[u8; 128]) = split(rest);
        let (first, _): (&[u8; 4], &[u8; 8]) = split(packed);
        let (second, last): (&[u8; 4], &[u8; 4]) = {
            let (_, rest): (&[u8; 4], &[u8; 8]) = split(packed);
            split(rest)
        };
        let (mut scales, mut minimums) = ([0; 8], [0; 8]);
        // Four of each in the low six bits of their bytes; of the others four bits in the last bytes and two on top of the first.
        for (at, ((&scale, &minimum), &rest)) in first.iter().zip(second).zip(last).enumerate() {
            for (to, low, high) in [(&mut scales, rest & 15, scale), (&mut minimums, rest >> 4, minimum)] {
                for (slot, value) in [(at, high & 63), (at + 4, low | high >> 6 << 4)] {
                    if let Some(slot) = to.get_mut(slot) {
                        *slot = value;
                    }
                }
            }
        }
        Self { scale: [*a, *b], minimum: [*c, *d], scales, minimums, quants }
    }

    /// The integers, in order.
    pub(crate) fn quants(&self) -> [u8; LARGE] {
        let mut out = [0; LARGE];
        // Two groups share 32 bytes: the first has the lower halves.
        for (out, bytes) in out.as_chunks_mut::<64>().0.iter_mut().zip(self.quants.as_chunks::<32>().0) {
            let (low, high) = out.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                (*low, *high) = (byte & 15, byte >> 4);
            }
        }
        out
    }

    fn numbers(&self, out: &mut [f32; LARGE]) {
        let (scale, minimum) = (half(self.scale), half(self.minimum));
        let quants = self.quants();
        let groups = out.as_chunks_mut::<32>().0.iter_mut().zip(quants.as_chunks::<32>().0);
        for ((out, quants), (&scales, &minimums)) in groups.zip(self.scales.iter().zip(&self.minimums)) {
            let (scale, minimum) = (scale * f32::from(scales), minimum * f32::from(minimums));
            for (out, &quant) in out.iter_mut().zip(quants) {
                *out = scale * f32::from(quant) - minimum;
            }
        }
    }
}

/// A block of Q6_K: sixteen groups of 16 integers of 6 bits, each with a scale of 8 bits with a sign.
/// A number is `scale * group_scale * (quant - 32)`.
pub(crate) struct Q6K<'a> {
    /// In half precision.
    pub(crate) scale: [u8; 2],
    /// Two's complement.
    pub(crate) scales: &'a [u8; 16],
    low: &'a [u8; 128],
    high: &'a [u8; 64],
}

impl<'a> Q6K<'a> {
    pub(crate) fn of(block: &'a [u8; 210]) -> Self {
        let (low, rest): (&[u8; 128], &[u8; 82]) = split(block);
        let (high, rest): (&[u8; 64], &[u8; 18]) = split(rest);
        let (scales, scale): (&[u8; 16], &[u8; 2]) = split(rest);
        Self { scale: *scale, scales, low, high }
    }

    /// The integers, in order, not yet less 32.
    pub(crate) fn quants(&self) -> [u8; LARGE] {
        let mut out = [0; LARGE];
        let halves = out.as_chunks_mut::<128>().0.iter_mut();
        let parts = self.low.as_chunks::<64>().0.iter().zip(self.high.as_chunks::<32>().0);
        for (out, (low, high)) in halves.zip(parts) {
            let (first, second): (&[u8; 32], &[u8; 32]) = split(low);
            let quarters = out.as_chunks_mut::<32>().0.iter_mut();
            let sources = [(first, 0, 0), (second, 0, 2), (first, 4, 4), (second, 4, 6)];
            for (out, (low, down, two)) in quarters.zip(sources) {
                for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                    *out = low >> down & 15 | (high >> two & 3) << 4;
                }
            }
        }
        out
    }

    fn numbers(&self, out: &mut [f32; LARGE]) {
        let scale = half(self.scale);
        let quants = self.quants();
        let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(quants.as_chunks::<16>().0);
        for ((out, quants), scales) in groups.zip(self.scales) {
            let scale = scale * f32::from(scales.cast_signed());
            for (out, &quant) in out.iter_mut().zip(quants) {
                *out = scale * (f32::from(quant) - 32.0);
            }
        }
    }
}

/// Cuts an array in two whose lengths add up.
fn split<const A: usize, const B: usize, const N: usize>(whole: &[u8; N]) -> (&[u8; A], &[u8; B]) {
    const { assert!(A + B == N) };
    match (whole.first_chunk(), whole.last_chunk()) {
        (Some(first), Some(last)) => (first, last),
        _ => (&[0; A], &[0; B]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_with_a_block() {
        assert_eq!((Stored::Q8_0.bytes(64), Stored::Q8_0.bytes(65)), (Some(68), None));
        assert_eq!((Stored::Q6K.bytes(512), Stored::Q4K.bytes(128)), (Some(420), None));
        assert_eq!(Stored::F16.bytes(7), Some(14));
    }

    #[test]
    fn groups_of_q4_k_have_the_scales_of_their_place() {
        let mut block = [0_u8; 144];
        block[..4].copy_from_slice(&[0, 0x3c, 0, 0x3c]);
        // Scales 1 to 8 and minimums 33 to 40, in ggml's packing.
        for at in 0..4_u8 {
            let i = usize::from(at);
            block[4 + i] = at + 1;
            block[8 + i] = (at + 33) | (((at + 37) >> 4) << 6);
            block[12 + i] = (at + 5) | ((at + 37) & 15) << 4;
        }
        block[16..].fill(0x21);
        let parsed = Q4K::of(&block);
        assert_eq!(parsed.scales, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(parsed.minimums, [33, 34, 35, 36, 37, 38, 39, 40]);
        let mut out = [0.0; LARGE];
        Stored::Q4K.numbers(&block, &mut out);
        assert_eq!((out[0], out[32], out[64], out[255]), (1.0 - 33.0, 4.0 - 34.0, 3.0 - 35.0, 16.0 - 40.0));
    }

    #[test]
    fn groups_of_q6_k_have_the_scales_of_their_place() {
        let mut block = [0_u8; 210];
        block[..128].fill(0x21);
        block[128..192].fill(0b1110_0100);
        for at in 0..16_u8 {
            block[192 + usize::from(at)] = if at == 15 { 0xff } else { at };
        }
        block[208..].copy_from_slice(&[0, 0x40]);
        let mut out = [0.0; LARGE];
        Stored::Q6K.numbers(&block, &mut out);
        // Quants are 1, 1 + 16, 2 + 32 and 2 + 48 by quarter.
        assert_eq!((out[16], out[32], out[64]), (2.0 * -31.0, 4.0 * -15.0, 8.0 * 2.0));
        assert_eq!((out[96], out[255]), (12.0 * 18.0, -2.0 * 18.0));
    }
}
