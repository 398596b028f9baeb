//! One case of each platform, as the verifier's types.

mod azure;
mod nvidia;
mod profile;
mod snp;
mod tdx;

use crate::corpus::{Error, Files};
use crate::manifest::{Case, Pin, Platform};
use anchorhold_rats::{Checks, Code, Stage};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::{Refusal, TrustAnchors};

/// All rules that were looked at.
pub(crate) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    match case.platform {
        Platform::Snp => snp::judge(case, files),
        Platform::Tdx => tdx::judge(case, files),
        Platform::Azure => azure::judge(case, files),
        Platform::Nvidia => nvidia::judge(case, files),
    }
}

/// The anchors of a case, or the rule that a named root breaks: a root that is none is found in the chain.
fn anchors(pin: Pin, roots: &SimulatedRoots<'_>) -> Result<TrustAnchors, Checks> {
    /// The root that a case names is a self-signed certificate authority of the vendor's kind.
    const NAMED_ROOT: Code = Code::new(Stage::Chain, "vectors_named_root");
    match pin {
        Pin::Real => Ok(TrustAnchors::production()),
        // Whoever made the case made its hierarchy too, and need not have given it the vendor's names.
        Pin::Forged => simulated_anchors(&SimulatedRoots { foreign: true, ..*roots }).map_err(|error| {
            let mut checks = Checks::new();
            checks.record(NAMED_ROOT, false, "a root of the vendor's kind", error.to_string());
            checks
        }),
    }
}

fn of_refusal(refusal: Refusal) -> Checks {
    refusal.into_checks()
}

/// Bytes of a rule, in hexadecimal of either case.
fn hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], Error> {
    hex_bytes(what, text)?.try_into().map_err(|_| Error::Form { what, wanted: "of the field's length" })
}

fn hex_bytes(what: &'static str, text: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Form { what, wanted: "hexadecimal" };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).ok_or_else(wrong);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| wrong()),
            _ => Err(wrong()),
        })
        .collect()
}
