//! Sixteen columns at a time on the vectors of the machine.
//!
//! [`Lanes`] names the operations that the products are written with; each instruction set has its own type for them. All give the same
//! bits: integers are exact, and floating-point numbers are multiplied, or multiplied and added with one rounding.

#![expect(unsafe_code, reason = "vector instructions, and calls of functions that need a CPU feature")]

use super::cells::{COLUMNS, STRIP};
use super::lines::Lines;
use super::products::Product;
use crate::numbers::half;

/// Sixteen integers of 32 bits, or the same bits as 64 bytes.
pub(super) trait Lanes: Copy {
    /// Sixteen numbers.
    type Floats: Copy;

    /// The same integer in every lane.
    fn splat(value: i32) -> Self;
    fn bytes(from: &[u8; 4 * STRIP]) -> Self;
    /// Pairs of 16 bits, from bytes without a sign.
    fn pairs(from: &[u8; 2 * STRIP]) -> Self;
    /// Integers from bytes without a sign.
    fn unsigned(from: &[u8; STRIP]) -> Self;
    /// Integers from bytes with a sign.
    fn signed(from: &[u8; STRIP]) -> Self;
    /// Every byte and this one.
    fn and(self, mask: u8) -> Self;
    fn or(self, other: Self) -> Self;
    /// Every 16 bits moved down.
    fn right<const BITS: u32>(self) -> Self;
    /// Every 16 bits moved up.
    fn left<const BITS: u32>(self) -> Self;
    /// Adds to each lane the products of four bytes below 128 with four that have a sign.
    fn dot(self, unsigned: Self, signed: Self) -> Self;
    /// The same for any four bytes without a sign.
    fn dot_full(self, unsigned: Self, signed: Self) -> Self;
    /// Adds to each lane the products of two times 16 bits with a sign.
    fn dot_pairs(self, a: Self, b: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    /// The lower 32 bits of each product.
    fn times(self, other: Self) -> Self;
    /// The nearest numbers.
    fn floats(self) -> Self::Floats;

    fn zeros() -> Self::Floats;
    fn splat_float(value: f32) -> Self::Floats;
    fn load(from: &[f32; STRIP]) -> Self::Floats;
    fn store(floats: Self::Floats, to: &mut [f32; STRIP]);
    /// Numbers in half precision, exactly.
    fn halves(from: &[[u8; 2]; STRIP]) -> Self::Floats;
    fn multiply_floats(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c` with one rounding.
    fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
}

/// The vector instructions of this machine. A value other than `Portable` exists only after the CPU said that it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level(Vectors);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vectors {
    /// AVX-512 with the products of bytes.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Level {
    /// The best that this CPU has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                return Self(Vectors::Vnni);
            }
            if avx2 {
                return Self(Vectors::Avx2);
            }
        }
        Self(Vectors::Portable)
    }

    /// Every level that this CPU has, so that tests can compare them.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let best = Self::detect();
        let mut levels = vec![Self(Vectors::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if best.0 != Vectors::Portable {
                levels.push(Self(Vectors::Avx2));
            }
            if best.0 == Vectors::Vnni {
                levels.push(best);
            }
        }
        levels
    }

    /// The numbers of rows that are multiplied together, largest first; the last is 1.
    pub(super) fn heights<C: Product>(self) -> &'static [usize] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Vectors::Vnni => C::HEIGHTS,
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => &[2, 1],
            Vectors::Portable => &[4, 2, 1],
        }
    }

    /// Adds the products of `lines` with a panel of cells to `sums`, which has a line for each.
    pub(super) fn multiply<C: Product>(self, lines: &Lines<C>, panel: &[C], sums: &mut [[f32; COLUMNS]]) {
        match lines.height() {
            8 => self.add::<C, 8>(lines, panel, sums),
            6 => self.add::<C, 6>(lines, panel, sums),
            4 => self.add::<C, 4>(lines, panel, sums),
            2 => self.add::<C, 2>(lines, panel, sums),
            _ => self.add::<C, 1>(lines, panel, sums),
        }
    }

    fn add<C: Product, const H: usize>(self, lines: &Lines<C>, panel: &[C], sums: &mut [[f32; COLUMNS]]) {
        let Some(sums) = sums.first_chunk_mut::<H>() else { return };
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Vectors::Vnni => unsafe { x86::add_512(lines, panel, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this level exists only after `detect` saw the features (see the type).
            Vectors::Avx2 => unsafe { x86::add_256(lines, panel, sums) },
            Vectors::Portable => {
                C::add::<Plain, H, 1>(lines, panel, 0, sums);
                C::add::<Plain, H, 1>(lines, panel, 1, sums);
            }
        }
    }
}

/// Without vector instructions.
#[derive(Clone, Copy)]
struct Plain([i32; STRIP]);

impl Plain {
    fn map(self, work: impl Fn(i32) -> i32) -> Self {
        Self(self.0.map(work))
    }

    fn with(self, other: Self, work: impl Fn(i32, i32) -> i32) -> Self {
        let mut out = self.0;
        out.iter_mut().zip(other.0).for_each(|(a, b)| *a = work(*a, b));
        Self(out)
    }

    /// Each 16 bits of each lane by themselves.
    fn halves(self, work: impl Fn(u16) -> u16) -> Self {
        self.map(|lane| {
            let [a, b, c, d] = lane.to_le_bytes();
            let ([a, b], [c, d]) = (
                work(u16::from_le_bytes([a, b])).to_le_bytes(),
                work(u16::from_le_bytes([c, d])).to_le_bytes(),
            );
            i32::from_le_bytes([a, b, c, d])
        })
    }
}

impl Lanes for Plain {
    type Floats = [f32; STRIP];

    fn splat(value: i32) -> Self {
        Self([value; STRIP])
    }

    fn bytes(from: &[u8; 4 * STRIP]) -> Self {
        let mut out = [0; STRIP];
        out.iter_mut().zip(from.as_chunks::<4>().0).for_each(|(out, four)| *out = i32::from_le_bytes(*four));
        Self(out)
    }

    fn pairs(from: &[u8; 2 * STRIP]) -> Self {
        let mut out = [0; STRIP];
        for (out, [low, high]) in out.iter_mut().zip(from.as_chunks::<2>().0) {
            *out = i32::from(*low) | i32::from(*high) << 16;
        }
        Self(out)
    }

    fn unsigned(from: &[u8; STRIP]) -> Self {
        Self(from.map(i32::from))
    }

    fn signed(from: &[u8; STRIP]) -> Self {
        Self(from.map(|byte| i32::from(byte.cast_signed())))
    }

    fn and(self, mask: u8) -> Self {
        self.map(|lane| lane & i32::from_le_bytes([mask; 4]))
    }

    fn or(self, other: Self) -> Self {
        self.with(other, |a, b| a | b)
    }

    fn right<const BITS: u32>(self) -> Self {
        self.halves(|half| half >> BITS)
    }

    fn left<const BITS: u32>(self) -> Self {
        self.halves(|half| half << BITS)
    }

    fn dot(self, unsigned: Self, signed: Self) -> Self {
        let products = unsigned.with(signed, |unsigned, signed| {
            let signed = signed.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
            unsigned.to_le_bytes().iter().zip(signed).map(|(a, b)| i32::from(*a) * b).sum()
        });
        self.plus(products)
    }

    fn dot_full(self, unsigned: Self, signed: Self) -> Self {
        self.dot(unsigned, signed)
    }

    fn dot_pairs(self, a: Self, b: Self) -> Self {
        let halves = |lane: i32| {
            let [a, b, c, d] = lane.to_le_bytes();
            [i32::from(i16::from_le_bytes([a, b])), i32::from(i16::from_le_bytes([c, d]))]
        };
        let products = a.with(b, |a, b| halves(a).iter().zip(halves(b)).map(|(a, b)| a * b).sum());
        self.plus(products)
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, i32::wrapping_add)
    }

    fn times(self, other: Self) -> Self {
        self.with(other, i32::wrapping_mul)
    }

    #[expect(clippy::cast_precision_loss, reason = "the rounding is meant")]
    fn floats(self) -> Self::Floats {
        self.0.map(|lane| lane as f32)
    }

    fn zeros() -> Self::Floats {
        [0.0; STRIP]
    }

    fn splat_float(value: f32) -> Self::Floats {
        [value; STRIP]
    }

    fn load(from: &[f32; STRIP]) -> Self::Floats {
        *from
    }

    fn store(floats: Self::Floats, to: &mut [f32; STRIP]) {
        *to = floats;
    }

    fn halves(from: &[[u8; 2]; STRIP]) -> Self::Floats {
        from.map(half)
    }

    fn multiply_floats(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        let mut out = a;
        out.iter_mut().zip(b).for_each(|(a, b)| *a *= b);
        out
    }

    fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        let mut out = c;
        out.iter_mut().zip(a.into_iter().zip(b)).for_each(|(c, (a, b))| *c = a.mul_add(b, *c));
        out
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::cells::{COLUMNS, STRIP};
    use super::super::lines::Lines;
    use super::super::products::Product;
    use super::Lanes;
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm256_add_epi32,
        _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16,
        _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
        _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_mullo_epi32, _mm256_or_si256,
        _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_sll_epi16, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srl_epi16, _mm256_srli_epi16,
        _mm256_storeu_ps, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
        _mm512_cvtepu8_epi16, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
        _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
        _mm512_mullo_epi32, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_ps,
    };

    /// Needs the features of [`super::Vectors::Vnni`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma,f16c")]
    pub(super) fn add_512<C: Product, const H: usize>(
        lines: &Lines<C>,
        panel: &[C],
        sums: &mut [[f32; COLUMNS]; H],
    ) {
        // More accumulators than registers would be kept in memory.
        if H <= C::BOTH_STRIPS {
            C::add::<Wide, H, 2>(lines, panel, 0, sums);
        } else {
            C::add::<Wide, H, 1>(lines, panel, 0, sums);
            C::add::<Wide, H, 1>(lines, panel, 1, sums);
        }
    }

    /// Needs the features of [`super::Vectors::Avx2`].
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn add_256<C: Product, const H: usize>(
        lines: &Lines<C>,
        panel: &[C],
        sums: &mut [[f32; COLUMNS]; H],
    ) {
        C::add::<Narrow, H, 1>(lines, panel, 0, sums);
        C::add::<Narrow, H, 1>(lines, panel, 1, sums);
    }

    /// Calls vector instructions, which are safe where their feature is on.
    macro_rules! vector {
        ($call:expr) => {
            // SAFETY: the types of this module are used only below `add_512` and `add_256`, which are called only where the CPU has the
            // features; loads and stores are of whole arrays of the vector's size and need no alignment.
            unsafe { $call }
        };
    }

    /// AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub(super) struct Wide(__m512i);

    impl Lanes for Wide {
        type Floats = __m512;

        #[inline(always)]
        fn splat(value: i32) -> Self {
            Self(vector!(_mm512_set1_epi32(value)))
        }

        #[inline(always)]
        fn bytes(from: &[u8; 4 * STRIP]) -> Self {
            Self(vector!(_mm512_loadu_si512(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn pairs(from: &[u8; 2 * STRIP]) -> Self {
            Self(vector!(_mm512_cvtepu8_epi16(_mm256_loadu_si256(from.as_ptr().cast()))))
        }

        #[inline(always)]
        fn unsigned(from: &[u8; STRIP]) -> Self {
            Self(vector!(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))))
        }

        #[inline(always)]
        fn signed(from: &[u8; STRIP]) -> Self {
            Self(vector!(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))))
        }

        #[inline(always)]
        fn and(self, mask: u8) -> Self {
            Self(vector!(_mm512_and_si512(self.0, _mm512_set1_epi8(mask.cast_signed()))))
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(vector!(_mm512_or_si512(self.0, other.0)))
        }

        #[inline(always)]
        fn right<const BITS: u32>(self) -> Self {
            Self(vector!(_mm512_srli_epi16::<BITS>(self.0)))
        }

        #[inline(always)]
        fn left<const BITS: u32>(self) -> Self {
            Self(vector!(_mm512_slli_epi16::<BITS>(self.0)))
        }

        #[inline(always)]
        fn dot(self, unsigned: Self, signed: Self) -> Self {
            Self(vector!(_mm512_dpbusd_epi32(self.0, unsigned.0, signed.0)))
        }

        #[inline(always)]
        fn dot_full(self, unsigned: Self, signed: Self) -> Self {
            self.dot(unsigned, signed)
        }

        #[inline(always)]
        fn dot_pairs(self, a: Self, b: Self) -> Self {
            Self(vector!(_mm512_dpwssd_epi32(self.0, a.0, b.0)))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(vector!(_mm512_add_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn times(self, other: Self) -> Self {
            Self(vector!(_mm512_mullo_epi32(self.0, other.0)))
        }

        #[inline(always)]
        fn floats(self) -> __m512 {
            vector!(_mm512_cvtepi32_ps(self.0))
        }

        #[inline(always)]
        fn zeros() -> __m512 {
            vector!(_mm512_setzero_ps())
        }

        #[inline(always)]
        fn splat_float(value: f32) -> __m512 {
            vector!(_mm512_set1_ps(value))
        }

        #[inline(always)]
        fn load(from: &[f32; STRIP]) -> __m512 {
            vector!(_mm512_loadu_ps(from.as_ptr()))
        }

        #[inline(always)]
        fn store(floats: __m512, to: &mut [f32; STRIP]) {
            vector!(_mm512_storeu_ps(to.as_mut_ptr(), floats));
        }

        #[inline(always)]
        fn halves(from: &[[u8; 2]; STRIP]) -> __m512 {
            vector!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn multiply_floats(a: __m512, b: __m512) -> __m512 {
            vector!(_mm512_mul_ps(a, b))
        }

        #[inline(always)]
        fn fused(a: __m512, b: __m512, c: __m512) -> __m512 {
            vector!(_mm512_fmadd_ps(a, b, c))
        }
    }

    /// AVX2: eight lanes, twice.
    #[derive(Clone, Copy)]
    pub(super) struct Narrow([__m256i; 2]);

    impl Narrow {
        #[inline(always)]
        fn with(self, other: Self, work: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
            let ([a, b], [c, d]) = (self.0, other.0);
            Self([work(a, c), work(b, d)])
        }
    }

    /// Eight bytes of sixteen.
    #[inline(always)]
    fn eight(from: &[u8; STRIP], second: usize) -> __m128i {
        let mut bytes = [0; 16];
        let half = from.as_chunks::<8>().0.get(second).copied().unwrap_or_default();
        bytes.iter_mut().zip(half).for_each(|(to, from)| *to = from);
        vector!(_mm_loadu_si128(bytes.as_ptr().cast()))
    }

    impl Lanes for Narrow {
        type Floats = [__m256; 2];

        #[inline(always)]
        fn splat(value: i32) -> Self {
            Self([vector!(_mm256_set1_epi32(value)); 2])
        }

        #[inline(always)]
        fn bytes(from: &[u8; 4 * STRIP]) -> Self {
            let [low, high] = halves_of::<32, 64, u8>(from);
            Self(vector!([_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())]))
        }

        #[inline(always)]
        fn pairs(from: &[u8; 2 * STRIP]) -> Self {
            let [low, high] = halves_of::<16, 32, u8>(from);
            Self(vector!([
                _mm256_cvtepu8_epi16(_mm_loadu_si128(low.as_ptr().cast())),
                _mm256_cvtepu8_epi16(_mm_loadu_si128(high.as_ptr().cast())),
            ]))
        }

        #[inline(always)]
        fn unsigned(from: &[u8; STRIP]) -> Self {
            Self(vector!([_mm256_cvtepu8_epi32(eight(from, 0)), _mm256_cvtepu8_epi32(eight(from, 1))]))
        }

        #[inline(always)]
        fn signed(from: &[u8; STRIP]) -> Self {
            Self(vector!([_mm256_cvtepi8_epi32(eight(from, 0)), _mm256_cvtepi8_epi32(eight(from, 1))]))
        }

        #[inline(always)]
        fn and(self, mask: u8) -> Self {
            self.with(self, |lane, _| vector!(_mm256_and_si256(lane, _mm256_set1_epi8(mask.cast_signed()))))
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            self.with(other, |a, b| vector!(_mm256_or_si256(a, b)))
        }

        #[inline(always)]
        fn right<const BITS: u32>(self) -> Self {
            let bits = vector!(_mm_cvtsi32_si128(BITS.cast_signed()));
            self.with(self, |lane, _| vector!(_mm256_srl_epi16(lane, bits)))
        }

        #[inline(always)]
        fn left<const BITS: u32>(self) -> Self {
            let bits = vector!(_mm_cvtsi32_si128(BITS.cast_signed()));
            self.with(self, |lane, _| vector!(_mm256_sll_epi16(lane, bits)))
        }

        #[inline(always)]
        fn dot(self, unsigned: Self, signed: Self) -> Self {
            // Two products of a byte below 128 and one with a sign fit in 16 bits.
            let products = unsigned.with(signed, |unsigned, signed| {
                vector!(_mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1)))
            });
            self.plus(products)
        }

        #[inline(always)]
        fn dot_full(self, unsigned: Self, signed: Self) -> Self {
            let products = unsigned.with(signed, |unsigned, signed| {
                vector!({
                    let even = _mm256_and_si256(unsigned, _mm256_set1_epi16(0xff));
                    let odd = _mm256_srli_epi16::<8>(unsigned);
                    let signed_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(signed));
                    let signed_odd = _mm256_srai_epi16::<8>(signed);
                    _mm256_add_epi32(_mm256_madd_epi16(even, signed_even), _mm256_madd_epi16(odd, signed_odd))
                })
            });
            self.plus(products)
        }

        #[inline(always)]
        fn dot_pairs(self, a: Self, b: Self) -> Self {
            self.plus(a.with(b, |a, b| vector!(_mm256_madd_epi16(a, b))))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            self.with(other, |a, b| vector!(_mm256_add_epi32(a, b)))
        }

        #[inline(always)]
        fn times(self, other: Self) -> Self {
            self.with(other, |a, b| vector!(_mm256_mullo_epi32(a, b)))
        }

        #[inline(always)]
        fn floats(self) -> Self::Floats {
            let [low, high] = self.0;
            vector!([_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)])
        }

        #[inline(always)]
        fn zeros() -> Self::Floats {
            [vector!(_mm256_setzero_ps()); 2]
        }

        #[inline(always)]
        fn splat_float(value: f32) -> Self::Floats {
            [vector!(_mm256_set1_ps(value)); 2]
        }

        #[inline(always)]
        fn load(from: &[f32; STRIP]) -> Self::Floats {
            let [low, high] = halves_of::<8, 16, f32>(from);
            vector!([_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())])
        }

        #[inline(always)]
        fn store([low, high]: Self::Floats, to: &mut [f32; STRIP]) {
            if let [first, second] = to.as_chunks_mut::<8>().0 {
                vector!({
                    _mm256_storeu_ps(first.as_mut_ptr(), low);
                    _mm256_storeu_ps(second.as_mut_ptr(), high);
                });
            }
        }

        #[inline(always)]
        fn halves(from: &[[u8; 2]; STRIP]) -> Self::Floats {
            let [low, high] = halves_of::<8, 16, [u8; 2]>(from);
            vector!([
                _mm256_cvtph_ps(_mm_loadu_si128(low.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(high.as_ptr().cast())),
            ])
        }

        #[inline(always)]
        fn multiply_floats([a, b]: Self::Floats, [c, d]: Self::Floats) -> Self::Floats {
            vector!([_mm256_mul_ps(a, c), _mm256_mul_ps(b, d)])
        }

        #[inline(always)]
        fn fused([a, b]: Self::Floats, [c, d]: Self::Floats, [e, f]: Self::Floats) -> Self::Floats {
            vector!([_mm256_fmadd_ps(a, c, e), _mm256_fmadd_ps(b, d, f)])
        }
    }

    /// Both halves of an array.
    #[inline(always)]
    fn halves_of<const HALF: usize, const WHOLE: usize, T>(from: &[T; WHOLE]) -> [&[T; HALF]; 2] {
        const { assert!(2 * HALF == WHOLE) };
        let halves = from.first_chunk().zip(from.last_chunk());
        let (low, high) = halves.expect("half of an array is no longer than it");
        [low, high]
    }
}
