//! Each rule with its meaning and the bytes that it judged.

use anchorhold_rats::{Check, Checks, Evidence, hex};
use anchorhold_verifier::codes;
use serde::Serialize;

/// The most bytes of the evidence that are shown for one rule.
const MAX_SHOWN_BYTES: usize = 128;

/// A rule, what it demands in plain words, and the bytes of the evidence that it judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained<'a> {
    /// The rule and its outcome.
    #[serde(flatten)]
    pub check: &'a Check,
    /// What it demands; `None` for rules outside `anchorhold-verifier`.
    pub meaning: Option<&'static str>,
    /// The bytes in hexadecimal, at most 128 of them; `None` where the rule judges no single place.
    pub bytes: Option<String>,
}

/// Explains every rule of an evaluation of `evidence`.
#[must_use]
pub fn explain<'a>(checks: &'a Checks, evidence: &Evidence) -> Vec<Explained<'a>> {
    let explained = |check: &'a Check| Explained {
        check,
        meaning: codes::meaning(&check.code),
        bytes: bytes(check, evidence),
    };
    checks.all().iter().map(explained).collect()
}

fn bytes(check: &Check, evidence: &Evidence) -> Option<String> {
    let source = check.source.as_ref()?;
    let part = part(&source.part, evidence)?;
    let end = source.offset.checked_add(source.length.min(MAX_SHOWN_BYTES))?;
    part.get(source.offset..end).map(hex)
}

/// The parts that the sources of rules name.
fn part<'a>(name: &str, evidence: &'a Evidence) -> Option<&'a [u8]> {
    let paravisor = evidence.paravisor.as_ref();
    match name {
        "report" | "quote" => Some(&evidence.report),
        "leaf certificate" => evidence.certificates.first().map(|der| der.0.as_slice()),
        "event log" => evidence.event_log.as_ref().map(|der| der.0.as_slice()),
        "hcl report" => paravisor.map(|paravisor| paravisor.hcl_report.as_slice()),
        "vtpm quote" => paravisor.map(|paravisor| paravisor.quote.as_slice()),
        "tpm quote" => evidence.tpm.as_ref().map(|tpm| tpm.quote.as_slice()),
        "tpm key" => evidence.tpm.as_ref().map(|tpm| tpm.key.as_slice()),
        "gpu report" => match evidence.gpus.as_slice() {
            [only] => Some(&only.report),
            _ => None,
        },
        _ => None,
    }
}
