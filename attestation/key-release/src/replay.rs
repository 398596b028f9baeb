//! A policy asked about decisions of the past, by the rules of live decisions over the claims that the log kept.

mod stated;

use crate::grants::{Offered, judge_grants};
use crate::{Asked, AuditTerms, KeyUse, PseudonymKey, ReleasePolicy, Trace, WeightsKeyTerms};
use anchorhold_audit_log::claims::Claims;
use anchorhold_rats::{Expected, Kem, Nonce, ReportData, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, Stated, StatedTee, dangerous, judge};
use std::fmt;

/// The rules that need to know which versions and instances there are.
const OF_VERSIONS: [&str; 5] =
    ["max_instances", "model.version_min", "model.manifest", "revoked.manifests", "revoked.kids"];

/// Why claims cannot be asked about. A log that this project wrote has no such claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// What is not a value of its kind.
    pub what: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the recorded {} is no value that this version knows", self.what)
    }
}

impl std::error::Error for Unreadable {}

/// One decision of the past.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// What it was about.
    pub claims: &'a Claims,
    /// When it was made.
    pub at: Timestamp,
    /// What was released; `None` of a refusal.
    pub released: Option<&'a WeightsKeyTerms>,
}

/// How the machines that a policy names are compared with the pseudonyms of a log.
#[derive(Debug, Clone, Copy)]
pub enum Machines<'a> {
    /// With the key of the broker that wrote the log.
    Compared(&'a PseudonymKey),
    /// Not at all: rules about machines are not asked.
    NotAsked,
}

/// What a policy says of a decision of the past.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What every grant said.
    pub trace: Trace,
    /// The grant that releases the model, if one does.
    pub grant: Option<String>,
    /// Why none does.
    pub refused: Option<String>,
    /// The rules that were not asked, because the log does not tell: their outcome is as recorded, or not known.
    pub not_asked: Vec<&'static str>,
}

/// Asks `policy` about a decision of the past.
///
/// Signatures, chains, nonces, reference manifests and the order of instances are taken as they were found then: a decision
/// whose evidence was not authentic has no claims to ask about. A released version is the only one that is offered, and of a
/// refusal it is not known which versions there were. The policy's own expiry is not asked.
///
/// # Errors
/// [`Unreadable`] when a value of the claims is none.
pub fn replay(
    policy: &ReleasePolicy,
    recorded: &Recorded<'_>,
    machines: Machines<'_>,
) -> Result<Replayed, Unreadable> {
    let Recorded { claims, at, released } = *recorded;
    let parts = stated::Parts::of(claims, at)?;
    let stated = parts.stated();
    let asked = &claims.asked;
    let kem = Kem::named(asked.kem.as_str()).ok_or(Unreadable { what: "KEM" })?;
    let purpose = match asked.purpose.as_str() {
        "serve" => KeyUse::Serve,
        "evaluate" => KeyUse::Evaluate,
        _ => return Err(Unreadable { what: "purpose" }),
    };
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let asked = Asked {
        model_id: asked.model.as_ref().map_or("", |model| model.as_str()),
        min_version: asked.min_version,
        purpose,
        kem,
        audit: AuditTerms {
            anchor_ms: asked.anchor_ms.map(number),
            witnesses: number(asked.witnesses),
            ..AuditTerms::default()
        },
    };
    let one = || released.map_or(&[] as &[_], std::slice::from_ref);
    let offered = if released.is_some() { Offered::Known(&one) } else { Offered::Unknown };
    let comparable = |appraisal: &AppraisalPolicy| stated::comparable(appraisal, machines, &stated);
    let not_asked = not_asked(policy, recorded, machines);
    Ok(of_stated(policy, (&stated, &expected(&stated)), &asked, offered, (comparable, not_asked)))
}

/// Asks `policy` about what evidence states and what would be asked for, without a broker: for explaining. Which versions of
/// the model there are is not known.
///
/// Establishes nothing: whether the evidence is authentic, the caller has found out.
#[must_use]
pub fn explain(
    policy: &ReleasePolicy,
    stated: &Stated<'_>,
    expected: &Expected,
    asked: &Asked<'_>,
) -> Replayed {
    let not_asked = OF_VERSIONS.to_vec();
    of_stated(policy, (stated, expected), asked, Offered::Unknown, (AppraisalPolicy::clone, not_asked))
}

fn of_stated(
    policy: &ReleasePolicy,
    (stated, expected): (&Stated<'_>, &Expected),
    asked: &Asked<'_>,
    offered: Offered<'_>,
    (comparable, not_asked): (impl Fn(&AppraisalPolicy) -> AppraisalPolicy, Vec<&'static str>),
) -> Replayed {
    let said = judge_grants(policy, asked, offered, measurement(stated), |appraisal| {
        let mut appraisal = comparable(appraisal);
        if stated.simulated {
            appraisal = dangerous::allow_simulated(appraisal);
        }
        judge(stated, &appraisal, expected)
    });
    let refused = said.won.is_none().then(|| match said.miss {
        Some(denied) => denied.code().to_owned(),
        None => {
            let nearest = said.trace.nearest().and_then(|grant| grant.checks().failed().next());
            nearest.map_or_else(|| "evidence_refused".to_owned(), |check| check.code.to_string())
        }
    });
    let grant = said.won.map(|won| won.rules.name().to_owned());
    Replayed { trace: said.trace, grant, refused, not_asked }
}

/// The bindings of the evidence were judged then, so what is expected is what is stated.
fn expected(stated: &Stated<'_>) -> Expected {
    let report_data = ReportData::new([0; ReportData::LEN]);
    let gpu_nonce = (!stated.gpus.is_empty()).then(|| Nonce::new([0; Nonce::LEN]));
    Expected { gpu_nonce, ..report_data.into() }
}

/// What was launched.
pub(crate) fn measurement(stated: &Stated<'_>) -> anchorhold_rats::Measurement {
    match &stated.tee {
        StatedTee::Snp(report) => report.report.measurement,
        StatedTee::Tdx(quote) => quote.body.mrtd,
    }
}

/// Which rules of `policy` were left out.
fn not_asked(policy: &ReleasePolicy, recorded: &Recorded<'_>, machines: Machines<'_>) -> Vec<&'static str> {
    let mut out = Vec::new();
    if recorded.released.is_some() {
        out.push("max_instances");
    } else {
        out.extend(OF_VERSIONS);
        if recorded.claims.asked.model.is_none() {
            out.push("model.id");
        }
    }
    let names = |named: fn(&AppraisalPolicy) -> bool| policy.platforms.iter().any(named);
    if matches!(machines, Machines::NotAsked) {
        let rules: [(&'static str, bool); 5] = [
            (
                "snp.machines",
                names(|p| {
                    p.snp.as_ref().is_some_and(|p| p.allowed_chips.is_some() || !p.denied_chips.is_empty())
                }),
            ),
            (
                "tdx.machines",
                names(|p| {
                    p.tdx
                        .as_ref()
                        .is_some_and(|p| p.allowed_platforms.is_some() || !p.denied_platforms.is_empty())
                }),
            ),
            (
                "gpu.machines",
                names(|p| {
                    p.gpu
                        .as_ref()
                        .is_some_and(|p| p.allowed_devices.is_some() || !p.denied_devices.is_empty())
                }),
            ),
            ("tpm.keys", names(|p| p.tpm.is_some())),
            ("paravisor.vm_ids", names(|p| p.paravisor.as_ref().is_some_and(|p| p.vm_ids.is_some()))),
        ];
        out.extend(rules.into_iter().filter_map(|(rule, named)| named.then_some(rule)));
    }
    out
}
