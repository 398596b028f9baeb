//! How many requests run at one time, over all tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts who is inside. The limit comes with each request, because it may change.
#[derive(Debug, Default)]
pub(crate) struct Gate(Arc<AtomicUsize>);

/// One place, given back on drop.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Gate {
    /// A place, unless `most` are taken.
    pub(crate) fn enter(&self, most: usize) -> Option<Place> {
        let next = |inside: usize| (inside < most).then_some(inside + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_as_many_as_it_is_told_to() {
        let gate = Gate::default();
        let (one, two) = (gate.enter(2).unwrap(), gate.enter(2).unwrap());
        assert!(gate.enter(2).is_none());
        drop(one);
        assert!(gate.enter(1).is_none(), "one is inside");
        let three = gate.enter(2).unwrap();
        drop((two, three));
        assert!(gate.enter(1).is_some());
    }
}
