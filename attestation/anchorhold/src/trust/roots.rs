//! Roots that stand in the place of the vendors'.

use crate::exit::Failure;
use crate::files;
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::x509::{Certificate, PublicKey};
use anchorhold_verifier::{TrustAnchors, pem};
use std::path::Path;

const MAX_FILE_BYTES: usize = 32 * 1024;
/// One of SEV-SNP, one of TDX, one of NVIDIA's devices and one of its manifests.
const MAX_ROOTS: usize = 4;
const HINT: &str = "`anchorhold simulated-root roots.pem` writes the roots of all simulated parts";

/// Reads one root of SEV-SNP as DER, or several roots as PEM.
pub(crate) fn read(path: &Path) -> Result<TrustAnchors, Failure> {
    let bytes = files::read(path, MAX_FILE_BYTES)?;
    let wrong =
        |error: &dyn std::fmt::Display| Failure::other(format!("{}: {error}", path.display())).hint(HINT);
    let pem = std::str::from_utf8(&bytes).ok().filter(|text| text.starts_with("-----BEGIN"));
    let ders = pem.map(|text| pem::read(text, MAX_ROOTS)).transpose().map_err(|error| wrong(&error))?;
    let roots = match &ders {
        None => SimulatedRoots::amd(&bytes),
        Some(ders) => recognise(ders).map_err(|error| wrong(&error))?,
    };
    dangerous::simulated_anchors(&roots).map_err(|error| wrong(&error))
}

/// Puts each root in its place: AMD's keys are RSA-4096, Intel's P-256, and NVIDIA's P-384 under two names.
fn recognise(ders: &[Vec<u8>]) -> Result<SimulatedRoots<'_>, String> {
    let mut roots = SimulatedRoots::default();
    for (index, der) in ders.iter().enumerate() {
        let number = index + 1;
        let root = Certificate::parse(der).map_err(|error| format!("certificate {number}: {error}"))?;
        let name = root.common_name().unwrap_or_default();
        let place = match root.public_key {
            PublicKey::Rsa4096(_) => &mut roots.amd,
            PublicKey::P256(_) => &mut roots.intel,
            PublicKey::P384(_) if name.contains("Device Identity CA") => &mut roots.nvidia_device,
            PublicKey::P384(_) if name.contains("CoRIM signing") => &mut roots.nvidia_rim,
            PublicKey::P384(_) | PublicKey::Other => {
                return Err(format!(
                    "certificate {number}: neither the key nor the name of a simulated root"
                ));
            }
        };
        if place.replace(der).is_some() {
            return Err(format!("certificate {number}: a second root in the same place"));
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
        assert_eq!(second, "certificate 2: a second root in the same place");
        assert!(recognise(&[ark, vec![0x30, 0]]).unwrap_err().starts_with("certificate 2: "));
    }
}
