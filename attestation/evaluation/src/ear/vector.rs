//! AR4SI's trustworthiness vector (draft-ietf-rats-ar4si, section 2.3) from the rules of an evaluation.

use anchorhold_rats::{Check, Outcome, Stage};
use serde::{Deserialize, Serialize};

/// Evidence whose cryptography failed (AR4SI, table of claim values).
const CRYPTO_FAILED: i8 = 99;
/// Not recognised: nothing is known of it.
const UNRECOGNIZED: i8 = 97;
/// Recognised, and known to be unsafe.
const CONTRAINDICATED: i8 = 96;
/// Unsafe in part; the relying party may still decide to go on.
const WARNING: i8 = 32;
/// Recognised and approved.
const AFFIRMING: i8 = 2;
/// Executables: recognised and approved during boot, nothing said about later.
const APPROVED_BOOT: i8 = 3;

/// What a vector comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is said.
    None,
    /// Approved.
    Affirming,
    /// Not wholly approved.
    Warning,
    /// Refused.
    Contraindicated,
}

/// The claims that an evaluation can back. A claim that is left out says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrustVector {
    /// Which device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_identity: Option<i8>,
    /// How it is set up: debugging, migration, platform and guest policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<i8>,
    /// What was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executables: Option<i8>,
    /// The chip and its firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<i8>,
    /// Whether memory is hidden from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_opaque: Option<i8>,
}

pub(super) fn failed<'a>(checks: &'a [&'a Check]) -> impl Iterator<Item = &'a Check> {
    checks.iter().copied().filter(|check| check.outcome == Outcome::Failed)
}

impl TrustVector {
    /// The claims for the rules of one part. A claim affirms only if a rule that backs it passed.
    pub(super) fn of(checks: &[&Check], simulated: bool) -> Self {
        let any = |wanted: fn(&Check) -> bool| failed(checks).any(wanted);
        let authentic = |check: &Check| {
            matches!(
                check.stage,
                Stage::Parse | Stage::Signature | Stage::Chain | Stage::Identity | Stage::Binding
            )
        };
        if any(authentic) {
            return Self {
                instance_identity: Some(CRYPTO_FAILED),
                configuration: Some(CRYPTO_FAILED),
                executables: Some(CRYPTO_FAILED),
                hardware: Some(CRYPTO_FAILED),
                runtime_opaque: Some(CRYPTO_FAILED),
            };
        }
        let looked_at = |wanted: fn(&Check) -> bool| {
            checks.iter().any(|check| check.outcome != Outcome::Skipped && wanted(check))
        };
        let hardware = if simulated {
            UNRECOGNIZED
        } else if any(|check| check.stage == Stage::Collateral) {
            WARNING
        } else if any(|check| check.stage == Stage::Tcb) {
            CONTRAINDICATED
        } else {
            AFFIRMING
        };
        let measured = |bad, good| if bad { UNRECOGNIZED } else { good };
        let configured =
            any(|check| check.stage == Stage::Policy && !is_measurement(check) && !is_device(check));
        let configuration = if configured { CONTRAINDICATED } else { AFFIRMING };
        Self {
            instance_identity: looked_at(is_device).then(|| measured(any(is_device), AFFIRMING)),
            configuration: looked_at(|check| check.stage == Stage::Policy).then_some(configuration),
            executables: looked_at(is_measurement).then(|| measured(any(is_measurement), APPROVED_BOOT)),
            hardware: Some(hardware),
            runtime_opaque: Some(if simulated { UNRECOGNIZED } else { configuration }),
        }
    }

    /// The worst of the claims.
    #[must_use]
    pub fn status(&self) -> Status {
        let claims = [
            self.instance_identity,
            self.configuration,
            self.executables,
            self.hardware,
            self.runtime_opaque,
        ];
        // AR4SI: 2 to 31 affirm, 32 to 95 warn, 96 to 127 contraindicate; negative values mirror them.
        let status = |claim: i8| match claim.unsigned_abs() {
            0 | 1 => Status::None,
            2..=31 => Status::Affirming,
            32..=95 => Status::Warning,
            _ => Status::Contraindicated,
        };
        claims.into_iter().flatten().map(status).max().unwrap_or(Status::None)
    }
}

/// Rules about what was launched.
fn is_measurement(check: &Check) -> bool {
    const NAMES: &[&str] = &["measurement", "mrtd", "rtmr", "event"];
    check.stage == Stage::Rim || check.stage == Stage::Eventlog || has_word(check, NAMES)
}

/// Rules about which device it is.
fn is_device(check: &Check) -> bool {
    check.stage == Stage::Policy && has_word(check, &["chip", "platform_denied", "device"])
}

fn has_word(check: &Check, words: &[&str]) -> bool {
    words.iter().any(|word| check.code.contains(word))
}
