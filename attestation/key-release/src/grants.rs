//! What every grant says of one guest and of what it asks for. The rules of live decisions and of replays are these.

use crate::policy::ManifestRule;
use crate::refusal::Denied;
use crate::{GrantRules, KeyUse, ReleasePolicy, Revocations, WeightsKeyTerms};
use anchorhold_rats::{Check, Checks, Kem, Measurement, Outcome, Stage};
use anchorhold_verifier::{AppraisalPolicy, codes};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What one grant said.
#[derive(Debug, Clone)]
pub struct GrantTrace {
    grant: String,
    checks: Checks,
    platform_passed: bool,
}

impl GrantTrace {
    pub(crate) const fn new(grant: String, checks: Checks, platform_passed: bool) -> Self {
        Self { grant, checks, platform_passed }
    }

    /// The grant's name.
    #[must_use]
    pub fn grant(&self) -> &str {
        &self.grant
    }

    /// Its rules in order, the platform's first. Of several images of the grant, the one that the guest is nearest to.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Whether the guest's platform is one of this grant.
    #[must_use]
    pub fn platform_passed(&self) -> bool {
        self.platform_passed
    }

    /// Whether nothing but missing, old or broken endorsements stands between the guest and this grant.
    fn lacks_endorsements(&self) -> bool {
        !self.platform_passed && self.checks.failed().all(|check| codes::is_of_endorsements(&check.code))
    }
}

/// What every grant said about one request, allowed or not.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    grants: Vec<GrantTrace>,
}

impl Trace {
    pub(crate) fn push(&mut self, grant: GrantTrace) {
        self.grants.push(grant);
    }

    /// Each grant in the order of the policy.
    #[must_use]
    pub fn grants(&self) -> &[GrantTrace] {
        &self.grants
    }

    /// The grant with the fewest failed rules, the first of several.
    #[must_use]
    pub fn nearest(&self) -> Option<&GrantTrace> {
        self.grants.iter().min_by_key(|grant| grant.checks.failed().count())
    }

    /// Whether some grant takes the guest's platform.
    #[must_use]
    pub fn platform_accepted(&self) -> bool {
        self.grants.iter().any(GrantTrace::platform_passed)
    }

    /// The grant that lacks nothing but endorsements, when no grant takes the platform.
    pub(crate) fn lacking_endorsements(&self) -> Option<&GrantTrace> {
        self.grants.iter().find(|grant| grant.lacks_endorsements()).filter(|_| !self.platform_accepted())
    }

    /// One line per grant for an operator to read.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        let nearest = self.nearest().map(GrantTrace::grant);
        for grant in &self.grants {
            let failed: Vec<&Check> = grant.checks.failed().collect();
            let verdict = if failed.is_empty() { "passed" } else { "refused" };
            let _ = write!(text, "grant \"{}\" {verdict}:", grant.grant);
            for check in &failed {
                let _ = write!(text, " {} wanted {}, observed {};", check.code, check.wanted, check.observed);
            }
            let passed = grant.checks.all().iter().filter(|check| check.outcome == Outcome::Passed).count();
            let note =
                if nearest == Some(grant.grant()) && !failed.is_empty() { "; nearest grant" } else { "" };
            let _ = writeln!(text, " {passed} other rules passed{note}");
        }
        text
    }
}

/// How a guest's audit log is witnessed, as the guest says. Its evidence covers what it says, and the measured guest keeps
/// to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditTerms {
    /// The longest time that an entry stays without a witness, in milliseconds; `None` where no witness is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor_ms: Option<u32>,
    /// Whether the guest writes down which log came before its own, if the broker says; see [`Session::begin`](crate::Session::begin).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predecessor: bool,
    /// How many witnesses cosign.
    pub witnesses: u32,
}

/// What a guest asks for, as far as grants have rules about it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The model as the caller wrote it.
    pub model_id: &'a str,
    /// The lowest version that will do.
    pub min_version: u64,
    /// What for.
    pub purpose: KeyUse,
    /// The KEM of the guest's key.
    pub kem: Kem,
    /// How the guest's log is witnessed, as it says.
    pub audit: AuditTerms,
}

/// The versions of the model that is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Offered<'a> {
    /// Gives those that the broker has; none, if it has none.
    Known(&'a dyn Fn() -> &'a [WeightsKeyTerms]),
    /// It is not known which there were, so rules about versions, manifests and keys are not asked.
    Unknown,
}

/// The first grant of which every rule passed.
pub(crate) struct Won<'p, 'm> {
    pub(crate) rules: &'p GrantRules,
    /// The version that is released; `None` where it is not known which there are.
    pub(crate) terms: Option<&'m WeightsKeyTerms>,
    /// The platform rules that accept the guest.
    pub(crate) appraisal: &'p AppraisalPolicy,
    pub(crate) checks: Checks,
}

/// What all grants said together.
pub(crate) struct Said<'p, 'm> {
    pub(crate) trace: Trace,
    pub(crate) won: Option<Won<'p, 'm>>,
    /// Why the grant that came nearest does not release the model to a platform that it takes.
    pub(crate) miss: Option<Denied>,
}

/// Judges every grant, whatever model was asked for: only a guest whose platform is in a grant learns anything about that
/// grant's model, and the work is the same for a model that does not exist.
///
/// `judge` says what the platform's rules say, once for each different set of them; `measurement` is what was launched.
pub(crate) fn judge_grants<'p, 'm>(
    policy: &'p ReleasePolicy,
    asked: &Asked<'_>,
    offered: Offered<'m>,
    measurement: Measurement,
    judge: impl Fn(&AppraisalPolicy) -> Checks,
) -> Said<'p, 'm> {
    let current = !policy.revoked.measurements.contains(&measurement);
    let platforms = judge_platforms(&policy.platforms, current, judge);
    let mut said = Said { trace: Trace::default(), won: None, miss: None };
    let mut least: Option<Shortfall> = None;
    for rules in &policy.grants {
        let of_grant = rules.platforms.iter().filter_map(|index| platforms.get(*index));
        let Some((appraisal, checks)) = of_grant.min_by_key(|(_, checks)| checks.failed().count()) else {
            continue;
        };
        let mut checks = checks.clone();
        let platform_passed = checks.none_failed();
        if platform_passed {
            let offer = judge_model(rules, &policy.revoked, asked, offered);
            checks.append(offer.checks);
            match offer.outcome {
                Ok(terms) if said.won.is_none() => {
                    said.won = Some(Won { rules, terms, appraisal, checks: checks.clone() });
                }
                Err((shortfall, denied)) if least.is_none_or(|least| shortfall < least) => {
                    (least, said.miss) = (Some(shortfall), Some(denied));
                }
                Ok(_) | Err(_) => {}
            }
        }
        said.trace.push(GrantTrace::new(rules.name.clone(), checks, platform_passed));
    }
    said
}

/// What the rules of each platform say, and whether what was launched is `current`.
pub(crate) fn judge_platforms(
    platforms: &[AppraisalPolicy],
    current: bool,
    judge: impl Fn(&AppraisalPolicy) -> Checks,
) -> Vec<(&AppraisalPolicy, Checks)> {
    let judged = platforms.iter().map(|appraisal| {
        let mut checks = judge(appraisal);
        let wanted = "an image that is not revoked";
        let code = (Stage::Policy, "release_measurement_revoked");
        checks.record(code, current, wanted, revoked_or_not(current));
        (appraisal, checks)
    });
    judged.collect()
}

const fn revoked_or_not(good: bool) -> &'static str {
    if good { "not revoked" } else { "revoked" }
}

/// How far a request got in a grant that takes its platform; the refusal that got furthest is the one to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shortfall {
    Revoked,
    Manifest,
    Version,
    Audit,
    Kem,
    Purpose,
    Model,
}

struct Offer<'m> {
    checks: Checks,
    outcome: Result<Option<&'m WeightsKeyTerms>, (Shortfall, Denied)>,
}

/// The rules of one grant beside its platform. Every rule is recorded; the first that failed names the refusal.
struct ModelRules {
    checks: Checks,
    short: Option<(Shortfall, Denied)>,
}

impl ModelRules {
    fn rule(
        &mut self,
        code: &'static str,
        passed: bool,
        (wanted, observed): (String, String),
        missed: (Shortfall, Denied),
    ) {
        if !self.checks.record((Stage::Policy, code), passed, wanted, observed) && self.short.is_none() {
            self.short = Some(missed);
        }
    }
}

fn judge_model<'m>(
    rules: &GrantRules,
    revoked: &Revocations,
    asked: &Asked<'_>,
    offered: Offered<'m>,
) -> Offer<'m> {
    let mut out = ModelRules { checks: Checks::new(), short: None };
    // Of another model than the grant's nothing is looked up.
    let offered_to_grant = match offered {
        Offered::Known(models) if asked.model_id == rules.model_id.as_str() => Some(models()),
        Offered::Known(_) => Some(&[] as &[_]),
        Offered::Unknown => None,
    };
    judge_asked(rules, asked, offered_to_grant, &mut out);
    let terms = offered_to_grant
        .and_then(|models| judge_offered(rules, revoked, asked.min_version, models, &mut out));
    let outcome = match (out.short, terms, offered) {
        (Some(short), ..) => Err(short),
        (None, None, Offered::Known(_)) => Err((Shortfall::Model, Denied::Model)),
        (None, terms, _) => Ok(terms),
    };
    Offer { checks: out.checks, outcome }
}

/// The rules about what is asked for and how.
fn judge_asked(
    rules: &GrantRules,
    asked: &Asked<'_>,
    offered: Option<&[WeightsKeyTerms]>,
    out: &mut ModelRules,
) {
    let of_grant = asked.model_id == rules.model_id.as_str();
    let without_key = of_grant && offered.is_some_and(<[_]>::is_empty);
    let named = of_grant && !without_key;
    let observed = match asked.model_id.parse::<crate::ModelId>() {
        Ok(id) if without_key => format!("{id}, of which there is no key"),
        Ok(id) => id.to_string(),
        Err(_) => "no model id".to_owned(),
    };
    out.rule(
        "release_model",
        named,
        (rules.model_id.to_string(), observed),
        (Shortfall::Model, Denied::Model),
    );
    let purpose = rules.purposes.contains(&asked.purpose);
    let texts = (join(&rules.purposes), asked.purpose.to_string());
    out.rule("release_purpose", purpose, texts, (Shortfall::Purpose, Denied::Purpose));
    let kem = rules.kems.contains(&asked.kem);
    let texts = (join(&rules.kems), asked.kem.to_string());
    out.rule("release_kem", kem, texts, (Shortfall::Kem, Denied::Kem));
    let audit = &rules.audit;
    let observed = asked.audit.anchor_ms;
    let anchored = audit.anchor_max_ms.is_none_or(|most| observed.is_some_and(|observed| observed <= most));
    let wanted = audit.anchor_max_ms.map_or_else(|| "any time".to_owned(), |most| format!("<= {most} ms"));
    let texts = (wanted, observed.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms")));
    out.rule("release_anchor", anchored, texts, (Shortfall::Audit, Denied::Audit));
    let witnessed = asked.audit.witnesses >= audit.witnesses;
    let texts = (format!(">= {}", audit.witnesses), asked.audit.witnesses.to_string());
    out.rule("release_witnesses", witnessed, texts, (Shortfall::Audit, Denied::Audit));
}

/// The rules about the versions that there are; the highest that passes all.
fn judge_offered<'m>(
    rules: &GrantRules,
    revoked: &Revocations,
    min_version: u64,
    models: &'m [WeightsKeyTerms],
    out: &mut ModelRules,
) -> Option<&'m WeightsKeyTerms> {
    let models = || models.iter().filter(|model| model.model_id == rules.model_id);
    let lowest = rules.version_min.max(min_version);
    let recent = || models().filter(|model| model.version >= lowest);
    let highest = models().map(|model| model.version).max().map_or("none".to_owned(), |v| v.to_string());
    let passed = recent().next().is_some();
    let texts = (format!(">= {lowest}"), highest);
    out.rule("release_version", passed, texts, (Shortfall::Version, Denied::Version));
    let covered = || {
        recent().filter(|model| match &rules.manifests {
            ManifestRule::Any => true,
            ManifestRule::OneOf(digests) => digests.contains(&model.manifest_digest),
        })
    };
    let passed = covered().next().is_some();
    let texts = ("a granted manifest".to_owned(), format!("{} of {}", covered().count(), recent().count()));
    out.rule("release_manifest", passed, texts, (Shortfall::Manifest, Denied::Manifest));
    let current = covered()
        .filter(|model| {
            !revoked.manifests.contains(&model.manifest_digest) && !revoked.kids.contains(&model.kid)
        })
        .max_by_key(|model| model.version);
    let wanted = "a key and manifest that are not revoked".to_owned();
    let texts = (wanted, revoked_or_not(current.is_some()).to_owned());
    out.rule("release_revoked", current.is_some(), texts, (Shortfall::Revoked, Denied::Revoked));
    current
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
