//! Attention as two products with a softmax between, over keys and values that are stored in the kernel's layout.

use crate::kernel::{Isa, WIDTH};
use crate::math;
use crate::packed::{MAX_HEIGHT, Rows, copy_into};
use std::ops::Range;

/// Query rows of one task: bounds its scores to `QUERIES` times the context.
pub(crate) const QUERIES: usize = 48;

/// Keys and values of one head for [`WIDTH`] positions: the keys as one panel (positions are columns), then the values as panels of
/// [`WIDTH`] features (positions are lines).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Features of a head.
    pub(crate) head: usize,
}

impl Unit {
    /// Floats of one unit.
    pub(crate) fn len(self) -> usize {
        self.head * WIDTH + self.value_panels() * WIDTH * WIDTH
    }

    fn value_panels(self) -> usize {
        self.head.div_ceil(WIDTH)
    }

    /// Writes the key and the value of the position `slot`, below [`WIDTH`].
    pub(crate) fn write(self, unit: &mut [f32], slot: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = unit.split_at_mut((self.head * WIDTH).min(unit.len()));
        for (to, &from) in keys.iter_mut().skip(slot).step_by(WIDTH).zip(key) {
            *to = from;
        }
        for (panel, part) in values.chunks_exact_mut(WIDTH * WIDTH).zip(value.chunks(WIDTH)) {
            copy_into(panel.get_mut(slot * WIDTH..), part);
        }
    }
}

/// Queries of one head and what they may see.
pub(crate) struct Queries<'a> {
    /// One line of `head` features for each query.
    pub(crate) lines: Vec<&'a [f32]>,
    /// The positions that each query sees; at least one, and no more than the units hold.
    pub(crate) visible: Vec<Range<usize>>,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// Bends the scores so that they stay between minus and plus this.
    pub(crate) cap: Option<f32>,
}

/// The answers of the queries over the units, one line of `head` features after the other.
///
/// A query's answer depends only on itself and on the positions that it sees: hidden positions get the share zero, and adding zero
/// changes no sum.
pub(crate) fn attend(isa: Isa, layout: Unit, units: &[&[f32]], queries: &Queries<'_>) -> Vec<f32> {
    let count = queries.lines.len();
    let positions = units.len() * WIDTH;
    let mut scores = vec![0.0; count * positions];
    let rows = Rows::<f32>::pack(isa, queries.lines.iter().copied(), layout.head);
    for block in rows.blocks() {
        for (index, unit) in units.iter().enumerate() {
            let keys = unit.get(..layout.head * WIDTH).unwrap_or_default();
            let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
            isa.multiply(block.height, block.values, keys, &mut sums);
            let lines = scores.chunks_exact_mut(positions.max(1)).skip(block.first);
            for (line, sums) in lines.zip(sums.iter().take(block.height)) {
                copy_into(line.get_mut(index * WIDTH..), sums);
            }
        }
    }
    for (line, visible) in scores.chunks_exact_mut(positions.max(1)).zip(&queries.visible) {
        let (upto, later) = line.split_at_mut(visible.end.min(positions));
        let (earlier, seen) = upto.split_at_mut(visible.start.min(visible.end).min(positions));
        for score in seen.iter_mut() {
            *score *= queries.scale;
        }
        if let Some(cap) = queries.cap {
            math::cap(isa, cap, seen);
        }
        math::softmax(isa, seen);
        earlier.fill(0.0);
        later.fill(0.0);
    }
    let shares = Rows::<f32>::pack(isa, scores.chunks_exact(positions.max(1)), positions);
    let mut out = vec![0.0; count * layout.head];
    for block in shares.blocks() {
        for panel in 0..layout.value_panels() {
            let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
            let parts = block.values.chunks_exact(WIDTH * block.height);
            for (unit, part) in units.iter().zip(parts) {
                let values = unit.get(layout.head * WIDTH + panel * WIDTH * WIDTH..).unwrap_or_default();
                isa.multiply(block.height, part, values, &mut sums);
            }
            let lines = out.chunks_exact_mut(layout.head.max(1)).skip(block.first);
            for (line, sums) in lines.zip(sums.iter().take(block.height)) {
                copy_into(line.get_mut(panel * WIDTH..), sums);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention straight from its definition, in f64.
    fn plain(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], scale: f32) -> Vec<f64> {
        let dot = |key: &Vec<f32>| query.iter().zip(key).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let shares: Vec<f64> = keys.iter().map(|key| (dot(key) * f64::from(scale)).exp()).collect();
        let total: f64 = shares.iter().sum();
        let feature =
            |d: usize| shares.iter().zip(values).map(|(s, v)| s * f64::from(v[d])).sum::<f64>() / total;
        (0..query.len()).map(feature).collect()
    }

    fn line(head: usize, seed: usize) -> Vec<f32> {
        (0..head).map(|d| f32::from(u8::try_from((seed * 37 + d * 11) % 23).unwrap()) / 11.0 - 1.0).collect()
    }

    #[test]
    fn answers_equal_the_definition_and_hide_what_is_not_visible() {
        for isa in Isa::all() {
            for (head, positions) in [(8, 3), (32, 33), (40, 70), (64, 64)] {
                let layout = Unit { head };
                let keys: Vec<_> = (0..positions).map(|p| line(head, p)).collect();
                let values: Vec<_> = (0..positions).map(|p| line(head, 100 + 3 * p)).collect();
                let mut store = vec![vec![0.0; layout.len()]; positions.div_ceil(WIDTH)];
                for (p, (key, value)) in keys.iter().zip(&values).enumerate() {
                    layout.write(&mut store[p / WIDTH], p % WIDTH, key, value);
                }
                let units: Vec<&[f32]> = store.iter().map(Vec::as_slice).collect();
                let lines: Vec<_> = (0..positions).map(|p| line(head, 1000 + p)).collect();
                for window in [1, 20, positions] {
                    let visible: Vec<_> =
                        (1..=positions).map(|end| end.saturating_sub(window)..end).collect();
                    let queries = Queries {
                        lines: lines.iter().map(Vec::as_slice).collect(),
                        visible: visible.clone(),
                        scale: 0.3,
                        cap: None,
                    };
                    let out = attend(isa, layout, &units, &queries);
                    for (p, (got, seen)) in out.chunks(head).zip(visible).enumerate() {
                        let wanted = plain(&lines[p], &keys[seen.clone()], &values[seen], 0.3);
                        for (got, wanted) in got.iter().zip(wanted) {
                            assert!(
                                (f64::from(*got) - wanted).abs() < 1e-5,
                                "{isa:?} {head} {window} {p}: {got} {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}
