//! Pseudonyms of machines, under which a log can tell machines apart and name none.

use anchorhold_audit_log::Hash;
use anchorhold_rats::Secret;
use anchorhold_verifier::{
    Stated, StatedTee, azure::VmId, nvidia::Pdi, snp::ChipId, tdx::PlatformId, tpm::KeyName,
};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The key of a broker's pseudonyms: whoever has it can tell which machine a pseudonym stands for, if it knows the machine.
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl PseudonymKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &Secret<32>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// The pseudonym of an SNP chip: its first `N` bytes, at most 32.
    #[must_use]
    pub fn chip<const N: usize>(&self, chip: &ChipId) -> [u8; N] {
        self.tag(b"snp chip", &chip.0)
    }

    /// The pseudonym of a TDX platform: its first `N` bytes, at most 32.
    #[must_use]
    pub fn platform<const N: usize>(&self, platform: &PlatformId) -> [u8; N] {
        self.tag(b"tdx platform", &platform.0)
    }

    /// The pseudonym of a GPU or switch: its first `N` bytes, at most 32.
    #[must_use]
    pub fn device<const N: usize>(&self, device: &Pdi) -> [u8; N] {
        self.tag(b"gpu", &device.0)
    }

    /// The pseudonym of a virtual machine of Azure: its first `N` bytes, at most 32.
    #[must_use]
    pub fn vm<const N: usize>(&self, vm: &VmId) -> [u8; N] {
        self.tag(b"azure vm", vm.to_string().as_bytes())
    }

    /// The pseudonym of a TPM, by the key with which it quotes: its first `N` bytes, at most 32.
    #[must_use]
    pub fn tpm<const N: usize>(&self, name: &KeyName) -> [u8; N] {
        self.tag(b"tpm key", name.to_string().as_bytes())
    }

    /// The machines that evidence states, as far as policies can revoke them: the processor, unless its evidence hides it, and
    /// every GPU and switch.
    pub(crate) fn machines(&self, stated: &Stated<'_>) -> MachinePseudonyms {
        let processor = match &stated.tee {
            StatedTee::Snp(report) => report.chip_id.map(|chip| self.chip(&chip)),
            StatedTee::Tdx(quote) => Some(self.platform(&quote.pck.platform_id)),
        };
        let devices = stated.gpus.iter().map(|device| self.device(&device.pdi));
        MachinePseudonyms(processor.into_iter().chain(devices).map(Hash::new).collect())
    }

    /// The first `N` bytes of HMAC-SHA-256 over the kind, a zero byte and the identity.
    fn tag<const N: usize>(&self, kind: &[u8], identity: &[u8]) -> [u8; N] {
        let tag = hmac::sign(&self.0, &[kind, &[0], identity].concat());
        let mut out = [0; N];
        out.iter_mut().zip(tag.as_ref()).for_each(|(out, byte)| *out = *byte);
        out
    }
}

/// The machines below one guest, each under its pseudonym. A pseudonym covers the kind of the machine too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachinePseudonyms(Vec<Hash>);

impl MachinePseudonyms {
    /// Whether the machine with this pseudonym is one of them.
    pub(crate) fn contains(&self, pseudonym: [u8; 32]) -> bool {
        self.0.contains(&Hash::new(pseudonym))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keys_and_machines_are_told_apart() {
        let key = |byte| PseudonymKey::new(&Secret::take(&mut [byte; 32]));
        let (one, other) = (key(1), key(2));
        let chip = |key: &PseudonymKey, byte| key.chip::<32>(&ChipId([byte; 64]));
        assert_eq!(chip(&one, 7), chip(&one, 7));
        assert_ne!(chip(&one, 7), chip(&one, 8));
        assert_ne!(chip(&one, 7), chip(&other, 7));
        assert_ne!(one.device(&Pdi([7; 8])), one.tag::<8>(b"other", &[7; 8]));
        let platform = PlatformId([7; 16]);
        assert_ne!(one.platform(&platform), [0; 16]);
        assert_eq!(one.platform::<32>(&platform)[..16], one.platform::<16>(&platform));
        let vm = |name: &str| one.vm::<16>(&name.parse().unwrap());
        let name = "00000000-0000-4000-8000-51513C1A7ED0";
        assert_eq!(vm(name), vm(&name.to_lowercase()));
        assert_eq!(format!("{one:?}"), "PseudonymKey");
    }
}
