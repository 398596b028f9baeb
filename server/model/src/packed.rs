//! Weights laid out for the kernel, and the matrix product over them.

use crate::kernel::{Ahead, Held, Isa, Packing, Pages, Pair, WIDTH};
use crate::math::{self, Gate};
use crate::quantised::Quantised;
use crate::rows::{Block, Blocks, Filled, Input, MAX_HEIGHT, Rows, Sheet, places};
use crate::stored::Stored;
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
    F32(Pages<f32>),
    Bf16(Pages<Pair>),
    Quantised(Quantised),
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

/// What is added to a product, and what becomes of the sum.
pub(crate) struct Epilogue {
    /// One value for each column; empty for none.
    pub(crate) bias: Pages<f32>,
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
    /// The result has half of the columns: `bend(x) * y`, where `y` is as far behind `x` as there are of them. For weights that are
    /// [`Packed::halved`].
    Gate(Gate),
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
        fn panels<P: Packing>(columns: usize, depth: usize) -> Pages<P> {
            Pages::zeroed(columns.div_ceil(WIDTH) * WIDTH * places::<P>(depth))
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

    /// Numbers of a row.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// How much memory it takes.
    pub(crate) fn held(&self) -> Held {
        match &self.panels {
            Panels::F32(panels) => panels.held(),
            Panels::Bf16(panels) => panels.held(),
            Panels::Quantised(parts) => parts.held(),
        }
    }

    /// In which form rows are multiplied with these weights.
    pub(crate) fn form(&self) -> Form {
        match self.panels {
            Panels::F32(_) => Form::F32,
            Panels::Bf16(_) => Form::Bf16,
            Panels::Quantised(_) => Form::Quantised,
        }
    }

    /// Whether each half of the columns is whole panels, so that [`Then::Gate`] can follow.
    pub(crate) fn halved(&self) -> bool {
        self.form() != Form::Quantised && self.columns.is_multiple_of(2 * WIDTH)
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

    /// Makes `out` of `input * weights + bias` as the epilogue says. `input` has the depth and the form of the weights; if not, the
    /// result is of no use.
    pub(crate) fn multiply(
        &self,
        isa: Isa,
        team: Team<'_>,
        input: &Input,
        epilogue: &Epilogue,
        out: &mut Sheet,
    ) {
        let gated = matches!(epilogue.then, Then::Gate(_));
        out.resize(input.count(), if gated { self.columns / 2 } else { self.columns });
        if self.depth == 0 || out.is_empty() {
            return;
        }
        let team = team.for_work(input.count() * self.depth * self.columns >= ALONE);
        let depth = self.depth;
        match (&self.panels, input.filled()) {
            (Panels::F32(panels), Filled::F32(rows)) => {
                Product { isa, epilogue, rows, depth }.run(team, panels, out);
            }
            (Panels::Bf16(panels), Filled::Bf16(rows)) => {
                Product { isa, epilogue, rows, depth }.run(team, panels, out);
            }
            (Panels::Quantised(parts), Filled::Plain(rows)) => parts.multiply(team, rows, epilogue, out),
            _ => debug_assert!(false, "rows of another form"),
        }
    }
}

/// A product of rows and panels.
struct Product<'a, P: Packing> {
    isa: Isa,
    epilogue: &'a Epilogue,
    rows: &'a Rows<P>,
    depth: usize,
}

impl<P: Packing> Product<'_, P> {
    /// Every task takes some panels and passes the rows over them.
    fn run(&self, team: Team<'_>, panels: &[P], out: &mut Sheet) {
        let (bend, panels, ups) = match self.epilogue.then {
            Then::Gate(bend) => {
                let (gates, ups) = panels.split_at(panels.len() / 2);
                (Some(bend), gates, ups)
            }
            _ => (None, panels, panels),
        };
        let count = self.rows.count();
        let len = WIDTH * places::<P>(self.depth);
        let group = (panels.len() / len).div_ceil(team.count() * SHARES).max(1);
        let weights = panels.chunks(group * len).zip(ups.chunks(group * len));
        let tasks = weights.zip(out.lines_mut().chunks_mut(group * count)).enumerate();
        team.each(tasks, |_, (task, ((panels, ups), lines))| {
            for first in (0..count).step_by(TALL) {
                let blocks = self.rows.blocks_within(first..first + TALL);
                for (at, lines) in lines.chunks_exact_mut(count).enumerate() {
                    let panel = Ahead::of(panels, at, len);
                    match bend {
                        Some(bend) => {
                            self.gate(bend, blocks.clone(), [panel, Ahead::of(ups, at, len)], lines)
                        }
                        None => self.pass(blocks.clone(), (task * group + at) * WIDTH, panel, lines),
                    }
                }
            }
        });
    }

    /// Passes some blocks of rows over a panel, whose first column is `column`.
    fn pass(&self, blocks: Blocks<'_, P>, column: usize, panel: Ahead<'_, P>, lines: &mut [[f32; WIDTH]]) {
        let bias = self.epilogue.bias_line(column);
        let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
        for (block, ahead) in panel.shared(blocks) {
            let Some(lines) = lines.get_mut(block.first..block.first + block.height) else { return };
            if self.epilogue.then == Then::Add {
                let Some(sums) = sums.get_mut(..block.height) else { return };
                sums.fill(bias);
                P::multiply(self.isa, block.height, block.values, ahead, sums);
                math::add(self.isa, sums.as_flattened(), lines.as_flattened_mut());
            } else {
                lines.fill(bias);
                P::multiply(self.isa, block.height, block.values, ahead, lines);
            }
            if self.epilogue.then == Then::Gelu {
                math::gelu(self.isa, lines.as_flattened_mut());
            }
        }
    }

    /// Passes some blocks of rows over a panel of gates and its panel of ups.
    fn gate(
        &self,
        bend: Gate,
        blocks: Blocks<'_, P>,
        [gate, up]: [Ahead<'_, P>; 2],
        lines: &mut [[f32; WIDTH]],
    ) {
        for ((block, gate), (_, up)) in gate.shared(blocks.clone()).zip(up.shared(blocks)) {
            let mut sums = [[[0.0; WIDTH]; MAX_HEIGHT]; 2];
            let [gates, ups] = &mut sums;
            let Some(lines) = lines.get_mut(block.first..block.first + block.height) else { return };
            P::multiply(self.isa, block.height, block.values, gate, gates);
            P::multiply(self.isa, block.height, block.values, up, ups);
            let [gates, ups] = sums.each_ref().map(|sums| sums.as_flattened());
            math::gate_multiply(self.isa, bend, gates, ups, lines.as_flattened_mut());
        }
    }
}

impl<'a, P: Packing> Ahead<'a, P> {
    /// Of panels of `len` places, the one `at` this place.
    fn of(panels: &'a [P], at: usize, len: usize) -> Self {
        let panel = |at: usize| panels.get(at * len..(at + 1) * len).unwrap_or_default();
        Self { panel: panel(at), next: panel(at + 1) }
    }

    /// The panel for each of some blocks that pass over it, with its share of what comes next.
    fn shared<'b>(self, blocks: Blocks<'b, P>) -> impl Iterator<Item = (Block<'b, P>, Ahead<'a, P>)> {
        let share = (self.next.len() / WIDTH).div_ceil(blocks.len().max(1)).max(1) * WIDTH;
        let mut next = self.next.chunks(share);
        blocks.map(move |block| (block, Ahead { next: next.next().unwrap_or_default(), ..self }))
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
        let epilogue = Epilogue { bias: Pages::default(), then: Then::Store };
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
        input.fill((isa, packed.form()), team, (rows, packed.depth()), |row, line| {
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
        let bias = vec![1.0, 2.0, 3.0, 4.0, 5.0];
        let epilogue = Epilogue { bias: Pages::copy_of(&bias), then: Then::Store };
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
    fn gates_open_for_the_other_half_and_activations_follow_on_every_instruction_set() {
        for (isa, form) in Isa::all().into_iter().flat_map(|isa| BOTH.map(|form| (isa, form))) {
            for (rows, depth, columns) in [(1, 8, 32), (14, 40, 96)] {
                let x = noise(rows * depth, 7);
                let (gate, up) = (noise(columns * depth, 8), noise(columns * depth, 9));
                let alone = |weights| product(isa, &Packed::new(&[weights], depth, form), &x, rows);
                let mut wanted = vec![0.0; rows * columns];
                math::gate_multiply(isa, Gate::Silu, &alone(&gate), &alone(&up), &mut wanted);
                let packed = Packed::new(&[&gate, &up], depth, form);
                assert!(packed.halved());
                let epilogue = Epilogue { bias: Pages::default(), then: Then::Gate(Gate::Silu) };
                let got = product_with(isa, &packed, (&x, rows), &epilogue, &mut Sheet::default());
                let got = got.chunks(2 * columns).flat_map(|line| &line[..columns]);
                assert!(got.zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
                let epilogue = Epilogue { bias: Pages::default(), then: Then::Gelu };
                let packed = Packed::new(&[&gate], depth, form);
                let got = product_with(isa, &packed, (&x, rows), &epilogue, &mut Sheet::default());
                let mut wanted = alone(&gate);
                math::gelu(isa, &mut wanted);
                assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
            }
        }
    }
}
