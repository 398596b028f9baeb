//! Whether evidence is authentic.

use super::pck::Pck;
use super::{Quote, Tcb, TdBody, chain, codes, collateral, level, qe};
use crate::chain_cache::ChainCache;
use crate::{Authentic, Refusal, TrustAnchors};
use anchorhold_rats::{Checks, Code, TdxCollateral, Timestamp};

/// A quote and what vouches for its key and TCB. Untrusted until judged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The quote as received. It carries its own PCK chain.
    pub quote: &'a [u8],
    /// Intel's collateral for its platform. Without it the evidence is refused.
    pub collateral: Option<&'a TdxCollateral>,
}

/// A quote whose signatures hold up to a trust anchor, on a platform of known TCB status.
#[derive(Debug)]
pub struct AuthenticQuote {
    pub(super) quote: Quote,
    pub(super) pck: Pck,
    pub(super) tcb: Tcb,
    pub(super) at: Timestamp,
}

impl AuthenticQuote {
    /// The quote.
    #[must_use]
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// The report of the TD.
    #[must_use]
    pub const fn body(&self) -> &TdBody {
        &self.quote.body
    }

    /// What the PCK certificate says of the platform.
    #[must_use]
    pub const fn pck(&self) -> &Pck {
        &self.pck
    }

    /// The TCB status with advisories, dates and evaluation numbers.
    #[must_use]
    pub const fn tcb(&self) -> &Tcb {
        &self.tcb
    }

    /// When the evidence was judged, as the caller said.
    #[must_use]
    pub const fn judged_at(&self) -> Timestamp {
        self.at
    }

    /// What a policy judges.
    #[must_use]
    pub const fn stated(&self) -> Stated<'_> {
        let Self { quote, pck, tcb, at } = self;
        let (body, body_offset) = (&quote.body, Some(quote.body_offset));
        Stated { body, body_offset, padding: quote.padding, pck, tcb, at: *at }
    }
}

/// What a quote, its chain and its collateral state, whoever vouches for them: what the rules of a policy are about.
/// Holding one proves nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The report of the TD.
    pub body: &'a TdBody,
    /// Where it begins in the quote, in bytes; `None` where there is no quote to point into.
    pub body_offset: Option<usize>,
    /// How many zero bytes follow the quote.
    pub padding: usize,
    /// What the PCK certificate says of the platform.
    pub pck: &'a Pck,
    /// The TCB status.
    pub tcb: &'a Tcb,
    /// The time for which it is judged.
    pub at: Timestamp,
}

impl Stated<'_> {
    /// `code` as judging `length` bytes at `offset` of the body.
    pub(super) fn source(&self, code: Code, offset: usize, length: usize) -> Code {
        self.body_offset.map_or(code, |body| code.at("quote", body + offset, length))
    }
}

/// Judges whether a quote is authentic at the time `at`.
///
/// Establishes that the quote has the documented shape; that the attestation key signed exactly the received header and
/// body; that the quoting enclave that Intel describes made that key on the platform whose PCK key vouches for it; that
/// the root in `anchors` certified that PCK key; that all certificates were valid at `at` and the signed, current
/// revocation lists name none of them; and which TCB status Intel's signed, current collateral gives the platform, its
/// TDX module and its quoting enclave. A revoked TCB is refused here, every other status is for the policy. Presumes
/// that `at` is the caller's honest time.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<AuthenticQuote>, Refusal> {
    authenticate_remembering(input, anchors, at, None)
}

/// The same as [`authenticate`], sparing the signatures of the PCK chain and of the collateral where `cache` remembers them.
///
/// Validity, revocation, dates, names, TCB levels, the signatures of quote and quoting enclave and everything else are judged
/// each time.
///
/// # Errors
/// As [`authenticate`].
pub fn authenticate_with_cache(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: &ChainCache,
) -> Result<Authentic<AuthenticQuote>, Refusal> {
    authenticate_remembering(input, anchors, at, Some(cache))
}

fn authenticate_remembering(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: Option<&ChainCache>,
) -> Result<Authentic<AuthenticQuote>, Refusal> {
    let mut checks = Checks::new();
    match judge_remembering(input, anchors, at, cache, &mut checks) {
        Some((claims, expires)) if checks.none_failed() => {
            Ok(Authentic { claims, expires, simulated: anchors.are_simulated(), checks })
        }
        _ => Err(Refusal::new(checks)),
    }
}

/// Everything that was found, and the end of the earliest validity; `None` where a rule failed that others rest on. Evidence is
/// authentic only if no rule failed at all.
pub(crate) fn judge(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<(AuthenticQuote, Timestamp)> {
    judge_remembering(input, anchors, at, None, checks)
}

/// [`judge`], with signatures that were verified before.
fn judge_remembering(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> Option<(AuthenticQuote, Timestamp)> {
    let quote = Quote::read(input.quote, checks)?;
    let certificates = chain::read_quote_chain(&quote.signature_data.chain, checks)?;
    let chain = chain::judge(&certificates, anchors, at, cache, checks)?;
    let qe_report = qe::judge_signatures(input.quote, &quote, &chain, checks)?;
    let observed = if input.collateral.is_some() { "given" } else { "none" };
    let wanted = "Intel's collateral of the platform";
    checks.record(codes::COLLATERAL_MISSING, input.collateral.is_some(), wanted, observed);
    let collateral = collateral::judge(input.collateral?, &chain, at, cache, checks)?;
    let expires = chain.expires.min(collateral.expires);
    qe::judge_identity(&qe_report, &collateral.qe_identity, checks);
    let tcb = level::judge(&quote, &chain.pck, qe_report.svn, &collateral, checks)?;
    let pck = chain.pck;
    Some((AuthenticQuote { quote, pck, tcb, at }, expires))
}
