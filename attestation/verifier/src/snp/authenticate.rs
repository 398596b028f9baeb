//! Whether evidence is authentic.

use super::chain::{self, Chain};
use super::codes;
use super::crl;
use super::tcb::ReportTcbs;
use super::{ChipId, Product, Report, SIGNED_LEN, Signer, SigningKey, Tcb};
use crate::chain_cache::ChainCache;
use crate::{Authentic, Refusal, TrustAnchors};
use anchorhold_rats::{Checks, Code, Der, Timestamp};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

/// A report and what vouches for its key. Untrusted until judged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The report as received.
    pub report: &'a [u8],
    /// DER certificates, leaf first. A missing intermediate is taken from the trust anchors; a root must be the
    /// pinned one.
    pub certificates: &'a [Der],
    /// Revocation lists of the product, DER, at most 4. Each must be issued by the ARK or by the leaf's issuer.
    pub crls: &'a [Der],
}

/// A report whose signature holds up to a trust anchor.
#[derive(Debug)]
pub struct AuthenticReport {
    pub(super) report: Report,
    pub(super) product: Product,
    pub(super) signer: Signer,
    pub(super) tcbs: ReportTcbs,
    pub(super) chip_id: Option<ChipId>,
    pub(super) provider: Option<String>,
    pub(super) crl_judged: bool,
}

impl AuthenticReport {
    /// The report.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The product line of the chip.
    #[must_use]
    pub const fn product(&self) -> Product {
        self.product
    }

    /// The kind of key that signed the report.
    #[must_use]
    pub const fn signer(&self) -> Signer {
        self.signer
    }

    /// REPORTED_TCB, which the leaf certifies.
    #[must_use]
    pub fn tcb(&self) -> Tcb {
        self.tcbs.reported()
    }

    /// The chip: CHIP_ID, or HWID where the host masked CHIP_ID. `None` below a VLEK that hides it.
    #[must_use]
    pub const fn chip_id(&self) -> Option<ChipId> {
        self.chip_id
    }

    /// The cloud provider for which a VLEK was certified (CSP_ID). `None` below a VCEK.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// What a policy judges.
    #[must_use]
    pub fn stated(&self) -> Stated<'_> {
        let Self { report, product, signer, chip_id, crl_judged, .. } = self;
        Stated {
            report,
            product: *product,
            signer: *signer,
            chip_id: *chip_id,
            provider: self.provider(),
            crl_judged: *crl_judged,
        }
    }
}

/// What a report and its chain state, whoever vouches for them: what the rules of a policy are about. Holding one proves
/// nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The report.
    pub report: &'a Report,
    /// The product line of the chip.
    pub product: Product,
    /// The kind of key that signed.
    pub signer: Signer,
    /// As [`AuthenticReport::chip_id`].
    pub chip_id: Option<ChipId>,
    /// As [`AuthenticReport::provider`].
    pub provider: Option<&'a str>,
    /// Whether a revocation list of the ARK was judged.
    pub crl_judged: bool,
}

/// Judges whether a report is authentic at the time `at`.
///
/// Establishes that the report has the documented shape, that the chip's key signed exactly the received bytes, that
/// the root in `anchors` certified that key for the TCB and chip that the report names, that all
/// certificates were valid at `at`, and that each given revocation list is signed, current and names none of them.
/// Presumes that `at` is the caller's honest time.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    authenticate_remembering(input, anchors, at, None)
}

/// The same as [`authenticate`], sparing the chain's two signatures where `cache` remembers them.
///
/// Validity, revocation, names, extensions, the report's signature and everything else are judged each time.
///
/// # Errors
/// As [`authenticate`].
pub fn authenticate_with_cache(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: &ChainCache,
) -> Result<Authentic<AuthenticReport>, Refusal> {
    authenticate_remembering(input, anchors, at, Some(cache))
}

fn authenticate_remembering(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: Option<&ChainCache>,
) -> Result<Authentic<AuthenticReport>, Refusal> {
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
) -> Option<(AuthenticReport, Timestamp)> {
    judge_remembering(input, anchors, at, None, checks)
}

/// [`judge`], with chains that were verified before.
pub(crate) fn judge_remembering(
    input: &Input<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> Option<(AuthenticReport, Timestamp)> {
    let report = Report::read(input.report, checks)?;
    let signer = record_signer(&report, checks)?;
    let chain = chain::judge(input.certificates, anchors, signer, at, cache, checks)?;
    let revocation = crl::judge(input.crls, &chain, at, checks)?;
    let signed = input.report.get(..SIGNED_LEN)?;
    let valid =
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chain.key).verify(signed, &report.signature).is_ok();
    let observed = if valid { "valid" } else { "not valid" };
    if !checks.record(
        codes::REPORT_SIGNATURE,
        valid,
        "a signature by the leaf's key over bytes 0x000 to 0x29f",
        observed,
    ) {
        return None;
    }
    let product = chain.extensions.product;
    record_identity(&report, &chain, checks);
    let tcbs = record_tcb(&report, &chain, checks)?;
    let chip_id = if report.chip_id.is_zero() { chain.extensions.hwid } else { Some(report.chip_id) };
    let (crl_judged, provider) = (revocation.root_judged, chain.extensions.provider);
    let claims = AuthenticReport { report, product, signer, tcbs, chip_id, provider, crl_judged };
    Some((claims, revocation.expires))
}

fn record_signer(report: &Report, checks: &mut Checks) -> Option<Signer> {
    let (signer, observed) = match report.signing_key {
        SigningKey::Signed(Signer::Vcek) if report.chip_key_masked => {
            (None, "VCEK, though the chip key is masked")
        }
        SigningKey::Signed(Signer::Vcek) => (Some(Signer::Vcek), "VCEK"),
        SigningKey::Signed(Signer::Vlek) => (Some(Signer::Vlek), "VLEK"),
        SigningKey::None => (None, "no signing key"),
    };
    checks.record(codes::REPORT_UNSIGNED, signer.is_some(), "a report signed by VCEK or VLEK", observed);
    signer
}

fn record_identity(report: &Report, chain: &Chain<'_>, checks: &mut Checks) {
    let product = chain.extensions.product;
    match report.cpuid {
        Some(cpuid) => {
            let passed = Product::from_cpuid(cpuid) == Some(product);
            checks.record(codes::PRODUCT_CPUID, passed, product.to_string(), cpuid.to_string());
        }
        None => {
            let code = Code { source: None, ..codes::PRODUCT_CPUID };
            checks.skip(code, product.to_string(), "version 2 states no CPUID");
        }
    }
    let observed = report.chip_id.to_string();
    match chain.extensions.hwid {
        Some(hwid) if report.chip_id.is_zero() => {
            checks.skip(codes::CHIP_ID, hwid.to_string(), "the host masked CHIP_ID");
        }
        Some(hwid) => {
            checks.record(codes::CHIP_ID, hwid == report.chip_id, hwid.to_string(), observed);
        }
        None => checks.skip(codes::CHIP_ID, "HWID", "a VLEK is of no one chip"),
    }
}

fn record_tcb(report: &Report, chain: &Chain<'_>, checks: &mut Checks) -> Option<ReportTcbs> {
    let (product, certified) = (chain.extensions.product, chain.extensions.tcb);
    let tcbs = ReportTcbs::of(product, report);
    let observed = if tcbs.is_some() { "zero" } else { "not zero" };
    checks.record(codes::TCB_RESERVED, tcbs.is_some(), format!("reserved bytes of {product} zero"), observed);
    let text = |raw| Tcb::decode(product, raw).map_or_else(|| format!("{raw:02x?}"), |tcb| tcb.to_string());
    let equal = certified == report.reported_tcb;
    checks.record(codes::TCB_CERTIFIED, equal, text(certified), text(report.reported_tcb));
    tcbs
}
