//! Attention as two products with a softmax between, over keys and values that are stored in the kernel's layout.

use crate::kernel::{Ahead, Isa, Packing, WIDTH};
use crate::math;
use crate::rows::{MAX_HEIGHT, Rows, copy_into, grow, places};
use crate::threads::Team;
use std::marker::PhantomData;
use std::ops::Range;
use zeroize::Zeroize as _;

/// Query rows of one task: bounds its scores to `QUERIES` times the context.
pub(crate) const QUERIES: usize = 48;

/// Keys and values of one head for [`WIDTH`] positions: the keys as one panel (positions are columns), then the values as panels of
/// [`WIDTH`] features (positions are lines).
#[derive(Debug)]
pub(crate) struct Unit<P> {
    /// Features of a head.
    pub(crate) head: usize,
    place: PhantomData<P>,
}

impl<P> Clone for Unit<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Unit<P> {}

impl<P: Packing> Unit<P> {
    pub(crate) fn new(head: usize) -> Self {
        Self { head, place: PhantomData }
    }

    /// Places of one unit.
    pub(crate) fn len(self) -> usize {
        self.keys_len() + self.value_panels() * self.panel_len()
    }

    fn keys_len(self) -> usize {
        places::<P>(self.head) * WIDTH
    }

    /// Places of one panel of values.
    fn panel_len(self) -> usize {
        places::<P>(WIDTH) * WIDTH
    }

    fn value_panels(self) -> usize {
        self.head.div_ceil(WIDTH)
    }

    /// Writes the key and the value of the position `slot`, below [`WIDTH`].
    pub(crate) fn write(self, unit: &mut [P], slot: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = unit.split_at_mut(self.keys_len().min(unit.len()));
        let places = keys.iter_mut().skip(slot).step_by(WIDTH);
        for (place, numbers) in places.zip(key.chunks(P::COUNT)) {
            *place = P::of(numbers);
        }
        for (panel, part) in values.chunks_exact_mut(self.panel_len()).zip(value.chunks(WIDTH)) {
            let line = panel.get_mut(slot / P::COUNT * WIDTH..).unwrap_or_default();
            for (place, &number) in line.iter_mut().zip(part) {
                place.set(slot % P::COUNT, number);
            }
        }
    }
}

/// Queries of one head and what they may see.
#[derive(Default)]
pub(crate) struct Queries {
    /// One line of `head` features for each query.
    pub(crate) lines: Vec<f32>,
    /// The positions that each query sees; at least one, and no more than the units hold.
    pub(crate) visible: Vec<Range<usize>>,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// Bends the scores so that they stay between minus and plus this.
    pub(crate) cap: Option<f32>,
}

/// What a thread needs to attend. It keeps its memory from one task to the next.
pub(crate) struct Attention<P: Packing> {
    isa: Isa,
    pub(crate) queries: Queries,
    rows: Rows<P>,
    scores: Vec<f32>,
    shares: Rows<P>,
}

impl<P: Packing> Drop for Attention<P> {
    fn drop(&mut self) {
        self.queries.lines.zeroize();
        self.scores.zeroize();
    }
}

impl<P: Packing> Attention<P> {
    pub(crate) fn new(isa: Isa) -> Self {
        let (rows, shares) = (Rows::default(), Rows::default());
        Self { isa, queries: Queries::default(), rows, scores: Vec::new(), shares }
    }

    /// Writes the answers of the queries over `count` units, one line of `head` features after the other, to `out`.
    ///
    /// A query's answer depends only on itself and on the positions that it sees: hidden positions get the share zero, and adding zero
    /// changes no sum.
    pub(crate) fn attend<'a>(
        &mut self,
        layout: Unit<P>,
        count: usize,
        unit: impl Fn(usize) -> &'a [P],
        out: &mut [f32],
    ) where
        P: 'a,
    {
        let (queries, positions) = (self.queries.visible.len(), count * WIDTH);
        let Self { queries: Queries { lines, .. }, rows, .. } = self;
        rows.fill(self.isa, Team::Alone(0), (queries, layout.head), |row, line| {
            copy_into(line, lines.get(row * layout.head..(row + 1) * layout.head).unwrap_or_default());
        });
        grow(&mut self.scores, queries * positions);
        for index in 0..count {
            let keys = unit(index).get(..layout.keys_len()).unwrap_or_default();
            for block in self.rows.blocks() {
                let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
                P::multiply(self.isa, block.height, block.values, Ahead::last(keys), &mut sums);
                let lines = self.scores.chunks_exact_mut(positions).skip(block.first);
                for (line, sums) in lines.zip(sums.iter().take(block.height)) {
                    copy_into(line.get_mut(index * WIDTH..).unwrap_or_default(), sums);
                }
            }
        }
        self.share(positions);
        let Self { scores, shares, .. } = self;
        shares.fill(self.isa, Team::Alone(0), (queries, positions), |row, line| {
            line.copy_from_slice(scores.get(row * positions..(row + 1) * positions).unwrap_or_default());
        });
        self.answer(layout, count, unit, out);
    }

    /// Makes shares of the scores.
    fn share(&mut self, positions: usize) {
        let Queries { visible, scale, cap, .. } = &self.queries;
        for (line, visible) in self.scores.chunks_exact_mut(positions.max(1)).zip(visible) {
            let (upto, later) = line.split_at_mut(visible.end.min(positions));
            let (earlier, seen) = upto.split_at_mut(visible.start.min(visible.end).min(positions));
            math::scale(self.isa, *scale, seen);
            if let Some(cap) = *cap {
                math::cap(self.isa, cap, seen);
            }
            math::softmax(self.isa, seen);
            earlier.fill(0.0);
            later.fill(0.0);
        }
    }

    /// Sums the values by their shares.
    fn answer<'a>(&self, layout: Unit<P>, count: usize, unit: impl Fn(usize) -> &'a [P], out: &mut [f32])
    where
        P: 'a,
    {
        for block in self.shares.blocks() {
            for panel in 0..layout.value_panels() {
                let mut sums = [[0.0; WIDTH]; MAX_HEIGHT];
                let parts = block.values.chunks_exact(places::<P>(WIDTH) * block.height);
                for (index, part) in (0..count).zip(parts) {
                    let values = unit(index).get(layout.keys_len() + panel * layout.panel_len()..);
                    let values = values.and_then(|values| values.get(..layout.panel_len()));
                    let values = Ahead::last(values.unwrap_or_default());
                    P::multiply(self.isa, block.height, part, values, &mut sums);
                }
                let lines = out.chunks_exact_mut(layout.head.max(1)).skip(block.first);
                for (line, sums) in lines.zip(sums.iter().take(block.height)) {
                    copy_into(line.get_mut(panel * WIDTH..).unwrap_or_default(), sums);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Pair;

    /// Attention straight from its definition, in f64.
    fn plain(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], scale: f32) -> Vec<f64> {
        let dot = |key: &Vec<f32>| query.iter().zip(key).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let shares: Vec<f64> = keys.iter().map(|key| (dot(key) * f64::from(scale)).exp()).collect();
        let total: f64 = shares.iter().sum();
        let feature =
            |d: usize| shares.iter().zip(values).map(|(s, v)| s * f64::from(v[d])).sum::<f64>() / total;
        (0..query.len()).map(feature).collect()
    }

    /// Numbers as `P` holds them.
    fn line<P: Packing>(head: usize, seed: usize) -> Vec<f32> {
        let number = |d| f32::from(u8::try_from((seed * 37 + d * 11) % 23).unwrap()) / 11.0 - 1.0;
        (0..head).map(|d| P::of(&[number(d)]).number(0)).collect()
    }

    #[test]
    fn answers_equal_the_definition_and_hide_what_is_not_visible() {
        check::<f32>(1e-5);
        // Shares are rounded to bf16, and so off by up to 1/512 of themselves.
        check::<Pair>(5e-3);
    }

    fn check<P: Packing>(allowed: f64) {
        for isa in Isa::all() {
            for (head, positions) in [(8, 3), (32, 33), (40, 70), (64, 64)] {
                let layout = Unit::<P>::new(head);
                let keys: Vec<_> = (0..positions).map(|p| line::<P>(head, p)).collect();
                let values: Vec<_> = (0..positions).map(|p| line::<P>(head, 100 + 3 * p)).collect();
                let mut store = vec![vec![P::default(); layout.len()]; positions.div_ceil(WIDTH)];
                for (p, (key, value)) in keys.iter().zip(&values).enumerate() {
                    layout.write(&mut store[p / WIDTH], p % WIDTH, key, value);
                }
                let lines: Vec<_> = (0..positions).map(|p| line::<P>(head, 1000 + p)).collect();
                for window in [1, 20, positions] {
                    let visible: Vec<_> =
                        (1..=positions).map(|end| end.saturating_sub(window)..end).collect();
                    let mut attention = Attention::<P>::new(isa);
                    attention.queries =
                        Queries { lines: lines.concat(), visible: visible.clone(), scale: 0.3, cap: None };
                    let mut out = vec![0.0; positions * head];
                    attention.attend(layout, store.len(), |at| store[at].as_slice(), &mut out);
                    for (p, (got, seen)) in out.chunks(head).zip(visible).enumerate() {
                        let wanted = plain(&lines[p], &keys[seen.clone()], &values[seen], 0.3);
                        for (got, wanted) in got.iter().zip(wanted) {
                            assert!(
                                (f64::from(*got) - wanted).abs() < allowed,
                                "{isa:?} {head} {window} {p}: {got} {wanted}"
                            );
                        }
                    }
                }
            }
        }
    }
}
