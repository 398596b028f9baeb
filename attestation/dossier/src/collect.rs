//! What has to be known of all logs together, gathered in bounded memory while their entries stream by.

use anchorhold_audit_log::{Entry, EventType, Hash, Origin, Outcome};
use std::collections::BTreeSet;

/// The most logs that brokers' entries may name, and the most policies, manifests and pieces of evidence.
const MAX_NAMED: usize = 100_000;

/// A set that says when it could not hold everything.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) all: BTreeSet<T>,
    pub(crate) is_complete: bool,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { all: BTreeSet::new(), is_complete: true }
    }
}

impl<T: Ord> Named<T> {
    pub(crate) fn add(&mut self, item: T) {
        if self.all.len() < MAX_NAMED || self.all.contains(&item) {
            self.all.insert(item);
        } else {
            self.is_complete = false;
        }
    }
}

/// What one log names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The logs of guests that were given a key.
    pub(crate) served: Named<Origin>,
    /// The same with the evidence with which the key was asked for.
    pub(crate) served_with: Named<(Origin, Hash)>,
    /// The evidence that the boot of the log gave.
    pub(crate) given: Named<Hash>,
    /// The policies by which was decided.
    pub(crate) policies: Named<Hash>,
    /// The manifests of models.
    pub(crate) models: Named<Hash>,
}

impl Names {
    pub(crate) fn take(&mut self, entry: &Entry) {
        if let Some(decision) = &entry.decision {
            self.policies.add(decision.policy_digest);
        }
        if let Some(manifest) = entry.model.as_ref().and_then(|model| model.manifest) {
            self.models.add(manifest);
        }
        let evidence = entry.platform.as_ref().and_then(|platform| platform.evidence);
        let gives = matches!(entry.kind, EventType::LogOpen | EventType::BootEvidence);
        if let Some(evidence) = evidence.filter(|_| gives) {
            self.given.add(evidence);
        }
        let released = matches!(entry.kind, EventType::KeyRelease | EventType::KeyRenew)
            && entry.out == Outcome::Success;
        if let Some(state) = entry.log.as_ref().filter(|_| released) {
            self.served.add(state.origin.clone());
            if let Some(evidence) = evidence {
                self.served_with.add((state.origin.clone(), evidence));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_left_out_and_that_is_known() {
        let mut named = Named::default();
        (0..MAX_NAMED).for_each(|item| named.add(item));
        named.add(7);
        assert!(named.is_complete && named.all.len() == MAX_NAMED, "one that is known takes no place");
        named.add(MAX_NAMED);
        named.add(7);
        assert!(!named.is_complete && named.all.len() == MAX_NAMED);
        assert!(!named.all.contains(&MAX_NAMED));
    }
}
