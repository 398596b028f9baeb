//! How often a log tells what, counted while it streams by, in bounded memory.

use crate::summary::{model_name, outcome_name};
use anchorhold_audit_log::{Entry, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;

/// The most names that one [`Tally`] counts apart; those that come later are counted together.
pub const MAX_NAMES: usize = 1000;

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How often each name came, of the first [`MAX_NAMES`] different ones.
    pub named: BTreeMap<String, u64>,
    /// How often others came.
    pub others: u64,
}

impl Tally {
    fn count(&mut self, name: &str) {
        if let Some(count) = self.named.get_mut(name) {
            *count += 1;
        } else if self.named.len() < MAX_NAMES {
            self.named.insert(name.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }
}

/// The longest time between two entries that were counted one after the other, by the clock that never steps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// How long, in nanoseconds.
    pub ns: u64,
    /// The index of the entry that ended it.
    pub ended_by: u64,
}

/// Counts of one log. Times and counts are claims of the guest that wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// How many entries were counted.
    pub entries: u64,
    /// The earliest and the latest wall clock time that they carry, in nanoseconds since 1970.
    pub times_ns: Option<(i64, i64)>,
    /// The longest silence; none before the second entry.
    pub silence: Option<Silence>,
    /// Prompt tokens of all requests.
    pub prompt_tokens: u64,
    /// Generated tokens of all requests.
    pub generated_tokens: u64,
    /// By kind.
    pub kinds: Tally,
    /// By how it ended.
    pub outcomes: Tally,
    /// Of what did not succeed, by the code that says why.
    pub reasons: Tally,
    /// By the tenant that is named.
    pub tenants: Tally,
    /// By the model and version that is named.
    pub models: Tally,
    #[serde(skip)]
    last_mono: Option<u64>,
}

impl Stats {
    /// Counts an entry; entries come in the order of their indexes.
    pub fn take(&mut self, entry: &Entry) {
        self.entries += 1;
        let (first, last) = self.times_ns.unwrap_or((entry.t, entry.t));
        self.times_ns = Some((first.min(entry.t), last.max(entry.t)));
        if let Some(before) = self.last_mono.replace(entry.mono) {
            let silence = Silence { ns: entry.mono.saturating_sub(before), ended_by: entry.seq };
            if self.silence.is_none_or(|longest| silence.ns > longest.ns) {
                self.silence = Some(silence);
            }
        }
        self.kinds.count(entry.kind.name());
        self.outcomes.count(outcome_name(entry.out));
        if entry.out != Outcome::Success {
            self.reasons.count(&entry.code.to_string());
        }
        if let Some(tenant) = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref()) {
            self.tenants.count(&tenant.to_string());
        }
        if let Some(model) = &entry.model {
            self.models.count(&model_name(model));
        }
        if let Some(request) = &entry.req {
            self.prompt_tokens = self.prompt_tokens.saturating_add(request.tin);
            self.generated_tokens = self.generated_tokens.saturating_add(request.tout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let mut tally = Tally::default();
        for name in 0..MAX_NAMES + 2 {
            tally.count(&name.to_string());
        }
        tally.count("0");
        assert_eq!((tally.named.len(), tally.others, tally.named["0"]), (MAX_NAMES, 2, 2));
    }
}
