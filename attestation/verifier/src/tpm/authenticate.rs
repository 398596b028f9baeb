//! Whether a TPM's quote is authentic.

use super::key::QuotingKey;
use super::{Attest, ClockInfo, KeyName, PcrLog, certificates, codes, record_pcrs};
use crate::Refusal;
use anchorhold_rats::{Checks, Sha256Digest, Timestamp, TpmEvidence};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use std::collections::BTreeMap;

/// A quote, signed by the key that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticQuote {
    key: KeyName,
    attest: Attest,
    pcrs: BTreeMap<u8, [u8; 32]>,
    log: Option<PcrLog>,
    root: Option<Sha256Digest>,
}

impl AuthenticQuote {
    /// The key that signed. Nobody but a policy vouches for it.
    #[must_use]
    pub const fn key(&self) -> KeyName {
        self.key
    }

    /// The SHA-256 digest of the root certificate below which the key is certified, where its certificates came. Nobody but a
    /// policy vouches for it.
    #[must_use]
    pub const fn root(&self) -> Option<Sha256Digest> {
        self.root
    }

    /// The nonce that the quote was made for.
    #[must_use]
    pub fn nonce(&self) -> &[u8] {
        &self.attest.nonce
    }

    /// The quoted PCRs of the SHA-256 bank.
    #[must_use]
    pub const fn pcrs(&self) -> &BTreeMap<u8, [u8; 32]> {
        &self.pcrs
    }

    /// The event log, replayed and compared with nothing yet.
    #[must_use]
    pub const fn log(&self) -> Option<&PcrLog> {
        self.log.as_ref()
    }

    /// The TPM's clock.
    #[must_use]
    pub const fn clock(&self) -> ClockInfo {
        self.attest.clock
    }

    /// The version of the TPM's firmware.
    #[must_use]
    pub const fn firmware_version(&self) -> u64 {
        self.attest.firmware_version
    }

    /// What a policy judges.
    #[must_use]
    pub fn stated(&self) -> Stated<'_> {
        let Self { key, attest, pcrs, log, root } = self;
        Stated { key: *key, root: *root, pcrs, log: log.as_ref(), nonce: &attest.nonce }
    }
}

/// What a TPM states, whoever vouches for it: what the rules of a policy are about. Holding one proves nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The key that signed.
    pub key: KeyName,
    /// The SHA-256 digest of the root certificate below which it is certified, where it is.
    pub root: Option<Sha256Digest>,
    /// The quoted PCRs of the SHA-256 bank.
    pub pcrs: &'a BTreeMap<u8, [u8; 32]>,
    /// The event log, replayed.
    pub log: Option<&'a PcrLog>,
    /// The nonce that the quote was made for.
    pub nonce: &'a [u8],
}

/// Judges whether a TPM's quote is authentic.
///
/// Establishes that the key with [`AuthenticQuote::key`] signed exactly the received quote, that by its attributes this key signs
/// nothing that its TPM did not make, that the PCR values are the quoted ones, and that the certificates which came with it, if any, are
/// of this key, valid at `at` and issued one by the next. Presumes nothing about whose TPM it is: that is for the policy that names the
/// key or the root, as is the nonce.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(evidence: &TpmEvidence, at: Timestamp) -> Result<AuthenticQuote, Refusal> {
    let mut checks = Checks::new();
    judge(evidence, at, &mut checks).filter(|_| checks.none_failed()).ok_or_else(|| Refusal::new(checks))
}

/// Everything that was found; `None` when a rule failed.
pub(crate) fn judge(evidence: &TpmEvidence, at: Timestamp, checks: &mut Checks) -> Option<AuthenticQuote> {
    let key = QuotingKey::read(&evidence.key, checks)?;
    let attest = Attest::read(&evidence.quote, &codes::QUOTE, checks)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point);
    let valid = public.verify(&evidence.quote, &evidence.signature).is_ok();
    let observed = if valid { "valid" } else { "not valid" };
    if !checks.record(codes::QUOTE_SIGNATURE, valid, "a signature by the key over the quote", observed) {
        return None;
    }
    key.record_signer(&attest.signer, checks);
    let pcrs = record_pcrs(&attest, &evidence.pcrs, &codes::QUOTE, checks)?;
    let log = match &evidence.event_log {
        Some(log) => Some(PcrLog::read(&log.0, checks)?),
        None => None,
    };
    let root = match evidence.certificates.as_slice() {
        [] => None,
        presented => Some(certificates::judge(presented, &key.point, at, checks)?),
    };
    Some(AuthenticQuote { key: key.name, attest, pcrs, log, root })
}
