//! Matrices that stay quantised in memory, and their products with rows that are quantised to 8 bits.
//!
//! A row of the input is cut into the blocks of the weights; each block becomes integers of 8 bits and one scale. Products of integers
//! are exact, and the floating-point sum takes one block after the other, by the same fused operations on every instruction set. So a
//! result is the same bits on every machine, alone or in company.

mod cells;
mod kernel;
mod lines;
mod products;

use self::cells::{COLUMNS, Cell, Q4KCell, Q6KCell, Q8Cell};
use self::kernel::Level;
use self::lines::Lines;
use self::products::Product;
use crate::kernel::{Held, Isa, Pages};
use crate::math;
use crate::packed::{Epilogue, Then};
use crate::rows::{MAX_HEIGHT, Plain, Sheet};
use crate::stored::Stored;
use crate::threads::Team;

/// Rows that are quantised together, and pass over all panels of a task before the next ones do.
const TALL: usize = 96;
/// Tasks of a product for each thread, so that one which the system holds up does not hold up the others.
const SHARES: usize = 4;

/// A matrix of quantised parts, one below the other.
#[derive(Default)]
pub(crate) struct Quantised {
    parts: Vec<Part>,
}

struct Part {
    /// The first row of the matrix that is this part's.
    first: usize,
    /// Rows of the matrix, which are columns of the product.
    columns: usize,
    depth: usize,
    cells: Cells,
}

enum Cells {
    Q8_0(Pages<Q8Cell>),
    Q4K(Pages<Q4KCell>),
    Q6K(Pages<Q6KCell>),
}

/// Runs a function over the cells of any form.
macro_rules! with {
    ($cells:expr, $name:ident => $work:expr) => {
        match $cells {
            Cells::Q8_0($name) => $work,
            Cells::Q4K($name) => $work,
            Cells::Q6K($name) => $work,
        }
    };
}

impl Quantised {
    /// Zeros in parts that are stored like this with so many rows of `depth` numbers. Parts that are not quantised are left out.
    pub(crate) fn zeroed(parts: &[(Stored, usize)], depth: usize) -> Self {
        fn cells<C: Cell>(rows: usize, depth: usize) -> Pages<C> {
            Pages::zeroed(rows.div_ceil(COLUMNS) * (depth / C::NUMBERS))
        }
        let mut first = 0;
        let part = |&(stored, columns): &(Stored, usize)| {
            let cells = match stored {
                Stored::Q8_0 => Cells::Q8_0(cells(columns, depth)),
                Stored::Q4K => Cells::Q4K(cells(columns, depth)),
                Stored::Q6K => Cells::Q6K(cells(columns, depth)),
                Stored::F32 | Stored::F16 | Stored::Bf16 => return None,
            };
            first += columns;
            Some(Part { first: first - columns, columns, depth, cells })
        };
        Self { parts: parts.iter().filter_map(part).collect() }
    }

    /// How much memory it takes.
    pub(crate) fn held(&self) -> Held {
        let held = |part: &Part| with!(&part.cells, cells => cells.held());
        self.parts.iter().map(held).fold(Held::default(), Held::and)
    }

    /// Sets a row to what the file stores.
    pub(crate) fn set_row(&mut self, index: usize, row: &[u8]) {
        fn set<C: Cell>(cells: &mut [C], column: usize, (row, depth): (&[u8], usize)) {
            let blocks = depth / C::NUMBERS;
            let cells = cells.get_mut(column / COLUMNS * blocks..).unwrap_or_default();
            for (cell, block) in cells.iter_mut().zip(row.chunks_exact(C::BYTES)).take(blocks) {
                cell.set(column % COLUMNS, block);
            }
        }
        let part = self.parts.iter_mut().find(|part| index < part.first + part.columns);
        let Some(part) = part else { return };
        with!(&mut part.cells, cells => set(cells, index - part.first, (row, part.depth)));
    }

    /// Writes the numbers of a row to `out`; leaves it alone if there is none.
    pub(crate) fn copy_row(&self, index: usize, out: &mut [f32]) {
        fn copy<C: Cell>(cells: &[C], column: usize, depth: usize, out: &mut [f32]) {
            let cells = cells.get(column / COLUMNS * (depth / C::NUMBERS)..).unwrap_or_default();
            for (cell, out) in cells.iter().zip(out.chunks_exact_mut(C::NUMBERS)) {
                cell.numbers(column % COLUMNS, out);
            }
        }
        let part = self.parts.iter().find(|part| index < part.first + part.columns);
        let Some(part) = part else { return };
        let Some(out) = out.get_mut(..part.depth) else { return };
        with!(&part.cells, cells => copy(cells, index - part.first, part.depth, out));
    }

    /// Makes `out`, which has its size, of the product with every row as the epilogue says.
    pub(crate) fn multiply(&self, team: Team<'_>, rows: &Plain, epilogue: &Epilogue, out: &mut Sheet) {
        self.multiply_on(Level::detect(), team, rows, epilogue, out);
    }

    fn multiply_on(&self, level: Level, team: Team<'_>, rows: &Plain, epilogue: &Epilogue, out: &mut Sheet) {
        for part in &self.parts {
            with!(&part.cells, cells => part.multiply((cells, level), team, rows, epilogue, out));
        }
    }
}

impl Part {
    /// The product with this part, written to its columns of `out`.
    fn multiply<C: Product>(
        &self,
        (cells, level): (&[C], Level),
        team: Team<'_>,
        rows: &Plain,
        epilogue: &Epilogue,
        out: &mut Sheet,
    ) {
        let (count, len) = (rows.count(), self.depth / C::NUMBERS);
        let panels = self.columns.div_ceil(COLUMNS);
        let mut sets: Vec<Vec<Lines<C>>> = (0..count).step_by(TALL).map(|_| Vec::new()).collect();
        let tall = rows.values().chunks(TALL * self.depth);
        team.each(sets.iter_mut().zip(tall), |_, (set, rows)| {
            *set = Lines::quantise(rows, self.depth, level.heights::<C>());
        });
        let group = panels.div_ceil(team.count() * SHARES).max(1);
        let weights = cells.chunks(group * len).enumerate();
        let work = |task: usize, cells: &[C], lines: &mut [[f32; COLUMNS]], then: Then| {
            for (set, first) in sets.iter().zip((0..count).step_by(TALL)) {
                for (at, panel) in cells.chunks_exact(len).enumerate() {
                    let bias = self.bias_line(epilogue, task * group + at);
                    let lines = lines.get_mut(at * count + first..).unwrap_or_default();
                    set.iter().for_each(|set| pass(level, set, (panel, &bias), then, lines));
                }
            }
        };
        if self.first.is_multiple_of(COLUMNS) {
            let lines = out.lines_mut().get_mut(self.first / COLUMNS * count..).unwrap_or_default();
            let tasks = weights.zip(lines.chunks_mut(group * count));
            team.each(tasks, |_, ((task, cells), lines)| work(task, cells, lines, epilogue.then));
        } else {
            // Its panels are not those of the sheet.
            let mut sums = vec![[0.0; COLUMNS]; panels * count];
            let tasks = weights.zip(sums.chunks_mut(group * count));
            team.each(tasks, |_, ((task, cells), lines)| work(task, cells, lines, Then::Store));
            for (panel, sums) in sums.chunks_exact(count).enumerate() {
                for (row, sums) in sums.iter().enumerate() {
                    self.put(out, (row, panel), sums, epilogue.then);
                }
            }
        }
    }

    /// The bias of a panel's columns that are this part's.
    fn bias_line(&self, epilogue: &Epilogue, panel: usize) -> [f32; COLUMNS] {
        let mut line = epilogue.bias_line(self.first + panel * COLUMNS);
        line.iter_mut().skip(self.columns - panel * COLUMNS).for_each(|bias| *bias = 0.0);
        line
    }

    /// Puts the sums of one panel and row where they belong.
    fn put(&self, out: &mut Sheet, (row, panel): (usize, usize), sums: &[f32; COLUMNS], then: Then) {
        let columns = panel * COLUMNS..self.columns.min((panel + 1) * COLUMNS);
        let mut line = [0.0; COLUMNS];
        let line = line.get_mut(..columns.len()).unwrap_or_default();
        if then == Then::Add {
            out.copy(row, self.first + columns.start..self.first + columns.end, line);
        }
        line.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
        if then == Then::Gelu {
            math::gelu(Isa::detect(), line);
        }
        out.write(row, self.first + columns.start, line);
    }
}

/// Passes some rows over a panel. `lines` begins with the first row of the rows' set.
fn pass<C: Product>(
    level: Level,
    rows: &Lines<C>,
    (panel, bias): (&[C], &[f32; COLUMNS]),
    then: Then,
    lines: &mut [[f32; COLUMNS]],
) {
    let Some(lines) = lines.get_mut(rows.first()..rows.first() + rows.height()) else { return };
    if then == Then::Add {
        let mut sums = [[0.0; COLUMNS]; MAX_HEIGHT];
        let Some(sums) = sums.get_mut(..rows.height()) else { return };
        sums.fill(*bias);
        level.multiply(rows, panel, sums);
        math::add(Isa::detect(), sums.as_flattened(), lines.as_flattened_mut());
    } else {
        lines.fill(*bias);
        level.multiply(rows, panel, lines);
    }
    if then == Then::Gelu {
        math::gelu(Isa::detect(), lines.as_flattened_mut());
    }
}

#[cfg(test)]
#[path = "quantised/tests.rs"]
mod tests;
