//! Weights laid out for the kernel, and the matrix product over them.

use crate::kernel::{Isa, Packing, Pair, WIDTH};
use crate::math::{self, Activation};
use crate::quantised::Quantised;
use crate::stored::Stored;
use anchorhold_engine::Precision;
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
    panels: Panels,
    depth: usize,
    columns: usize,
}

enum Panels {
    F32(Vec<f32>),
    Bf16(Vec<Pair>),
    Quantised(Quantised),
}

impl Drop for Packed {
    fn drop(&mut self) {
        match &mut self.panels {
            Panels::F32(panels) => panels.zeroize(),
            Panels::Bf16(panels) => panels.zeroize(),
            // Wipes itself.
            Panels::Quantised(_) => {}
        }
    }
}

/// Places of a line of `depth` numbers.
fn places<P: Packing>(depth: usize) -> usize {
    depth.div_ceil(P::COUNT)
}

/// How a matrix is held and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In 32 bits.
    F32,
    /// Rounded to bf16, as the rows that it is multiplied with.
    Bf16,
    /// As its quantised parts are stored; the rows that it is multiplied with are quantised, too.
    Quantised,
}

impl Form {
    /// The form of a matrix whose parts are stored like this.
    pub(crate) fn of(precision: Precision, stored: &[Stored]) -> Self {
        let all = |is: fn(&Stored) -> bool| !stored.is_empty() && stored.iter().all(is);
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::Stored if all(|stored| stored.is_quantised()) => Self::Quantised,
            Precision::Stored if all(|stored| *stored == Stored::Bf16) => Self::Bf16,
            // Nothing smaller holds all of it.
            Precision::Stored => Self::F32,
        }
    }
}

/// Numbers that are turned into places at once while packing.
const FILLED: usize = 64;

fn set_line<P: Packing>(panels: &mut [P], isa: Isa, (index, depth): (usize, usize), line: &[f32]) {
    let len = (WIDTH * places::<P>(depth)).max(1);
    let panel = panels.get_mut(index / WIDTH * len..).unwrap_or_default();
    let mut slots = panel.iter_mut().skip(index % WIDTH).step_by(WIDTH);
    let mut filled = [P::default(); FILLED];
    for part in line.get(..depth).unwrap_or(line).chunks(FILLED * P::COUNT) {
        let filled = filled.get_mut(..part.len().div_ceil(P::COUNT)).unwrap_or_default();
        P::fill(isa, filled, part);
        for (place, slot) in filled.iter().zip(slots.by_ref()) {
            *slot = *place;
        }
    }
    filled.zeroize();
}

impl Packed {
    /// Packs the row-major matrices `parts`, each `rows x depth`, one below the other.
    pub(crate) fn new(parts: &[&[f32]], depth: usize, form: Form) -> Self {
        let lines = || parts.iter().flat_map(|part| part.chunks_exact(depth.max(1)));
        let mut packed = Self::zeroed(lines().count(), depth, form);
        let isa = Isa::detect();
        lines().enumerate().for_each(|(index, line)| packed.set_line(isa, index, line));
        packed
    }

    /// A weight matrix of zeros, whose rows are to be set. In [`Form::Quantised`] nothing can be set.
    pub(crate) fn zeroed(columns: usize, depth: usize, form: Form) -> Self {
        fn panels<P: Packing>(columns: usize, depth: usize) -> Vec<P> {
            vec![P::default(); columns.div_ceil(WIDTH) * WIDTH * places::<P>(depth)]
        }
        let panels = match form {
            Form::F32 => Panels::F32(panels(columns, depth)),
            Form::Bf16 => Panels::Bf16(panels(columns, depth)),
            Form::Quantised => Panels::Quantised(Quantised::default()),
        };
        Self { panels, depth, columns }
    }

    /// A weight matrix of zeros in [`Form::Quantised`], of parts that are stored like this with so many rows. All are quantised, and
    /// `depth` is whole blocks of each.
    pub(crate) fn quantised(parts: &[(Stored, usize)], depth: usize) -> Self {
        let columns = parts.iter().map(|(_, rows)| rows).sum();
        Self { panels: Panels::Quantised(Quantised::zeroed(parts, depth)), depth, columns }
    }

    /// Sets row `index` of the weight matrix to what a file stores; false if the form is not the file's.
    pub(crate) fn set_stored(&mut self, index: usize, row: &[u8]) -> bool {
        match &mut self.panels {
            Panels::F32(_) | Panels::Bf16(_) => false,
            Panels::Quantised(parts) => {
                parts.set_row(index, row);
                true
            }
        }
    }

    /// Sets row `index` of the weight matrix, where the form is not quantised.
    pub(crate) fn set_line(&mut self, isa: Isa, index: usize, line: &[f32]) {
        let depth = self.depth;
        match &mut self.panels {
            Panels::F32(panels) => set_line(panels, isa, (index, depth), line),
            Panels::Bf16(panels) => set_line(panels, isa, (index, depth), line),
            Panels::Quantised(_) => {}
        }
    }

    /// Columns of the product: the rows of the weight matrix.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Writes the row `index` of the weight matrix to `out`; leaves it alone if there is none.
    pub(crate) fn copy_row(&self, index: usize, out: &mut [f32]) {
        match &self.panels {
            Panels::F32(panels) => self.copy_from(panels, index, out),
            Panels::Bf16(panels) => self.copy_from(panels, index, out),
            Panels::Quantised(parts) => parts.copy_row(index, out),
        }
    }

    fn copy_from<P: Packing>(&self, panels: &[P], index: usize, out: &mut [f32]) {
        let panel = panels.chunks_exact((WIDTH * places::<P>(self.depth)).max(1)).nth(index / WIDTH);
        let places = panel.into_iter().flat_map(|panel| panel.iter().skip(index % WIDTH).step_by(WIDTH));
        for (out, place) in out.chunks_mut(P::COUNT).zip(places) {
            for (at, out) in out.iter_mut().enumerate() {
                *out = place.number(at);
            }
        }
    }

    /// `out = activation(x * weights + bias)` for every row of `x`.
    pub(crate) fn multiply(&self, isa: Isa, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        if self.depth == 0 || self.columns == 0 {
            return;
        }
        match &self.panels {
            Panels::F32(panels) => self.multiply_as(panels, isa, x, epilogue, out),
            Panels::Bf16(panels) => self.multiply_as(panels, isa, x, epilogue, out),
            Panels::Quantised(parts) => parts.multiply(x, epilogue, out),
        }
    }

    fn multiply_as<P: Packing>(
        &self,
        panels: &[P],
        isa: Isa,
        x: &[f32],
        epilogue: &Epilogue,
        out: &mut [f32],
    ) {
        let rows = x.len() / self.depth;
        if rows.saturating_mul(self.depth).saturating_mul(self.columns) < ALONE {
            self.all_columns(panels, isa, x, epilogue, out);
        } else if rows <= SHORT {
            self.by_columns(panels, isa, x, epilogue, out);
        } else {
            let share = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(12).min(TALL);
            x.par_chunks(share * self.depth)
                .zip(out.par_chunks_mut(share * self.columns))
                .for_each(|(x, out)| self.all_columns(panels, isa, x, epilogue, out));
        }
    }

    /// The product of some rows, on this thread.
    fn all_columns<P: Packing>(
        &self,
        panels: &[P],
        isa: Isa,
        x: &[f32],
        epilogue: &Epilogue,
        out: &mut [f32],
    ) {
        let rows = Rows::<P>::pack(isa, x.chunks_exact(self.depth), self.depth);
        let mut sums = vec![[0.0; WIDTH]; rows.count];
        for (index, panel) in panels.chunks_exact(WIDTH * places::<P>(self.depth)).enumerate() {
            sums.fill(epilogue.bias_line(index * WIDTH));
            rows.multiply(panel, &mut sums);
            for (line, sums) in out.chunks_exact_mut(self.columns).zip(&sums) {
                copy_panel(line.get_mut(index * WIDTH..), sums);
            }
        }
        math::activate(isa, epilogue.activation, out);
    }

    /// The product of a few rows, every task taking some panels.
    fn by_columns<P: Packing>(
        &self,
        panels: &[P],
        isa: Isa,
        x: &[f32],
        epilogue: &Epilogue,
        out: &mut [f32],
    ) {
        let rows = Rows::<P>::pack(isa, x.chunks_exact(self.depth), self.depth);
        let len = WIDTH * places::<P>(self.depth);
        let count = self.columns.div_ceil(WIDTH);
        let group = count.div_ceil(rayon::current_num_threads() * 2).max(1);
        let parts: Vec<Vec<[f32; WIDTH]>> = panels
            .par_chunks(group * len)
            .enumerate()
            .map(|(task, panels)| {
                let panels = panels.chunks_exact(len);
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
                copy_panel(line.get_mut(index * WIDTH..), sums);
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
    pub(crate) fn bias_line(&self, first: usize) -> [f32; WIDTH] {
        let mut line = [0.0; WIDTH];
        for (slot, &bias) in line.iter_mut().zip(self.bias.get(first..).unwrap_or_default()) {
            *slot = bias;
        }
        line
    }
}

/// The tallest block of any instruction set.
pub(crate) const MAX_HEIGHT: usize = 12;

/// Rows laid out for the kernel: blocks of up to [`MAX_HEIGHT`] rows, the places of one `k` side by side.
pub(crate) struct Rows<P> {
    values: Vec<P>,
    /// Places of a row.
    places: usize,
    count: usize,
    isa: Isa,
}

/// One block of [`Rows`].
pub(crate) struct Block<'a, P> {
    /// The first row.
    pub(crate) first: usize,
    pub(crate) height: usize,
    pub(crate) values: &'a [P],
}

impl<P: Packing> Rows<P> {
    /// Packs `lines`, each at least `depth` long.
    pub(crate) fn pack<'a>(isa: Isa, lines: impl ExactSizeIterator<Item = &'a [f32]>, depth: usize) -> Self {
        let (count, places) = (lines.len(), places::<P>(depth));
        let mut packed = Self { values: vec![P::default(); count * places], places, count, isa };
        let mut lines = lines;
        let mut rest = packed.values.as_mut_slice();
        let mut filled = vec![P::default(); places];
        for height in heights(isa, count) {
            let (block, tail) = rest.split_at_mut((height * places).min(rest.len()));
            rest = tail;
            for (offset, line) in lines.by_ref().take(height).enumerate() {
                P::fill(isa, &mut filled, line.get(..depth).unwrap_or(line));
                for (slot, place) in block.iter_mut().skip(offset).step_by(height).zip(&filled) {
                    *slot = *place;
                }
            }
        }
        packed
    }

    /// Adds the product with `panel` to `sums`, a line for each row. Some of `k` at a time, so that a part of the panel stays in the
    /// nearest cache while all blocks pass over it.
    fn multiply(&self, panel: &[P], sums: &mut [[f32; WIDTH]]) {
        for (part, panel) in panel.chunks(NEAR * WIDTH).enumerate() {
            for block in self.blocks() {
                let values = block.values.get(part * NEAR * block.height..).unwrap_or_default();
                let sums = sums.get_mut(block.first..).unwrap_or_default();
                P::multiply(self.isa, block.height, values, panel, sums);
            }
        }
    }

    /// The blocks, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'_, P>> {
        let mut first = 0;
        heights(self.isa, self.count).map(move |height| {
            let values =
                self.values.get(first * self.places..(first + height) * self.places).unwrap_or_default();
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

/// Copies one line of a panel, of which the last panel's may not fit whole.
fn copy_panel(to: Option<&mut [f32]>, from: &[f32; WIDTH]) {
    let Some(to) = to else { return };
    match to.first_chunk_mut::<WIDTH>() {
        // Of a known length, so that no function is called for it.
        Some(to) => *to = *from,
        None => copy_into(Some(to), from),
    }
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
                let packed = Packed::new(&[&weights], depth, Form::F32);
                let got = product(isa, &packed, &x, rows);
                for (got, wanted) in got.iter().zip(plain(&x, &weights, depth)) {
                    assert!((got - wanted).abs() < 2e-5, "{isa:?} {rows}x{depth}x{columns}: {got} {wanted}");
                }
            }
        }
    }

    fn pair(numbers: &[f32]) -> Pair {
        let mut places = [Pair::default()];
        Pair::fill(Isa::detect(), &mut places, numbers);
        places[0]
    }

    const BOTH: [Form; 2] = [Form::F32, Form::Bf16];

    #[test]
    fn products_in_bf16_equal_those_of_rounded_numbers_on_every_instruction_set() {
        let rounded = |numbers: &[f32]| numbers.iter().map(|x| pair(&[*x]).number(0)).collect::<Vec<_>>();
        for isa in Isa::all() {
            for (rows, depth, columns) in
                [(1, 7, 5), (3, 64, 33), (13, 40, 96), (30, 131, 70), (230, 128, 65)]
            {
                let (x, weights) = (noise(rows * depth, 1), noise(columns * depth, 2));
                let packed = Packed::new(&[&weights], depth, Form::Bf16);
                let got = product(isa, &packed, &x, rows);
                for (got, wanted) in got.iter().zip(plain(&rounded(&x), &rounded(&weights), depth)) {
                    assert!((got - wanted).abs() < 2e-5, "{isa:?} {rows}x{depth}x{columns}: {got} {wanted}");
                }
                let mut row = vec![0.0; depth];
                packed.copy_row(columns - 1, &mut row);
                assert_eq!(row, rounded(&weights[(columns - 1) * depth..]));
            }
        }
    }

    #[test]
    fn a_number_becomes_the_nearest_bf16() {
        for (number, wanted) in [
            (1.0, 0x3f80_0000),
            (-2.5, 0xc020_0000),
            // Halfway goes to the even one, a little more goes up.
            (f32::from_bits(0x3f80_8000), 0x3f80_0000),
            (f32::from_bits(0x3f81_8000), 0x3f82_0000),
            (f32::from_bits(0x3f80_8001), 0x3f81_0000),
            (f32::MAX, 0x7f80_0000),
            (f32::NEG_INFINITY, 0xff80_0000),
            (f32::from_bits(1), 0),
        ] {
            let pair = pair(&[number, -number]);
            assert_eq!(pair.number(0).to_bits(), wanted, "{number}");
            assert_eq!(pair.number(1).to_bits(), wanted ^ 0x8000_0000, "{number}");
        }
        let nan = pair(&[f32::from_bits(0x7f80_0001)]);
        assert!(nan.number(0).is_nan() && nan.number(1) == 0.0);
    }

    #[test]
    fn a_row_is_bit_identical_alone_and_in_company() {
        let (rows, depth, columns) = (211, 160, 97);
        let (x, weights) = (noise(rows * depth, 3), noise(columns * depth, 4));
        for (isa, form) in Isa::all().into_iter().flat_map(|isa| BOTH.map(|form| (isa, form))) {
            let packed = Packed::new(&[&weights], depth, form);
            let together = product(isa, &packed, &x, rows);
            for size in [1, 2, 5, 12, 24, 25, 100] {
                for (part, wanted) in x.chunks(size * depth).zip(together.chunks(size * columns)) {
                    let got = product(isa, &packed, part, part.len() / depth);
                    assert!(
                        got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{isa:?} {form:?} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn bias_is_added_and_parts_are_stacked() {
        let (a, b) = (noise(3 * 8, 5), noise(2 * 8, 6));
        let packed = Packed::new(&[&a, &b], 8, Form::F32);
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
