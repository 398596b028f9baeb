//! The products of rows and cells, written once for every instruction set.

use super::cells::{COLUMNS, Cell, Halves, Q4KCell, Q6KCell, Q8Cell, STRIP};
use super::kernel::Lanes;
use super::lines::Lines;

/// Cells that can be multiplied.
pub(super) trait Product: Cell {
    /// With AVX-512, the numbers of rows that are multiplied together, largest first; the last is 1.
    const HEIGHTS: &'static [usize];
    /// With AVX-512, up to how many rows both strips are multiplied at once.
    const BOTH_STRIPS: usize;

    /// Adds the products of `H` rows with the columns of `S` strips, from `first` on, to `sums`.
    fn add<V: Lanes, const H: usize, const S: usize>(
        lines: &Lines<Self>,
        panel: &[Self],
        first: usize,
        sums: &mut [[f32; COLUMNS]; H],
    );
}

/// The strips of a line.
fn strip(line: &[f32; COLUMNS], at: usize) -> Option<&[f32; STRIP]> {
    line.as_chunks::<STRIP>().0.get(at)
}

/// The sums in registers.
#[inline(always)]
fn load<V: Lanes, const H: usize, const S: usize>(
    sums: &[[f32; COLUMNS]; H],
    first: usize,
) -> [[V::Floats; S]; H] {
    let mut loaded = [[V::zeros(); S]; H];
    for (loaded, line) in loaded.iter_mut().zip(sums) {
        for (at, loaded) in loaded.iter_mut().enumerate() {
            if let Some(strip) = strip(line, first + at) {
                *loaded = V::load(strip);
            }
        }
    }
    loaded
}

#[inline(always)]
fn store<V: Lanes, const H: usize, const S: usize>(
    loaded: &[[V::Floats; S]; H],
    first: usize,
    sums: &mut [[f32; COLUMNS]; H],
) {
    for (loaded, line) in loaded.iter().zip(sums) {
        let strips = line.as_chunks_mut::<STRIP>().0.iter_mut().skip(first);
        for (loaded, strip) in loaded.iter().zip(strips) {
            V::store(*loaded, strip);
        }
    }
}

/// `S` of two strips.
#[inline(always)]
fn strips<T, const S: usize>(both: &[T; 2], first: usize) -> [&T; S] {
    let [low, high] = both;
    std::array::from_fn(|at| if first + at == 0 { low } else { high })
}

/// What `work` makes of each value. The loop is always inlined, which `array::map` is not: vector instructions would be calls.
#[inline(always)]
fn each<A: Copy, B: Copy, const N: usize>(from: [A; N], empty: B, work: impl Fn(A) -> B) -> [B; N] {
    let mut out = [empty; N];
    for (out, from) in out.iter_mut().zip(from) {
        *out = work(from);
    }
    out
}

/// Scales in half precision as numbers.
#[inline(always)]
fn halves<V: Lanes, const S: usize>(both: &[Halves; 2], first: usize) -> [V::Floats; S] {
    each(strips(both, first), V::zeros(), V::halves)
}

/// The same integers in every strip of each row.
#[inline(always)]
fn splat<V: Lanes, const H: usize, const S: usize>(values: &[i32; H]) -> [[V; S]; H] {
    each(*values, [V::splat(0); S], |value| [V::splat(value); S])
}

impl Product for Q8Cell {
    const HEIGHTS: &'static [usize] = &[6, 4, 2, 1];
    const BOTH_STRIPS: usize = 6;

    #[inline(always)]
    fn add<V: Lanes, const H: usize, const S: usize>(
        lines: &Lines<Self>,
        panel: &[Self],
        first: usize,
        sums: &mut [[f32; COLUMNS]; H],
    ) {
        let mut total = load::<V, H, S>(sums, first);
        let blocks = lines.quants.as_chunks::<H>().0.as_chunks::<8>().0.iter();
        let offsets = lines.sums.as_chunks::<H>().0.iter().zip(lines.scales.as_chunks::<H>().0);
        for (cell, (quants, (offsets, scales))) in panel.iter().zip(blocks.zip(offsets)) {
            let weights = strips::<_, S>(&cell.quants, first);
            let mut sums = splat::<V, H, S>(offsets);
            for (group, quants) in quants.iter().enumerate() {
                let weights = each(weights, V::splat(0), |weights| V::bytes(fours(weights, group)));
                for (sums, &quants) in sums.iter_mut().zip(quants) {
                    let quants = V::splat(quants);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = sum.dot_full(weights, quants);
                    }
                }
            }
            let of_weights = halves::<V, S>(&cell.scales, first);
            add_block::<V, H, S>(&mut total, sums, of_weights, scales);
        }
        store::<V, H, S>(&total, first, sums);
    }
}

/// Adds a block's sums, each times the scale of its weights and that of its row.
#[inline(always)]
fn add_block<V: Lanes, const H: usize, const S: usize>(
    total: &mut [[V::Floats; S]; H],
    sums: [[V; S]; H],
    of_weights: [V::Floats; S],
    of_rows: &[f32; H],
) {
    for ((total, sums), &of_row) in total.iter_mut().zip(sums).zip(of_rows) {
        for ((total, sum), of_weights) in total.iter_mut().zip(sums).zip(of_weights) {
            let scale = V::multiply_floats(of_weights, V::splat_float(of_row));
            *total = V::fused(sum.floats(), scale, *total);
        }
    }
}

/// One of an array whose length the caller's loop has.
#[inline(always)]
fn fours<T, const N: usize>(groups: &[T; N], at: usize) -> &T {
    const { assert!(N.is_power_of_two()) };
    // The remainder changes nothing, and tells the compiler that no check is needed.
    #[expect(clippy::indexing_slicing, reason = "a remainder by the length is below it")]
    &groups[at % N]
}

impl Product for Q4KCell {
    const HEIGHTS: &'static [usize] = &[8, 4, 2, 1];
    const BOTH_STRIPS: usize = 2;

    #[inline(always)]
    fn add<V: Lanes, const H: usize, const S: usize>(
        lines: &Lines<Self>,
        panel: &[Self],
        first: usize,
        sums: &mut [[f32; COLUMNS]; H],
    ) {
        let mut total = load::<V, H, S>(sums, first);
        let blocks = lines.quants.as_chunks::<H>().0.as_chunks::<8>().0.as_chunks::<8>().0.iter();
        let of_groups = lines.sums.as_chunks::<H>().0.as_chunks::<4>().0.iter();
        let scales = lines.scales.as_chunks::<H>().0;
        for (cell, ((quants, of_groups), scales)) in panel.iter().zip(blocks.zip(of_groups).zip(scales)) {
            let sums = q4_k_groups::<V, H, S>(cell, first, quants);
            let mut minimums = [[V::splat(0); S]; H];
            let stored = strips::<_, S>(&cell.minimums, first);
            for (pair, of_groups) in of_groups.iter().enumerate() {
                let stored = each(stored, V::splat(0), |stored| V::pairs(fours(stored, pair)));
                for (minimums, &of_groups) in minimums.iter_mut().zip(of_groups) {
                    for (minimum, stored) in minimums.iter_mut().zip(stored) {
                        *minimum = minimum.dot_pairs(stored, V::splat(of_groups));
                    }
                }
            }
            let scale = halves::<V, S>(&cell.scale, first);
            let minimum = halves::<V, S>(&cell.minimum, first);
            let rows = total.iter_mut().zip(sums.into_iter().zip(minimums)).zip(scales);
            for ((total, (sums, minimums)), &of_row) in rows {
                let of_row = [V::splat_float(of_row), V::splat_float(-of_row)];
                let columns =
                    total.iter_mut().zip(sums.into_iter().zip(minimums)).zip(scale.into_iter().zip(minimum));
                for ((total, (sum, of_minimums)), (scale, minimum)) in columns {
                    let [plus, minus] = of_row;
                    *total = V::fused(sum.floats(), V::multiply_floats(scale, plus), *total);
                    *total = V::fused(of_minimums.floats(), V::multiply_floats(minimum, minus), *total);
                }
            }
        }
        store::<V, H, S>(&total, first, sums);
    }
}

/// The sums of a block's products, each group's times its scale.
#[inline(always)]
fn q4_k_groups<V: Lanes, const H: usize, const S: usize>(
    cell: &Q4KCell,
    first: usize,
    quants: &[[[i32; H]; 8]; 8],
) -> [[V; S]; H] {
    let mut total = [[V::splat(0); S]; H];
    let (stored, scales) = (strips::<_, S>(&cell.quants, first), strips::<_, S>(&cell.scales, first));
    for (group, quants) in quants.iter().enumerate() {
        let mut sums = [[V::splat(0); S]; H];
        for place in 0..4 {
            let both = each(stored, V::splat(0), |stored| V::bytes(fours(fours(stored, group), place)));
            let (low, high) = (fours(quants, place), fours(quants, place + 4));
            for ((sums, &low), &high) in sums.iter_mut().zip(low).zip(high) {
                for (sum, both) in sums.iter_mut().zip(both) {
                    *sum = sum.dot(both.and(0x0f), V::splat(low));
                    *sum = sum.dot(both.right::<4>().and(0x0f), V::splat(high));
                }
            }
        }
        let scales = each(scales, V::splat(0), |scales| V::unsigned(fours(scales, group)));
        for (total, sums) in total.iter_mut().zip(sums) {
            for ((total, sum), scale) in total.iter_mut().zip(sums).zip(scales) {
                *total = total.plus(sum.times(scale));
            }
        }
    }
    total
}

impl Product for Q6KCell {
    const HEIGHTS: &'static [usize] = &[8, 4, 2, 1];
    const BOTH_STRIPS: usize = 2;

    #[inline(always)]
    fn add<V: Lanes, const H: usize, const S: usize>(
        lines: &Lines<Self>,
        panel: &[Self],
        first: usize,
        sums: &mut [[f32; COLUMNS]; H],
    ) {
        let mut total = load::<V, H, S>(sums, first);
        let blocks = lines.quants.as_chunks::<H>().0.as_chunks::<8>().0.as_chunks::<8>().0.iter();
        let offsets = lines.sums.as_chunks::<H>().0.as_chunks::<2>().0.as_chunks::<8>().0.iter();
        let scales = lines.scales.as_chunks::<H>().0;
        for (cell, ((quants, offsets), scales)) in panel.iter().zip(blocks.zip(offsets).zip(scales)) {
            let mut sums = [[V::splat(0); S]; H];
            for (group, (quants, offsets)) in quants.iter().zip(offsets).enumerate() {
                q6_k_group::<V, H, S>(cell, (first, group), quants, offsets, &mut sums);
            }
            add_block::<V, H, S>(&mut total, sums, halves::<V, S>(&cell.scale, first), scales);
        }
        store::<V, H, S>(&total, first, sums);
    }
}

/// Adds the products of two groups of 16, each times its scale.
#[inline(always)]
fn q6_k_group<V: Lanes, const H: usize, const S: usize>(
    cell: &Q6KCell,
    (first, group): (usize, usize),
    quants: &[[i32; H]; 8],
    [of_first, of_last]: &[[i32; H]; 2],
    total: &mut [[V; S]; H],
) {
    let (lows, highs) = (strips::<_, S>(&cell.low, first), strips::<_, S>(&cell.high, first));
    let mut sums = [splat::<V, H, S>(of_first), splat::<V, H, S>(of_last)];
    for place in 0..4 {
        let (firsts, lasts) = (fours(quants, place), fours(quants, place + 4));
        let mut weights = [(V::splat(0), V::splat(0)); S];
        for ((weights, low), high) in weights.iter_mut().zip(lows).zip(highs) {
            let low = V::bytes(fours(fours(low, group), place));
            let high = V::bytes(fours(fours(high, group), place / 2));
            // The upper two bits of both integers, moved above the lower four.
            let (of_first, of_last) =
                if place % 2 == 0 { (high.left::<4>(), high.left::<2>()) } else { (high, high.right::<2>()) };
            let low = (low.and(0x0f), low.right::<4>().and(0x0f));
            *weights = (low.0.or(of_first.and(0x30)), low.1.or(of_last.and(0x30)));
        }
        let [of_first, of_last] = &mut sums;
        let rows = of_first.iter_mut().zip(of_last).zip(firsts.iter().zip(lasts));
        for ((of_first, of_last), (&first, &last)) in rows {
            for ((of_first, of_last), weights) in of_first.iter_mut().zip(of_last).zip(weights) {
                *of_first = of_first.dot(weights.0, V::splat(first));
                *of_last = of_last.dot(weights.1, V::splat(last));
            }
        }
    }
    let scales = strips::<_, S>(&cell.scales, first);
    for (place, sums) in sums.into_iter().enumerate() {
        let scales = each(scales, V::splat(0), |scales| V::signed(fours(scales, 2 * group + place)));
        for (total, sums) in total.iter_mut().zip(sums) {
            for ((total, sum), scale) in total.iter_mut().zip(sums).zip(scales) {
                *total = total.plus(sum.times(scale));
            }
        }
    }
}
