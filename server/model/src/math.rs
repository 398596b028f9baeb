//! Element-wise functions, written so that the compiler turns them into vector code.

use crate::kernel::{Isa, Pages, Vectorised};

/// `x/2 * (1 + erf(x / sqrt 2))` in place.
pub(crate) fn gelu(isa: Isa, values: &mut [f32]) {
    isa.run(Gelu(values));
}

/// What bends a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
}

/// `out = bend(gate) * up`.
pub(crate) fn gate_multiply(isa: Isa, bend: Gate, gate: &[f32], up: &[f32], out: &mut [f32]) {
    match bend {
        Gate::Silu => isa.run(SiluMultiply { gate, up, out }),
        Gate::GeluTanh => isa.run(GeluTanhMultiply { gate, up, out }),
    }
}

/// `cap * tanh(x / cap)` in place: keeps values between minus and plus `cap`.
pub(crate) fn cap(isa: Isa, cap: f32, values: &mut [f32]) {
    isa.run(Cap { cap, values });
}

/// Turns scores into shares that sum to one. The sum runs over 16 lanes, chosen by the position alone.
pub(crate) fn softmax(isa: Isa, scores: &mut [f32]) {
    isa.run(Softmax(scores));
}

/// Normalises each row of `out` in place: mean and variance for layer norm, root mean square without `bias`.
pub(crate) fn normalise(isa: Isa, norm: &Norm, out: &mut [f32]) {
    isa.run(Normalise { norm, out });
}

/// Multiplies each value.
pub(crate) fn scale(isa: Isa, by: f32, values: &mut [f32]) {
    isa.run(Scale { by, values });
}

/// `out += x`.
pub(crate) fn add(isa: Isa, x: &[f32], out: &mut [f32]) {
    isa.run(Add { x, out });
}

/// The number by which RMS norm multiplies a row, before its weights.
pub(crate) fn rms_scale(isa: Isa, row: &[f32], epsilon: f32) -> f32 {
    let mut scale = 0.0;
    isa.run(RmsScale { row, epsilon, scale: &mut scale });
    scale
}

/// The parameters of a normalisation.
pub(crate) struct Norm {
    pub(crate) weight: Pages<f32>,
    /// Of layer norm; `None` for RMS norm.
    pub(crate) bias: Option<Pages<f32>>,
    pub(crate) epsilon: f32,
}

#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// e to the power `x`, within 2 units in the last place for -87 to 88 and clamped there.
///
/// Two's exponent is split off with the largest-mantissa trick, the rest is a polynomial (coefficients of Cephes' `expf`).
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the rounded integer in the low bits.
    let x = x.clamp(-87.0, 88.0);
    let shifted = fma::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FUSED>(n, -0.693_359_4, x);
    let r = fma::<FUSED>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FUSED>(p, r, c);
    }
    let value = fma::<FUSED>(p, r * r, r) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(exponent)
}

/// The error function, within 3e-7: a ratio of polynomials on -4 to 4 (coefficients of Eigen's `generic_fast_erf`).
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut p = -2.726_142_3e-10;
    for c in [2.770_681_5e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906_3e-4, -2.954_6e-3, -1.609_603_3e-2] {
        p = fma::<FUSED>(p, square, c);
    }
    let mut q = -1.456_607_2e-5;
    for c in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        q = fma::<FUSED>(q, square, c);
    }
    x * p / q
}

struct Gelu<'a>(&'a mut [f32]);

impl Vectorised for Gelu<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for value in self.0 {
            let half = 0.5 * *value;
            *value = fma::<FUSED>(half, erf::<FUSED>(*value * std::f32::consts::FRAC_1_SQRT_2), half);
        }
    }
}

struct SiluMultiply<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorised for SiluMultiply<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = gate / (1.0 + exp::<FUSED>(-gate)) * up;
        }
    }
}

/// The hyperbolic tangent, within 2e-7.
#[inline(always)]
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let e = exp::<FUSED>(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

struct GeluTanhMultiply<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorised for GeluTanhMultiply<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        const ROOT: f32 = 0.797_884_6; // The square root of 2/pi.
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            let bent = ROOT * fma::<FUSED>(0.044_715 * gate * gate, gate, gate);
            let half = 0.5 * gate;
            *out = fma::<FUSED>(half, tanh::<FUSED>(bent), half) * up;
        }
    }
}

struct Add<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorised for Add<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out += x;
        }
    }
}

struct Scale<'a> {
    by: f32,
    values: &'a mut [f32],
}

impl Vectorised for Scale<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for value in self.values {
            *value *= self.by;
        }
    }
}

struct RmsScale<'a> {
    row: &'a [f32],
    epsilon: f32,
    scale: &'a mut f32,
}

impl Vectorised for RmsScale<'_> {
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "a row is shorter than 2^24")]
    fn run<const FUSED: bool>(self) {
        let mean = lanes(self.row, |x| x * x) / self.row.len().max(1) as f32;
        *self.scale = 1.0 / (mean + self.epsilon).sqrt();
    }
}

struct Cap<'a> {
    cap: f32,
    values: &'a mut [f32],
}

impl Vectorised for Cap<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for value in self.values {
            *value = self.cap * tanh::<FUSED>(*value / self.cap);
        }
    }
}

const LANES: usize = 16;

struct Softmax<'a>(&'a mut [f32]);

impl Vectorised for Softmax<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let mut highest = [f32::NEG_INFINITY; LANES];
        for part in self.0.chunks(LANES) {
            for (highest, &score) in highest.iter_mut().zip(part) {
                *highest = highest.max(score);
            }
        }
        let highest = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0_f32; LANES];
        for part in self.0.chunks_mut(LANES) {
            for (sum, score) in sums.iter_mut().zip(part) {
                *score = exp::<FUSED>(*score - highest);
                *sum += *score;
            }
        }
        let scale = 1.0 / sums.iter().sum::<f32>();
        for score in self.0 {
            *score *= scale;
        }
    }
}

struct Normalise<'a> {
    norm: &'a Norm,
    out: &'a mut [f32],
}

impl Vectorised for Normalise<'_> {
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "a row is shorter than 2^24")]
    fn run<const FUSED: bool>(self) {
        let width = self.norm.weight.len().max(1);
        for row in self.out.chunks_exact_mut(width) {
            let mean = if self.norm.bias.is_some() { lanes(row, |x| x) / width as f32 } else { 0.0 };
            let variance = lanes(row, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + self.norm.epsilon).sqrt();
            for (x, &weight) in row.iter_mut().zip(self.norm.weight.iter()) {
                *x = (*x - mean) * scale * weight;
            }
            for (x, &bias) in row.iter_mut().zip(self.norm.bias.iter().flat_map(|bias| bias.iter())) {
                *x += bias;
            }
        }
    }
}

/// The sum of `f` over the values, in lanes chosen by the position.
#[inline(always)]
fn lanes(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for part in values.chunks(LANES) {
        for (sum, &value) in sums.iter_mut().zip(part) {
            *sum += f(value);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the rounding is meant")]
mod tests {
    use super::*;

    #[test]
    fn exponentials_equal_the_standard_library() {
        for step in -8700..8800_i16 {
            let x = f32::from(step) / 100.0;
            let wanted = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                assert!((f64::from(got) / wanted - 1.0).abs() < 3e-7, "{x}: {got} {wanted}");
            }
        }
    }

    #[test]
    fn error_function_equals_its_series() {
        // erf x = 2/sqrt(pi) * sum of (-1)^n x^(2n+1) / (n! (2n+1)), which converges for every x.
        for step in -50..=50_i16 {
            let x = f64::from(step) / 10.0;
            let (mut term, mut sum) = (x, 0.0);
            for n in 0..200_i32 {
                sum += term / f64::from(2 * n + 1);
                term *= -x * x / f64::from(n + 1);
            }
            let wanted = sum * std::f64::consts::FRAC_2_SQRT_PI;
            for got in [erf::<true>(x as f32), erf::<false>(x as f32)] {
                assert!((f64::from(got) - wanted).abs() < 3e-7, "{x}: {got} {wanted}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_on_every_instruction_set() {
        for isa in Isa::all() {
            for len in [1, 15, 16, 17, 300] {
                let mut scores: Vec<f32> = (0..len).map(|i: u16| f32::from(i % 7) * 9.0).collect();
                let wanted: f64 = scores.iter().map(|s| (f64::from(*s) - 54.0).exp()).sum();
                let first = (f64::from(scores[0]) - 54.0).exp() / wanted;
                softmax(isa, &mut scores);
                assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!((f64::from(scores[0]) - first).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn layer_norm_has_mean_zero_and_rms_norm_keeps_the_mean() {
        let x = [1.0, 2.0, 3.0, 6.0];
        let mut out = x;
        let weight = || Pages::copy_of(&[1.0; 4]);
        let layer = Norm { weight: weight(), bias: Some(Pages::zeroed(4)), epsilon: 0.0 };
        normalise(Isa::detect(), &layer, &mut out);
        let deviation = 3.5_f32.sqrt();
        assert!((out[3] - 3.0 / deviation).abs() < 1e-6 && out.iter().sum::<f32>().abs() < 1e-6);
        let mut out = x;
        normalise(Isa::detect(), &Norm { weight: weight(), bias: None, epsilon: 0.0 }, &mut out);
        assert!((out[3] - 6.0 / 12.5_f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn gates_multiply_what_they_bend_and_up() {
        for isa in Isa::all() {
            for step in -100..=100_i16 {
                let x = f32::from(step) / 10.0;
                let mut out = [0.0; 1];
                gate_multiply(isa, Gate::Silu, &[x], &[3.0], &mut out);
                assert!((out[0] - 3.0 * x / (1.0 + (-x).exp())).abs() < 1e-5);
                gate_multiply(isa, Gate::GeluTanh, &[x], &[3.0], &mut out);
                let wide = f64::from(x);
                let bent = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
                let wanted = 1.5 * wide * (1.0 + bent.tanh());
                assert!((f64::from(out[0]) - wanted).abs() < 1e-5, "{isa:?} {x}: {} {wanted}", out[0]);
            }
        }
    }

    #[test]
    fn caps_bend_and_never_exceed() {
        for isa in Isa::all() {
            for step in -200..=200_i16 {
                let x = f32::from(step);
                let mut values = [x];
                cap(isa, 30.0, &mut values);
                let wanted = 30.0 * (f64::from(x) / 30.0).tanh();
                assert!((f64::from(values[0]) - wanted).abs() < 1e-5, "{isa:?} {x}: {values:?} {wanted}");
                assert!(values[0].abs() <= 30.0);
            }
        }
    }
}
