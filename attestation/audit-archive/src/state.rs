//! What the archive's log says of the archive: read out of it entry by entry, and nowhere else written.

use anchorhold_audit_log::{
    Code, Entry, EventType, Hash, HoldId, Keeping, Origin, Outcome, SubjectKeyId, TenantId,
};
use std::collections::BTreeMap;

/// The most logs of one archive.
pub const MAX_LOGS: usize = 10_000;
/// The most holds that one archive may ever have had.
pub const MAX_HOLDS: usize = 10_000;

/// What an archive holds and no longer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its logs, by their names.
    pub logs: BTreeMap<String, LogRecord>,
    /// Every hold that was ever placed.
    pub holds: BTreeMap<HoldId, Hold>,
    /// Keys that were destroyed, each with the index of the act.
    pub erased: BTreeMap<SubjectKeyId, u64>,
}

/// A log of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its name.
    pub origin: Origin,
    /// The size of its checkpoint.
    pub size: u64,
    /// The root hash of its checkpoint.
    pub root: Hash,
    /// When witnesses that the archivist named last cosigned that checkpoint, in nanoseconds since 1970; `None` where none was named.
    pub cosigned_ns: Option<i64>,
    /// The act with which it came, in this size.
    pub act: u64,
    /// What of it is gone, in order.
    pub gone: Vec<Gone>,
}

impl LogRecord {
    /// The index before which its entries are gone.
    #[must_use]
    pub fn minimum(&self) -> u64 {
        self.gone.last().map_or(0, |gone| gone.end)
    }
}

/// Entries that were pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The index of the act in the archive's log.
    pub act: u64,
    /// The first of them.
    pub first: u64,
    /// The index before which they end.
    pub end: u64,
    /// The profiles by which they went.
    pub profiles: Vec<Code>,
}

/// What a hold covers. What is `None` restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Entries of this log.
    pub origin: Option<Origin>,
    /// Entries about this tenant.
    pub tenant: Option<TenantId>,
    /// Entries from this time on, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Entries before this time.
    pub until_ns: Option<i64>,
}

impl Scope {
    /// Whether it covers an entry of the log with this name.
    #[must_use]
    pub fn covers(&self, origin: &Origin, entry: &Entry) -> bool {
        let tenant = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref());
        self.origin.as_ref().is_none_or(|own| own == origin)
            && self.tenant.as_ref().is_none_or(|own| Some(own) == tenant)
            && self.since_ns.is_none_or(|since| entry.t >= since)
            && self.until_ns.is_none_or(|until| entry.t < until)
    }
}

/// Entries that must be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What it covers.
    pub scope: Scope,
    /// Why.
    pub reason: Code,
    /// The act that placed it.
    pub placed: u64,
    /// The act that released it; it stands while there is none.
    pub released: Option<u64>,
}

impl State {
    /// The holds that stand.
    pub fn standing(&self) -> impl Iterator<Item = (&HoldId, &Hold)> {
        self.holds.iter().filter(|(_, hold)| hold.released.is_none())
    }

    /// The first hold that stands and covers this entry.
    #[must_use]
    pub fn hold_over(&self, origin: &Origin, entry: &Entry) -> Option<&HoldId> {
        self.standing().find(|(_, hold)| hold.scope.covers(origin, entry)).map(|(id, _)| id)
    }

    /// Takes the next entry of the archive's log. `Err` names the rule that it breaks: the archivist writes no such entry.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let Some(keep) = &entry.keep else { return Ok(()) };
        if entry.out != Outcome::Success {
            return Ok(());
        }
        match entry.kind {
            EventType::LogArchive => self.came(entry.seq, keep),
            EventType::LogPrune => self.went(entry.seq, keep),
            EventType::HoldPlace => self.place(entry, keep),
            EventType::HoldRelease => self.release(entry.seq, keep),
            EventType::Erasure => {
                let kid = keep.kid.ok_or("an erasure of no key")?;
                self.erased.entry(kid).or_insert(entry.seq);
                Ok(())
            }
            _ => Err("an act that is none"),
        }
    }

    fn came(&mut self, act: u64, keep: &Keeping) -> Result<(), &'static str> {
        let (Some(origin), Some(size), Some(root)) = (&keep.origin, keep.size, keep.root) else {
            return Err("a log without name, size or root");
        };
        let before = self.logs.remove(origin.as_str());
        if before.is_none() && self.logs.len() >= MAX_LOGS {
            return Err("too many logs");
        }
        if before.as_ref().is_some_and(|before| before.size >= size) {
            return Err("a log that became no longer");
        }
        let gone = before.map(|before| before.gone).unwrap_or_default();
        let record = LogRecord { origin: origin.clone(), size, root, cosigned_ns: keep.until, act, gone };
        self.logs.insert(origin.to_string(), record);
        Ok(())
    }

    fn went(&mut self, act: u64, keep: &Keeping) -> Result<(), &'static str> {
        let (Some(origin), Some(first), Some(end)) = (&keep.origin, keep.first, keep.end) else {
            return Err("entries that are not said to have gone");
        };
        let log = self.logs.get_mut(origin.as_str()).ok_or("entries of a log that never came")?;
        if first != log.minimum() || end <= first || end > log.size {
            return Err("entries that were not there");
        }
        log.gone.push(Gone { act, first, end, profiles: keep.profiles.clone() });
        Ok(())
    }

    fn place(&mut self, entry: &Entry, keep: &Keeping) -> Result<(), &'static str> {
        let id = keep.hold.clone().ok_or("a hold without a name")?;
        if self.holds.contains_key(&id) || self.holds.len() >= MAX_HOLDS {
            return Err("a hold that was placed before, or one too many");
        }
        let scope = Scope {
            origin: keep.origin.clone(),
            tenant: keep.tenant.clone(),
            since_ns: keep.since,
            until_ns: keep.until,
        };
        let hold = Hold { scope, reason: entry.code.clone(), placed: entry.seq, released: None };
        self.holds.insert(id, hold);
        Ok(())
    }

    fn release(&mut self, act: u64, keep: &Keeping) -> Result<(), &'static str> {
        let hold = keep.hold.as_ref().and_then(|id| self.holds.get_mut(id)).ok_or("a release of no hold")?;
        if hold.released.replace(act).is_some() {
            return Err("a release of a hold that was released");
        }
        Ok(())
    }
}
