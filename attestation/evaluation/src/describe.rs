//! What evidence says, field by field, without judging it.

mod endorsements;
mod event_log;
mod gpu;
mod paravisor;
mod snp;
mod tdx;

use anchorhold_rats::{EvidenceBundle, Tee, hex};
use anchorhold_verifier::x509::Certificate;
use anchorhold_verifier::{Refusal, snp as amd, tdx as intel};
use serde::Serialize;
use std::fmt::Display;

/// The most characters of one value that are shown; what is longer is cut, and says so.
const MAX_SHOWN: usize = 512;

/// A part of the evidence with its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Which part, such as `SNP report`.
    pub name: String,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// A field by the name that its specification gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value, bytes in hexadecimal.
    pub value: String,
}

/// A part that is being described.
struct Builder(Part);

impl Builder {
    fn new(name: impl Into<String>) -> Self {
        Self(Part { name: name.into(), fields: Vec::new() })
    }

    fn field(&mut self, name: &str, value: impl ToString) {
        self.0.fields.push(Field { name: name.to_owned(), value: cut(value.to_string()) });
    }

    /// A field that the evidence need not have.
    fn optional(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// A part of the evidence that has no shape to show.
    fn unreadable(&mut self, why: impl Display) {
        self.field("not readable", why);
    }

    /// Bytes as text where all of them are printable ASCII, up to a NUL at the end.
    fn text_or_bytes(&mut self, name: &str, value: &[u8]) {
        self.field(name, text_or_hex(value));
    }

    /// Subject, issuer and validity of a certificate.
    fn certificate(&mut self, name: &str, der: &[u8]) {
        let Ok(certificate) = Certificate::parse(der) else {
            return self.field(name, format!("not readable, {} bytes", der.len()));
        };
        let subject = certificate.common_name().unwrap_or("no common name");
        let (from, to) = (certificate.not_before, certificate.not_after);
        self.field(name, format!("{subject}, serial {}, {from} to {to}", hex(certificate.serial)));
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.field(name, hex(value));
    }
}

fn text_or_hex(value: &[u8]) -> String {
    let text = value.strip_suffix(&[0]).unwrap_or(value);
    let printable = !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if printable { text.iter().map(|byte| char::from(*byte)).collect() } else { hex(value) }
}

/// Cuts what is too long to read.
fn cut(value: String) -> String {
    let length = value.chars().count();
    if length <= MAX_SHOWN {
        return value;
    }
    let shown: String = value.chars().take(MAX_SHOWN).collect();
    format!("{shown}... ({length} characters)")
}

/// What every part of a bundle says. Nothing of it is judged. A part beside the TEE's report that has not its documented
/// shape is shown as not readable.
///
/// # Errors
/// [`Refusal`] when the TEE's report does not have the documented shape.
pub fn describe(bundle: &EvidenceBundle) -> Result<Vec<Part>, Refusal> {
    let evidence = &bundle.evidence;
    let mut parts = Vec::new();
    match evidence.tee {
        Tee::Snp => parts.push(snp::report(&amd::Report::parse(&evidence.report)?)),
        Tee::Tdx => parts.extend(tdx::quote(&intel::Quote::parse(&evidence.report)?)),
    }
    if !evidence.certificates.is_empty() {
        let mut part = Builder::new("certificates of the report's signer");
        for (index, certificate) in evidence.certificates.iter().enumerate() {
            part.certificate(&format!("certificate {index}"), &certificate.0);
        }
        parts.push(part.0);
    }
    parts.extend(evidence.event_log.as_ref().map(|log| event_log::log(&log.0)));
    parts.extend(evidence.paravisor.iter().flat_map(paravisor::parts));
    parts.extend(evidence.tpm.iter().flat_map(paravisor::tpm));
    parts.extend(evidence.gpus.iter().enumerate().map(|(index, device)| gpu::device(index, device)));
    parts.extend(endorsements::parts(&bundle.endorsements));
    Ok(parts)
}
