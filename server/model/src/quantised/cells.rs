//! Quantised blocks of 32 columns side by side, laid out for the kernel.
//!
//! A cell holds one block of each of 32 columns, in two strips of 16. Integers of four successive `k` lie side by side for one column,
//! then those of the next column: 64 bytes for a strip, which one instruction multiplies with the same four of a row.

use crate::kernel::Blank;
use crate::numbers::half;
use crate::stored::{LARGE, Q4K, Q6K, SMALL};

/// Columns of a cell.
pub(super) const COLUMNS: usize = 32;
/// Columns of a strip.
pub(super) const STRIP: usize = 16;

/// Something for each strip.
pub(super) type Strips<T> = [T; COLUMNS / STRIP];
/// Four integers for each column of a strip.
pub(super) type Fours = [u8; 4 * STRIP];
/// A byte for each column of a strip.
pub(super) type Bytes = [u8; STRIP];
/// A number in half precision for each column of a strip.
pub(super) type Halves = [[u8; 2]; STRIP];

/// The blocks of 32 columns in one form.
pub(super) trait Cell: Blank + Send + Sync {
    /// Numbers of a block.
    const NUMBERS: usize;
    /// Bytes of a block in the file.
    const BYTES: usize;
    /// Sums over a block of a row that its product needs.
    const SUMS: usize;

    /// Sets the block of a column to what the file stores.
    fn set(&mut self, column: usize, block: &[u8]);

    /// The numbers of a column's block.
    fn numbers(&self, column: usize, out: &mut [f32]);

    /// What the product needs of the integers of a row's block beside them: [`Cell::SUMS`] values.
    fn sums(quants: &[i8], out: &mut [i32]);
}

/// The place of a column: its strip and its place there.
fn place(column: usize) -> (usize, usize) {
    (column / STRIP % 2, column % STRIP)
}

/// The four integers of a column.
fn four(fours: &mut Fours, at: usize) -> Option<&mut [u8; 4]> {
    fours.as_chunks_mut::<4>().0.get_mut(at)
}

fn four_of(fours: &Fours, at: usize) -> [u8; 4] {
    fours.as_chunks::<4>().0.get(at).copied().unwrap_or_default()
}

fn set_at<T>(values: &mut [T; STRIP], at: usize, value: T) {
    if let Some(slot) = values.get_mut(at) {
        *slot = value;
    }
}

fn at<T: Copy + Default>(values: &[T; STRIP], at: usize) -> T {
    values.get(at).copied().unwrap_or_default()
}

fn sum(quants: &[i8]) -> i32 {
    quants.iter().map(|&quant| i32::from(quant)).sum()
}

/// Q8_0. Integers are stored with 128 added, since the instruction multiplies an unsigned with a signed number.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Q8Cell {
    pub(super) quants: Strips<[Fours; 8]>,
    pub(super) scales: Strips<Halves>,
}

impl Blank for Q8Cell {
    const ZERO: Self = Self { quants: [[[0; 64]; 8]; 2], scales: [[[0; 2]; STRIP]; 2] };
}

impl Cell for Q8Cell {
    const NUMBERS: usize = SMALL;
    const BYTES: usize = 34;
    const SUMS: usize = 1;

    fn set(&mut self, column: usize, block: &[u8]) {
        let (strip, column) = place(column);
        let Some(([low, high], quants)) = block.split_first_chunk::<2>() else { return };
        if let Some(fours) = self.quants.get_mut(strip) {
            for (fours, quants) in fours.iter_mut().zip(quants.as_chunks::<4>().0) {
                let Some(four) = four(fours, column) else { continue };
                *four = quants.map(|quant| quant ^ 0x80);
            }
        }
        if let Some(scales) = self.scales.get_mut(strip) {
            set_at(scales, column, [*low, *high]);
        }
    }

    fn numbers(&self, column: usize, out: &mut [f32]) {
        let (strip, column) = place(column);
        let (Some(fours), Some(scales)) = (self.quants.get(strip), self.scales.get(strip)) else { return };
        let scale = half(at(scales, column));
        for (fours, out) in fours.iter().zip(out.as_chunks_mut::<4>().0) {
            for (quant, out) in four_of(fours, column).into_iter().zip(out) {
                *out = scale * f32::from((quant ^ 0x80).cast_signed());
            }
        }
    }

    /// What the added 128 have to be taken off again.
    fn sums(quants: &[i8], out: &mut [i32]) {
        if let [out] = out {
            *out = -128 * sum(quants);
        }
    }
}

/// Q4_K. Two integers share a byte: the lower half is of the first four `k` of a group of 32 (times 4), the upper of the last four.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Q4KCell {
    pub(super) quants: Strips<[[Fours; 4]; 8]>,
    pub(super) scales: Strips<[Bytes; 8]>,
    /// Of two groups side by side for each column.
    pub(super) minimums: Strips<[[u8; 2 * STRIP]; 4]>,
    pub(super) scale: Strips<Halves>,
    pub(super) minimum: Strips<Halves>,
}

impl Q4KCell {
    /// The scale and the minimum of each group of a column.
    fn groups(&self, strip: usize, column: usize) -> Option<[(u8, u8); 8]> {
        let (scales, minimums) = (self.scales.get(strip)?, self.minimums.get(strip)?);
        let mut groups = [(0, 0); 8];
        for (group, scales) in groups.iter_mut().zip(scales) {
            group.0 = at(scales, column);
        }
        for (groups, minimums) in groups.as_chunks_mut::<2>().0.iter_mut().zip(minimums) {
            let pair = minimums.as_chunks::<2>().0.get(column)?;
            for (group, minimum) in groups.iter_mut().zip(pair) {
                group.1 = *minimum;
            }
        }
        Some(groups)
    }
}

impl Blank for Q4KCell {
    const ZERO: Self = Self {
        quants: [[[[0; 64]; 4]; 8]; 2],
        scales: [[[0; STRIP]; 8]; 2],
        minimums: [[[0; 2 * STRIP]; 4]; 2],
        scale: [[[0; 2]; STRIP]; 2],
        minimum: [[[0; 2]; STRIP]; 2],
    };
}

impl Cell for Q4KCell {
    const NUMBERS: usize = LARGE;
    const BYTES: usize = 144;
    const SUMS: usize = 4;

    fn set(&mut self, column: usize, block: &[u8]) {
        let (strip, column) = place(column);
        let Some(block) = block.first_chunk().map(Q4K::of) else { return };
        let quants = block.quants();
        if let Some(groups) = self.quants.get_mut(strip) {
            for (fours, quants) in groups.iter_mut().zip(quants.as_chunks::<32>().0) {
                let (first, last) = quants.split_at(16);
                let pairs = first.as_chunks::<4>().0.iter().zip(last.as_chunks::<4>().0);
                for (fours, (low, high)) in fours.iter_mut().zip(pairs) {
                    let Some(four) = four(fours, column) else { continue };
                    for (byte, (low, high)) in four.iter_mut().zip(low.iter().zip(high)) {
                        *byte = low | high << 4;
                    }
                }
            }
        }
        if let Some(scales) = self.scales.get_mut(strip) {
            scales.iter_mut().zip(block.scales).for_each(|(scales, scale)| set_at(scales, column, scale));
        }
        if let Some(minimums) = self.minimums.get_mut(strip) {
            for (minimums, pair) in minimums.iter_mut().zip(block.minimums.as_chunks::<2>().0) {
                if let Some(slot) = minimums.as_chunks_mut::<2>().0.get_mut(column) {
                    *slot = *pair;
                }
            }
        }
        let halves = [(&mut self.scale, block.scale), (&mut self.minimum, block.minimum)];
        for (strips, value) in halves {
            strips.get_mut(strip).into_iter().for_each(|halves| set_at(halves, column, value));
        }
    }

    fn numbers(&self, column: usize, out: &mut [f32]) {
        let (strip, column) = place(column);
        let (Some(groups), Some(quants)) = (self.groups(strip, column), self.quants.get(strip)) else {
            return;
        };
        let (Some(scale), Some(minimum)) = (self.scale.get(strip), self.minimum.get(strip)) else { return };
        let (scale, minimum) = (half(at(scale, column)), half(at(minimum, column)));
        for ((fours, (of_scale, of_minimum)), out) in
            quants.iter().zip(groups).zip(out.as_chunks_mut::<32>().0)
        {
            let (scale, minimum) = (scale * f32::from(of_scale), minimum * f32::from(of_minimum));
            let number = |quant: u8| scale * f32::from(quant) - minimum;
            let (first, last) = out.split_at_mut(16);
            let pairs = first.as_chunks_mut::<4>().0.iter_mut().zip(last.as_chunks_mut::<4>().0);
            for (fours, (low, high)) in fours.iter().zip(pairs) {
                for (byte, (low, high)) in four_of(fours, column).into_iter().zip(low.iter_mut().zip(high)) {
                    (*low, *high) = (number(byte & 15), number(byte >> 4));
                }
            }
        }
    }

    /// The sums over groups, of which two at a time lie in the halves of a value.
    fn sums(quants: &[i8], out: &mut [i32]) {
        for (out, pair) in out.iter_mut().zip(quants.as_chunks::<64>().0) {
            let (first, second) = pair.split_at(32);
            *out = (sum(first) & 0xffff) | (sum(second) << 16);
        }
    }
}

/// Q6_K. The lower four bits of the integers lie as those of [`Q4KCell`]; of the upper two bits, those of four fours share a byte.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Q6KCell {
    pub(super) low: Strips<[[Fours; 4]; 8]>,
    pub(super) high: Strips<[[Fours; 2]; 8]>,
    /// With a sign, for groups of 16.
    pub(super) scales: Strips<[Bytes; 16]>,
    pub(super) scale: Strips<Halves>,
}

impl Blank for Q6KCell {
    const ZERO: Self = Self {
        low: [[[[0; 64]; 4]; 8]; 2],
        high: [[[[0; 64]; 2]; 8]; 2],
        scales: [[[0; STRIP]; 16]; 2],
        scale: [[[0; 2]; STRIP]; 2],
    };
}

impl Cell for Q6KCell {
    const NUMBERS: usize = LARGE;
    const BYTES: usize = 210;
    const SUMS: usize = 16;

    fn set(&mut self, column: usize, block: &[u8]) {
        let (strip, column) = place(column);
        let Some(block) = block.first_chunk().map(Q6K::of) else { return };
        let quants = block.quants();
        let (Some(lows), Some(highs)) = (self.low.get_mut(strip), self.high.get_mut(strip)) else { return };
        for ((low, high), quants) in lows.iter_mut().zip(highs).zip(quants.as_chunks::<32>().0) {
            let (first, last) = quants.split_at(16);
            let pairs = first.as_chunks::<4>().0.iter().zip(last.as_chunks::<4>().0);
            for (place, (low, (first, last))) in low.iter_mut().zip(pairs).enumerate() {
                let Some(low) = four(low, column) else { continue };
                let Some(high) = high.get_mut(place / 2).and_then(|high| four(high, column)) else {
                    continue;
                };
                let up = 4 * (place % 2);
                for ((low, high), (first, last)) in low.iter_mut().zip(high).zip(first.iter().zip(last)) {
                    *low = first & 15 | last << 4;
                    *high = *high & !(15 << up) | (first >> 4 | last >> 4 << 2) << up;
                }
            }
        }
        if let Some(scales) = self.scales.get_mut(strip) {
            scales.iter_mut().zip(block.scales).for_each(|(scales, &scale)| set_at(scales, column, scale));
        }
        self.scale.get_mut(strip).into_iter().for_each(|halves| set_at(halves, column, block.scale));
    }

    fn numbers(&self, column: usize, out: &mut [f32]) {
        let (strip, column) = place(column);
        let (Some(lows), Some(highs)) = (self.low.get(strip), self.high.get(strip)) else { return };
        let (Some(scales), Some(scale)) = (self.scales.get(strip), self.scale.get(strip)) else { return };
        let scale = half(at(scale, column));
        let groups = lows.iter().zip(highs).zip(scales.as_chunks::<2>().0);
        for (((lows, highs), scales), out) in groups.zip(out.as_chunks_mut::<32>().0) {
            let [of_first, of_last] = [0, 1].map(|place| {
                let bytes = if place == 0 { scales.first() } else { scales.last() };
                scale * f32::from(bytes.map_or(0, |bytes| at(bytes, column).cast_signed()))
            });
            let number =
                |scale: f32, low: u8, high: u8| scale * (f32::from(low & 15 | (high & 3) << 4) - 32.0);
            let (first, last) = out.split_at_mut(16);
            let outs = first.as_chunks_mut::<4>().0.iter_mut().zip(last.as_chunks_mut::<4>().0);
            for (place, (low, (first, last))) in lows.iter().zip(outs).enumerate() {
                let high = highs.get(place / 2).map_or([0; 4], |high| four_of(high, column));
                let bytes = four_of(low, column).into_iter().zip(high);
                for ((low, high), (first, last)) in bytes.zip(first.iter_mut().zip(last)) {
                    let high = high >> (4 * (place % 2));
                    (*first, *last) = (number(of_first, low, high), number(of_last, low >> 4, high >> 2));
                }
            }
        }
    }

    /// What the 32 that every integer is too large have to be taken off again, for each group.
    fn sums(quants: &[i8], out: &mut [i32]) {
        for (out, group) in out.iter_mut().zip(quants.as_chunks::<16>().0) {
            *out = -32 * sum(group);
        }
    }
}
