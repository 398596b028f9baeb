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
use crate::kernel::Isa;
use crate::math;
use crate::packed::{Epilogue, copy_into};
use crate::stored::Stored;
use rayon::prelude::*;
use std::hint;

/// Up to so many rows, a product is split by columns, so that a few sequences still use every thread.
const SHORT: usize = 64;
/// Rows that one task of a taller product takes.
const TALL: usize = 96;
/// Products with fewer multiplications than this are not worth waking another thread.
const ALONE: usize = 1 << 18;

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
    Q8_0(Vec<Q8Cell>),
    Q4K(Vec<Q4KCell>),
    Q6K(Vec<Q6KCell>),
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

impl Drop for Part {
    fn drop(&mut self) {
        fn wipe<C: Cell>(cells: &mut Vec<C>) {
            cells.fill(C::ZERO);
            hint::black_box(cells);
        }
        with!(&mut self.cells, cells => wipe(cells));
    }
}

impl Quantised {
    /// Zeros in parts that are stored like this with so many rows of `depth` numbers. Parts that are not quantised are left out.
    pub(crate) fn zeroed(parts: &[(Stored, usize)], depth: usize) -> Self {
        fn cells<C: Cell>(rows: usize, depth: usize) -> Vec<C> {
            vec![C::ZERO; rows.div_ceil(COLUMNS) * (depth / C::NUMBERS)]
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

    /// `out = activation(x * weights + bias)` for every row of `x`.
    pub(crate) fn multiply(&self, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        self.multiply_on(Level::detect(), x, epilogue, out);
    }

    fn multiply_on(&self, level: Level, x: &[f32], epilogue: &Epilogue, out: &mut [f32]) {
        let Some(depth) = self.parts.first().map(|part| part.depth).filter(|depth| *depth > 0) else {
            return;
        };
        let columns: usize = self.parts.iter().map(|part| part.columns).sum();
        let rows = x.len() / depth;
        let share = if rows.saturating_mul(depth).saturating_mul(columns) < ALONE || rows <= SHORT {
            rows
        } else {
            rows.div_ceil(rayon::current_num_threads()).next_multiple_of(12).min(TALL)
        };
        let pieces = x.chunks(share.max(1) * depth).zip(out.chunks_mut(share.max(1) * columns));
        let work = |(x, out): (&[f32], &mut [f32])| {
            for part in &self.parts {
                with!(&part.cells, cells => part.multiply(cells, level, x, epilogue, (out, columns)));
            }
            math::activate(Isa::detect(), epilogue.activation, out);
        };
        if share < rows {
            pieces.collect::<Vec<_>>().into_par_iter().for_each(work);
        } else {
            pieces.for_each(work);
        }
    }
}

impl Part {
    /// The product with this part, written to its columns of `out`.
    fn multiply<C: Product>(
        &self,
        cells: &[C],
        level: Level,
        x: &[f32],
        epilogue: &Epilogue,
        (out, columns): (&mut [f32], usize),
    ) {
        let rows = x.len() / self.depth;
        let lines = Lines::<C>::quantise(x, self.depth, level.heights::<C>());
        let len = self.depth / C::NUMBERS;
        let panels = self.columns.div_ceil(COLUMNS);
        let alone = rows.saturating_mul(self.depth).saturating_mul(self.columns) < ALONE || rows > SHORT;
        let group = if alone { panels } else { panels.div_ceil(rayon::current_num_threads() * 2) }.max(1);
        let work = |(task, cells): (usize, &[C])| {
            let panels = cells.chunks_exact(len);
            let mut sums = vec![[0.0; COLUMNS]; panels.len() * rows];
            for ((index, panel), sums) in panels.enumerate().zip(sums.chunks_exact_mut(rows)) {
                sums.fill(epilogue.bias_line(self.first + (task * group + index) * COLUMNS));
                for lines in &lines {
                    level.multiply(lines, panel, sums.get_mut(lines.first()..).unwrap_or_default());
                }
            }
            sums
        };
        let tasks = cells.chunks(group * len).enumerate();
        let sums: Vec<Vec<[f32; COLUMNS]>> = if alone {
            tasks.map(work).collect()
        } else {
            tasks.collect::<Vec<_>>().into_par_iter().map(work).collect()
        };
        let panels = sums.iter().flat_map(|sums| sums.chunks_exact(rows));
        for (index, panel) in panels.enumerate() {
            let width = COLUMNS.min(self.columns - index * COLUMNS);
            for (line, sums) in out.chunks_exact_mut(columns).zip(panel) {
                copy_into(line.get_mut(self.first + index * COLUMNS..), sums.get(..width).unwrap_or(sums));
            }
        }
    }
}

#[cfg(test)]
#[path = "quantised/tests.rs"]
mod tests;
