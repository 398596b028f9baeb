//! Answering the questions from what reading found.

use crate::attestation::Attestation;
use crate::chain::{self, Boot, Link};
use crate::collect::{Named, Names};
use crate::manifest::{Manifest, Member, Sampled};
use crate::report::{Check, LogReport, Report, Status, Verdict};
use crate::verify::Expected;
use anchorhold_audit_log::tlog::policy::Policy;
use anchorhold_audit_log::{
    Check as BundleCheck, Finding, Hash, Origin, Report as Bundle, Status as BundleStatus, VerifierKey,
};
use anchorhold_evaluation::Verdict as Evaluation;
use std::collections::{BTreeMap, BTreeSet};

/// How many names one line lists.
const MAX_LISTED: usize = 5;

/// One log, and what it names.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) log: LogReport,
    pub(crate) names: Names,
    pub(crate) drawn: Option<Vec<u64>>,
}

impl Gathered {
    /// Of a log that was read alone, before it is known which others are here.
    pub(crate) fn new(name: &str, bundle: Bundle, attestation: Option<Attestation>, names: Names) -> Self {
        let log = LogReport { name: name.to_owned(), bundle, attestation, follows: Link::Unsaid };
        Self { log, names, drawn: None }
    }

    fn is_registry(&self) -> bool {
        self.log.bundle.evidence.is_none()
    }
}

/// What reading found.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The keys that signed, or why not; `None` when nobody asked.
    pub(crate) exporter: Option<Result<String, String>>,
    /// The first member that is not the one that was signed.
    pub(crate) changed: Option<String>,
    pub(crate) policies: BTreeSet<Hash>,
    pub(crate) models: BTreeSet<Hash>,
    pub(crate) logs: Vec<Gathered>,
}

impl Facts {
    pub(crate) fn compare(&mut self, member: &Member, bytes: u64, sha256: Hash) {
        if (bytes, sha256) != (member.bytes, member.sha256) {
            self.changed.get_or_insert_with(|| member.name.clone());
        }
    }
}

type Answer = (Status, String);

fn passed(detail: impl Into<String>) -> Answer {
    (Status::Passed, detail.into())
}

fn failed(detail: impl Into<String>) -> Answer {
    (Status::Failed, detail.into())
}

fn not_asked(detail: &str) -> Answer {
    (Status::NotApplicable, detail.to_owned())
}

/// Answers every question. Where the file broke off, only what was seen is judged, and nothing is called complete.
pub(crate) fn judge(facts: Facts, read: Result<Option<&Manifest>, String>, expected: &Expected) -> Report {
    let exporter = exporter(facts.exporter.as_ref());
    let known = facts.exporter.as_ref().and_then(|signed| signed.as_ref().ok()).cloned();
    let boots_here: Vec<Boot<'_>> = facts.logs.iter().map(|gathered| gathered.log.boot()).collect();
    let links = chain::links(&boots_here);
    let is_alone = matches!(read, Ok(None)) && boots_here.len() == 1;
    let answers: Vec<(Check, Answer)> = match read {
        Err(detail) => {
            let reached = |check: &Check| !matches!(check, Check::Structure | Check::Exporter);
            let rest = Check::ALL.into_iter().filter(reached).map(|check| (check, not_asked("not reached")));
            let first = [(Check::Structure, failed(detail)), (Check::Exporter, exporter)];
            first.into_iter().chain(rest).collect()
        }
        Ok(manifest) => vec![
            (Check::Structure, structure(manifest, &facts.logs)),
            (Check::Exporter, exporter),
            (Check::Members, members(&facts, manifest)),
            (Check::Logs, logs(&facts.logs)),
            (Check::Keys, keys(&facts.logs, expected)),
            (Check::Measurements, measurements(&facts.logs)),
            (Check::Cosignatures, cosigned(facts.logs.iter().filter(|log| !log.is_registry()), expected)),
            (Check::Checkpoints, checkpoints(&facts.logs)),
            (
                Check::Boots,
                if is_alone { not_asked("a bundle is of one boot") } else { boots(&facts.logs, expected) },
            ),
            (
                Check::Chain,
                if is_alone { not_asked(&alone(&links)) } else { chain::judge(&boots_here, &links) },
            ),
            (Check::Registry, cosigned(facts.logs.iter().filter(|log| log.is_registry()), expected)),
            (Check::Endings, endings(&facts.logs)),
            (Check::Times, times(&facts.logs)),
            (Check::Policies, policies(&facts, manifest)),
            (Check::Models, models(&facts, manifest)),
            (Check::Sample, sample(&facts.logs, manifest.and_then(|manifest| manifest.sample.as_ref()))),
        ],
    };
    let verdict = |(check, (status, detail))| Verdict { check, status, detail };
    Report {
        verdicts: answers.into_iter().map(verdict).collect(),
        logs: facts
            .logs
            .into_iter()
            .zip(links)
            .map(|(gathered, follows)| LogReport { follows, ..gathered.log })
            .collect(),
        exporter: known,
    }
}

fn structure(manifest: Option<&Manifest>, logs: &[Gathered]) -> Answer {
    passed(match (manifest, logs.len()) {
        (Some(manifest), _) => format!("{} members", manifest.members.len() + 1),
        (None, 1) => "the bundle of one log".to_owned(),
        (None, count) => format!("the bundles of {count} logs"),
    })
}

/// What the bundle of one log says of the boots before its own, of which none is here.
fn alone(links: &[Link]) -> String {
    let link = links.first().map(Link::words).unwrap_or_default();
    format!("a bundle is of one boot; the boot before it: {link}")
}

fn members(facts: &Facts, manifest: Option<&Manifest>) -> Answer {
    match (&facts.changed, manifest) {
        (_, None) => not_asked("nobody signs the list of a bundle"),
        (None, Some(_)) => passed("as they were signed"),
        (Some(name), Some(_)) => failed(format!("{name} is not the one that was signed")),
    }
}

fn exporter(signed: Option<&Result<String, String>>) -> Answer {
    match signed {
        None => not_asked("no exporter's key was given"),
        Some(Ok(keys)) => passed(format!("signed by {keys}")),
        Some(Err(error)) => failed(error.clone()),
    }
}

/// A few of these names, and how many more.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn named<'a>(logs: impl Iterator<Item = &'a Gathered>) -> Vec<String> {
    logs.map(|gathered| gathered.log.name.clone()).collect()
}

fn logs(logs: &[Gathered]) -> Answer {
    let wrong = named(logs.iter().filter(|gathered| !gathered.log.bundle.is_accepted()));
    if wrong.is_empty() {
        passed(format!("{} logs prove their entries", logs.len()))
    } else {
        failed(format!("{} of {} do not prove their entries: {}", wrong.len(), logs.len(), some(&wrong)))
    }
}

fn is_known(gathered: &Gathered, keys: &[VerifierKey]) -> bool {
    gathered.log.bundle.manifest.as_ref().is_some_and(|manifest| {
        keys.iter()
            .any(|key| key.name() == manifest.origin.as_str() && key.public_key() == manifest.audit_key)
    })
}

fn keys(logs: &[Gathered], expected: &Expected) -> Answer {
    if expected.trusted.is_none() && expected.log_keys.is_empty() {
        return not_asked("nothing was said of which keys or measurements are known");
    }
    let vouched = |gathered: &&Gathered| match &gathered.log.attestation {
        Some(attestation) => {
            matches!(attestation.verdict, Evaluation::Accepted | Evaluation::NotAcceptable)
        }
        None => is_known(gathered, &expected.log_keys),
    };
    let wrong = named(logs.iter().filter(|gathered| !vouched(gathered)));
    if wrong.is_empty() {
        passed(format!("every log's key is vouched for or known{}", as_of(logs, expected)))
    } else {
        failed(format!("neither evidence nor a given key vouches for {}", some(&wrong)))
    }
}

/// For which time evidence was judged, in words.
fn as_of(logs: &[Gathered], expected: &Expected) -> String {
    let judged = || logs.iter().filter_map(|gathered| gathered.log.attestation.as_ref());
    let Some(trusted) = expected.trusted.as_ref() else { return String::new() };
    match (judged().any(|of| of.is_witnessed), judged().all(|of| of.is_witnessed)) {
        (false, _) => format!(" as of {}", trusted.at),
        (true, true) => " as of when witnesses had seen the evidence".to_owned(),
        (true, false) => format!(" as of when witnesses had seen the evidence, or {}", trusted.at),
    }
}

fn measurements(logs: &[Gathered]) -> Answer {
    let judged: Vec<_> = logs
        .iter()
        .filter_map(|gathered| gathered.log.attestation.as_ref().map(|attestation| (gathered, attestation)))
        .filter(|(_, attestation)| {
            matches!(attestation.verdict, Evaluation::Accepted | Evaluation::NotAcceptable)
        })
        .collect();
    if judged.is_empty() {
        return not_asked("no evidence was judged");
    }
    let wrong = judged.iter().filter(|(_, attestation)| attestation.verdict != Evaluation::Accepted);
    let wrong = named(wrong.map(|(gathered, _)| *gathered));
    if wrong.is_empty() {
        passed(format!("{} guests are what is accepted", judged.len()))
    } else {
        failed(format!("not acceptable: {}", some(&wrong)))
    }
}

fn is_cosigned(gathered: &Gathered, policy: &Policy) -> bool {
    let manifest = gathered.log.bundle.manifest.as_ref();
    let key =
        manifest.and_then(|manifest| VerifierKey::new(manifest.origin.as_str(), manifest.audit_key).ok());
    key.is_some_and(|key| {
        let policy = policy.clone().for_logs(vec![key]);
        policy.judge(&gathered.log.bundle.checkpoint_note).is_ok()
    })
}

fn cosigned<'a>(logs: impl Iterator<Item = &'a Gathered>, expected: &Expected) -> Answer {
    let logs: Vec<&Gathered> = logs.collect();
    let Some(policy) = &expected.witnesses else { return not_asked("no witnesses were named") };
    if logs.is_empty() {
        return not_asked("no such log");
    }
    let wrong = named(logs.iter().filter(|gathered| !is_cosigned(gathered, policy)).copied());
    if wrong.is_empty() {
        passed(format!("{} logs have the quorum", logs.len()))
    } else {
        failed(format!("without the quorum: {}", some(&wrong)))
    }
}

fn checkpoints(logs: &[Gathered]) -> Answer {
    let of_log = |gathered: &Gathered| {
        let verdicts = gathered.log.bundle.verdicts.iter();
        verdicts
            .filter(|verdict| verdict.check == BundleCheck::Earlier && verdict.finding != Finding::NotAsked)
            .map(|verdict| (gathered.log.name.clone(), verdict.status))
            .collect::<Vec<_>>()
    };
    let all: Vec<_> = logs.iter().flat_map(of_log).collect();
    let with = |wanted| -> Vec<String> {
        all.iter().filter(|(_, status)| *status == wanted).map(|(name, _)| name.clone()).collect()
    };
    let (wrong, open) = (with(BundleStatus::Failed), with(BundleStatus::NotApplicable));
    if all.is_empty() {
        not_asked("none was seen elsewhere")
    } else if !wrong.is_empty() {
        failed(format!("of another history: {}", some(&wrong)))
    } else if !open.is_empty() {
        (Status::Noted, format!("outside of the exported range: {}", some(&open)))
    } else {
        passed(format!("{} checkpoints are of these histories", all.len()))
    }
}

/// The boots that had a key are those that brokers' logs name; a broker's log that is not whole cannot say which. A log under the name of
/// such a boot is its log when it names the evidence that a broker had of it: names are given by whoever starts guests.
fn boots(logs: &[Gathered], expected: &Expected) -> Answer {
    let (brokers, guests): (Vec<_>, Vec<_>) =
        logs.iter().filter(|log| log.log.bundle.is_accepted()).partition(|log| log.is_registry());
    if brokers.is_empty() {
        return not_asked("no broker's log is here to say which boots had a key");
    }
    let partial = |log: &&&Gathered| !log.log.bundle.manifest.as_ref().is_some_and(|m| m.is_whole());
    let partial = named(brokers.iter().filter(partial).copied());
    let unknown = named(brokers.iter().filter(|log| !is_known(log, &expected.log_keys)).copied());
    let served: BTreeSet<&Origin> = brokers.iter().flat_map(|log| &log.names.served.all).collect();
    let mut asked_with: BTreeMap<&Origin, BTreeSet<&Hash>> = BTreeMap::new();
    for (origin, evidence) in brokers.iter().flat_map(|log| &log.names.served_with.all) {
        asked_with.entry(origin).or_default().insert(evidence);
    }
    let all = brokers.iter().chain(&guests).map(|log| &log.names);
    let is_complete =
        |names: &Names| names.served.is_complete && names.served_with.is_complete && names.given.is_complete;
    let found = |origin: &Origin| match given(origin, &guests) {
        None => Presence::Missing,
        Some(given) => presence(asked_with.get(origin), &given),
    };
    let with = |wanted| -> Vec<String> {
        served.iter().filter(|origin| found(origin) == wanted).map(ToString::to_string).collect()
    };
    let (missing, other, nameless) =
        (with(Presence::Missing), with(Presence::Other), with(Presence::Nameless));
    if !missing.is_empty() {
        failed(format!("{} boots had a key and have no log here: {}", missing.len(), some(&missing)))
    } else if !all.into_iter().all(is_complete) {
        failed("more boots than can be compared")
    } else if !other.is_empty() {
        failed(format!("logs of other boots than those that had a key: {}", some(&other)))
    } else if !partial.is_empty() {
        (Status::Noted, format!("a part of a broker's log cannot name all boots: {}", some(&partial)))
    } else if !unknown.is_empty() {
        (Status::Noted, format!("by a broker's log whose key was not given: {}", some(&unknown)))
    } else if !nameless.is_empty() {
        (Status::Noted, format!("by name alone, no evidence to compare: {}", some(&nameless)))
    } else {
        passed(format!("all {} boots that had a key have their log here", served.len()))
    }
}

/// Whether the log of a boot that had a key is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// A log of its name names evidence that a broker had.
    Found,
    /// There is a log of its name, and not both sides name evidence.
    Nameless,
    /// There is a log of its name, with other evidence.
    Other,
    /// There is no log of its name.
    Missing,
}

/// The evidence that logs of this name name; `None` when there is none of this name.
fn given<'a>(origin: &Origin, guests: &[&'a Gathered]) -> Option<BTreeSet<&'a Hash>> {
    let is_named = |log: &&&Gathered| {
        log.log.bundle.manifest.as_ref().is_some_and(|manifest| manifest.origin == *origin)
    };
    let mut logs = guests.iter().filter(is_named).peekable();
    logs.peek()?;
    Some(logs.flat_map(|log| &log.names.given.all).collect())
}

/// One piece of evidence that fits is enough: a boot gives some for each key, and its log names the first.
fn presence(asked_with: Option<&BTreeSet<&Hash>>, given: &BTreeSet<&Hash>) -> Presence {
    match asked_with {
        Some(asked_with) if !given.is_empty() => {
            if asked_with.is_disjoint(given) {
                Presence::Other
            } else {
                Presence::Found
            }
        }
        _ => Presence::Nameless,
    }
}

fn endings(logs: &[Gathered]) -> Answer {
    let open: Vec<String> = logs
        .iter()
        .filter_map(|gathered| {
            let verdict = gathered.log.bundle.verdict(BundleCheck::Closure)?;
            match verdict.finding {
                Finding::NotClosed { lost_max, .. } => {
                    Some(format!("{} (at most {lost_max} entries unaccounted for)", gathered.log.name))
                }
                _ => None,
            }
        })
        .collect();
    if open.is_empty() {
        passed("no log ended otherwise than on purpose")
    } else {
        (Status::Noted, format!("not closed: {}", some(&open)))
    }
}

/// Everything of one kind that logs name.
fn named_by<'a>(facts: &'a Facts, of: impl Fn(&'a Names) -> &'a Named<Hash>) -> Named<Hash> {
    let mut together = Named::default();
    for named in facts.logs.iter().map(|gathered| of(&gathered.names)) {
        together.is_complete &= named.is_complete;
        named.all.iter().for_each(|hash| together.add(*hash));
    }
    together
}

fn times(logs: &[Gathered]) -> Answer {
    let of_log = |gathered: &Gathered| {
        let verdict = gathered.log.bundle.verdict(BundleCheck::Brackets)?;
        (verdict.status != BundleStatus::NotApplicable)
            .then(|| (verdict.status, format!("{}: {}", gathered.log.name, verdict.finding), verdict.finding))
    };
    let judged: Vec<_> = logs.iter().filter_map(of_log).collect();
    let wrong = judged.iter().filter(|(status, ..)| *status != BundleStatus::Passed);
    let wrong: Vec<String> = wrong.map(|(_, text, _)| text.clone()).collect();
    let widest = judged.iter().filter_map(|(_, _, finding)| match finding {
        Finding::Bracketed { widest_s } => Some(*widest_s),
        _ => None,
    });
    if judged.is_empty() {
        not_asked("no believed witness says when it saw the logs")
    } else if wrong.is_empty() {
        let widest = widest.max().unwrap_or(0);
        passed(format!("entries of {} logs lie between cosignatures at most {widest} s apart", judged.len()))
    } else {
        (Status::Noted, some(&wrong))
    }
}

fn policies(facts: &Facts, manifest: Option<&Manifest>) -> Answer {
    if manifest.is_none() {
        return not_asked("a bundle holds no policies");
    }
    let Named { all, is_complete } = named_by(facts, |names| &names.policies);
    let missing: Vec<String> = all.difference(&facts.policies).map(ToString::to_string).collect();
    if all.is_empty() {
        not_asked("no decision names a policy")
    } else if !is_complete {
        failed("more policies than can be compared")
    } else if missing.is_empty() {
        passed(format!("all {} policies that decided are here", all.len()))
    } else {
        failed(format!("decisions name policies that are not here: {}", some(&missing)))
    }
}

/// A dossier without any manifest says nothing of models; one that holds some holds all.
fn models(facts: &Facts, manifest: Option<&Manifest>) -> Answer {
    if manifest.is_none() {
        return not_asked("a bundle holds no manifests of models");
    }
    let Named { all, is_complete } = named_by(facts, |names| &names.models);
    let missing: Vec<String> = all.difference(&facts.models).map(ToString::to_string).collect();
    if all.is_empty() {
        not_asked("no entry names a manifest")
    } else if facts.models.is_empty() {
        (Status::Noted, format!("manifests that entries name, none of them here: {}", some(&missing)))
    } else if !is_complete {
        failed("more models than can be compared")
    } else if missing.is_empty() {
        passed(format!("the manifests of all {} models are here", all.len()))
    } else {
        failed(format!("entries name manifests that are not here: {}", some(&missing)))
    }
}

fn sample(logs: &[Gathered], sample: Option<&Sampled>) -> Answer {
    let Some(sample) = sample else { return not_asked("none was drawn") };
    let pairs = logs.iter().zip(&sample.drawn);
    let wrong = named(pairs.filter(|(log, drawn)| log.drawn.as_ref() != Some(drawn)).map(|(log, _)| log));
    if wrong.is_empty() {
        passed(format!("the word `{}` draws it again", sample.word))
    } else {
        failed(format!("the word does not draw it: {}", some(&wrong)))
    }
}
