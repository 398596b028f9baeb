//! Rows of the input, quantised, with the rows of a block side by side.

use super::cells::Cell;
use std::marker::PhantomData;

/// Some rows, quantised in blocks for the cells of one form.
pub(super) struct Lines<C> {
    first: usize,
    height: usize,
    /// For each four of `k` the integers of every row, four in a value.
    pub(super) quants: Vec<i32>,
    /// For each block [`Cell::SUMS`] of every row.
    pub(super) sums: Vec<i32>,
    /// For each block the scale of every row.
    pub(super) scales: Vec<f32>,
    cells: PhantomData<C>,
}

impl<C: Cell> Lines<C> {
    /// Quantises the rows of `x`, of `depth` numbers each, in sets of one of `heights`, the last of which is 1.
    pub(super) fn quantise(x: &[f32], depth: usize, heights: &[usize]) -> Vec<Self> {
        let mut rest = x.chunks_exact(depth);
        let mut lines = Vec::new();
        let mut first = 0;
        while let Some(height) = heights.iter().copied().find(|height| *height <= rest.len()) {
            let mut set = Self::zeroed(first, height, depth);
            for (place, row) in rest.by_ref().take(height).enumerate() {
                set.fill(place, row);
            }
            first += height;
            lines.push(set);
            if rest.len() == 0 {
                break;
            }
        }
        lines
    }

    fn zeroed(first: usize, height: usize, depth: usize) -> Self {
        let blocks = depth / C::NUMBERS;
        Self {
            first,
            height,
            quants: vec![0; depth / 4 * height],
            sums: vec![0; blocks * C::SUMS * height],
            scales: vec![0.0; blocks * height],
            cells: PhantomData,
        }
    }

    /// The first row's place among all.
    pub(super) fn first(&self) -> usize {
        self.first
    }

    /// How many rows.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Quantises the row at `place`.
    fn fill(&mut self, place: usize, row: &[f32]) {
        let height = self.height;
        let mut fours = self.quants.iter_mut().skip(place).step_by(height);
        let mut of_sums = self.sums.iter_mut().skip(place).step_by(height);
        let scales = self.scales.iter_mut().skip(place).step_by(height);
        let (mut quants, mut sums) = ([0_i8; 256], [0; 16]);
        for (block, scale) in row.chunks_exact(C::NUMBERS).zip(scales) {
            let quants = quants.get_mut(..C::NUMBERS).unwrap_or_default();
            let sums = sums.get_mut(..C::SUMS).unwrap_or_default();
            *scale = quantise(block, quants);
            C::sums(quants, sums);
            for (four, slot) in quants.as_chunks::<4>().0.iter().zip(&mut fours) {
                *slot = i32::from_le_bytes(four.map(i8::cast_unsigned));
            }
            for (sum, slot) in sums.iter().zip(&mut of_sums) {
                *slot = *sum;
            }
        }
    }
}

/// Turns numbers into integers from -127 to 127 and gives the scale. Where one is not finite, the scale is no number.
fn quantise(block: &[f32], quants: &mut [i8]) -> f32 {
    // Adding it leaves the integer that is nearest, the even one of two, in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    let most = block.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    if !block.iter().fold(true, |finite, number| finite & number.is_finite()) {
        quants.fill(0);
        return f32::NAN;
    }
    let scale = most / 127.0;
    let inverse = if scale > f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    for (quant, number) in quants.iter_mut().zip(block) {
        let [low, ..] = (number * inverse + ROUND).to_bits().to_le_bytes();
        *quant = low.cast_signed();
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantised::cells::{Q4KCell, Q8Cell};

    #[test]
    fn numbers_become_the_nearest_integers() {
        let mut quants = [0; 6];
        assert_eq!(quantise(&[127.0, -127.0, 0.5, 1.5, -0.4, 2.6], &mut quants), 1.0);
        assert_eq!(quants, [127, -127, 0, 2, 0, 3]);
        assert_eq!(quantise(&[0.0; 6], &mut quants), 0.0);
        assert_eq!(quants, [0; 6]);
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(quantise(&[1.0, wrong], &mut quants[..2]).is_nan());
            assert_eq!(quants[..2], [0; 2]);
        }
        // So small that its inverse is not finite.
        quantise(&[f32::from_bits(1); 6], &mut quants);
        assert_eq!(quants, [0; 6]);
    }

    #[test]
    fn rows_of_a_set_lie_side_by_side() {
        let x: Vec<f32> = (0..3_i16).flat_map(|row| (0..64).map(move |k| f32::from(row * 64 + k))).collect();
        let lines = Lines::<Q8Cell>::quantise(&x, 64, &[2, 1]);
        assert_eq!(lines.iter().map(|set| (set.first(), set.height())).collect::<Vec<_>>(), [(0, 2), (2, 1)]);
        let set = &lines[0];
        assert_eq!((set.quants.len(), set.sums.len(), set.scales.len()), (32, 4, 4));
        assert_eq!(set.scales, [31.0, 95.0, 63.0, 127.0].map(|most: f32| most / 127.0));
        assert_eq!(set.quants[30].to_le_bytes(), [121, 123, 125, 127]);
        assert_eq!(set.quants[31].to_le_bytes(), [124, 125, 126, 127]);
        let lines = Lines::<Q4KCell>::quantise(&[-1.0; 256], 256, &[1]);
        assert_eq!(lines[0].sums, [((-127 * 32) & 0xffff) | (-127 * 32) << 16; 4]);
    }
}
