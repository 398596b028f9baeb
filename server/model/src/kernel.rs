//! The inner loop of every matrix product: one block of rows times one panel of 32 columns.
//!
//! Each sum runs over `k` in ascending order in one accumulator, on every instruction set and for every number of rows. A row's result is
//! therefore the same bits alone or in company; nothing above this file adds in another order.

#![expect(unsafe_code, reason = "vector loads and stores, and calls of functions that need a CPU feature")]

/// Columns of one panel.
pub(crate) const WIDTH: usize = 32;

/// The vector instructions of this machine. A value other than `Portable` exists only after the CPU said that it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
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
                return Self(Level::Avx512);
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
            if best == Level::Avx512 {
                levels.push(Self(Level::Avx512));
            }
        }
        levels
    }

    /// The heights of row blocks that [`Isa::multiply`] takes, tallest first; the last is 1.
    pub(crate) fn heights(self) -> &'static [usize] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &[12, 8, 4, 2, 1],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &[6, 4, 2, 1],
            Level::Portable => &[4, 2, 1],
        }
    }

    /// Adds `rows * panel` to `sums`, which holds `height` lines of [`WIDTH`].
    ///
    /// `rows` holds, for each `k`, the `height` values of that column side by side. `height` is one of [`Isa::heights`]; a
    /// shorter one of `rows` and `panel` ends the sum.
    pub(crate) fn multiply(self, height: usize, rows: &[f32], panel: &[f32], sums: &mut [[f32; WIDTH]]) {
        let (panel, _) = panel.as_chunks::<WIDTH>();
        match height {
            12 => self.multiply_as::<12>(rows, panel, sums),
            8 => self.multiply_as::<8>(rows, panel, sums),
            6 => self.multiply_as::<6>(rows, panel, sums),
            4 => self.multiply_as::<4>(rows, panel, sums),
            2 => self.multiply_as::<2>(rows, panel, sums),
            _ => self.multiply_as::<1>(rows, panel, sums),
        }
    }

    fn multiply_as<const H: usize>(self, rows: &[f32], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
        let (rows, _) = rows.as_chunks::<H>();
        let Some(sums) = sums.first_chunk_mut::<H>() else { return };
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the feature (see the type).
            Level::Avx512 => unsafe { x86::multiply_512(rows, panel, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Level::Avx2 => unsafe { x86::multiply_256(rows, panel, sums) },
            Level::Portable => {
                for (row, weights) in rows.iter().zip(panel) {
                    for (line, &x) in sums.iter_mut().zip(row) {
                        for (sum, &weight) in line.iter_mut().zip(weights) {
                            *sum += x * weight;
                        }
                    }
                }
            }
        }
    }

    /// Runs `work`, compiled for this machine's vectors when it is inlined.
    ///
    /// `work` takes whether fused multiply-add is one instruction here.
    pub(crate) fn run<W: Vectorised>(self, work: W) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the feature (see the type).
            Level::Avx512 => unsafe { x86::run_512(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Level::Avx2 => unsafe { x86::run_256(work) },
            Level::Portable => work.run::<false>(),
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
    use super::{Vectorised, WIDTH};
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
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
    pub(super) fn multiply_512<const H: usize>(
        rows: &[[f32; H]],
        panel: &[[f32; WIDTH]],
        sums: &mut [[f32; WIDTH]; H],
    ) {
        let mut acc = [[_mm512_setzero_ps(); 2]; H];
        for (acc, line) in acc.iter_mut().zip(sums.iter()) {
            for (acc, part) in acc.iter_mut().zip(line.as_chunks::<16>().0) {
                *acc = load_512(part);
            }
        }
        for (row, weights) in rows.iter().zip(panel) {
            let [low, high] = [weights.first_chunk(), weights.last_chunk()];
            let (Some(low), Some(high)) = (low, high) else { return };
            let (low, high) = (load_512(low), load_512(high));
            for ([a, b], &x) in acc.iter_mut().zip(row) {
                let x = _mm512_set1_ps(x);
                *a = _mm512_fmadd_ps(x, low, *a);
                *b = _mm512_fmadd_ps(x, high, *b);
            }
        }
        for (acc, line) in acc.iter().zip(sums.iter_mut()) {
            for (acc, part) in acc.iter().zip(line.as_chunks_mut::<16>().0) {
                // SAFETY: the array holds the 16 floats that are written; the store needs no alignment.
                unsafe { _mm512_storeu_ps(part.as_mut_ptr(), *acc) };
            }
        }
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
