use anchorhold_attester::software::SoftwareTpm;
use anchorhold_attester::software::tpm::PcrEvent;
use anchorhold_rats::{Outcome, Timestamp, TpmEvidence};
use anchorhold_verifier::Refusal;
use anchorhold_verifier::tpm::{self, AuthenticQuote, KeyName, Policy, appraise};
use std::collections::BTreeMap;

pub(crate) const NONCE: [u8; 64] = [5; 64];
const SEPARATOR: u32 = 4;
const IPL: u32 = 0xd;
const APPLICATION: u32 = 0x8000_0003;

pub(crate) fn at() -> Timestamp {
    "2026-10-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn authenticate(evidence: &TpmEvidence) -> Result<AuthenticQuote, Refusal> {
    tpm::authenticate(evidence, at())
}

/// A boot that measures a program, a command line and a separator.
pub(crate) fn tpm() -> SoftwareTpm {
    SoftwareTpm::after(vec![
        PcrEvent::of_data(4, APPLICATION, b"a kernel"),
        PcrEvent::of_data(9, IPL, b"root=/dev/mapper/root"),
        PcrEvent::of_data(4, SEPARATOR, &[0; 4]),
    ])
    .unwrap()
}

pub(crate) fn sent(tpm: &SoftwareTpm) -> TpmEvidence {
    tpm.attest(&NONCE).unwrap()
}

/// The evidence with another quote, signed by the TPM's key.
pub(crate) fn requoted(tpm: &SoftwareTpm, change: impl FnOnce(&mut Vec<u8>)) -> TpmEvidence {
    let mut evidence = sent(tpm);
    change(&mut evidence.quote);
    evidence.signature = tpm.sign(&evidence.quote).unwrap();
    evidence
}

pub(crate) fn refusal(evidence: &TpmEvidence) -> String {
    authenticate(evidence).unwrap_err().code().to_owned()
}

/// The policy that accepts exactly this quote.
pub(crate) fn policy(quote: &AuthenticQuote) -> Policy {
    let pcrs: BTreeMap<u8, Vec<[u8; 32]>> =
        quote.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
    Policy::strict(vec![quote.key()], pcrs)
}

/// The codes of all rules of the policy that fail.
pub(crate) fn failed(quote: &AuthenticQuote, policy: &Policy, nonce: &[u8]) -> Vec<String> {
    let Err(refusal) = appraise(quote, policy, nonce) else { return Vec::new() };
    let all = refusal.checks().all().iter();
    all.filter(|check| check.outcome == Outcome::Failed).map(|check| check.code.to_string()).collect()
}

pub(crate) fn name_of(tpm: &SoftwareTpm) -> KeyName {
    KeyName::of(&tpm.public_area())
}
