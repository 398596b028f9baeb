//! What the report data commits to.

use crate::{Ed25519PublicKey, Nonce, ReportData, Sha256Digest};
use ring::digest;

/// What the evidence was made for. Evidence made for one purpose is refused for the others, so a client's
/// attestation request cannot be turned into a key release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To obtain a weights key from the key broker.
    KeyRelease,
    /// To show a caller of the API whom it talks to.
    Serving,
    /// To show whose key signs a boot's audit log, before that log says anything else. Nobody asked, so its nonce is zeros; that it is not
    /// an old one follows from the audit key, which is of this boot only. Its context is the log's name.
    Log,
}

impl Purpose {
    /// The domain string; it fixes the order and meaning of the items below.
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::KeyRelease => b"anchorhold report data v1: key release",
            Self::Serving => b"anchorhold report data v1: serving",
            Self::Log => b"anchorhold report data v1: log",
        }
    }
}

/// Everything that one report vouches for: the guest that made the report holds the private halves of these
/// keys, and made it after it saw the nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBinding {
    /// What the evidence is for.
    pub purpose: Purpose,
    /// The relying party's nonce.
    pub nonce: Nonce,
    /// SHA-256 of the DER SubjectPublicKeyInfo of the gateway's TLS key.
    pub tls_key: Sha256Digest,
    /// [`WrappingKey::digest`](crate::WrappingKey::digest) of the HPKE key to which weights keys are wrapped.
    pub release_key: Sha256Digest,
    /// The key that signs this boot's audit checkpoints.
    pub audit_key: Ed25519PublicKey,
    /// SHA-256 of the exact bytes of the request (key release), of the served document's state (serving) or of the log's name (log).
    pub context: Sha256Digest,
    /// [`Evidence::gpu_digest`](crate::Evidence::gpu_digest).
    pub gpu_evidence: Sha256Digest,
}

impl KeyBinding {
    /// The report data: SHA-512 over the domain string and each item, every one preceded by its length as
    /// 8 bytes big-endian, in the order of the fields.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let items: [&[u8]; 7] = [
            self.purpose.domain(),
            self.nonce.as_bytes(),
            self.tls_key.as_bytes(),
            self.release_key.as_bytes(),
            self.audit_key.as_bytes(),
            self.context.as_bytes(),
            self.gpu_evidence.as_bytes(),
        ];
        let mut context = digest::Context::new(&digest::SHA512);
        for item in items {
            context.update(&(item.len() as u64).to_be_bytes());
            context.update(item);
        }
        let mut out = [0; ReportData::LEN];
        out.copy_from_slice(context.finish().as_ref());
        ReportData::new(out)
    }

    /// The nonce for the reports of GPUs and switches: SHA-256 over a domain string, the relying party's nonce and the
    /// guest's keys, every one preceded by its length as 8 bytes big-endian. The devices sign it, and the
    /// TEE signs the digest of what they signed, so neither can be exchanged for another guest's.
    #[must_use]
    pub fn gpu_nonce(&self) -> Nonce {
        let items: [&[u8]; 5] = [
            b"anchorhold gpu nonce v1",
            self.nonce.as_bytes(),
            self.tls_key.as_bytes(),
            self.release_key.as_bytes(),
            self.audit_key.as_bytes(),
        ];
        let mut context = digest::Context::new(&digest::SHA256);
        for item in items {
            context.update(&(item.len() as u64).to_be_bytes());
            context.update(item);
        }
        let mut out = [0; Nonce::LEN];
        out.copy_from_slice(context.finish().as_ref());
        Nonce::new(out)
    }

    /// What evidence for this binding must show.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected { gpu_nonce: Some(self.gpu_nonce()), ..self.report_data().into() }
    }
}

/// What a relying party computed itself and evidence must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The report data of the TEE's report.
    pub report_data: ReportData,
    /// The nonce in each device's report; `None` where no devices are expected.
    pub gpu_nonce: Option<Nonce>,
    /// How many bytes of the report data, from the first, are the nonce in the quote of a virtual TPM, where the guest has
    /// one. Protocols whose report data ends in zeros may ask for the bytes before them.
    pub quote_nonce_bytes: usize,
}

impl Expected {
    /// The nonce in the quote of a virtual TPM.
    #[must_use]
    pub fn quote_nonce(&self) -> &[u8] {
        let report_data = self.report_data.as_bytes();
        report_data.get(..self.quote_nonce_bytes).unwrap_or(report_data)
    }
}

impl From<ReportData> for Expected {
    fn from(report_data: ReportData) -> Self {
        Self { report_data, gpu_nonce: None, quote_nonce_bytes: ReportData::LEN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> KeyBinding {
        KeyBinding {
            purpose: Purpose::KeyRelease,
            nonce: Nonce::new([1; 32]),
            tls_key: Sha256Digest::new([2; 32]),
            release_key: Sha256Digest::new([3; 32]),
            audit_key: Ed25519PublicKey::new([4; 32]),
            context: Sha256Digest::new([5; 32]),
            gpu_evidence: Sha256Digest::new([6; 32]),
        }
    }

    #[test]
    fn case_03_every_item_changes_the_report_data() {
        let other = [9; 32];
        let variants = [
            KeyBinding { purpose: Purpose::Serving, ..binding() },
            KeyBinding { purpose: Purpose::Log, ..binding() },
            KeyBinding { nonce: other.into(), ..binding() },
            KeyBinding { tls_key: other.into(), ..binding() },
            KeyBinding { release_key: other.into(), ..binding() },
            KeyBinding { audit_key: other.into(), ..binding() },
            KeyBinding { context: other.into(), ..binding() },
            KeyBinding { gpu_evidence: other.into(), ..binding() },
        ];
        let mut seen = vec![binding().report_data()];
        for variant in variants {
            let data = variant.report_data();
            assert!(!seen.contains(&data), "{variant:?}");
            seen.push(data);
        }
    }
}
