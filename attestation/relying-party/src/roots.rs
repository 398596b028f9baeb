//! Roots that stand in the place of the vendors'.

use anchorhold_verifier::dangerous::{self, AnchorError, SimulatedRoots};
use anchorhold_verifier::x509::{Certificate, PublicKey};
use anchorhold_verifier::{TrustAnchors, der, pem};

/// One of SEV-SNP, one of TDX, one of NVIDIA's devices and one of its manifests.
const MAX_ROOTS: usize = 4;

/// Why there are no roots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Text that is not PEM certificates.
    #[error("{0}")]
    Pem(pem::Error),
    /// A certificate cannot be read.
    #[error("certificate {number}: {source}")]
    Certificate {
        /// Its place, from 1.
        number: usize,
        /// Why.
        source: der::Error,
    },
    /// A certificate is no root of ours.
    #[error("certificate {number}: neither the key nor the name of a simulated root")]
    Unknown {
        /// Its place, from 1.
        number: usize,
    },
    /// Two certificates are roots of the same vendor for the same thing.
    #[error("certificate {number}: a second root in the same place")]
    Twice {
        /// The place of the second, from 1.
        number: usize,
    },
    /// A certificate cannot be a trust anchor.
    #[error("{0}")]
    Anchor(AnchorError),
}

/// Reads one root of SEV-SNP as DER, or several roots as PEM, each recognised by its key and name. Whoever holds their keys can make
/// any evidence.
///
/// # Errors
/// [`RootsError`].
pub fn read_roots(bytes: &[u8]) -> Result<TrustAnchors, RootsError> {
    let pem = std::str::from_utf8(bytes).ok().filter(|text| text.starts_with("-----BEGIN"));
    let ders = pem.map(|text| pem::read(text, MAX_ROOTS)).transpose().map_err(RootsError::Pem)?;
    let roots = match &ders {
        None => SimulatedRoots::amd(bytes),
        Some(ders) => recognise(ders)?,
    };
    dangerous::simulated_anchors(&roots).map_err(RootsError::Anchor)
}

/// Puts each root in its place: AMD's keys are RSA-4096, Intel's P-256, and NVIDIA's P-384 under two names.
fn recognise(ders: &[Vec<u8>]) -> Result<SimulatedRoots<'_>, RootsError> {
    let mut roots = SimulatedRoots::default();
    for (index, der) in ders.iter().enumerate() {
        let number = index + 1;
        let root = Certificate::parse(der).map_err(|source| RootsError::Certificate { number, source })?;
        let name = root.common_name().unwrap_or_default();
        let place = match root.public_key {
            PublicKey::Rsa4096(_) => &mut roots.amd,
            PublicKey::P256(_) => &mut roots.intel,
            PublicKey::P384(_) if name.contains("Device Identity CA") => &mut roots.nvidia_device,
            PublicKey::P384(_) if name.contains("CoRIM signing") => &mut roots.nvidia_rim,
            PublicKey::P384(_) | PublicKey::Other => {
                return Err(RootsError::Unknown { number });
            }
        };
        if place.replace(der).is_some() {
            return Err(RootsError::Twice { number });
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_attester::software::gpu::{NvidiaRoot, simulated_nvidia_device_root_der};
    use anchorhold_attester::software::tdx::simulated_intel_root_der;
    use anchorhold_attester::software::{Authority, simulated_ark_der, simulated_roots_pem};

    #[test]
    fn each_root_of_a_bundle_finds_its_place_in_any_order() {
        let mut ders = pem::read(&simulated_roots_pem(), MAX_ROOTS).unwrap();
        for _ in 0..2 {
            let roots = recognise(&ders).unwrap();
            assert_eq!(roots.amd, Some(simulated_ark_der()));
            assert_eq!(roots.intel, Some(simulated_intel_root_der()));
            assert_eq!(roots.nvidia_device, Some(simulated_nvidia_device_root_der()));
            assert_eq!(roots.nvidia_rim, Some(NvidiaRoot::Rim.certificate_der()));
            ders.reverse();
        }
    }

    #[test]
    fn refuses_two_roots_in_one_place_and_what_is_no_certificate() {
        let ark = simulated_ark_der().to_vec();
        let second = recognise(&[ark.clone(), Authority::Ask.certificate_der().to_vec()]).unwrap_err();
        assert_eq!(second, RootsError::Twice { number: 2 });
        let broken = recognise(&[ark, vec![0x30, 0]]).unwrap_err();
        assert!(matches!(broken, RootsError::Certificate { number: 2, .. }));
    }
}
