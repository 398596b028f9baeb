//! The inner loop of every matrix product: one block of rows times one panel of 32 columns.
//!
//! Each sum runs over `k` in ascending order in one accumulator, on every instruction set and for every number of rows. A row's result is
//! therefore the same bits alone or in company; nothing above this file adds in another order.

#![expect(unsafe_code, reason = "vector loads and stores, and calls of functions that need a CPU feature")]

mod pages;
mod pool;

pub use pages::Held;
pub(crate) use pages::{Blank, Pages};
pub(crate) use pool::{Pool, bind};

use crate::numbers::bf16;
use zeroize::Zeroize;

/// Columns of one panel.
pub(crate) const WIDTH: usize = 32;

/// The vector instructions of this machine. A value other than `Portable` exists only after the CPU said that it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Level);

/// What lies in one place of a packed line: a number, or two of less precision side by side.
pub(crate) trait Packing: Blank + Default + Send + Sync + Zeroize {
    /// How many numbers.
    const COUNT: usize;

    /// Fills places with the numbers of a line, of which the last place may have fewer than [`Self::COUNT`].
    fn fill(isa: Isa, places: &mut [Self], line: &[f32]);

    /// A place with these numbers, up to [`Self::COUNT`] of them.
    fn of(numbers: &[f32]) -> Self {
        let mut place = Self::default();
        for (at, &number) in numbers.iter().enumerate() {
            place.set(at, number);
        }
        place
    }

    /// The number `at`, below [`Self::COUNT`].
    fn number(self, at: usize) -> f32;

    /// Replaces the number `at`, below [`Self::COUNT`].
    fn set(&mut self, at: usize, number: f32);

    /// Adds `rows * panel` to `sums`; see [`Isa::multiply`].
    fn multiply(isa: Isa, height: usize, rows: &[Self], panel: Ahead<'_, Self>, sums: &mut [[f32; WIDTH]]);
}

/// A panel, and what will be needed after it: the kernel asks for that while it computes.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'a, P> {
    pub(crate) panel: &'a [P],
    /// The next panel, or a part of it where several blocks of rows pass over this one.
    pub(crate) next: &'a [P],
}

impl<'a, P> Ahead<'a, P> {
    /// A panel that nothing is known to follow.
    pub(crate) fn last(panel: &'a [P]) -> Self {
        Self { panel, next: &[] }
    }
}

impl Packing for f32 {
    const COUNT: usize = 1;

    fn fill(_isa: Isa, places: &mut [Self], line: &[f32]) {
        for (place, number) in places.iter_mut().zip(line) {
            *place = *number;
        }
    }

    fn number(self, _at: usize) -> f32 {
        self
    }

    fn set(&mut self, _at: usize, number: f32) {
        *self = number;
    }

    fn multiply(isa: Isa, height: usize, rows: &[Self], panel: Ahead<'_, Self>, sums: &mut [[f32; WIDTH]]) {
        isa.multiply(height, rows, panel, sums);
    }
}

/// Two numbers in bf16, the first in the lower half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Pair(u32);

impl Blank for Pair {
    const ZERO: Self = Self(0);
}

impl Zeroize for Pair {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

struct FillPairs<'a> {
    places: &'a mut [Pair],
    line: &'a [f32],
}

impl Vectorised for FillPairs<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (pairs, rest) = self.line.as_chunks::<2>();
        let (whole, last) = self.places.split_at_mut(pairs.len().min(self.places.len()));
        for (place, &[first, second]) in whole.iter_mut().zip(pairs) {
            *place = Pair(bf16(first) | bf16(second) << 16);
        }
        for (place, &only) in last.iter_mut().zip(rest) {
            *place = Pair(bf16(only));
        }
    }
}

impl Packing for Pair {
    const COUNT: usize = 2;

    fn fill(isa: Isa, places: &mut [Self], line: &[f32]) {
        isa.run(FillPairs { places, line });
    }

    fn number(self, at: usize) -> f32 {
        f32::from_bits(if at == 0 { self.0 << 16 } else { self.0 & 0xffff_0000 })
    }

    fn set(&mut self, at: usize, number: f32) {
        let kept = if at == 0 { self.0 & 0xffff_0000 } else { self.0 & 0xffff };
        *self = Self(kept | if at == 0 { bf16(number) } else { bf16(number) << 16 });
    }

    fn multiply(isa: Isa, height: usize, rows: &[Self], panel: Ahead<'_, Self>, sums: &mut [[f32; WIDTH]]) {
        isa.multiply_pairs(height, rows, panel, sums);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// With `avx512bf16`.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The best that this CPU has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                let bf16 = is_x86_feature_detected!("avx512bf16");
                return Self(if bf16 { Level::Avx512Bf16 } else { Level::Avx512 });
            }
            if avx2 {
                return Self(Level::Avx2);
            }
        }
        Self(Level::Portable)
    }

    /// Every level that this CPU has, so that tests can compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let best = Self::detect().0;
        let mut levels = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if best != Level::Portable {
                levels.push(Self(Level::Avx2));
            }
            if matches!(best, Level::Avx512 | Level::Avx512Bf16) {
                levels.push(Self(Level::Avx512));
            }
            if best == Level::Avx512Bf16 {
                levels.push(Self(best));
            }
        }
        levels
    }

    /// The heights of row blocks that [`Isa::multiply`] takes, tallest first; the last is 1.
    pub(crate) fn heights(self) -> &'static [usize] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 | Level::Avx512 => &[12, 8, 4, 2, 1],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &[6, 4, 2, 1],
            Level::Portable => &[4, 2, 1],
        }
    }

    /// Adds `rows * panel` to `sums`, which holds `height` lines of [`WIDTH`].
    ///
    /// `rows` holds, for each `k`, the `height` values of that column side by side. `height` is one of [`Isa::heights`]; a
    /// shorter one of `rows` and `panel` ends the sum.
    pub(crate) fn multiply(
        self,
        height: usize,
        rows: &[f32],
        panel: Ahead<'_, f32>,
        sums: &mut [[f32; WIDTH]],
    ) {
        let panel = Lines::of(&panel);
        match height {
            12 => self.multiply_as::<12>(rows, panel, sums),
            8 => self.multiply_as::<8>(rows, panel, sums),
            6 => self.multiply_as::<6>(rows, panel, sums),
            4 => self.multiply_as::<4>(rows, panel, sums),
            2 => self.multiply_as::<2>(rows, panel, sums),
            _ => self.multiply_as::<1>(rows, panel, sums),
        }
    }

    fn multiply_as<const H: usize>(self, rows: &[f32], panel: Lines<'_, f32>, sums: &mut [[f32; WIDTH]]) {
        let (rows, _) = rows.as_chunks::<H>();
        let Some(sums) = sums.first_chunk_mut::<H>() else { return };
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: these levels exist only after `detect` saw the feature (see the type).
            Level::Avx512Bf16 | Level::Avx512 => unsafe { x86::multiply_512(rows, panel, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Level::Avx2 => unsafe { x86::multiply_256(rows, panel.lines, sums) },
            Level::Portable => {
                for (row, weights) in rows.iter().zip(panel.lines) {
                    for (line, &x) in sums.iter_mut().zip(row) {
                        for (sum, &weight) in line.iter_mut().zip(weights) {
                            *sum += x * weight;
                        }
                    }
                }
            }
        }
    }

    /// The same for pairs: each place of `rows` and `panel` holds two `k`. Products are exact, sums are of 32 bits; whether both
    /// products are rounded before they are added depends on the instruction set, so its levels differ in the last bits.
    pub(crate) fn multiply_pairs(
        self,
        height: usize,
        rows: &[Pair],
        panel: Ahead<'_, Pair>,
        sums: &mut [[f32; WIDTH]],
    ) {
        let panel = Lines::of(&panel);
        match height {
            12 => self.multiply_pairs_as::<12>(rows, panel, sums),
            8 => self.multiply_pairs_as::<8>(rows, panel, sums),
            6 => self.multiply_pairs_as::<6>(rows, panel, sums),
            4 => self.multiply_pairs_as::<4>(rows, panel, sums),
            2 => self.multiply_pairs_as::<2>(rows, panel, sums),
            _ => self.multiply_pairs_as::<1>(rows, panel, sums),
        }
    }

    fn multiply_pairs_as<const H: usize>(
        self,
        rows: &[Pair],
        panel: Lines<'_, Pair>,
        sums: &mut [[f32; WIDTH]],
    ) {
        let (rows, _) = rows.as_chunks::<H>();
        let Some(sums) = sums.first_chunk_mut::<H>() else { return };
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Level::Avx512Bf16 => unsafe { x86::multiply_pairs_512(rows, panel, sums) },
            _ => self.run(Pairs { rows, panel: panel.lines, sums }),
        }
    }

    /// Runs `work`, compiled for this machine's vectors when it is inlined.
    ///
    /// `work` takes whether fused multiply-add is one instruction here.
    pub(crate) fn run<W: Vectorised>(self, work: W) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: these levels exist only after `detect` saw the feature (see the type).
            Level::Avx512Bf16 | Level::Avx512 => unsafe { x86::run_512(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Level::Avx2 => unsafe { x86::run_256(work) },
            Level::Portable => work.run::<false>(),
        }
    }
}

/// [`Ahead`] as lines of one `k`.
#[derive(Clone, Copy)]
struct Lines<'a, P> {
    lines: &'a [[P; WIDTH]],
    next: &'a [[P; WIDTH]],
    /// How many lines of the panel there are for each of the next.
    each: usize,
}

impl<'a, P> Lines<'a, P> {
    fn of(ahead: &Ahead<'a, P>) -> Self {
        let (lines, next) = (ahead.panel.as_chunks().0, ahead.next.as_chunks().0);
        Self { lines, next, each: lines.len() / next.len().max(1) }
    }
}

/// The product of pairs without an instruction for it.
struct Pairs<'a, const H: usize> {
    rows: &'a [[Pair; H]],
    panel: &'a [[Pair; WIDTH]],
    sums: &'a mut [[f32; WIDTH]; H],
}

impl<const H: usize> Vectorised for Pairs<'_, H> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (row, weights) in self.rows.iter().zip(self.panel) {
            for (line, x) in self.sums.iter_mut().zip(row) {
                let (first, second) = (x.number(0), x.number(1));
                for (sum, weight) in line.iter_mut().zip(weights) {
                    // The product of two bf16 is exact in 32 bits, so fusing changes nothing.
                    *sum += first * weight.number(0);
                    *sum += second * weight.number(1);
                }
            }
        }
    }
}

/// A loop that gains from being compiled for the vectors of the machine. `run` must be `#[inline(always)]`.
pub(crate) trait Vectorised {
    /// The loop; `FUSED` says whether `f32::mul_add` is one instruction.
    fn run<const FUSED: bool>(self);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lines, Pair, Vectorised, WIDTH};
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn run_512<W: Vectorised>(work: W) {
        work.run::<true>();
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run_256<W: Vectorised>(work: W) {
        work.run::<true>();
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_512(from: &[f32; 16]) -> __m512 {
        // SAFETY: the array holds the 16 floats that are read; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load_256(from: &[f32; 8]) -> __m256 {
        // SAFETY: the array holds the 8 floats that are read; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_sums<const H: usize>(sums: &[[f32; WIDTH]; H]) -> [[__m512; 2]; H] {
        let mut acc = [[_mm512_setzero_ps(); 2]; H];
        for (acc, line) in acc.iter_mut().zip(sums) {
            for (acc, part) in acc.iter_mut().zip(line.as_chunks::<16>().0) {
                *acc = load_512(part);
            }
        }
        acc
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store_sums<const H: usize>(acc: &[[__m512; 2]; H], sums: &mut [[f32; WIDTH]; H]) {
        for (acc, line) in acc.iter().zip(sums) {
            for (acc, part) in acc.iter().zip(line.as_chunks_mut::<16>().0) {
                // SAFETY: the array holds the 16 floats that are written; the store needs no alignment.
                unsafe { _mm512_storeu_ps(part.as_mut_ptr(), *acc) };
            }
        }
    }

    /// The lines that come next, a few for each line of the panel, so that they arrive while there is something to compute.
    struct Fetch<'a, P> {
        next: std::slice::Iter<'a, [P; WIDTH]>,
        each: usize,
        left: usize,
    }

    impl<'a, P> Fetch<'a, P> {
        fn new(panel: Lines<'a, P>) -> Self {
            Self { next: panel.next.iter(), each: panel.each, left: 1 }
        }

        /// To be called for each line of the panel.
        #[inline(always)]
        fn step(&mut self) {
            self.left -= 1;
            if self.left == 0 {
                self.left = self.each.max(1);
                if let Some(line) = self.next.next() {
                    let (low, high) = line.split_at(WIDTH / 2);
                    // SAFETY: a prefetch reads and writes nothing, at any address.
                    unsafe {
                        _mm_prefetch::<_MM_HINT_T0>(low.as_ptr().cast());
                        _mm_prefetch::<_MM_HINT_T0>(high.as_ptr().cast());
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_512<const H: usize>(
        rows: &[[f32; H]],
        panel: Lines<'_, f32>,
        sums: &mut [[f32; WIDTH]; H],
    ) {
        let mut acc = load_sums(sums);
        let mut fetch = Fetch::new(panel);
        for (row, weights) in rows.iter().zip(panel.lines) {
            fetch.step();
            let [low, high] = [weights.first_chunk(), weights.last_chunk()];
            let (Some(low), Some(high)) = (low, high) else { return };
            let (low, high) = (load_512(low), load_512(high));
            for ([a, b], &x) in acc.iter_mut().zip(row) {
                let x = _mm512_set1_ps(x);
                *a = _mm512_fmadd_ps(x, low, *a);
                *b = _mm512_fmadd_ps(x, high, *b);
            }
        }
        store_sums(&acc, sums);
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_pairs(from: &[Pair; 16]) -> __m512i {
        // SAFETY: the array holds the 64 bytes that are read (a pair is a transparent u32); the load needs no alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn dot(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: both types are 64 bytes of which every value is valid.
        let (a, b) = unsafe {
            (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b))
        };
        _mm512_dpbf16_ps(sum, a, b)
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn multiply_pairs_512<const H: usize>(
        rows: &[[Pair; H]],
        panel: Lines<'_, Pair>,
        sums: &mut [[f32; WIDTH]; H],
    ) {
        let mut acc = load_sums(sums);
        let mut fetch = Fetch::new(panel);
        for (row, weights) in rows.iter().zip(panel.lines) {
            fetch.step();
            let [low, high] = [weights.first_chunk(), weights.last_chunk()];
            let (Some(low), Some(high)) = (low, high) else { return };
            let (low, high) = (load_pairs(low), load_pairs(high));
            for ([a, b], x) in acc.iter_mut().zip(row) {
                let x = _mm512_set1_epi32(x.0.cast_signed());
                *a = dot(*a, x, low);
                *b = dot(*b, x, high);
            }
        }
        store_sums(&acc, sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn multiply_256<const H: usize>(
        rows: &[[f32; H]],
        panel: &[[f32; WIDTH]],
        sums: &mut [[f32; WIDTH]; H],
    ) {
        half_256::<H, 0>(rows, panel, sums);
        half_256::<H, 1>(rows, panel, sums);
    }

    /// 16 of the 32 columns: with 6 rows the accumulators fill 12 of the 16 registers.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn half_256<const H: usize, const SIDE: usize>(
        rows: &[[f32; H]],
        panel: &[[f32; WIDTH]],
        sums: &mut [[f32; WIDTH]; H],
    ) {
        let mut acc = [[_mm256_setzero_ps(); 2]; H];
        for (acc, line) in acc.iter_mut().zip(sums.iter()) {
            for (acc, part) in acc.iter_mut().zip(line.as_chunks::<8>().0.iter().skip(2 * SIDE)) {
                *acc = load_256(part);
            }
        }
        for (row, weights) in rows.iter().zip(panel) {
            let [a0, a1, b0, b1] = weights.as_chunks::<8>().0 else { return };
            let (low, high) =
                if SIDE == 0 { (load_256(a0), load_256(a1)) } else { (load_256(b0), load_256(b1)) };
            for ([a, b], &x) in acc.iter_mut().zip(row) {
                let x = _mm256_set1_ps(x);
                *a = _mm256_fmadd_ps(x, low, *a);
                *b = _mm256_fmadd_ps(x, high, *b);
            }
        }
        for (acc, line) in acc.iter().zip(sums.iter_mut()) {
            for (acc, part) in acc.iter().zip(line.as_chunks_mut::<8>().0.iter_mut().skip(2 * SIDE)) {
                // SAFETY: the array holds the 8 floats that are written; the store needs no alignment.
                unsafe { _mm256_storeu_ps(part.as_mut_ptr(), *acc) };
            }
        }
    }
}
