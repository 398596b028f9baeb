//! One case of each platform, as the verifier's types.

mod azure;
mod nvidia;
mod profile;
mod snp;
mod tdx;
mod tpm;

use crate::corpus::{Error, Files};
use crate::manifest::{Case, Pin, Platform};
use anchorhold_rats::{Checks, Code, Endorsements, Evidence, GpuEvidence, Stage, TpmEvidence};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::{Refusal, TrustAnchors};

/// All rules that were looked at.
pub(crate) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    match case.platform {
        Platform::Snp => snp::judge(case, files),
        Platform::Tdx => tdx::judge(case, files),
        Platform::Azure => azure::judge(case, files),
        Platform::Nvidia => nvidia::judge(case, files),
        Platform::Tpm => tpm::judge(case, files),
    }
}

/// What a case presents, in the verifier's types. Nothing of it was judged.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The TEE's evidence; `None` in a case of devices or of a TPM alone.
    pub tee: Option<Evidence>,
    /// The devices of a case of devices alone.
    pub devices: Vec<GpuEvidence>,
    /// The quote of a case of a TPM alone.
    pub tpm: Option<TpmEvidence>,
    /// What the vendors say about the parts.
    pub endorsements: Endorsements,
    /// The roots that the files name.
    pub roots: Roots,
}

/// The roots that the files of a case name, DER; whether one is the anchor says the case's pin.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// In the place of AMD's ARK.
    pub amd: Option<Vec<u8>>,
    /// In the place of Intel's SGX root.
    pub intel: Option<Vec<u8>>,
    /// In the place of NVIDIA's root for devices.
    pub nvidia_device: Option<Vec<u8>>,
    /// In the place of NVIDIA's root for manifests.
    pub nvidia_rim: Option<Vec<u8>>,
}

impl Roots {
    /// Those of AMD and Intel.
    fn read(files: &Files) -> Self {
        let named = |role: &str| files.get(role).map(<[u8]>::to_vec);
        Self { amd: named("ark"), intel: named("root"), ..Self::default() }
    }

    /// The anchors of a case, or the rule that a named root breaks: a root that is none is found in the chain.
    ///
    /// # Errors
    /// [`Checks`] with the rule that failed.
    pub fn anchors(&self, pin: Pin) -> Result<TrustAnchors, Checks> {
        /// The root that a case names is a self-signed certificate authority of the vendor's kind.
        const NAMED_ROOT: Code = Code::new(Stage::Chain, "vectors_named_root");
        let roots = match pin {
            Pin::Real => return Ok(TrustAnchors::production()),
            // Whoever made the case made its hierarchy too, and need not have given it the vendor's names.
            Pin::Forged => SimulatedRoots {
                amd: self.amd.as_deref(),
                intel: self.intel.as_deref(),
                nvidia_device: self.nvidia_device.as_deref(),
                nvidia_rim: self.nvidia_rim.as_deref(),
                foreign: true,
            },
        };
        simulated_anchors(&roots).map_err(|error| {
            let mut checks = Checks::new();
            checks.record(NAMED_ROOT, false, "a root of the vendor's kind", error.to_string());
            checks
        })
    }
}

/// What the files of a case present, or the rule that they break before there is any evidence.
pub(crate) fn present(case: &Case, files: &Files) -> Result<Result<Presented, Checks>, Error> {
    let (tee, endorsements) = match case.platform {
        Platform::Snp => snp::present(files)?,
        Platform::Tdx => tdx::present(files)?,
        Platform::Azure => azure::present(files)?,
        Platform::Nvidia => return nvidia::present(files),
        Platform::Tpm => return tpm::present(files).map(Ok),
    };
    let (devices, roots) = (Vec::new(), Roots::read(files));
    Ok(Ok(Presented { tee: Some(tee), devices, tpm: None, endorsements, roots }))
}

fn of_refusal(refusal: Refusal) -> Checks {
    refusal.into_checks()
}

/// Bytes of a rule, in hexadecimal of either case.
fn hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], Error> {
    hex_bytes(what, text)?.try_into().map_err(|_| Error::Form { what, wanted: "of the field's length" })
}

fn hex_bytes(what: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Form { what, wanted: "hexadecimal" };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(wrong);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| wrong()),
            _ => Err(wrong()),
        })
        .collect()
}
