//! One tensor's memory, cut into pieces that threads fill independently, with the conversion to `f32` on the way.

use crate::dtype::Dtype;
use crate::error::Error;
use crate::load::Destination;
use crate::rules::{DestinationRule, TensorRule};
use crate::tensors::Tensor;

/// The memory for a run of a tensor's bytes.
pub(crate) enum Out<'a> {
    Skip,
    Bytes(&'a mut [u8]),
    F32(&'a mut [f32], Float),
}

/// The stored form of a number.
#[derive(Clone, Copy)]
pub(crate) enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    const fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::Bf16 => Some(Self::Bf16),
            _ => None,
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl<'a> Out<'a> {
    pub(crate) const fn reads_as_f32(dtype: Dtype) -> bool {
        Float::of(dtype).is_some()
    }

    /// The memory of a whole tensor.
    pub(crate) fn new(destination: Destination<'a>, tensor: &Tensor) -> Result<Self, Error> {
        match destination {
            Destination::Skip => Ok(Self::Skip),
            Destination::Bytes(bytes) if bytes.len() as u64 == tensor.len() => Ok(Self::Bytes(bytes)),
            Destination::F32(numbers) => {
                let float = Float::of(tensor.dtype).ok_or(DestinationRule::NotNumbers)?;
                if numbers.len() as u64 != tensor.elements() {
                    return Err(DestinationRule::Length.into());
                }
                Ok(Self::F32(numbers, float))
            }
            Destination::Bytes(_) => Err(DestinationRule::Length.into()),
        }
    }

    /// The memory of the next `len` stored bytes, which begin at `start` of a segment, and the rest.
    pub(crate) fn split(self, start: usize, len: usize) -> Result<(Self, Self), Error> {
        Ok(match self {
            Self::Skip => (Self::Skip, Self::Skip),
            Self::Bytes(bytes) => {
                let (head, tail) = bytes.split_at_mut_checked(len).ok_or(DestinationRule::Length)?;
                (Self::Bytes(head), Self::Bytes(tail))
            }
            Self::F32(numbers, float) => {
                // Segments are multiples of every element size long, so only a tensor that begins between two multiples
                // has an element in two segments. The writers of the formats align all tensors.
                if !start.is_multiple_of(float.size()) {
                    return Err(TensorRule::Unaligned.into());
                }
                let split = numbers.split_at_mut_checked(len / float.size());
                let (head, tail) = split.ok_or(DestinationRule::Length)?;
                (Self::F32(head, float), Self::F32(tail, float))
            }
        })
    }

    /// Writes the stored `bytes`, of the length for which this memory was split off.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        match self {
            Self::Skip => {}
            Self::Bytes(out) => out.copy_from_slice(bytes),
            Self::F32(out, Float::F32) => convert(out, bytes, f32::from_le_bytes),
            Self::F32(out, Float::F16) => convert(out, bytes, |pair| f16_to_f32(u16::from_le_bytes(pair))),
            Self::F32(out, Float::Bf16) => {
                convert(out, bytes, |pair| f32::from_bits(u32::from(u16::from_le_bytes(pair)) << 16));
            }
        }
    }
}

/// Straight-line code per element, which the compiler turns into wide moves.
#[inline]
fn convert<const N: usize>(out: &mut [f32], bytes: &[u8], number: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, element) in out.iter_mut().zip(elements) {
        *out = number(*element);
    }
}

/// IEEE 754 binary16 to binary32, exactly, without branches: the exponent is rebased by a multiplication, which also
/// normalises subnormal numbers; infinities and NaNs then get the largest exponent.
#[inline]
fn f16_to_f32(half: u16) -> f32 {
    const REBASE: f32 = f32::from_bits((254 - 15) << 23);
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * REBASE;
    let special = if half & 0x7c00 == 0x7c00 { 0xff << 23 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value by the definition of the format.
    fn by_definition(half: u16) -> f64 {
        let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(half >> 10 & 31);
        let fraction = f64::from(half & 0x3ff) / 1024.0;
        match exponent {
            0 => sign * fraction * 2_f64.powi(-14),
            31 if half & 0x3ff == 0 => sign * f64::INFINITY,
            31 => f64::NAN,
            _ => sign * (1.0 + fraction) * 2_f64.powi(exponent - 15),
        }
    }

    #[test]
    fn converts_every_half_precision_number_exactly() {
        for half in 0..=u16::MAX {
            let (ours, expected) = (f16_to_f32(half), by_definition(half));
            if expected.is_nan() {
                assert!(ours.is_nan(), "{half:#x}");
            } else {
                assert_eq!(f64::from(ours), expected, "{half:#x}");
                assert_eq!(ours.is_sign_negative(), half & 0x8000 != 0, "{half:#x}");
            }
        }
    }

    #[test]
    fn converts_the_stored_forms() {
        let mut numbers = [0.0; 2];
        Out::F32(&mut numbers, Float::F32).fill(&[0, 0, 0xc0, 0x3f, 0, 0, 0x20, 0xc1]);
        assert_eq!(numbers, [1.5, -10.0]);
        Out::F32(&mut numbers, Float::Bf16).fill(&[0xc0, 0x3f, 0x20, 0xc1]);
        assert_eq!(numbers, [1.5, -10.0]);
        Out::F32(&mut numbers, Float::F16).fill(&[0x00, 0x3e, 0x00, 0xc9]);
        assert_eq!(numbers, [1.5, -10.0]);
    }
}
