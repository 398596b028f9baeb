//! What a log tells, counted while it streams by, in bounded memory.

use anchorhold_audit_log::{Code, Entry, EventType, Model, ModelId, Outcome};
use std::collections::BTreeMap;

/// The most different reasons that are counted apart; those that come later are counted together.
pub const MAX_REASONS: usize = 1000;
/// How many entries of each kind are kept to be shown.
pub const SAMPLES_KEPT: usize = 2;
/// The most entries that are listed one by one.
const MAX_LISTED: usize = 500;
/// The most models that are counted apart.
const MAX_MODELS: usize = 200;

/// Kinds that an auditor wants to see one by one.
const LISTED: &[EventType] = &[
    EventType::PolicyLoad,
    EventType::PolicyReject,
    EventType::ConfigChange,
    EventType::BreakGlass,
    EventType::KeyImport,
    EventType::KeyRotate,
    EventType::KeyRevoke,
    EventType::KeyDestroy,
    EventType::LogExport,
    EventType::LogAnchorFail,
    EventType::ComponentCrash,
];

/// Kinds that say what an archive keeps and no longer keeps.
const KEPT: &[EventType] = &[
    EventType::LogArchive,
    EventType::LogPrune,
    EventType::HoldPlace,
    EventType::HoldRelease,
    EventType::Erasure,
];

/// How often a kind of entry was told, and which entries show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// How often.
    pub count: u64,
    /// How often with another end than success.
    pub unsuccessful: u64,
    /// The indexes of the first of them, at most [`SAMPLES_KEPT`].
    pub samples: Vec<u64>,
}

/// A kind of entry, how it ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The kind.
    pub kind: &'static str,
    /// How it ended.
    pub outcome: &'static str,
    /// Why.
    pub code: String,
}

/// What one model did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that were answered in full.
    pub requests: u64,
    /// Their prompt tokens.
    pub prompt_tokens: u64,
    /// Their generated tokens.
    pub generated_tokens: u64,
}

/// Counts of one log.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    entries: u64,
    times: Option<(i64, i64)>,
    kinds: BTreeMap<&'static str, Told>,
    reasons: BTreeMap<Reason, u64>,
    reasons_beyond: u64,
    listed: Vec<Entry>,
    listed_beyond: u64,
    kept: Vec<Entry>,
    kept_beyond: u64,
    sealed: u64,
    shown: BTreeMap<u64, Entry>,
    served: BTreeMap<String, Served>,
}

impl Summary {
    /// Counts an entry; entries come in the order of their indexes.
    pub fn take(&mut self, entry: &Entry) {
        self.entries += 1;
        let (first, last) = self.times.unwrap_or((entry.t, entry.t));
        self.times = Some((first.min(entry.t), last.max(entry.t)));
        let told = self.kinds.entry(entry.kind.name()).or_default();
        told.count += 1;
        told.unsuccessful += u64::from(entry.out != Outcome::Success);
        if told.samples.len() < SAMPLES_KEPT {
            told.samples.push(entry.seq);
            self.shown.insert(entry.seq, entry.clone());
        }
        self.count_reason(entry);
        if LISTED.contains(&entry.kind) {
            if self.listed.len() < MAX_LISTED {
                self.listed.push(entry.clone());
            } else {
                self.listed_beyond += 1;
            }
        }
        self.sealed += u64::from(entry.sealed.is_some());
        if KEPT.contains(&entry.kind) {
            if self.kept.len() < MAX_LISTED {
                self.kept.push(entry.clone());
            } else {
                self.kept_beyond += 1;
            }
        }
        if let (EventType::InferComplete, Some(model), Some(request)) = (entry.kind, &entry.model, &entry.req)
        {
            let name = model_name(model);
            if self.served.len() < MAX_MODELS || self.served.contains_key(&name) {
                let served = self.served.entry(name).or_default();
                served.requests += 1;
                served.prompt_tokens = served.prompt_tokens.saturating_add(request.tin);
                served.generated_tokens = served.generated_tokens.saturating_add(request.tout);
            }
        }
    }

    fn count_reason(&mut self, entry: &Entry) {
        if entry.out == Outcome::Success && entry.code == Code::OK {
            return;
        }
        let outcome = outcome_name(entry.out);
        let reason = Reason { kind: entry.kind.name(), outcome, code: entry.code.to_string() };
        if self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        } else {
            self.reasons_beyond += 1;
        }
    }

    /// Has this entry shown too, as one that an auditor drew.
    pub fn show(&mut self, entry: &Entry) {
        self.shown.insert(entry.seq, entry.clone());
    }

    /// How many entries there were.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The earliest and the latest time that entries carry, in nanoseconds since 1970.
    #[must_use]
    pub const fn times(&self) -> Option<(i64, i64)> {
        self.times
    }

    /// What was told of this kind.
    #[must_use]
    pub fn told(&self, kind: &str) -> Told {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }

    /// Each kind that was told, by name.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &Told)> {
        self.kinds.iter().map(|(kind, told)| (*kind, told))
    }

    /// Whatever did not simply succeed, by reason; and how many entries had reasons beyond [`MAX_REASONS`].
    #[must_use]
    pub const fn reasons(&self) -> (&BTreeMap<Reason, u64>, u64) {
        (&self.reasons, self.reasons_beyond)
    }

    /// The first entries of the kinds that are listed one by one, and how many came after them.
    #[must_use]
    pub fn listed(&self) -> (&[Entry], u64) {
        (&self.listed, self.listed_beyond)
    }

    /// How many entries have a sealed personal part.
    #[must_use]
    pub const fn sealed(&self) -> u64 {
        self.sealed
    }

    /// The first acts of an archive, and how many came after them.
    #[must_use]
    pub fn kept(&self) -> (&[Entry], u64) {
        (&self.kept, self.kept_beyond)
    }

    /// The entries that are shown whole, by index.
    pub fn shown(&self) -> impl Iterator<Item = &Entry> {
        self.shown.values()
    }

    /// What each model answered, by name and version.
    #[must_use]
    pub const fn served(&self) -> &BTreeMap<String, Served> {
        &self.served
    }
}

pub(crate) fn model_name(model: &Model) -> String {
    let id: &ModelId = &model.id;
    model.ver.map_or_else(|| id.to_string(), |version| format!("{id} version {version}"))
}

/// The word that entries have for how something ended.
pub(crate) const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Denied => "denied",
        Outcome::Cancelled => "cancelled",
        Outcome::Error => "error",
    }
}
