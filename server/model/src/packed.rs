//! Weights laid out for the kernel, and the matrix product over them.

use crate::kernel::{Ahead, Isa, Packing, Pair, WIDTH};
use crate::math::{self, Gate};
use crate::rows::{Block, Form, Input, MAX_HEIGHT, Rows, Sheet, places};
use crate::threads::Team;
use anchorhold_engine::Precision;
use zeroize::Zeroize as _;

/// Rows that pass over all panels of a task before the next ones do: enough to pay for the walk over the weights, few enough to stay in
/// the second-level cache.
const TALL: usize = 96;
/// Products with fewer multiplications than this are not worth waking another thread.
const ALONE: usize = 1 << 18;
/// Tasks of a product for each thread, so that one which the system holds up does not hold up the others.
const SHARES: usize = 4;

/// The transpose of a `columns x depth` weight matrix, cut into panels of [`WIDTH`] columns; the last one is filled with zeros.
pub(crate) struct Packed {
    panels: Panels,
    depth: usize,
    columns: usize,
}

enum Panels {
    F32(Vec<f32>),
    Bf16(Vec<Pair>),
}

impl Drop for Packed {
    fn drop(&mut self) {
        match &mut self.panels {
            Panels::F32(panels) => panels.zeroize(),
            Panels::Bf16(panels) => panels.zeroize(),
        }
    }
}

/// What is added to a product, and what becomes of the sum.
pub(crate) struct Epilogue {
    /// One value for each column; empty for none.
    pub(crate) bias: Vec<f32>,
    pub(crate) then: Then,
}

/// What becomes of a product's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// They are the result.
    Store,
    /// They are added to the result.
    Add,
    /// `x/2 * (1 + erf(x / sqrt 2))` of them is the result.
    Gelu,
    /// The weights are [`Packed::paired`], and `bend(first) * second` of the pairs is the result.
    Gate(Gate),
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

impl Packed {
    /// Packs the row-major matrices `parts`, each `rows x depth`, one below the other.
    pub(crate) fn new(parts: &[&[f32]], depth: usize, precision: Precision) -> Self {
        let lines = || parts.iter().flat_map(|part| part.chunks_exact(depth.max(1)));
        let columns = lines().count();
        let panels = columns.div_ceil(WIDTH);
        Self { panels: Panels::pack(precision, panels, depth, lines().enumerate()), depth, columns }
    }

    /// Packs two matrices of one shape by turns: a panel of the first, then that of the second. The product has the columns of one.
    pub(crate) fn paired(first: &[f32], second: &[f32], depth: usize, precision: Precision) -> Self {
        let lines = |part| <[f32]>::chunks_exact(part, depth.max(1)).enumerate();
        let place = |line: usize, at: usize| (line / WIDTH * 2 + at) * WIDTH + line % WIDTH;
        let columns = first.len() / depth.max(1);
        let panels = 2 * columns.div_ceil(WIDTH);
        let lines = lines(first)
            .map(|(line, values)| (place(line, 0), values))
            .chain(lines(second).map(|(line, values)| (place(line, 1), values)));
        Self { panels: Panels::pack(precision, panels, depth, lines), depth, columns }
    }

    /// Columns of the product.
    #[cfg(test)]
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers of a row.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// In which form rows are multiplied with these weights.
    pub(crate) fn precision(&self) -> Precision {
        match self.panels {
            Panels::F32(_) => Precision::F32,
            Panels::Bf16(_) => Precision::Bf16,
        }
    }

    /// Writes the row `index` of the weight matrix, which is not paired, to `out`; leaves it alone if there is none.
    pub(crate) fn copy_row(&self, index: usize, out: &mut [f32]) {
        match &self.panels {
            Panels::F32(panels) => self.copy_from(panels, index, out),
            Panels::Bf16(panels) => self.copy_from(panels, index, out),
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

    /// Makes `out` of `input * weights + bias` as the epilogue says. `input` has the depth and the precision of the weights; if not, the
    /// result is of no use.
    pub(crate) fn multiply(
        &self,
        isa: Isa,
        team: Team<'_>,
        input: &Input,
        epilogue: &Epilogue,
        out: &mut Sheet,
    ) {
        out.resize(input.count(), self.columns);
        if self.depth == 0 || out.is_empty() {
            return;
        }
        let team = team.for_work(input.count() * self.depth * self.columns >= ALONE);
        match (&self.panels, input.form()) {
            (Panels::F32(panels), Form::F32(rows)) => {
                Product { isa, epilogue, panels, rows }.run(team, self.depth, out);
            }
            (Panels::Bf16(panels), Form::Bf16(rows)) => {
                Product { isa, epilogue, panels, rows }.run(team, self.depth, out);
            }
            _ => debug_assert!(false, "rows of another precision"),
        }
    }
}

impl Panels {
    /// Packs lines of `depth` numbers into the columns that stand beside them, of `count` panels.
    fn pack<'a>(
        precision: Precision,
        count: usize,
        depth: usize,
        lines: impl Iterator<Item = (usize, &'a [f32])>,
    ) -> Self {
        match precision {
            Precision::F32 => Self::F32(pack(count, depth, lines)),
            Precision::Bf16 => Self::Bf16(pack(count, depth, lines)),
        }
    }
}

fn pack<'a, P: Packing>(
    count: usize,
    depth: usize,
    lines: impl Iterator<Item = (usize, &'a [f32])>,
) -> Vec<P> {
    let isa = Isa::detect();
    let mut places = vec![P::default(); places::<P>(depth)];
    let len = WIDTH * places.len();
    let mut panels = vec![P::default(); count * len];
    for (column, line) in lines {
        let panel = panels.chunks_exact_mut(len.max(1)).nth(column / WIDTH);
        let slots = panel.into_iter().flat_map(|panel| panel.iter_mut().skip(column % WIDTH).step_by(WIDTH));
        P::fill(isa, &mut places, line);
        for (slot, place) in slots.zip(&places) {
            *slot = *place;
        }
    }
    places.zeroize();
    panels
}

/// A product of rows and panels.
struct Product<'a, P: Packing> {
    isa: Isa,
    epilogue: &'a Epilogue,
    panels: &'a [P],
    rows: &'a Rows<P>,
}

impl<P: Packing> Product<'_, P> {
    /// Every task takes some panels and passes the rows over them.
    fn run(&self, team: Team<'_>, depth: usize, out: &mut Sheet) {
        let count = self.rows.count();
        let len = WIDTH * places::<P>(depth) * self.of_each();
        let group = (self.panels.len() / len).div_ceil(team.count() * SHARES).max(1);
        let tasks = self.panels.chunks(group * len).zip(out.lines_mut().chunks_mut(group * count));
        team.each(tasks.enumerate(), |_, (task, (panels, lines))| {
            for first in (0..count).step_by(TALL) {
                let blocks = self.rows.blocks_within(first..first + TALL);
                let passes = panels.chunks_exact(len).zip(lines.chunks_exact_mut(count)).enumerate();
                for (at, (panel, lines)) in passes {
                    let next = panels.get((at + 1) * len..(at + 2) * len).unwrap_or_default();
                    self.pass(blocks.clone(), (task * group + at) * WIDTH, Ahead { panel, next }, lines);
                }
            }
        });
    }

    /// Panels of the weights for each of the result.
    fn of_each(&self) -> usize {
        if matches!(self.epilogue.then, Then::Gate(_)) { 2 } else { 1 }
    }

    /// Passes some blocks of rows over what makes one panel of the result, whose first column is `column`.
    fn pass<'a>(
        &self,
        blocks: impl ExactSizeIterator<Item = Block<'a, P>>,
        column: usize,
        panel: Ahead<'_, P>,
        lines: &mut [[f32; WIDTH]],
    ) where
        P: 'a,
    {
        let bias = self.epilogue.bias_line(column);
        let share = (panel.next.len() / WIDTH).div_ceil(blocks.len().max(1)).max(1) * WIDTH;
        let mut next = panel.next.chunks(share);
        for block in blocks {
            let ahead = Ahead { panel: panel.panel, next: next.next().unwrap_or_default() };
            let Some(lines) = lines.get_mut(block.first..block.first + block.height) else { return };
            let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
            let Some(sums) = sums.get_mut(..block.height) else { return };
            match self.epilogue.then {
                Then::Store | Then::Gelu => {
                    lines.fill(bias);
                    P::multiply(self.isa, block.height, block.values, ahead, lines);
                    if self.epilogue.then == Then::Gelu {
                        math::gelu(self.isa, lines.as_flattened_mut());
                    }
                }
                Then::Add => {
                    sums.fill(bias);
                    P::multiply(self.isa, block.height, block.values, ahead, sums);
                    math::add(self.isa, sums.as_flattened(), lines.as_flattened_mut());
                }
                Then::Gate(bend) => self.gate(bend, &block, ahead, (sums, lines)),
            }
        }
    }

    fn gate(
        &self,
        bend: Gate,
        block: &Block<'_, P>,
        pair: Ahead<'_, P>,
        (gates, lines): (&mut [[f32; WIDTH]], &mut [[f32; WIDTH]]),
    ) {
        let (gate, up) = pair.panel.split_at(pair.panel.len() / 2);
        let (next_gate, next_up) = pair.next.split_at(pair.next.len() / 2);
        P::multiply(self.isa, block.height, block.values, Ahead { panel: gate, next: next_gate }, gates);
        let mut ups = [[0.0; WIDTH]; MAX_HEIGHT];
        let Some(ups) = ups.get_mut(..block.height) else { return };
        P::multiply(self.isa, block.height, block.values, Ahead { panel: up, next: next_up }, ups);
        math::gate_multiply(
            self.isa,
            bend,
            gates.as_flattened(),
            ups.as_flattened(),
            lines.as_flattened_mut(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Threads;
    use std::num::NonZeroUsize;

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
        let epilogue = Epilogue { bias: Vec::new(), then: Then::Store };
        product_with(isa, packed, (x, rows), &epilogue, &mut Sheet::default())
    }

    fn product_with(
        isa: Isa,
        packed: &Packed,
        (x, rows): (&[f32], usize),
        epilogue: &Epilogue,
        out: &mut Sheet,
    ) -> Vec<f32> {
        let threads = Threads::start(NonZeroUsize::new(2).unwrap()).unwrap();
        let team = Team::All(&threads);
        let mut input = Input::default();
        input.fill((isa, packed.precision()), team, (rows, packed.depth()), |row, line| {
            line.copy_from_slice(&x[row * line.len()..(row + 1) * line.len()]);
        });
        packed.multiply(isa, team, &input, epilogue, out);
        let mut lines = vec![0.0; rows * packed.columns()];
        for (row, line) in lines.chunks_mut(packed.columns()).enumerate() {
            out.copy_row(row, line);
        }
        lines
    }

    #[test]
    fn products_equal_plain_sums_on_every_instruction_set() {
        for isa in Isa::all() {
            for (rows, depth, columns) in
                [(1, 7, 5), (3, 64, 33), (13, 40, 96), (30, 130, 70), (230, 128, 65)]
            {
                let (x, weights) = (noise(rows * depth, 1), noise(columns * depth, 2));
                let packed = Packed::new(&[&weights], depth, Precision::F32);
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

    const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

    #[test]
    fn products_in_bf16_equal_those_of_rounded_numbers_on_every_instruction_set() {
        let rounded = |numbers: &[f32]| numbers.iter().map(|x| pair(&[*x]).number(0)).collect::<Vec<_>>();
        for isa in Isa::all() {
            for (rows, depth, columns) in
                [(1, 7, 5), (3, 64, 33), (13, 40, 96), (30, 131, 70), (230, 128, 65)]
            {
                let (x, weights) = (noise(rows * depth, 1), noise(columns * depth, 2));
                let packed = Packed::new(&[&weights], depth, Precision::Bf16);
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
        for (isa, precision) in Isa::all().into_iter().flat_map(|isa| BOTH.map(|precision| (isa, precision)))
        {
            let packed = Packed::new(&[&weights], depth, precision);
            let together = product(isa, &packed, &x, rows);
            for size in [1, 2, 5, 12, 24, 25, 100] {
                for (part, wanted) in x.chunks(size * depth).zip(together.chunks(size * columns)) {
                    let got = product(isa, &packed, part, part.len() / depth);
                    assert!(
                        got.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{isa:?} {precision:?} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn bias_is_added_and_parts_are_stacked() {
        let (a, b) = (noise(3 * 8, 5), noise(2 * 8, 6));
        let packed = Packed::new(&[&a, &b], 8, Precision::F32);
        assert_eq!(packed.columns(), 5);
        let bias = vec![1.0, 2.0, 3.0, 4.0, 5.0];
        let epilogue = Epilogue { bias: bias.clone(), then: Then::Store };
        let mut sheet = Sheet::default();
        let isa = Isa::detect();
        assert_eq!(product_with(isa, &packed, (&[0.0; 8], 1), &epilogue, &mut sheet), bias);
        let epilogue = Epilogue { then: Then::Add, ..epilogue };
        let twice = product_with(isa, &packed, (&[0.0; 8], 1), &epilogue, &mut sheet);
        assert_eq!(twice, [2.0, 4.0, 6.0, 8.0, 10.0], "added to what was there");
        let mut row = vec![0.0; 8];
        packed.copy_row(4, &mut row);
        assert_eq!(row, b[8..]);
    }

    #[test]
    fn pairs_of_panels_become_one_and_activations_follow_on_every_instruction_set() {
        for (isa, precision) in Isa::all().into_iter().flat_map(|isa| BOTH.map(|precision| (isa, precision)))
        {
            for (rows, depth, columns) in [(1, 8, 5), (14, 40, 70)] {
                let x = noise(rows * depth, 7);
                let (gate, up) = (noise(columns * depth, 8), noise(columns * depth, 9));
                let alone = |weights| product(isa, &Packed::new(&[weights], depth, precision), &x, rows);
                let mut wanted = vec![0.0; rows * columns];
                math::gate_multiply(isa, Gate::Silu, &alone(&gate), &alone(&up), &mut wanted);
                let packed = Packed::paired(&gate, &up, depth, precision);
                let epilogue = Epilogue { bias: Vec::new(), then: Then::Gate(Gate::Silu) };
                let got = product_with(isa, &packed, (&x, rows), &epilogue, &mut Sheet::default());
                assert_eq!((got.len(), packed.columns()), (wanted.len(), columns));
                assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
                let epilogue = Epilogue { bias: Vec::new(), then: Then::Gelu };
                let packed = Packed::new(&[&gate], depth, precision);
                let got = product_with(isa, &packed, (&x, rows), &epilogue, &mut Sheet::default());
                let mut wanted = alone(&gate);
                math::gelu(isa, &mut wanted);
                assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
            }
        }
    }
}
