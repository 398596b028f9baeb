//! What flows between the products: numbers as sheets, and rows as the kernel takes them. Both keep their memory for the next step.

use crate::kernel::{Isa, Packing, Pair, WIDTH};
use crate::packed::Form;
use crate::threads::Team;
use std::ops::Range;
use zeroize::Zeroize as _;

/// The tallest block of any instruction set.
pub(crate) const MAX_HEIGHT: usize = 12;
/// Fewer numbers than this are laid out by one thread.
const ALONE: usize = 1 << 14;
/// Numbers that are converted at once.
const PIECE: usize = 64;

/// Places of a line of `depth` numbers.
pub(crate) fn places<P: Packing>(depth: usize) -> usize {
    depth.div_ceil(P::COUNT)
}

/// A matrix in panels of [`WIDTH`] columns, each with all its rows: tasks that split the columns each write one slice of memory.
#[derive(Default)]
pub(crate) struct Sheet {
    rows: usize,
    panels: usize,
    lines: Vec<[f32; WIDTH]>,
}

impl Drop for Sheet {
    fn drop(&mut self) {
        self.lines.as_flattened_mut().zeroize();
    }
}

impl Sheet {
    /// Makes it so large. What it holds then is of no use, unless it was as large before.
    pub(crate) fn resize(&mut self, rows: usize, columns: usize) {
        (self.rows, self.panels) = (rows, columns.div_ceil(WIDTH));
        grow(&mut self.lines, rows * self.panels);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows * self.panels == 0
    }

    /// The rows of the first panel, then those of the second, and so on.
    pub(crate) fn lines_mut(&mut self) -> &mut [[f32; WIDTH]] {
        self.lines.get_mut(..self.rows * self.panels).unwrap_or_default()
    }

    /// All numbers, in the order of the lines.
    pub(crate) fn values(&self) -> &[f32] {
        self.lines.get(..self.rows * self.panels).unwrap_or_default().as_flattened()
    }

    /// See [`Sheet::values`].
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.lines_mut().as_flattened_mut()
    }

    /// Copies some columns of a row.
    pub(crate) fn copy(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let mut out = out.get_mut(..columns.len()).unwrap_or_default();
        let mut at = columns.start;
        while !out.is_empty() {
            let Some(line) = self.lines.get(at / WIDTH * self.rows + row) else { return };
            let part = line.get(at % WIDTH..).unwrap_or_default();
            let (now, later) = out.split_at_mut(part.len().min(out.len()));
            copy_into(now, part);
            at += now.len();
            out = later;
        }
    }

    /// Copies a whole row.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let lines = self.lines.iter().skip(row).step_by(self.rows.max(1)).take(self.panels);
        for (out, line) in out.chunks_mut(WIDTH).zip(lines) {
            copy_into(out, line);
        }
    }

    /// Replaces some columns of a row, from `column` on.
    pub(crate) fn write(&mut self, row: usize, column: usize, mut from: &[f32]) {
        let mut at = column;
        while !from.is_empty() {
            let Some(line) = self.lines.get_mut(at / WIDTH * self.rows + row) else { return };
            let part = line.get_mut(at % WIDTH..).unwrap_or_default();
            let (now, later) = from.split_at(part.len().min(from.len()));
            copy_into(part, now);
            at += now.len();
            from = later;
        }
    }

    /// Replaces a whole row.
    pub(crate) fn write_row(&mut self, row: usize, from: &[f32]) {
        let lines = self.lines.iter_mut().skip(row).step_by(self.rows.max(1)).take(self.panels);
        for (line, from) in lines.zip(from.chunks(WIDTH)) {
            copy_into(line, from);
        }
    }
}

/// Makes memory at least so long; what it is filled with counts for nothing.
pub(crate) fn grow<T: Clone + Default>(memory: &mut Vec<T>, len: usize) {
    if memory.len() < len {
        memory.resize(len, T::default());
    }
}

/// Copies as much as fits.
pub(crate) fn copy_into(to: &mut [f32], from: &[f32]) {
    match (to.first_chunk_mut::<WIDTH>(), <&[f32; WIDTH]>::try_from(from)) {
        // Of a known length, so that no function is called for it.
        (Some(to), Ok(from)) => *to = *from,
        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
    }
}

/// Rows for products, in the form that the weights ask for.
pub(crate) struct Input {
    form: Form,
    exact: Rows<f32>,
    pairs: Rows<Pair>,
    plain: Plain,
}

/// Rows as they are, for weights that want a layout of their own.
#[derive(Default)]
pub(crate) struct Plain {
    values: Vec<f32>,
    count: usize,
    depth: usize,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Plain {
    /// The rows, one after the other.
    pub(crate) fn values(&self) -> &[f32] {
        self.values.get(..self.count * self.depth).unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn lines(&mut self, count: usize, depth: usize) -> impl Iterator<Item = (usize, &mut [f32])> + Send {
        (self.count, self.depth) = (count, depth);
        grow(&mut self.values, count * depth);
        self.values.chunks_exact_mut(depth.max(1)).take(count).enumerate()
    }
}

impl Default for Input {
    fn default() -> Self {
        Self { form: Form::F32, exact: Rows::default(), pairs: Rows::default(), plain: Plain::default() }
    }
}

/// What an [`Input`] holds.
pub(crate) enum Filled<'a> {
    F32(&'a Rows<f32>),
    Bf16(&'a Rows<Pair>),
    Plain(&'a Plain),
}

impl Input {
    /// The rows, in the form in which they were filled.
    pub(crate) fn filled(&self) -> Filled<'_> {
        match self.form {
            Form::F32 => Filled::F32(&self.exact),
            Form::Bf16 => Filled::Bf16(&self.pairs),
            Form::Quantised => Filled::Plain(&self.plain),
        }
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        match self.filled() {
            Filled::F32(rows) => rows.count(),
            Filled::Bf16(rows) => rows.count(),
            Filled::Plain(rows) => rows.count(),
        }
    }

    /// Takes `count` rows of `depth` numbers. `line` is called for each row, and finds in its slice what any call left there.
    pub(crate) fn fill(
        &mut self,
        (isa, form): (Isa, Form),
        team: Team<'_>,
        (count, depth): (usize, usize),
        line: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.form = form;
        match form {
            Form::F32 => self.exact.fill(isa, team, (count, depth), line),
            Form::Bf16 => self.pairs.fill(isa, team, (count, depth), line),
            Form::Quantised => {
                let team = team.for_work(count * depth >= ALONE);
                team.each(self.plain.lines(count, depth), |_, (row, numbers)| line(row, numbers));
            }
        }
    }

    /// The same row by row on this thread, for a `line` that changes something.
    pub(crate) fn fill_here(
        &mut self,
        (isa, form): (Isa, Form),
        (count, depth): (usize, usize),
        mut line: impl FnMut(usize, &mut [f32]),
    ) {
        self.form = form;
        match form {
            Form::F32 => self.exact.fill_here(isa, (count, depth), line),
            Form::Bf16 => self.pairs.fill_here(isa, (count, depth), line),
            Form::Quantised => {
                self.plain.lines(count, depth).for_each(|(row, numbers)| line(row, numbers));
            }
        }
    }
}

/// Rows laid out for the kernel: blocks of up to [`MAX_HEIGHT`] rows, the places of one `k` side by side.
pub(crate) struct Rows<P: Packing> {
    values: Vec<P>,
    /// Where rows are made, one for each block.
    lines: Vec<f32>,
    /// Places of a row.
    places: usize,
    count: usize,
    heights: &'static [usize],
}

impl<P: Packing> Default for Rows<P> {
    fn default() -> Self {
        Self { values: Vec::new(), lines: Vec::new(), places: 0, count: 0, heights: &[1] }
    }
}

impl<P: Packing> Drop for Rows<P> {
    fn drop(&mut self) {
        self.values.zeroize();
        self.lines.zeroize();
    }
}

/// One block of [`Rows`].
pub(crate) struct Block<'a, P> {
    /// The first row.
    pub(crate) first: usize,
    pub(crate) height: usize,
    pub(crate) values: &'a [P],
}

impl<P: Packing> Rows<P> {
    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// See [`Input::fill`].
    pub(crate) fn fill(
        &mut self,
        isa: Isa,
        team: Team<'_>,
        (count, depth): (usize, usize),
        line: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let team = team.for_work(count * depth >= ALONE);
        team.each(self.parts(isa, count, depth), |_, part| part.fill(isa, &line));
    }

    /// See [`Input::fill_here`].
    pub(crate) fn fill_here(
        &mut self,
        isa: Isa,
        (count, depth): (usize, usize),
        mut line: impl FnMut(usize, &mut [f32]),
    ) {
        self.parts(isa, count, depth).for_each(|part| part.fill(isa, &mut line));
    }

    fn parts(&mut self, isa: Isa, count: usize, depth: usize) -> impl Iterator<Item = Part<'_, P>> + Send {
        (self.count, self.places, self.heights) = (count, places::<P>(depth), isa.heights());
        let heights = Heights { all: self.heights, left: count };
        grow(&mut self.values, count * self.places);
        grow(&mut self.lines, heights.clone().count() * depth);
        let (mut first, places) = (0, self.places);
        let mut rest = self.values.as_mut_slice();
        heights.zip(self.lines.chunks_mut(depth.max(1))).map(move |(height, line)| {
            let (values, later) = std::mem::take(&mut rest).split_at_mut(height * places);
            rest = later;
            first += height;
            Part { first: first - height, height, values, line }
        })
    }

    /// The blocks, in order.
    pub(crate) fn blocks(&self) -> Blocks<'_, P> {
        self.blocks_within(0..self.count)
    }

    /// The blocks of the rows `range`, whose start is a multiple of every height but perhaps the last ones.
    pub(crate) fn blocks_within(&self, range: Range<usize>) -> Blocks<'_, P> {
        let end = range.end.min(self.count);
        let left = end - range.start.min(end);
        Blocks { rows: self, first: range.start, heights: Heights { all: self.heights, left } }
    }
}

/// A block that is being laid out.
struct Part<'a, P> {
    first: usize,
    height: usize,
    values: &'a mut [P],
    line: &'a mut [f32],
}

impl<P: Packing> Part<'_, P> {
    fn fill(self, isa: Isa, mut line: impl FnMut(usize, &mut [f32])) {
        let Self { first, height, values, line: numbers } = self;
        let mut piece = [P::default(); PIECE];
        for offset in 0..height {
            line(first + offset, numbers);
            let slots = values.chunks_mut(height * PIECE / P::COUNT);
            for (slots, numbers) in slots.zip(numbers.chunks(PIECE)) {
                let piece = piece.get_mut(..places::<P>(numbers.len())).unwrap_or_default();
                P::fill(isa, piece, numbers);
                for (slots, place) in slots.chunks_exact_mut(height).zip(piece) {
                    if let Some(slot) = slots.get_mut(offset) {
                        *slot = *place;
                    }
                }
            }
        }
    }
}

/// The heights of the blocks that some rows are cut into.
#[derive(Clone)]
struct Heights {
    /// Tallest first.
    all: &'static [usize],
    left: usize,
}

impl Iterator for Heights {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let height = self.all.iter().copied().find(|&height| height <= self.left)?;
        self.left -= height;
        Some(height)
    }
}

/// Some blocks of [`Rows`], in order.
pub(crate) struct Blocks<'a, P: Packing> {
    rows: &'a Rows<P>,
    first: usize,
    heights: Heights,
}

impl<P: Packing> Clone for Blocks<'_, P> {
    fn clone(&self) -> Self {
        Self { rows: self.rows, first: self.first, heights: self.heights.clone() }
    }
}

impl<'a, P: Packing> Iterator for Blocks<'a, P> {
    type Item = Block<'a, P>;

    fn next(&mut self) -> Option<Self::Item> {
        let height = self.heights.next()?;
        let first = self.first;
        self.first += height;
        let places = self.rows.places;
        let values = self.rows.values.get(first * places..self.first * places).unwrap_or_default();
        Some(Block { first, height, values })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.heights.clone().count();
        (count, Some(count))
    }
}

impl<P: Packing> ExactSizeIterator for Blocks<'_, P> {}
