//! Whether the logs follow one another as they say. Each names the log of its deployment that came before it, as far as witnesses had
//! cosigned that one then, so a log that was cut, exchanged or left out shows in the log after it.

use crate::report::Status;
use anchorhold_audit_log::{Follows, Origin, Predecessor, Report as Bundle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One log, as it was verified.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// How verdicts call it.
    pub name: &'a str,
    /// What was found.
    pub bundle: &'a Bundle,
}

/// What became of the log that another names as the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Link {
    /// The log says nothing of it: an older guest's, a broker's, or an export that leaves that entry out.
    Unsaid,
    /// Whoever released the key could not tell.
    NotTold,
    /// The key broker knew of none.
    First,
    /// The log is not here.
    Absent {
        /// What is said of it.
        log: Predecessor,
    },
    /// It is here and begins with what was cosigned then.
    Holds {
        /// What is said of it.
        log: Predecessor,
    },
    /// It is here, and the export leaves out what would show it.
    OutOfRange {
        /// What is said of it.
        log: Predecessor,
    },
    /// It is here and is not what was cosigned then.
    Broken {
        /// What is said of it.
        log: Predecessor,
        /// Why.
        fault: Fault,
    },
}

/// Why a log is not the one that another names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It has fewer entries than had been cosigned: it was cut.
    Cut,
    /// Its first entries are others: it has two histories.
    OtherHistory,
    /// It has more entries, and had been closed.
    GrewAfterItsEnd,
    /// It proves nothing itself.
    NotProven,
    /// Its entries were not compared.
    NotCompared,
}

impl Fault {
    const fn words(self) -> &'static str {
        match self {
            Self::Cut => "it has fewer entries here",
            Self::OtherHistory => "its first entries are others here",
            Self::GrewAfterItsEnd => "it has more entries here, and had been closed",
            Self::NotProven => "what is here proves nothing",
            Self::NotCompared => "its entries were not compared",
        }
    }
}

impl Link {
    /// What a log that is read alone says of the log before it.
    #[must_use]
    pub fn of(bundle: &Bundle) -> Self {
        match bundle.follows.as_ref().filter(|_| bundle.is_accepted()) {
            None => Self::Unsaid,
            Some(Follows::NotTold) => Self::NotTold,
            Some(Follows::Nothing) => Self::First,
            Some(Follows::Log(log)) => Self::Absent { log: log.clone() },
        }
    }

    /// In words, without the log that says it.
    #[must_use]
    pub fn words(&self) -> String {
        let named = |log: &Predecessor| {
            let ending = if log.closed { ", closed" } else { "" };
            format!("{} at {} entries{ending}", log.origin, log.size)
        };
        match self {
            Self::Unsaid => "nothing is said".to_owned(),
            Self::NotTold => "nobody could tell".to_owned(),
            Self::First => "the broker knew of none".to_owned(),
            Self::Absent { log } => format!("{}; not here", named(log)),
            Self::Holds { log } => format!("{}; it is here, and so it is", named(log)),
            Self::OutOfRange { log } => format!("{}; outside of what was exported", named(log)),
            Self::Broken { log, fault } => format!("{}; {}", named(log), fault.words()),
        }
    }

    const fn log(&self) -> Option<&Predecessor> {
        match self {
            Self::Unsaid | Self::NotTold | Self::First => None,
            Self::Absent { log }
            | Self::Holds { log }
            | Self::OutOfRange { log }
            | Self::Broken { log, .. } => Some(log),
        }
    }
}

fn origin(bundle: &Bundle) -> Option<&Origin> {
    bundle.manifest.as_ref().map(|manifest| &manifest.origin)
}

/// The log before this one, if it says so and can be believed.
fn named(bundle: &Bundle) -> Option<&Predecessor> {
    match bundle.follows.as_ref().filter(|_| bundle.is_accepted())? {
        Follows::Log(log) => Some(log),
        Follows::Nothing | Follows::NotTold => None,
    }
}

/// The sizes at which other logs here name each log, in the order of the logs: what a reading has to know beforehand
/// ([`Expectations::sizes`](anchorhold_audit_log::Expectations)) for [`links`] to compare them.
#[must_use]
pub fn sizes(logs: &[Boot<'_>]) -> Vec<Vec<u64>> {
    let mut named_at: BTreeMap<&Origin, BTreeSet<u64>> = BTreeMap::new();
    for log in logs.iter().filter_map(|log| named(log.bundle)) {
        named_at.entry(&log.origin).or_default().insert(log.size);
    }
    let of_log = |log: &Boot<'_>| origin(log.bundle).and_then(|origin| named_at.get(origin));
    logs.iter().map(|log| of_log(log).into_iter().flatten().copied().collect()).collect()
}

/// What became of each log's predecessor, in the order of the logs.
#[must_use]
pub fn links(logs: &[Boot<'_>]) -> Vec<Link> {
    let mut here: BTreeMap<&Origin, &Bundle> = BTreeMap::new();
    for log in logs {
        let Some(origin) = origin(log.bundle) else { continue };
        let size = |bundle: &Bundle| bundle.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.head.size);
        let best = here.entry(origin).or_insert(log.bundle);
        // Of one log that is here twice, what was exported last.
        if size(log.bundle) > size(best) {
            *best = log.bundle;
        }
    }
    let link = |bundle: &Bundle| match Link::of(bundle) {
        Link::Absent { log } => match here.get(&log.origin) {
            None => Link::Absent { log },
            Some(predecessor) => compare(log, predecessor),
        },
        other => other,
    };
    logs.iter().map(|log| link(log.bundle)).collect()
}

fn compare(log: Predecessor, here: &Bundle) -> Link {
    let (Some(checkpoint), Some(manifest)) = (&here.checkpoint, &here.manifest) else {
        return Link::Broken { log, fault: Fault::NotProven };
    };
    let size = checkpoint.head.size;
    let exported = manifest.first..=manifest.first + manifest.count;
    let fault = match here.head(log.size) {
        _ if !here.is_accepted() => Some(Fault::NotProven),
        _ if size < log.size => Some(Fault::Cut),
        Some(head) if head.root != log.root => Some(Fault::OtherHistory),
        _ if log.closed && size > log.size => Some(Fault::GrewAfterItsEnd),
        Some(_) => None,
        None if exported.contains(&log.size) => Some(Fault::NotCompared),
        None => return Link::OutOfRange { log },
    };
    match fault {
        Some(fault) => Link::Broken { log, fault },
        None => Link::Holds { log },
    }
}

/// Whether the logs follow one another.
///
/// A broker puts the logs of a deployment into one line, so of those that are here only the oldest can follow one that is not: two that are
/// not here show that a boot between was left out. Two logs that follow the same one are no attack; a broker that was set back, and
/// brokers that do not share a store, make such.
#[must_use]
pub fn judge(logs: &[Boot<'_>], links: &[Link]) -> (Status, String) {
    let all: Vec<(&str, Option<&Origin>, &Link)> =
        logs.iter().zip(links).map(|(log, link)| (log.name, origin(log.bundle), link)).collect();
    let broken: Vec<String> = all
        .iter()
        .filter(|(_, _, link)| matches!(link, Link::Broken { .. }))
        .map(|(name, _, link)| format!("{name} follows {}", link.words()))
        .collect();
    if !broken.is_empty() {
        return (Status::Failed, some(&broken));
    }
    if let Some(name) = circle(&all) {
        return (Status::Failed, format!("{name} comes before itself"));
    }
    let missing = missing(&all);
    if let Some(left_out) = missing.iter().find(|absent| absent.len() > 1) {
        let names: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        let text = format!("at most one of these came before all that are here: {}", some(&names));
        return (Status::Failed, text);
    }
    let mut notes: Vec<String> =
        missing.into_iter().flatten().map(|origin| format!("{origin} came before and is not here")).collect();
    let unproven = all.iter().filter(|(_, _, link)| matches!(link, Link::OutOfRange { .. }));
    notes.extend(unproven.map(|(name, _, link)| format!("{name} follows {}", link.words())));
    notes.extend(forks(&all));
    let told = all.iter().filter(|(_, _, link)| !matches!(link, Link::Unsaid | Link::NotTold)).count();
    match (told, notes.is_empty()) {
        (0, _) => (Status::NotApplicable, "no log says which came before it".to_owned()),
        (1, true) => {
            (Status::Passed, "one log says which came before it, and nothing here says otherwise".to_owned())
        }
        (_, true) => (Status::Passed, format!("{told} logs follow one another")),
        (_, false) => (Status::Noted, some(&notes)),
    }
}

type Told<'a> = (&'a str, Option<&'a Origin>, &'a Link);

/// A log that comes before itself, whichever way round.
fn circle<'a>(all: &[Told<'a>]) -> Option<&'a str> {
    let before: BTreeMap<&Origin, &Origin> =
        all.iter().filter_map(|(_, own, link)| Some(((*own)?, &link.log()?.origin))).collect();
    all.iter().find_map(|(name, own, _)| {
        let own = (*own)?;
        let mut at = own;
        // No way through the logs that are here is longer than there are logs.
        for _ in 0..before.len() {
            at = before.get(at).copied()?;
            if at == own {
                return Some(*name);
            }
        }
        None
    })
}

/// The logs that are named and not here, for each deployment.
fn missing<'a>(all: &[Told<'a>]) -> Vec<BTreeSet<&'a Origin>> {
    let mut missing: BTreeMap<Option<&str>, BTreeSet<&Origin>> = BTreeMap::new();
    for (_, _, link) in all {
        if let Link::Absent { log } = *link {
            missing.entry(log.origin.deployment()).or_default().insert(&log.origin);
        }
    }
    missing.into_values().collect()
}

/// Logs that several others follow.
fn forks(all: &[Told<'_>]) -> Vec<String> {
    let mut after: BTreeMap<&Origin, BTreeSet<&Origin>> = BTreeMap::new();
    for (_, own, link) in all {
        if let (Some(own), Some(log)) = (own, link.log()) {
            after.entry(&log.origin).or_default().insert(own);
        }
    }
    let several = after.into_iter().filter(|(_, after)| after.len() > 1);
    several
        .map(|(origin, after)| {
            let after: Vec<String> = after.iter().map(ToString::to_string).collect();
            format!("{} follow {origin}: by brokers that did not know of one another, or of one that was set back", after.join(" and "))
        })
        .collect()
}

fn some(texts: &[String]) -> String {
    const MAX_LISTED: usize = 5;
    let shown: Vec<&str> = texts.iter().take(MAX_LISTED).map(String::as_str).collect();
    match texts.len().saturating_sub(MAX_LISTED) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}
