//! Choosing entries.

use anchorhold_audit_log::{Entry, EventType, Hash, Outcome, TenantId};
use std::collections::BTreeSet;

/// Which entries are wanted. What is left out asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// From this time on, in nanoseconds since 1970. The guest's clock is a claim: a guest whose clock was wrong has its entries where it
    /// said they were.
    pub since_ns: Option<i64>,
    /// Before this time.
    pub until_ns: Option<i64>,
    /// Of one tenant: for who asks what is stored about them.
    pub tenant: Option<TenantId>,
    /// Of one caller, by the pseudonym that its entries of one boot and period have.
    pub pseudonym: Option<Hash>,
    /// Of these kinds, by their names; all when empty.
    pub kinds: BTreeSet<&'static str>,
    /// With this end.
    pub outcome: Option<Outcome>,
}

impl Filter {
    /// Adds a kind by its name; false when there is none of that name.
    #[must_use]
    pub fn add_kind(&mut self, name: &str) -> bool {
        let kind = EventType::ALL.iter().find(|kind| kind.name() == name);
        kind.is_some_and(|kind| {
            self.kinds.insert(kind.name());
            true
        })
    }

    /// Whether the entry is wanted.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let tenant = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref());
        let pseudonym = entry.actor.as_ref().and_then(|actor| actor.pseud);
        self.since_ns.is_none_or(|since| entry.t >= since)
            && self.until_ns.is_none_or(|until| entry.t < until)
            && self.tenant.as_ref().is_none_or(|wanted| tenant == Some(wanted))
            && self.pseudonym.is_none_or(|wanted| pseudonym == Some(wanted))
            && (self.kinds.is_empty() || self.kinds.contains(entry.kind.name()))
            && self.outcome.is_none_or(|outcome| entry.out == outcome)
    }
}
