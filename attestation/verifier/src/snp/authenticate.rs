//! Whether evidence is authentic.

use super::chain::{self, Chain};
use super::tcb::ReportTcbs;
use super::{ChipId, Product, Report, SIGNED_LEN, Signer, SigningKey, Tcb};
use crate::x509::RevocationList;
use crate::{Refusal, TrustAnchors, codes};
use anchorhold_rats::{Checks, Evidence, Timestamp};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

/// Signed input beside the evidence. Untrusted until judged; none of it is fetched here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Collateral<'a> {
    /// DER of the ARK's revocation list for the product and kind of the leaf. AMD lists ASKs and ASVKs in it.
    pub crl: Option<&'a [u8]>,
}

/// Evidence whose signatures hold up to a trust anchor that the caller named.
///
/// Says that a chip (or whoever holds a simulated root) made the report; not that anyone should like what it
/// says. Made only by [`authenticate`] and [`authenticate_with_collateral`].
#[derive(Debug)]
pub struct AuthenticEvidence {
    pub(super) report: Report,
    pub(super) product: Product,
    pub(super) signer: Signer,
    pub(super) tcbs: ReportTcbs,
    pub(super) chip_id: Option<ChipId>,
    pub(super) expires: Timestamp,
    pub(super) simulated: bool,
    pub(super) crl_judged: bool,
    pub(super) checks: Checks,
}

impl AuthenticEvidence {
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

    /// The end of the earliest validity among the chain and the revocation list.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the chain ends in a root that is not AMD's.
    #[must_use]
    pub const fn simulated(&self) -> bool {
        self.simulated
    }

    /// Every rule that was looked at.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }
}

/// Judges whether `evidence` is authentic at the time `at`, without revocation lists.
///
/// Establishes that the report has the documented shape, that the chip's key signed exactly the received bytes, that
/// the root in `anchors` certified that key for the TCB and chip that the report names, and that all
/// certificates were valid at `at`. Presumes that `at` is the caller's honest time. GPU evidence is not read.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<AuthenticEvidence, Refusal> {
    authenticate_with_collateral(evidence, anchors, &Collateral::default(), at)
}

/// [`authenticate`], and judges the given revocation list.
///
/// Establishes also, if a list is given, that the ARK issued it, that it was current at `at`, and that it does not
/// name the intermediate. VCEKs all have serial number 0 and cannot be listed.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate_with_collateral(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    collateral: &Collateral<'_>,
    at: Timestamp,
) -> Result<AuthenticEvidence, Refusal> {
    evidence
        .check_limits()
        .map_err(|error| Refusal::of(codes::EVIDENCE_LIMIT, "evidence within limits", error.to_string()))?;
    let mut checks = Checks::new();
    let Some(found) = judge(evidence, anchors, collateral, at, &mut checks) else {
        return Err(Refusal::new(checks));
    };
    Ok(AuthenticEvidence {
        simulated: anchors.are_simulated(),
        crl_judged: collateral.crl.is_some(),
        checks,
        ..found
    })
}

/// Everything that was found; the caller fills in `simulated`, `crl_judged` and `checks`.
fn judge(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    collateral: &Collateral<'_>,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<AuthenticEvidence> {
    let report = Report::read(&evidence.report, checks)?;
    let signer = record_signer(&report, checks)?;
    let chain = chain::judge(&evidence.certificates, anchors, signer, at, checks)?;
    let crl_expires = match collateral.crl {
        Some(crl) => record_crl(crl, &chain, at, checks)?,
        None => chain.expires,
    };
    let signed = evidence.report.get(..SIGNED_LEN)?;
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
    let identified = record_identity(&report, &chain, checks);
    let tcbs = record_tcb(&report, &chain, checks);
    let chip_id = if report.chip_id.is_zero() { chain.extensions.hwid } else { Some(report.chip_id) };
    let expires = chain.expires.min(crl_expires);
    let tcbs = tcbs.filter(|_| identified)?;
    Some(AuthenticEvidence {
        report,
        product,
        signer,
        tcbs,
        chip_id,
        expires,
        simulated: true,
        crl_judged: false,
        checks: Checks::new(),
    })
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

/// When the list ends, if it is good and does not name the intermediate.
fn record_crl(crl: &[u8], chain: &Chain<'_>, at: Timestamp, checks: &mut Checks) -> Option<Timestamp> {
    let parsed = RevocationList::parse(crl);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    checks.record(codes::CRL_MALFORMED, parsed.is_ok(), "a strict X.509 revocation list", observed);
    let list = parsed.ok()?;
    let signed = list.issuer == chain.ark.subject
        && chain.ark.authority.signs_crls
        && list.verify_signature(&chain.ark.public_key);
    let mut sound = checks.record(
        codes::CRL_SIGNATURE,
        signed,
        "signed by the pinned ARK",
        if signed { "it is" } else { "it is not" },
    );
    let window = format!("{} to {}", list.this_update, list.next_update);
    sound &= checks.record(codes::CRL_FRESHNESS, list.is_fresh_at(at), format!("current at {at}"), window);
    let revoked = list.revoked.contains(&chain.intermediate_serial);
    let observed = if revoked { "listed" } else { "not listed" };
    sound &= checks.record(codes::CRL_REVOKED, !revoked, "the intermediate not listed", observed);
    sound.then_some(list.next_update)
}

fn record_identity(report: &Report, chain: &Chain<'_>, checks: &mut Checks) -> bool {
    let product = chain.extensions.product;
    let mut same = true;
    match report.cpuid {
        Some(cpuid) => {
            let passed = Product::from_cpuid(cpuid) == Some(product);
            same &= checks.record(codes::PRODUCT_CPUID, passed, product.to_string(), cpuid.to_string());
        }
        None => checks.skip(codes::PRODUCT_CPUID, product.to_string(), "version 2 states no CPUID"),
    }
    let observed = report.chip_id.to_string();
    match chain.extensions.hwid {
        Some(hwid) if report.chip_id.is_zero() => {
            checks.skip(codes::CHIP_ID, hwid.to_string(), "the host masked CHIP_ID");
        }
        Some(hwid) => {
            same &= checks.record(codes::CHIP_ID, hwid == report.chip_id, hwid.to_string(), observed)
        }
        None => checks.skip(codes::CHIP_ID, "HWID", "a VLEK is of no one chip"),
    }
    same
}

fn record_tcb(report: &Report, chain: &Chain<'_>, checks: &mut Checks) -> Option<ReportTcbs> {
    let (product, certified) = (chain.extensions.product, chain.extensions.tcb);
    let raw = [report.current_tcb, report.reported_tcb, report.committed_tcb, report.launch_tcb];
    let tcbs = ReportTcbs::decode(product, raw);
    let observed = if tcbs.is_some() { "zero" } else { "not zero" };
    checks.record(codes::TCB_RESERVED, tcbs.is_some(), format!("reserved bytes of {product} zero"), observed);
    let text = |raw| Tcb::decode(product, raw).map_or_else(|| format!("{raw:02x?}"), |tcb| tcb.to_string());
    let equal = certified == report.reported_tcb;
    checks.record(codes::TCB_CERTIFIED, equal, text(certified), text(report.reported_tcb));
    tcbs.filter(|_| equal)
}
