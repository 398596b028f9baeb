//! Evidence of every family together: a TEE's report with what accompanies it.

use crate::outcome::{Accepted, Authentic};
use crate::relaxation::{Relax, Relaxations, sealed};
use crate::show::hex;
use crate::{Refusal, TrustAnchors, azure, codes, event_log, nvidia, snp, tdx, tpm};
use anchorhold_rats::{Checks, Endorsements, Evidence, Expected, Measurement, Tee, Timestamp};

/// What the parts of the evidence state.
#[derive(Debug)]
pub struct Claims {
    /// Of the TEE.
    pub tee: TeeClaims,
    /// The event log, replayed. Of authentic evidence it is compared with nothing yet. Of accepted evidence it is here only
    /// if the policy has rules for it, and then it is the history of the registers that the policy compares.
    pub event_log: Option<event_log::Replayed>,
    /// Of the paravisor, where the guest runs below one.
    pub paravisor: Option<Box<azure::AuthenticVtpm>>,
    /// Of a TPM of its own, where the guest has one.
    pub tpm: Option<Box<tpm::AuthenticQuote>>,
    /// Of each GPU and switch.
    pub gpus: Vec<nvidia::AuthenticDevice>,
}

/// What the TEE states.
#[derive(Debug)]
pub enum TeeClaims {
    /// AMD SEV-SNP.
    Snp(Box<snp::AuthenticReport>),
    /// Intel TDX.
    Tdx(Box<tdx::AuthenticQuote>),
}

impl TeeClaims {
    /// What was launched: MEASUREMENT of SNP, MRTD of TDX.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        match self {
            Self::Snp(report) => report.report().measurement,
            Self::Tdx(quote) => quote.body().mrtd,
        }
    }

    /// The line of hardware, such as `Genoa`.
    #[must_use]
    pub fn product(&self) -> String {
        match self {
            Self::Snp(report) => report.product().to_string(),
            Self::Tdx(quote) => format!("TDX platform {}", hex(&quote.pck().fmspc)),
        }
    }

    /// The security versions of the firmware, for people.
    #[must_use]
    pub fn tcb(&self) -> String {
        match self {
            Self::Snp(report) => report.tcb().to_string(),
            Self::Tdx(quote) => quote.tcb().status.to_string(),
        }
    }
}

/// Evidence whose signatures hold up to the named trust anchors.
pub type AuthenticEvidence = Authentic<Claims>;
/// Evidence that a policy accepted.
pub type AttestationResult = Accepted<Claims>;

impl AttestationResult {
    /// What was launched: MEASUREMENT of SNP, MRTD of TDX.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        self.claims().tee.measurement()
    }
}

/// What a relying party accepts. A family that is not named is refused, so the default accepts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppraisalPolicy {
    /// For AMD SEV-SNP.
    pub snp: Option<snp::Policy>,
    /// For Intel TDX.
    pub tdx: Option<tdx::Policy>,
    /// For the event log of a TDX quote: when it is named, a log must be there. Default: not asked.
    pub event_log: Option<event_log::Policy>,
    /// For a cloud's paravisor: when it is named, the guest must run below one, and otherwise must not.
    pub paravisor: Option<azure::Policy>,
    /// For a TPM of the guest's own: when it is named, there must be a quote, and otherwise must not.
    pub tpm: Option<tpm::Policy>,
    /// For GPUs and switches: when it is named, there must be devices, and otherwise none.
    pub gpu: Option<nvidia::Policy>,
}

impl From<snp::Policy> for AppraisalPolicy {
    fn from(policy: snp::Policy) -> Self {
        Self { snp: Some(policy), ..Self::default() }
    }
}

impl From<tdx::Policy> for AppraisalPolicy {
    fn from(policy: tdx::Policy) -> Self {
        Self { tdx: Some(policy), ..Self::default() }
    }
}

impl sealed::Sealed for AppraisalPolicy {}
impl Relax for AppraisalPolicy {
    fn relax(&mut self, change: fn(&mut Relaxations)) {
        if let Some(policy) = &mut self.snp {
            policy.relax(change);
        }
        if let Some(policy) = &mut self.tdx {
            policy.relax(change);
        }
        if let Some(policy) = &mut self.gpu {
            policy.relax(change);
        }
    }
}

/// Judges whether `evidence` is authentic at the time `at`.
///
/// Establishes that the report has the documented shape, that the TEE's key signed exactly the received bytes, that a root
/// in `anchors` certified that key for the firmware and chip that the report names, that all certificates were valid
/// at `at`, and that the endorsements that were given are signed, current and revoke nothing. Presumes that `at` is the
/// caller's honest time.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<AuthenticEvidence, Refusal> {
    evidence
        .check_limits()
        .and_then(|()| endorsements.check_limits())
        .map_err(|error| Refusal::of(codes::EVIDENCE_LIMIT, "evidence within limits", error.to_string()))?;
    let mut checks = Checks::new();
    let judged = judge_tee(evidence, endorsements, anchors, at, &mut checks);
    let event_log = evidence.event_log.as_ref().and_then(|log| event_log::replay(&log.0, &mut checks));
    let paravisor = evidence.paravisor.as_ref().and_then(|paravisor| {
        let input = azure::Input::new(paravisor, evidence.tee, &evidence.report);
        azure::judge(&input, &mut checks).map(Box::new)
    });
    let tpm = evidence.tpm.as_ref().and_then(|tpm| tpm::judge(tpm, at, &mut checks).map(Box::new));
    let devices =
        nvidia::Input { devices: &evidence.gpus, rims: &endorsements.rims, ocsp: &endorsements.ocsp };
    let gpus = nvidia::judge(&devices, anchors, at, &mut checks);
    match (judged, gpus) {
        (Some((tee, expires)), Some((gpus, gpus_expire))) if checks.none_failed() => {
            let claims = Claims { tee, event_log, paravisor, tpm, gpus };
            let expires = expires.min(gpus_expire);
            Ok(Authentic { claims, expires, simulated: anchors.are_simulated(), checks })
        }
        _ => Err(Refusal::new(checks)),
    }
}

fn judge_tee(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    at: Timestamp,
    checks: &mut Checks,
) -> Option<(TeeClaims, Timestamp)> {
    match evidence.tee {
        Tee::Snp => {
            let input = snp::Input {
                report: &evidence.report,
                certificates: &evidence.certificates,
                crls: &endorsements.snp_crls,
            };
            let (report, expires) = snp::judge(&input, anchors, at, checks)?;
            Some((TeeClaims::Snp(Box::new(report)), expires))
        }
        Tee::Tdx => {
            let input = tdx::Input { quote: &evidence.report, collateral: endorsements.tdx.as_ref() };
            let (quote, expires) = tdx::judge(&input, anchors, at, checks)?;
            Some((TeeClaims::Tdx(Box::new(quote)), expires))
        }
    }
}

/// What evidence states, whoever vouches for it: what the rules of a policy are about. Holding one proves nothing.
#[derive(Debug, Clone)]
pub struct Stated<'a> {
    /// Of the TEE.
    pub tee: StatedTee<'a>,
    /// The event log, replayed.
    pub event_log: Option<&'a event_log::Replayed>,
    /// Of the paravisor, where the guest runs below one.
    pub paravisor: Option<azure::Stated<'a>>,
    /// Of a TPM of its own, where the guest has one.
    pub tpm: Option<tpm::Stated<'a>>,
    /// Of each GPU and switch.
    pub gpus: Vec<nvidia::Stated<'a>>,
    /// Whether the roots are not the vendors'.
    pub simulated: bool,
}

/// What a TEE states, whoever vouches for it.
#[derive(Debug, Clone, Copy)]
pub enum StatedTee<'a> {
    /// AMD SEV-SNP.
    Snp(snp::Stated<'a>),
    /// Intel TDX.
    Tdx(tdx::Stated<'a>),
}

impl AuthenticEvidence {
    /// What a policy judges.
    #[must_use]
    pub fn stated(&self) -> Stated<'_> {
        let Claims { tee, event_log, paravisor, tpm, gpus } = &self.claims;
        Stated {
            tee: match tee {
                TeeClaims::Snp(report) => StatedTee::Snp(report.stated()),
                TeeClaims::Tdx(quote) => StatedTee::Tdx(quote.stated()),
            },
            event_log: event_log.as_ref(),
            paravisor: paravisor.as_ref().map(|vtpm| vtpm.stated()),
            tpm: tpm.as_ref().map(|quote| quote.stated()),
            gpus: gpus.iter().map(nvidia::AuthenticDevice::stated).collect(),
            simulated: self.simulated,
        }
    }
}

/// Judges authentic evidence against `policy` and what the relying party computed itself.
///
/// Establishes that every rule of the policy holds and that the evidence was made for `expected`. Presumes
/// that the caller chose a fresh nonce that `expected` commits to. The evidence is consumed, so that one
/// authentication is appraised once.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    mut evidence: AuthenticEvidence,
    policy: &AppraisalPolicy,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    let mut checks = std::mem::take(&mut evidence.checks);
    checks.append(judge(&evidence.stated(), policy, expected));
    // Only TDX has registers to hold a log against; a log beside an SNP report is read and says nothing.
    if policy.event_log.is_none() || matches!(evidence.claims.tee, TeeClaims::Snp(_)) {
        evidence.claims.event_log = None;
    }
    Accepted::judged(evidence, checks)
}

/// Every rule of `policy` about what is stated, and whether it was stated for `expected`: the rules of [`appraise`], for
/// asking what a policy would say of evidence that is at hand, or was once.
///
/// Establishes nothing: nobody vouches here for what is stated.
#[must_use]
pub fn judge(stated: &Stated<'_>, policy: &AppraisalPolicy, expected: &Expected) -> Checks {
    let mut checks = Checks::new();
    let simulated = stated.simulated;
    // Below a paravisor the nonce is in the TPM's quote, and the TEE's report is for the paravisor's claims.
    let vtpm = stated.paravisor.as_ref();
    let report_data = &vtpm.map_or(expected.report_data, |vtpm| vtpm.report_data);
    match (vtpm, &policy.paravisor) {
        (Some(vtpm), Some(policy)) => {
            azure::judge_policy(vtpm, policy, expected.quote_nonce(), &mut checks);
        }
        (Some(_), None) => record_denied("a paravisor", &mut checks),
        (None, Some(_)) => {
            checks.record(codes::FAMILY_MISSING, false, "a paravisor, for which the policy asks", "none");
        }
        (None, None) => {}
    }
    judge_tpm(stated, policy, expected, &mut checks);
    match (stated.gpus.as_slice(), &policy.gpu) {
        ([], None) => {}
        ([], Some(_)) => {
            checks.record(codes::FAMILY_MISSING, false, "GPUs, for which the policy asks", "none");
        }
        (_, None) => record_denied("GPUs", &mut checks),
        (gpus, Some(policy)) => {
            nvidia::judge_policy(gpus, simulated, policy, expected.gpu_nonce.as_ref(), &mut checks);
        }
    }
    match (&stated.tee, &policy.snp, &policy.tdx) {
        (StatedTee::Snp(report), Some(policy), _) => {
            snp::judge_policy(report, simulated, policy, report_data, &mut checks);
        }
        (StatedTee::Tdx(quote), _, Some(policy)) => {
            tdx::judge_policy(quote, simulated, policy, report_data, &mut checks);
        }
        (StatedTee::Snp(_), None, _) => record_denied("SEV-SNP", &mut checks),
        (StatedTee::Tdx(_), _, None) => record_denied("TDX", &mut checks),
    }
    if let (StatedTee::Tdx(quote), Some(policy)) = (&stated.tee, &policy.event_log) {
        event_log::judge(stated.event_log, &quote.body.rtmrs, policy, &mut checks);
    }
    checks
}

/// A TPM quotes for the same report data as the TEE reports for, which is what ties the two together.
fn judge_tpm(stated: &Stated<'_>, policy: &AppraisalPolicy, expected: &Expected, checks: &mut Checks) {
    match (&stated.tpm, &policy.tpm) {
        (Some(quote), Some(policy)) => tpm::judge_policy(quote, policy, expected.quote_nonce(), checks),
        (Some(_), None) => record_denied("a TPM", checks),
        (None, Some(_)) => {
            checks.record(codes::FAMILY_MISSING, false, "a TPM, for which the policy asks", "none");
        }
        (None, None) => {}
    }
}

fn record_denied(observed: &str, checks: &mut Checks) {
    checks.record(codes::FAMILY_DENIED, false, "a family that the policy names", observed);
}
