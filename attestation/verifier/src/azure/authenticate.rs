//! Whether the virtual TPM's quote is authentic.

use super::{Attest, Claims, ClockInfo, HclReport, VmConfiguration, codes};
use crate::Refusal;
use crate::tpm::record_pcrs;
use anchorhold_rats::{Checks, Der, Paravisor, ReportData, Tee};
use ring::digest::{SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use std::collections::BTreeMap;

/// The body of a TD quote after its header (version 4), and after type and size too (version 5).
const TD_BODY_AT: [(u8, usize); 2] = [(4, 48), (5, 54)];
/// The part of a body that versions share: TEE_TCB_SVN to REPORTDATA.
const TD_BODY_BYTES: usize = 584;

/// What a paravisor adds, beside the TEE's report. Untrusted until judged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The HCL report as read from the virtual TPM.
    pub hcl_report: &'a [u8],
    /// TPMS_ATTEST.
    pub quote: &'a [u8],
    /// The signature over it, big-endian.
    pub signature: &'a [u8],
    /// The values of the quoted PCRs, in the order of their numbers.
    pub pcrs: &'a [Der],
    /// The kind of TEE below the paravisor.
    pub tee: Tee,
    /// The SNP report or TDX quote, which the caller has authenticated.
    pub tee_report: &'a [u8],
}

impl<'a> Input<'a> {
    /// The parts of `paravisor`, beside this TEE's report.
    #[must_use]
    pub fn new(paravisor: &'a Paravisor, tee: Tee, tee_report: &'a [u8]) -> Self {
        let Paravisor { hcl_report, quote, signature, pcrs } = paravisor;
        Self { hcl_report, quote, signature, pcrs, tee, tee_report }
    }
}

/// A quote by the virtual TPM whose key the TEE's report vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticVtpm {
    claims: Claims,
    report_data: ReportData,
    attest: Attest,
    pcrs: BTreeMap<u8, [u8; 32]>,
}

impl AuthenticVtpm {
    /// What the paravisor says about itself.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The report data of the TEE's report: the digest of the claims. This, not the nonce, is what the
    /// TEE's report is appraised for.
    #[must_use]
    pub const fn report_data(&self) -> ReportData {
        self.report_data
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

    /// What a policy judges.
    #[must_use]
    pub fn stated(&self) -> Stated<'_> {
        let Self { claims, report_data, attest, pcrs } = self;
        Stated { pcrs, vm: &claims.vm, nonce: &attest.nonce, report_data: *report_data }
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
}

/// What a paravisor and its virtual TPM state, whoever vouches for them: what the rules of a policy are about. Holding one
/// proves nothing.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The quoted PCRs of the SHA-256 bank.
    pub pcrs: &'a BTreeMap<u8, [u8; 32]>,
    /// What the paravisor says about the machine.
    pub vm: &'a VmConfiguration,
    /// The nonce that the quote was made for.
    pub nonce: &'a [u8],
    /// The report data that the TEE's report must have.
    pub report_data: ReportData,
}

/// Judges whether a virtual TPM's quote is authentic.
///
/// Establishes that the HCL report is about exactly this TEE report, that the TEE's report data is the digest of the claims,
/// that the key which the claims name signed exactly the received quote, and that the PCR values are the quoted ones.
/// Presumes that `input.tee_report` was authenticated by the caller: without that, nothing here means anything. Whether the
/// nonce is the wanted one is left to [`appraise`](super::appraise).
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(input: &Input<'_>) -> Result<AuthenticVtpm, Refusal> {
    let mut checks = Checks::new();
    judge(input, &mut checks).ok_or_else(|| Refusal::new(checks))
}

/// Everything that was found; `None` when a rule failed.
pub(crate) fn judge(input: &Input<'_>, checks: &mut Checks) -> Option<AuthenticVtpm> {
    let hcl = HclReport::read(input.hcl_report, checks)?;
    let report_data = record_report(&hcl, input, checks)?;
    let claims = Claims::read(hcl.claims, checks)?;
    let attest = Attest::read(input.quote, &codes::QUOTE, checks)?;

    let key = RsaPublicKeyComponents { n: claims.modulus.as_slice(), e: &Claims::EXPONENT };
    let valid = key.verify(&RSA_PKCS1_2048_8192_SHA256, input.quote, input.signature).is_ok();
    let observed = if valid { "valid" } else { "not valid" };
    if !checks.record(codes::QUOTE_SIGNATURE, valid, "a signature by HCLAkPub over the quote", observed) {
        return None;
    }
    let pcrs = record_pcrs(&attest, input.pcrs, &codes::QUOTE, checks)?;
    Some(AuthenticVtpm { claims, report_data, attest, pcrs })
}

/// Ties the HCL report to the TEE's report, and the claims to its report data.
fn record_report(hcl: &HclReport<'_>, input: &Input<'_>, checks: &mut Checks) -> Option<ReportData> {
    if !checks.record(codes::TEE_KIND, hcl.tee == input.tee, input.tee.to_string(), hcl.tee.to_string()) {
        return None;
    }
    let (same, report_data) = match hcl.tee {
        Tee::Snp => (hcl.hardware_report == input.tee_report, input.tee_report.get(0x50..0x90)),
        Tee::Tdx => {
            let body = td_body(input.tee_report);
            let same =
                body.is_some_and(|body| td_report_body(hcl.hardware_report).is_some_and(|made| made == body));
            (same, body.and_then(|body| body.get(520..)))
        }
    };
    let observed = if same { "the same" } else { "another" };
    let wanted = "the hardware report that the TEE's report is, or was made from";
    if !checks.record(codes::TEE_REPORT, same, wanted, observed) {
        return None;
    }
    let observed = ReportData::try_from(report_data?).ok()?;
    let mut wanted = [0; ReportData::LEN];
    let (first, _) = wanted.split_at_mut(32);
    first.copy_from_slice(digest(&SHA256, hcl.claims).as_ref());
    let wanted = ReportData::new(wanted);
    checks
        .record(codes::CLAIMS_DIGEST, observed == wanted, wanted.to_string(), observed.to_string())
        .then_some(observed)
}

/// TEE_TCB_SVN to REPORTDATA of a quote.
fn td_body(quote: &[u8]) -> Option<&[u8]> {
    let version = *quote.first()?;
    let (_, at) = TD_BODY_AT.into_iter().find(|(known, _)| *known == version)?;
    quote.get(at..)?.get(..TD_BODY_BYTES)
}

/// The same bytes as a TDREPORT has them: from TEE_TCB_INFO (at 256, after its mask of valid fields), TDINFO (at 512), and
/// REPORTDATA (at 128).
fn td_report_body(report: &[u8]) -> Option<Vec<u8>> {
    Some([report.get(264..384)?, report.get(512..912)?, report.get(128..192)?].concat())
}
