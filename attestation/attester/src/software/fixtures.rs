//! The simulated root and its intermediates, made by `fixtures/make.sh`. Their keys are public.

use super::Error;
use ring::signature::RsaKeyPair;

/// A simulated certificate authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The root.
    Ark,
    /// Issues VCEKs.
    Ask,
    /// Issues VLEKs.
    Asvk,
}

impl Authority {
    /// The certificate, DER.
    #[must_use]
    pub const fn certificate_der(self) -> &'static [u8] {
        match self {
            Self::Ark => include_bytes!("../../fixtures/ark.der"),
            Self::Ask => include_bytes!("../../fixtures/ask.der"),
            Self::Asvk => include_bytes!("../../fixtures/asvk.der"),
        }
    }

    /// The subject's common name.
    #[must_use]
    pub const fn common_name(self) -> &'static str {
        match self {
            Self::Ark => "ARK-SIMULATED (anchorhold, not a hardware root)",
            Self::Ask => "SEV-SIMULATED (anchorhold)",
            Self::Asvk => "SEV-VLEK-SIMULATED (anchorhold)",
        }
    }

    /// The RSA-4096 key, which everybody has.
    ///
    /// # Errors
    /// [`Error::Key`] when the fixture is damaged.
    pub fn key(self) -> Result<RsaKeyPair, Error> {
        let (pkcs8, name): (&[u8], _) = match self {
            Self::Ark => (include_bytes!("../../fixtures/ark.pk8"), "simulated ARK"),
            Self::Ask => (include_bytes!("../../fixtures/ask.pk8"), "simulated ASK"),
            Self::Asvk => (include_bytes!("../../fixtures/asvk.pk8"), "simulated ASVK"),
        };
        RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| Error::Key(name))
    }
}

/// The simulated root, DER. Its common name says that it is simulated.
#[must_use]
pub const fn simulated_ark_der() -> &'static [u8] {
    Authority::Ark.certificate_der()
}
