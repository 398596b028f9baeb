//! Between numbers of 16 bits and of 32.

/// IEEE 754 binary16, little-endian, to binary32, exactly. The exponent is rebased by a multiplication, which also normalises
/// subnormal numbers; infinities and what is not a number then get the largest exponent.
#[must_use]
#[inline]
pub fn half(bytes: [u8; 2]) -> f32 {
    const REBASE: f32 = f32::from_bits((254 - 15) << 23);
    let half = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((half & 0x7fff) << 13) * REBASE;
    let special = if half & 0x7c00 == 0x7c00 { 0xff << 23 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (half & 0x8000) << 16)
}

/// Little-endian bf16 to binary32, exactly.
#[must_use]
#[inline(always)]
pub fn wide([low, high]: [u8; 2]) -> f32 {
    f32::from_le_bytes([0, 0, low, high])
}

/// The nearest bf16, the even one of two, in the lower half; what is not a number stays so.
#[must_use]
#[inline(always)]
pub fn bf16(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if number.is_nan() { bits >> 16 | 0x40 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc500, -5.0),
            (0x7bff, 65504.0),
            (0x0400, 2_f32.powi(-14)),
            (1, 2_f32.powi(-24)),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(u16::to_le_bytes(bits)).to_bits(), value.to_bits(), "{bits:x}");
        }
        assert!(half(0x7e00_u16.to_le_bytes()).is_nan());
    }

    #[test]
    fn rounding_is_to_nearest_and_ties_to_even() {
        for (value, bits) in [
            (1.0, 0x3f80),
            (1.003_906_2, 0x3f80),
            (1.003_906_4, 0x3f81),
            (1.011_718_8, 0x3f82),
            (-1.0, 0xbf80),
            (f32::INFINITY, 0x7f80),
            (3.4e38, 0x7f80),
        ] {
            assert_eq!(bf16(value), bits, "{value}");
        }
        assert_eq!(bf16(f32::NAN) & 0x7fc0, 0x7fc0);
        assert_eq!(wide([0x82, 0x3f]), 1.015_625);
    }
}
