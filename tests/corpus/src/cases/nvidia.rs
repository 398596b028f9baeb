//! NVIDIA: devices, boards, manifests and OCSP responses that are wrong in one way each, signed by whoever should sign them.

mod board;
mod certificates;
mod chain;
mod manifest;
mod manifest_signature;
mod ocsp;
mod opaque;
mod policy;
mod report;

use crate::writer::{AT, Case, Suite};
use anchorhold_attester::software::gpu::{
    Chip, DeviceTemplates, GpuConfig, GpuDevice, SpdmReport, simulated_nvidia_device_root_der,
};
use anchorhold_rats::{GpuEvidence, Nonce, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const NONCE: Nonce = Nonce::new([0x4e; 32]);
const PDI: [u8; 8] = [0x5a, 1, 2, 3, 4, 5, 6, 7];

/// A change of one thing.
type Edit<T> = fn(&mut T);

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let made = Made::new(GpuConfig::new(Chip::Gh100, PDI))?;
    report::write(suite, &made)?;
    opaque::write(suite, &made)?;
    chain::write(suite, &made)?;
    certificates::write(suite, &made)?;
    ocsp::write(suite, &made)?;
    manifest::write(suite, &made)?;
    policy::write(suite, &made)?;
    board::write(suite)
}

/// One good device, which most cases change in one place.
struct Made {
    device: GpuDevice,
    fields: SpdmReport,
    evidence: GpuEvidence,
}

impl Made {
    fn new(config: GpuConfig) -> anyhow::Result<Self> {
        let device = GpuDevice::make(config)?;
        let fields = device.fields(&NONCE)?;
        let evidence = device.sign(&fields.encode())?;
        Ok(Self { device, fields, evidence })
    }

    /// The good case.
    fn case(&self) -> Case {
        case_of(&self.evidence)
    }

    /// The good case with changed bytes of the whole report, signed by nobody.
    fn raw(&self, edit: impl FnOnce(&mut Vec<u8>)) -> Case {
        let mut report = self.evidence.report.clone();
        edit(&mut report);
        self.case().file("report", report)
    }

    /// The good case with changed bytes of what is signed, signed again.
    fn signed(&self, edit: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Case> {
        let mut signed = self.fields.encode();
        edit(&mut signed);
        Ok(case_of(&self.device.sign(&signed)?))
    }

    /// The good case with changed fields of the report, signed again.
    fn fields(&self, edit: impl FnOnce(&mut SpdmReport)) -> anyhow::Result<Case> {
        let mut fields = self.fields.clone();
        edit(&mut fields);
        Ok(case_of(&self.device.sign(&fields.encode())?))
    }

    /// The good case with another list of certificates.
    fn chain(&self, edit: impl FnOnce(&mut Vec<Vec<u8>>)) -> Case {
        let mut chain = self.device.chain().to_vec();
        edit(&mut chain);
        self.case().file("chain", pem(&chain))
    }

    /// A device of the same CAs with changed certificates, certified again.
    fn certified(&self, edit: impl FnOnce(&mut DeviceTemplates)) -> anyhow::Result<Case> {
        let mut device = GpuDevice::make_below(self.device.hierarchy(), self.device.config().clone())?;
        let mut templates = device.templates().clone();
        edit(&mut templates);
        device.certify(templates)?;
        Ok(case_of(&device.evidence(&NONCE)?))
    }

    /// The good case of a device that states something else.
    fn config(&self, edit: impl FnOnce(&mut GpuConfig)) -> anyhow::Result<Case> {
        let mut config = self.device.config().clone();
        edit(&mut config);
        let device = GpuDevice::make_below(self.device.hierarchy(), config)?;
        Ok(case_of(&device.evidence(&NONCE)?))
    }
}

fn case_of(evidence: &GpuEvidence) -> Case {
    let chain: Vec<_> = evidence.certificates.iter().map(|certificate| certificate.0.clone()).collect();
    Case::new("nvidia")
        .file("report", evidence.report.clone())
        .file("chain", pem(&chain))
        .file("root", simulated_nvidia_device_root_der())
}

fn pem(chain: &[Vec<u8>]) -> Vec<u8> {
    let mut out = String::new();
    for certificate in chain {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for (place, character) in STANDARD.encode(certificate).chars().enumerate() {
            if place > 0 && place.is_multiple_of(64) {
                out.push('\n');
            }
            out.push(character);
        }
        out.push_str("\n-----END CERTIFICATE-----\n");
    }
    out.into_bytes()
}

fn at() -> anyhow::Result<Timestamp> {
    Ok(AT.parse()?)
}
