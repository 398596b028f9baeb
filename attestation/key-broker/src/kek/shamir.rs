//! Shamir's secret sharing over GF(2^8), byte by byte (Shamir 1979; draft-mcgrew-tss-03).
//!
//! Own code rather than a crate: it is short, and the crates at hand fall short. `sharks` is unmaintained and chose
//! coefficients with a bias (RUSTSEC-2024-0398); `blahaj`, its repaired fork, multiplies through tables, which a
//! neighbour on the processor can watch; `vsss-rs` brings elliptic curves and their crates. Here a multiplication takes
//! the same steps whatever the numbers are, and no table is read.

use anchorhold_rats::Secret;
use zeroize::Zeroize as _;

/// The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, the field of AES (FIPS 197, section 4.2).
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product, mut bit) = (a, b, 0, 0);
    while bit < 8 {
        // All ones when the lowest bit of b is one, else zero.
        product ^= a & 0_u8.wrapping_sub(b & 1);
        a = (a << 1) ^ (0x1b & 0_u8.wrapping_sub(a >> 7));
        b >>= 1;
        bit += 1;
    }
    product
}

/// The inverse: a^254, since a^255 is 1 for every a but 0. The inverse of 0 comes out as 0.
const fn invert(a: u8) -> u8 {
    let (mut power, mut square, mut bit) = (1, a, 1);
    while bit < 8 {
        square = multiply(square, square);
        power = multiply(power, square);
        bit += 1;
    }
    power
}

/// The value at `x` of the polynomial with these coefficients, the lowest first, for each of `N` bytes alone.
#[must_use]
pub fn evaluate<const N: usize>(coefficients: &[Secret<N>], x: u8) -> Secret<N> {
    let mut value = [0; N];
    for coefficient in coefficients.iter().rev() {
        for (byte, term) in value.iter_mut().zip(coefficient.expose()) {
            *byte = multiply(*byte, x) ^ term;
        }
    }
    Secret::take(&mut value)
}

/// The value at 0 of the polynomial of the lowest degree through these points. `None` when two have the same x, or one
/// has 0.
#[must_use]
pub fn interpolate<const N: usize>(points: &[(u8, &Secret<N>)]) -> Option<Secret<N>> {
    let mut value = [0; N];
    for (i, (x, y)) in points.iter().enumerate() {
        // The Lagrange basis polynomial of this point, at 0. Indices are public.
        let mut basis = 1;
        for (j, (other, _)) in points.iter().enumerate() {
            if i == j {
                continue;
            }
            let difference = other ^ x;
            if difference == 0 || *other == 0 {
                value.zeroize();
                return None;
            }
            basis = multiply(basis, multiply(*other, invert(difference)));
        }
        for (byte, term) in value.iter_mut().zip(y.expose()) {
            *byte ^= multiply(basis, *term);
        }
    }
    Some(Secret::take(&mut value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret<const N: usize>(mut bytes: [u8; N]) -> Secret<N> {
        Secret::take(&mut bytes)
    }

    /// Multiplication as schoolbook carry-less product and long division, for comparison.
    fn reference(a: u8, b: u8) -> u8 {
        let mut product = 0_u16;
        for bit in 0..8 {
            if b & 1 << bit != 0 {
                product ^= u16::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product & 1 << bit != 0 {
                product ^= 0x11b << (bit - 8);
            }
        }
        u8::try_from(product).unwrap()
    }

    #[test]
    fn multiplies_as_fips_197_says() {
        // FIPS 197, sections 4.2 and 4.2.1.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), reference(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn every_number_but_0_has_its_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, invert(a)), 1, "{a}");
        }
        assert_eq!(invert(0), 0);
    }

    #[test]
    fn recovers_the_vector_of_draft_mcgrew_tss() {
        // draft-mcgrew-tss-03, section 9: two of two, "test" with its closing zero.
        let wanted = secret([0x74, 0x65, 0x73, 0x74, 0x00]);
        let one = secret([0xb9, 0xfa, 0x07, 0xe1, 0x85]);
        let two = secret([0xf5, 0x40, 0x9b, 0x45, 0x11]);
        assert_eq!(interpolate(&[(1, &one), (2, &two)]), Some(wanted.clone()));
        assert_eq!(interpolate(&[(2, &two), (1, &one)]), Some(wanted.clone()));
        // The coefficient that the draft's author drew.
        let drawn: Vec<u8> = one.expose().iter().zip(wanted.expose()).map(|(y, s)| y ^ s).collect();
        let polynomial = [wanted, Secret::copy_from(&drawn).unwrap()];
        assert_eq!((evaluate(&polynomial, 1), evaluate(&polynomial, 2)), (one, two));
    }

    #[test]
    fn as_many_points_as_coefficients_give_the_secret_back_and_fewer_do_not() {
        let polynomial = [secret([1, 0xff]), secret([2, 0xfe]), secret([3, 0xfd])];
        let at = |x| evaluate(&polynomial, x);
        for (a, b, c) in [(1, 2, 3), (3, 2, 1), (255, 7, 128), (254, 255, 1)] {
            let points = [(a, &at(a)), (b, &at(b)), (c, &at(c))];
            assert_eq!(interpolate(&points), Some(secret([1, 0xff])), "{a} {b} {c}");
            assert_ne!(interpolate(&points[..2]), Some(secret([1, 0xff])), "{a} {b}");
        }
    }

    #[test]
    fn fewer_points_fit_every_secret() {
        // For two of three points, each value of one byte is the secret of exactly one polynomial of degree two.
        let (a, b) = (secret([0x31]), secret([0x9c]));
        let mut secrets = std::collections::BTreeSet::new();
        for third in 0..=255 {
            let third = secret([third]);
            let points = [(1, &a), (2, &b), (3, &third)];
            secrets.insert(*interpolate(&points).unwrap().expose());
        }
        assert_eq!(secrets.len(), 256);
    }

    #[test]
    fn refuses_one_index_twice_and_index_0() {
        let (a, b) = (secret([1]), secret([2]));
        assert_eq!(interpolate(&[(1, &a), (1, &b)]), None);
        assert_eq!(interpolate(&[(0, &a), (1, &b)]), None);
        assert_eq!(interpolate(&[(1, &a), (0, &b)]), None);
    }
}
