//! Key bytes that wipe themselves and never print.

use std::fmt;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The system's random generator gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's random generator gave nothing")
    }
}

impl std::error::Error for RandomError {}

#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), RandomError> {
    use ring::rand::SecureRandom as _;
    ring::rand::SystemRandom::new().fill(out).map_err(|_| RandomError)
}

/// There is no system below a WebAssembly module. Its host makes nonces and hands them in as bytes.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
pub(crate) const fn fill_random(_: &mut [u8]) -> Result<(), RandomError> {
    Err(RandomError)
}

/// `N` secret bytes: wiped on drop, compared in constant time, printed as a type name only.
///
/// The bytes live on the heap, so that moving the value leaves no copy behind.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes out of `source` and wipes it.
    #[must_use]
    pub fn take(source: &mut [u8; N]) -> Self {
        let secret = Self(Box::new(*source));
        source.zeroize();
        secret
    }

    /// Copies a secret out of `bytes`; `None` when there are not exactly `N`. The caller wipes the source.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Box::new([0; N]));
        (bytes.len() == N).then(|| {
            secret.0.copy_from_slice(bytes);
            secret
        })
    }

    /// A fresh random secret.
    ///
    /// # Errors
    /// [`RandomError`] when the system gives no randomness.
    pub fn random() -> Result<Self, RandomError> {
        let mut secret = Self(Box::new([0; N]));
        fill_random(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{N}>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_only_its_type_and_wipes_what_it_took() {
        let mut bytes = [0x41; 4];
        let secret = Secret::take(&mut bytes);
        assert_eq!(bytes, [0; 4]);
        assert_eq!(format!("{secret:?}"), "Secret<4>");
        assert_eq!(secret.expose(), &[0x41; 4]);
        assert_eq!(Secret::<4>::copy_from(b"AAAA"), Some(secret));
        assert_eq!(Secret::<4>::copy_from(b"AAA"), None);
    }
}
