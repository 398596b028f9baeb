//! Weights laid out for the kernel, and the matrix product over them.

use crate::kernel::{Isa, WIDTH};
use crate::math::{self, Activation};
use rayon::prelude::*;
use zeroize::Zeroize as _;

/// Rows that one task of a tall product takes: enough to pay for its walk over all panels, few enough to stay in the cache.
const TALL: usize = 96;
/// Below this many rows the product is split by columns, so that a single token still uses every thread.
const SHORT: usize = 24;
/// Steps of `k` whose panel (16 KiB) and rows (6 KiB) fit in a first-level cache of 32 KiB.
const NEAR: usize = 128;
/// Products with fewer multiplications than this are not worth waking another thread.
const ALONE: usize = 1 << 18;

/// The transpose of a `columns x depth` weight matrix, cut into panels of [`WIDTH`] columns; the last one is filled with zeros.
pub(crate) struct Packed {
    panels: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.panels.zeroize();
    }
}

impl Packed {
    /// Packs the row-major matrices `parts`, each `rows x depth`, one below the other.
    pub(crate) fn new(parts: &[&[f32]], depth: usize) -> Self {
        let lines = || parts.iter().flat_map(|part| part.chunks_exact(depth.max(1)));
        let columns = lines().count();
        let mut panels = vec![0.0; columns.div_ceil(WIDTH) * WIDTH * depth];
        for (column, line) in lines().enumerate() {
            let panel = panels.chunks_exact_mut((WIDTH * depth).max(1)).nth(column / WIDTH);
            let slots =
                panel.into_iter().flat_map(|panel| panel.iter_mut().skip(column % WIDTH).step_by(WIDTH));
            for (slot, &weight) in slots.zip(line) {
                *slot = weight;
            }
        }
        Self { panels, depth, columns }
    }

    /// Columns of the product: the rows of the weight matrix.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Writes the row `index` of the weight matrix to `out`; leaves it alone if there is none.
    pub(crate) fn copy_row(&self, index: usize, out: &mut [f32]) {
        if let Some(panel) = self.panels().nth(index / WIDTH) {
            for (out, &weight) in out.iter_mut().zip(panel.iter().skip(index % WIDTH).step_by(WIDTH)) {
                *out = weight;
            }
        }
    }

    fn panels(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.panels.chunks_exact((WIDTH * self.depth).max(1))
    }

    /// `out = activation(x * weights + bias)` for every row of `x`.
    pub(crate) fn multiply(&self, isa: Isa, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        if self.depth == 0 || self.columns == 0 {
            return;
        }
        let rows = x.len() / self.depth;
        if rows.saturating_mul(self.depth).saturating_mul(self.columns) < ALONE {
            self.all_columns(isa, x, epilogue, out);
        } else if rows <= SHORT {
            self.by_columns(isa, x, epilogue, out);
        } else {
            let share = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(12).min(TALL);
            x.par_chunks(share * self.depth)
                .zip(out.par_chunks_mut(share * self.columns))
                .for_each(|(x, out)| self.all_columns(isa, x, epilogue, out));
        }
    }

    /// The product of some rows, on this thread.
    fn all_columns(&self, isa: Isa, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        let rows = Rows::pack(isa, x.chunks_exact(self.depth), self.depth);
        let mut sums = vec![[0.0; WIDTH]; rows.count];
        for (index, panel) in self.panels().enumerate() {
            sums.fill(epilogue.bias_line(index * WIDTH));
            rows.multiply(panel, &mut sums);
            for (line, sums) in out.chunks_exact_mut(self.columns).zip(&sums) {
                copy_into(line.get_mut(index * WIDTH..), sums);
            }
        }
        math::activate(isa, epilogue.activation, out);
    }

    /// The product of a few rows, every task taking some panels.
    fn by_columns(&self, isa: Isa, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        let rows = Rows::pack(isa, x.chunks_exact(self.depth), self.depth);
        let group = self.panels().len().div_ceil(rayon::current_num_threads() * 2).max(1);
        let parts: Vec<Vec<[f32; WIDTH]>> = self
            .panels
            .par_chunks(group * WIDTH * self.depth)
            .enumerate()
            .map(|(task, panels)| {
                let panels = panels.chunks_exact(WIDTH * self.depth);
                let mut part = vec![[0.0; WIDTH]; panels.len() * rows.count];
                for ((index, panel), sums) in panels.enumerate().zip(part.chunks_exact_mut(rows.count)) {
                    sums.fill(epilogue.bias_line((task * group + index) * WIDTH));
                    rows.multiply(panel, sums);
                }
                math::activate(isa, epilogue.activation, part.as_flattened_mut());
                part
            })
            .collect();
        let panels = parts.iter().flat_map(|part| part.chunks_exact(rows.count));
        for (index, panel) in panels.enumerate() {
            for (line, sums) in out.chunks_exact_mut(self.columns).zip(panel) {
                copy_into(line.get_mut(index * WIDTH..), sums);
            }
        }
    }
}

/// What is added to a product and done with the sum.
pub(crate) struct Epilogue {
    /// One value for each column; empty for none.
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

impl Epilogue {
    fn bias_line(&self, first: usize) -> [f32; WIDTH] {
        let mut line = [0.0; WIDTH];
        for (slot, &bias) in line.iter_mut().zip(self.bias.get(first..).unwrap_or_default()) {
            *slot = bias;
        }
        line
    }
}

/// The tallest block of any instruction set.
pub(crate) const MAX_HEIGHT: usize = 12;

/// Rows laid out for the kernel: blocks of up to [`MAX_HEIGHT`] rows, the values of one `k` side by side.
pub(crate) struct Rows {
    values: Vec<f32>,
    depth: usize,
    count: usize,
    isa: Isa,
}

/// One block of [`Rows`].
pub(crate) struct Block<'a> {
    /// The first row.
    pub(crate) first: usize,
    pub(crate) height: usize,
    pub(crate) values: &'a [f32],
}

impl Rows {
    /// Packs `lines`, each at least `depth` long.
    pub(crate) fn pack<'a>(isa: Isa, lines: impl ExactSizeIterator<Item = &'a [f32]>, depth: usize) -> Self {
        let count = lines.len();
        let mut packed = Self { values: vec![0.0; count * depth], depth, count, isa };
        let mut lines = lines;
        let mut rest = packed.values.as_mut_slice();
        for height in heights(isa, count) {
            let (block, tail) = rest.split_at_mut((height * depth).min(rest.len()));
            rest = tail;
            for (offset, line) in lines.by_ref().take(height).enumerate() {
                for (slot, &value) in block.iter_mut().skip(offset).step_by(height).zip(line) {
                    *slot = value;
                }
            }
        }
        packed
    }

    /// Adds the product with `panel` to `sums`, a line for each row. Some of `k` at a time, so that a part of the panel stays in the
    /// nearest cache while all blocks pass over it.
    fn multiply(&self, panel: &[f32], sums: &mut [[f32; WIDTH]]) {
        for (part, panel) in panel.chunks(NEAR * WIDTH).enumerate() {
            for block in self.blocks() {
                let values = block.values.get(part * NEAR * block.height..).unwrap_or_default();
                self.isa.multiply(
                    block.height,
                    values,
                    panel,
                    sums.get_mut(block.first..).unwrap_or_default(),
                );
            }
        }
    }

    /// The blocks, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let mut first = 0;
        heights(self.isa, self.count).map(move |height| {
            let values =
                self.values.get(first * self.depth..(first + height) * self.depth).unwrap_or_default();
            let block = Block { first, height, values };
            first += height;
            block
        })
    }
}

/// The heights of the blocks that `count` rows are cut into.
fn heights(isa: Isa, count: usize) -> impl Iterator<Item = usize> {
    let mut rest = count;
    std::iter::from_fn(move || {
        let height = isa.heights().iter().copied().find(|&height| height <= rest)?;
        rest -= height;
        Some(height)
    })
}

/// Copies as much as fits.
pub(crate) fn copy_into(to: Option<&mut [f32]>, from: &[f32]) {
    let Some(to) = to else { return };
    let len = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap()) / 32768.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn plain(x: &[f32], weights: &[f32], depth: usize) -> Vec<f32> {
        let dot = |row: &[f32], line: &[f32]| {
            row.iter().zip(line).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        #[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
        x.chunks(depth).flat_map(|row| weights.chunks(depth).map(move |line| dot(row, line) as f32)).collect()
    }

    fn product(isa: Isa, packed: &Packed, x: &[f32], rows: usize) -> Vec<f32> {
        let mut out = vec![0.0; rows * packed.columns()];
        packed.multiply(isa, x, &Epilogue { bias: Vec::new(), activation: Activation::None }, &mut out);
        out
    }

    #[test]
    fn products_equal_plain_sums_on_every_instruction_set() {
        for isa in Isa::all() {
            for (rows, depth, columns) in
                [(1, 7, 5), (3, 64, 33), (13, 40, 96), (30, 130, 70), (230, 128, 65)]
            {
                let (x, weights) = (noise(rows * depth, 1), noise(columns * depth, 2));
                let packed = Packed::new(&[&weights], depth);
                let got = product(isa, &packed, &x, rows);
                for (got, wanted) in got.iter().zip(plain(&x, &weights, depth)) {
                    assert!((got - wanted).abs() < 2e-5, "{isa:?} {rows}x{depth}x{columns}: {got} {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_bit_identical_alone_and_in_company() {
        let (rows, depth, columns) = (211, 160, 97);
        let (x, weights) = (noise(rows * depth, 3), noise(columns * depth, 4));
        let packed = Packed::new(&[&weights], depth);
        for isa in Isa::all() {
            let together = product(isa, &packed, &x, rows);
            for size in [1, 2, 5, 12, 24, 25, 100] {
                for (part, wanted) in x.chunks(size * depth).zip(together.chunks(size * columns)) {
                    let got = product(isa, &packed, part, part.len() / depth);
                    assert!(
                        got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{isa:?} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn bias_is_added_and_parts_are_stacked() {
        let (a, b) = (noise(3 * 8, 5), noise(2 * 8, 6));
        let packed = Packed::new(&[&a, &b], 8);
        assert_eq!(packed.columns(), 5);
        let mut out = vec![0.0; 5];
        let bias = vec![1.0, 2.0, 3.0, 4.0, 5.0];
        packed.multiply(
            Isa::detect(),
            &[0.0; 8],
            &Epilogue { bias: bias.clone(), activation: Activation::None },
            &mut out,
        );
        assert_eq!(out, bias);
        let mut row = vec![0.0; 8];
        packed.copy_row(4, &mut row);
        assert_eq!(row, b[8..]);
    }
}
