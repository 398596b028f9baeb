//! Which entries of a log may go.

use crate::error::Result;
use crate::retention::Selection;
use crate::shelf::ArchivedLog;
use crate::state::{LogRecord, State};
use anchorhold_audit_log::{Entry, Hash, HoldId, Origin, SubjectKeyId};
use std::collections::BTreeSet;

/// A guest's clock that is behind the witnesses' by more is not believed.
const MAX_BEHIND_NS: i64 = 24 * 3600 * 1_000_000_000;

/// What of a log may go now, and what keeps the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Which log.
    pub origin: Origin,
    /// The size of its checkpoint.
    pub size: u64,
    /// The root hash of its checkpoint.
    pub root: Hash,
    /// The first entry that is there.
    pub first: u64,
    /// The first entry that stays; the same when nothing may go.
    pub end: u64,
    /// What keeps that entry; `None` when nothing stays.
    pub kept: Option<Why>,
    /// Keys that are for entries that go, and for none that stay: they are of no use any more.
    pub kids: Vec<SubjectKeyId>,
}

/// Why an entry stays, and every one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its time has not come.
    Young {
        /// When it comes, in nanoseconds since 1970.
        until_ns: i64,
    },
    /// A hold covers it.
    Held {
        /// Which.
        hold: HoldId,
    },
}

impl Plan {
    /// What may go of this log at `now_ns`.
    ///
    /// The time of an entry is the latest that it or one before it claims: guests go by the time that their key broker signed, so that a
    /// host cannot make entries old. Where witnesses that the archivist named cosigned the log, and the log claims to be more than a day older
    /// than that, none of its claims is believed, and all of its entries count as being of the time of the cosignature.
    pub(crate) fn of(
        log: &ArchivedLog,
        record: &LogRecord,
        (state, selection): (&State, &Selection),
        now_ns: i64,
    ) -> Result<Self> {
        let mut newest = i64::MIN;
        log.each_entry(|entry| {
            newest = newest.max(entry.t);
            Ok(())
        })?;
        let floor = record.cosigned_ns.filter(|cosigned| newest < cosigned.saturating_sub(MAX_BEHIND_NS));
        let mut plan = Self {
            origin: record.origin.clone(),
            size: record.size,
            root: record.root,
            first: record.minimum(),
            end: record.minimum(),
            kept: None,
            kids: Vec::new(),
        };
        let (mut going, mut staying) = (BTreeSet::new(), BTreeSet::new());
        let mut told_ns = floor.unwrap_or(i64::MIN);
        log.each_entry(|entry| {
            told_ns = told_ns.max(entry.t);
            if plan.kept.is_none() {
                plan.kept = plan.why_kept(entry, told_ns, (state, selection), now_ns);
            }
            let kids = if plan.kept.is_none() {
                plan.end = entry.seq + 1;
                &mut going
            } else {
                &mut staying
            };
            kids.extend(entry.sealed.as_ref().map(|sealed| sealed.kid));
            Ok(())
        })?;
        plan.kids = going.difference(&staying).copied().collect();
        Ok(plan)
    }

    fn why_kept(
        &self,
        entry: &Entry,
        told_ns: i64,
        (state, selection): (&State, &Selection),
        now_ns: i64,
    ) -> Option<Why> {
        if let Some(hold) = state.hold_over(&self.origin, entry) {
            return Some(Why::Held { hold: hold.clone() });
        }
        let until_ns = selection.ends_ns(entry.kind, told_ns);
        (until_ns > now_ns).then_some(Why::Young { until_ns })
    }

    /// Whether nothing may go.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first == self.end
    }
}
