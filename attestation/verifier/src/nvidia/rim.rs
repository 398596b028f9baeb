//! Reference integrity manifests: SWID XML, its signature, and the comparison with a report.
//!
//! NVIDIA publishes one manifest for each driver, VBIOS and switch BIOS: a TCG RIM as a software identification tag
//! (ISO/IEC 19770-2:2015) with an enveloped XML signature. NVIDIA calls this form legacy, in favour of CoRIM: what it
//! yields to the comparison is [`ReferenceValues`], which say nothing of the form they came in.

use super::verified::Verified;
use crate::outcome::Authentic;
use crate::xml::{Document, Error};
use crate::{Refusal, TrustAnchors};
use anchorhold_rats::{Checks, Timestamp};

mod chain;
pub mod codes;
mod compare;
mod signature;
mod swid;

pub use compare::{Measured, ReferenceValues, compare, compare_values};
pub use swid::{Kind, Resource};

/// XML Signature Syntax and Processing, section 1.3.
const SIGNATURE_NAMESPACE: &str = "http://www.w3.org/2000/09/xmldsig#";

/// A manifest whose signature holds up to the root that the caller named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticRim {
    tag: swid::Tag,
    values: ReferenceValues,
    certificates: Vec<Vec<u8>>,
}

impl AuthenticRim {
    /// The tagId: an opaque name that NVIDIA gives to the software. Two signings of one manifest share it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.tag.id
    }

    /// The version of the software as NVIDIA writes it, such as `550.144.03` or `96.00.5E.00.01`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.tag.version
    }

    /// The chip, such as `GH100`.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.tag.product
    }

    /// What the manifest is of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.tag.kind
    }

    /// Every Resource, active or not, by index.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.tag.resources
    }

    /// What the manifest asks of a report.
    #[must_use]
    pub const fn reference_values(&self) -> &ReferenceValues {
        &self.values
    }

    /// The chain as DER, from the signer up to and with the pinned root, each certificate before its issuer.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }
}

/// Judges whether a manifest is authentic at the time `at`.
///
/// Establishes that the document is of the one form that NVIDIA uses, that all of it but its Signature is what was
/// digested, that the signer's key signed that digest, that the pinned root certified the signer through the presented
/// chain, that all certificates were valid at `at`, and that the claims were read from these very bytes. Presumes that
/// `at` is the caller's honest time. Does not look at revocation.
///
/// # Errors
/// [`Refusal`], with the rules that failed.
pub fn authenticate(
    xml: &[u8],
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<AuthenticRim>, Refusal> {
    let mut checks = Checks::new();
    match judge(xml, anchors, at, &Verified::default(), &mut checks) {
        Some((claims, expires)) if checks.none_failed() => {
            Ok(Authentic { claims, expires, simulated: anchors.are_simulated(), checks })
        }
        _ => Err(Refusal::new(checks)),
    }
}

/// The manifest and the end of the earliest validity in its chain; `None` when a rule failed.
pub(super) fn judge(
    xml: &[u8],
    anchors: &TrustAnchors,
    at: Timestamp,
    verified: &Verified,
    checks: &mut Checks,
) -> Option<(AuthenticRim, Timestamp)> {
    let document = parse(xml, checks)?;
    let root = document.root();
    if !record(checks, codes::ROOT, root.is(swid::NAMESPACE, "SoftwareIdentity"), "SoftwareIdentity of 2015")
    {
        return None;
    }
    let signature = signature::read(&document, checks)?;
    let digested = signature.record_digest(&document, checks);
    let chain = chain::judge(&signature.certificates, anchors, at, verified, checks);
    let signed =
        chain.as_ref().is_some_and(|chain| signature.record_signature(&document, &chain.key, checks));
    let chain = chain.filter(|_| digested && signed)?;
    let tag = swid::read(root, checks)?;
    let values = ReferenceValues::of_resources(&tag.resources);
    Some((AuthenticRim { tag, values, certificates: chain.certificates }, chain.expires))
}

fn parse<'a>(xml: &'a [u8], checks: &mut Checks) -> Option<Document<'a>> {
    let parsed = Document::parse(xml);
    let (code, observed) = match &parsed {
        Ok(_) => (codes::XML_MALFORMED, "it is".to_string()),
        Err(error) => (code_of(error), error.to_string()),
    };
    checks.record(code, parsed.is_ok(), "a document of the subset of XML that is read", observed);
    parsed.ok()
}

const fn code_of(error: &Error) -> anchorhold_rats::Code {
    match error {
        Error::Limit { .. } => codes::XML_LIMIT,
        Error::Feature { offset, .. } => codes::XML_FEATURE.at("rim", *offset, 1),
        Error::Malformed { offset, .. } => codes::XML_MALFORMED.at("rim", *offset, 1),
    }
}

/// Records a rule whose observation is only whether it holds, since the other value would be text from outside.
fn record(checks: &mut Checks, code: anchorhold_rats::Code, passed: bool, wanted: &str) -> bool {
    checks.record(code, passed, wanted, if passed { "it is" } else { "something else" })
}
