//! The simulated SGX root, its PCK CA and its TCB signer, made by `fixtures/make.sh`. Their keys are public.

use crate::software::certificate::{COMMON_NAME, COUNTRY, LOCALITY, ORGANIZATION, STATE, name_of};
use crate::software::{Curve, Error, SigningKey, pem};

/// A simulated certificate authority or signer of Intel's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdxAuthority {
    /// The root.
    Root,
    /// Issues PCK certificates, and their revocation list.
    PckCa,
    /// Signs TCB info and QE identity.
    TcbSigner,
}

impl TdxAuthority {
    /// The certificate, DER.
    #[must_use]
    pub const fn certificate_der(self) -> &'static [u8] {
        match self {
            Self::Root => include_bytes!("../../../fixtures/sgx-root.der"),
            Self::PckCa => include_bytes!("../../../fixtures/pck-ca.der"),
            Self::TcbSigner => include_bytes!("../../../fixtures/tcb-signer.der"),
        }
    }

    /// The subject's common name. Below the root it is Intel's own, as readers look for it; the organization says SIMULATED.
    #[must_use]
    pub const fn common_name(self) -> &'static str {
        match self {
            Self::Root => "SIMULATED SGX Root CA (anchorhold, not a hardware root)",
            Self::PckCa => "Intel SGX PCK Platform CA",
            Self::TcbSigner => "Intel SGX TCB Signing",
        }
    }

    /// The P-256 key, which everybody has.
    ///
    /// # Errors
    /// [`Error::Key`] when the fixture is damaged.
    pub fn key(self) -> Result<SigningKey, Error> {
        let (pkcs8, name): (&[u8], _) = match self {
            Self::Root => (include_bytes!("../../../fixtures/sgx-root.pk8"), "simulated SGX root"),
            Self::PckCa => (include_bytes!("../../../fixtures/pck-ca.pk8"), "simulated PCK CA"),
            Self::TcbSigner => (include_bytes!("../../../fixtures/tcb-signer.pk8"), "simulated TCB signer"),
        };
        SigningKey::from_pkcs8(Curve::P256, pkcs8, name)
    }

    /// The certificate and the root's, PEM.
    #[must_use]
    pub fn chain_pem(self) -> String {
        match self {
            Self::Root => pem::certificates_pem([self.certificate_der()]),
            Self::PckCa | Self::TcbSigner => {
                pem::certificates_pem([self.certificate_der(), Self::Root.certificate_der()])
            }
        }
    }
}

/// A name in Intel's order of attributes with this common name, DER.
#[must_use]
pub fn intel_name(common_name: &str) -> Vec<u8> {
    name_of(&[
        (COMMON_NAME, common_name),
        (ORGANIZATION, "Anchorhold SIMULATED"),
        (LOCALITY, "Nowhere"),
        (STATE, "XX"),
        (COUNTRY, "XX"),
    ])
}

/// The simulated root in the place of Intel's, DER. Its common name says that it is simulated.
#[must_use]
pub const fn simulated_intel_root_der() -> &'static [u8] {
    TdxAuthority::Root.certificate_der()
}
