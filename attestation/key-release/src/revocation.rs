//! What is refused whatever a grant says.

use crate::import::kid;
use crate::policy::words_or_none;
use crate::{MachinePseudonyms, PseudonymKey};
use anchorhold_appraisal_policy::{Rule, machines, measurement};
use anchorhold_rats::{Measurement, Sha256Digest};
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::{nvidia::Pdi, snp::ChipId, tdx::PlatformId};
use std::fmt;

/// One thing that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// A weights key, by its public name.
    Kid(String),
    /// A manifest.
    Manifest(Sha256Digest),
    /// An image, by its launch measurement.
    Measurement(Measurement),
    /// An SNP processor.
    Chip(ChipId),
    /// A TDX platform, by its PPID.
    Platform(PlatformId),
    /// A GPU or switch, by its PDI.
    Device(Pdi),
}

/// Text that names nothing to revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseRevokedError;

impl fmt::Display for ParseRevokedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not one of kid and a key id of 1 to 64 letters, digits and ':._-', manifest and sha256:…, measurement and sha384:…, chip, platform or device and its \
             CHIP_ID, PPID or PDI in hex",
        )
    }
}

impl std::error::Error for ParseRevokedError {}

impl Revoked {
    /// The kinds, as they are named.
    pub const KINDS: [&'static str; 6] = ["kid", "manifest", "measurement", "chip", "platform", "device"];

    /// Reads a kind and the name of one of it, in the forms of a policy file.
    ///
    /// # Errors
    /// [`ParseRevokedError`].
    pub fn parse(kind: &str, name: &str) -> Result<Self, ParseRevokedError> {
        let wrong = ParseRevokedError;
        match kind {
            "kid" => kid(name).map(|kid| Self::Kid(kid.to_owned())).ok_or(wrong),
            "manifest" => {
                let digest = name.strip_prefix("sha256:").ok_or(wrong)?;
                digest.parse().map(Self::Manifest).map_err(|_| wrong)
            }
            "measurement" => measurement(name).map(Self::Measurement).map_err(|_| wrong),
            "chip" => machines::snp_chip(name).map(Self::Chip).map_err(|_| wrong),
            "platform" => machines::tdx_platform(name).map(Self::Platform).map_err(|_| wrong),
            "device" => machines::gpu(name).map(Self::Device).map_err(|_| wrong),
            _ => Err(wrong),
        }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kid(_) => "kid",
            Self::Manifest(_) => "manifest",
            Self::Measurement(_) => "measurement",
            Self::Chip(_) => "chip",
            Self::Platform(_) => "platform",
            Self::Device(_) => "device",
        }
    }

    /// The name, in the form that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Kid(kid) => kid.clone(),
            Self::Manifest(digest) => format!("sha256:{digest}"),
            Self::Measurement(measurement) => format!("sha384:{measurement}"),
            Self::Chip(chip) => chip.to_string(),
            Self::Platform(platform) => platform.to_string(),
            Self::Device(device) => device.to_string(),
        }
    }
}

/// A key that a guest holds, and what the decision to release it rested on.
#[derive(Debug, Clone, Copy)]
pub struct HeldKey<'a> {
    /// Its public name.
    pub kid: &'a str,
    /// Its manifest.
    pub manifest: &'a Sha256Digest,
    /// The image of the guest.
    pub measurement: &'a Measurement,
    /// The machines below the guest.
    pub machines: &'a MachinePseudonyms,
}

/// Everything that is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) chips: Vec<ChipId>,
    pub(crate) platforms: Vec<PlatformId>,
    pub(crate) devices: Vec<Pdi>,
    pub(crate) manifests: Vec<Sha256Digest>,
    pub(crate) kids: Vec<String>,
}

impl Revocations {
    /// Adds one.
    pub fn add(&mut self, revoked: Revoked) {
        match revoked {
            Revoked::Kid(kid) => self.kids.push(kid),
            Revoked::Manifest(digest) => self.manifests.push(digest),
            Revoked::Measurement(measurement) => self.measurements.push(measurement),
            Revoked::Chip(chip) => self.chips.push(chip),
            Revoked::Platform(platform) => self.platforms.push(platform),
            Revoked::Device(device) => self.devices.push(device),
        }
    }

    /// The launch measurements of the images.
    #[must_use]
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// Whether a guest may not go on with a key that it holds. `key` is the one under which the machines of `held` are named.
    #[must_use]
    pub fn concern(&self, held: &HeldKey<'_>, key: &PseudonymKey) -> bool {
        // Every list by name, so that a new kind is thought of here.
        let Self { measurements, chips, platforms, devices, manifests, kids } = self;
        let below = |pseudonym| held.machines.contains(pseudonym);
        kids.iter().any(|revoked| revoked == held.kid)
            || manifests.contains(held.manifest)
            || measurements.contains(held.measurement)
            || chips.iter().any(|chip| below(key.chip(chip)))
            || platforms.iter().any(|platform| below(key.platform(platform)))
            || devices.iter().any(|device| below(key.device(device)))
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        self.measurements.extend_from_slice(&others.measurements);
        self.chips.extend_from_slice(&others.chips);
        self.platforms.extend_from_slice(&others.platforms);
        self.devices.extend_from_slice(&others.devices);
        self.manifests.extend_from_slice(&others.manifests);
        self.kids.extend_from_slice(&others.kids);
    }

    /// Has `policy` refuse the machines.
    pub(crate) fn refuse_in(&self, policy: &mut AppraisalPolicy) {
        if let Some(snp) = &mut policy.snp {
            snp.denied_chips.extend_from_slice(&self.chips);
        }
        if let Some(tdx) = &mut policy.tdx {
            tdx.denied_platforms.extend_from_slice(&self.platforms);
        }
        if let Some(gpu) = &mut policy.gpu {
            gpu.denied_devices.extend_from_slice(&self.devices);
        }
    }

    /// Each list as a rule; paths are those of a policy file.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let rule = |path, items, meaning| Rule::restricts(path, items, meaning);
        vec![
            rule(
                "revoked.measurements",
                words_or_none(self.measurements.iter().map(|digest| format!("sha384:{digest}"))),
                "launch digests and MRTDs that are refused",
            ),
            rule("revoked.chips", words_or_none(&self.chips), "SNP chips that are refused"),
            rule("revoked.platforms", words_or_none(&self.platforms), "TDX platforms that are refused"),
            rule("revoked.devices", words_or_none(&self.devices), "GPUs and switches that are refused"),
            rule(
                "revoked.manifests",
                words_or_none(self.manifests.iter().map(|digest| format!("sha256:{digest}"))),
                "manifests that are refused",
            ),
            rule("revoked.kids", words_or_none(&self.kids), "keys that are refused"),
        ]
    }
}

impl FromIterator<Revoked> for Revocations {
    fn from_iter<I: IntoIterator<Item = Revoked>>(all: I) -> Self {
        let mut revocations = Self::default();
        all.into_iter().for_each(|one| revocations.add(one));
        revocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_audit_log::Hash;
    use anchorhold_rats::Secret;

    #[test]
    fn each_kind_is_read_as_it_is_written() {
        for (kind, name) in [
            ("kid", "k1".to_owned()),
            ("manifest", format!("sha256:{}", "07".repeat(32))),
            ("measurement", format!("sha384:{}", "a1".repeat(48))),
            ("chip", "0d".repeat(64)),
            ("platform", "0e".repeat(16)),
            ("device", "0f".repeat(8)),
        ] {
            let revoked = Revoked::parse(kind, &name).unwrap();
            assert_eq!((revoked.kind(), revoked.name()), (kind, name.clone()));
            assert!(Revoked::parse(kind, "").is_err());
            assert!(kind == "kid" || Revoked::parse(kind, &name[..name.len() - 1]).is_err());
        }
        assert_eq!(Revoked::parse("image", "k1"), Err(ParseRevokedError));
    }

    #[test]
    fn refuses_a_kid_that_no_key_can_have() {
        for bad in ["", " k1", "k1 ", "k 1", "-k", "k/1", "k\n1", "ä", &"k".repeat(65)] {
            assert_eq!(Revoked::parse("kid", bad), Err(ParseRevokedError), "{bad}");
        }
        assert!(Revoked::parse("kid", &"k".repeat(64)).is_ok());
    }

    #[test]
    fn a_held_key_is_concerned_by_each_kind_alone() {
        let key = PseudonymKey::new(&Secret::take(&mut [5; 32]));
        let (manifest, measurement) = (Sha256Digest::new([7; 32]), Measurement::new([0xa1; 48]));
        let (chip, platform, device) = (ChipId([1; 64]), PlatformId([2; 16]), Pdi([3; 8]));
        let below = [key.chip(&chip), key.platform(&platform), key.device(&device)].map(Hash::new);
        let machines = serde_json::from_value(serde_json::to_value(below).unwrap()).unwrap();
        let held = HeldKey { kid: "k1", manifest: &manifest, measurement: &measurement, machines: &machines };
        let revoked = |revoked| Revocations::from_iter([revoked]).concern(&held, &key);
        for (ours, other) in [
            (Revoked::Kid("k1".to_owned()), Revoked::Kid("k2".to_owned())),
            (Revoked::Manifest(manifest), Revoked::Manifest(Sha256Digest::new([8; 32]))),
            (Revoked::Measurement(measurement), Revoked::Measurement(Measurement::new([0xa2; 48]))),
            (Revoked::Chip(chip), Revoked::Chip(ChipId([9; 64]))),
            (Revoked::Platform(platform), Revoked::Platform(PlatformId([9; 16]))),
            (Revoked::Device(device), Revoked::Device(Pdi([9; 8]))),
        ] {
            assert!(revoked(ours.clone()), "{ours:?}");
            assert!(!revoked(other.clone()), "{other:?}");
        }
        assert!(!Revocations::default().concern(&held, &key));
        let revocations = Revocations::from_iter([Revoked::Measurement(measurement)]);
        assert_eq!(revocations.measurements(), [measurement]);
        assert!(ParseRevokedError.to_string().contains("sha256:…"));
    }
}
