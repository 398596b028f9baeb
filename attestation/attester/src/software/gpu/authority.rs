//! The simulated roots in the places of NVIDIA's, made by `fixtures/make.sh`. Their keys are public.

use crate::software::certificate::{COMMON_NAME, ORGANIZATION, name_of};
use crate::software::{Curve, Error, SigningKey};

/// The organization in every name below the simulated roots.
pub(super) const SIMULATED: &str = "Anchorhold SIMULATED";

/// A simulated root of NVIDIA's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NvidiaRoot {
    /// Of devices, in the place of NVIDIA Device Identity CA.
    Device,
    /// Of manifests, in the place of NVIDIA CoRIM signing Root CA.
    Rim,
}

impl NvidiaRoot {
    /// The certificate, DER.
    #[must_use]
    pub const fn certificate_der(self) -> &'static [u8] {
        match self {
            Self::Device => include_bytes!("../../../fixtures/device-root.der"),
            Self::Rim => include_bytes!("../../../fixtures/rim-root.der"),
        }
    }

    /// The subject's name, DER.
    #[must_use]
    pub fn name(self) -> Vec<u8> {
        nvidia_name(match self {
            Self::Device => "SIMULATED Device Identity CA (anchorhold, not NVIDIA)",
            Self::Rim => "SIMULATED CoRIM signing Root CA (anchorhold, not NVIDIA)",
        })
    }

    /// The P-384 key, which everybody has.
    ///
    /// # Errors
    /// [`Error::Key`] when the fixture is damaged.
    pub fn key(self) -> Result<SigningKey, Error> {
        let (pkcs8, name): (&[u8], _) = match self {
            Self::Device => (include_bytes!("../../../fixtures/device-root.pk8"), "simulated device root"),
            Self::Rim => (include_bytes!("../../../fixtures/rim-root.pk8"), "simulated RIM root"),
        };
        SigningKey::from_pkcs8(Curve::P384, pkcs8, name)
    }
}

/// A name with this common name, DER.
#[must_use]
pub fn nvidia_name(common_name: &str) -> Vec<u8> {
    name_of(&[(COMMON_NAME, common_name), (ORGANIZATION, SIMULATED)])
}

/// The simulated root in the place of NVIDIA's for devices, DER. Its common name says that it is simulated.
#[must_use]
pub const fn simulated_nvidia_device_root_der() -> &'static [u8] {
    NvidiaRoot::Device.certificate_der()
}

/// The simulated root in the place of NVIDIA's for manifests, DER. Its common name says that it is simulated.
#[must_use]
pub const fn simulated_nvidia_rim_root_der() -> &'static [u8] {
    NvidiaRoot::Rim.certificate_der()
}
