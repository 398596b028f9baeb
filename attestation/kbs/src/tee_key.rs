//! The guest's private key of one exchange.

use crate::TeePublicKey;
use crate::jwk::{Curve, EcPublicKey};
use aws_lc_rs::agreement::PrivateKey;
use std::fmt;

/// There is no randomness, or the library made no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TeeKeyError;

impl fmt::Display for TeeKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no key was made")
    }
}

impl std::error::Error for TeeKeyError {}

/// A guest's private key on P-256, for one exchange. It never leaves this type, and AWS-LC wipes it when it is freed.
///
/// There is no RSA here: decrypting with RSA leaks through time more easily than agreeing on a curve, and every server
/// of this protocol takes both.
pub struct TeeKey {
    private: PrivateKey,
    public: EcPublicKey,
}

impl TeeKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`TeeKeyError`] when there is no randomness.
    pub fn generate() -> Result<Self, TeeKeyError> {
        let private = PrivateKey::generate(Curve::P256.agreement()).map_err(|_| TeeKeyError)?;
        Self::of(private)
    }

    /// The private key in PKCS#8 DER; for [`crate::dangerous`].
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, TeeKeyError> {
        PrivateKey::from_private_key_der(Curve::P256.agreement(), der)
            .map_err(|_| TeeKeyError)
            .and_then(Self::of)
    }

    fn of(private: PrivateKey) -> Result<Self, TeeKeyError> {
        let point = private.compute_public_key().map_err(|_| TeeKeyError)?.as_ref().to_vec();
        let public = EcPublicKey::new(Curve::P256, point).map_err(|_| TeeKeyError)?;
        Ok(Self { private, public })
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> TeePublicKey {
        TeePublicKey::Ec(self.public.clone())
    }

    pub(crate) fn curve(&self) -> Curve {
        self.public.curve()
    }

    pub(crate) fn private(&self) -> &PrivateKey {
        &self.private
    }
}

impl fmt::Debug for TeeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TeeKey")
    }
}
