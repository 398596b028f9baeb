//! The memory that compiled forms may take together, shared out by tenant.
//!
//! A form is compiled before anybody knows when its request will run, and is kept until the request ends. Each form has limits of its
//! own; this is the one over all of them, wherever they are: between the threads, waiting, or at work.

use anchorhold_engine::{CacheDomain, Tenancy, part};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the thread that compiles forms and the one that lets go of them.
#[derive(Debug)]
pub(crate) struct FormBudget {
    limit: usize,
    held: Mutex<HashMap<CacheDomain, Held>>,
}

/// What one tenant holds.
#[derive(Debug)]
struct Held {
    tenancy: Tenancy,
    bytes: usize,
    /// Permits that are out.
    permits: usize,
}

/// Leave to keep a compiled form; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct FormPermit {
    budget: Arc<FormBudget>,
    domain: CacheDomain,
    bytes: usize,
}

impl FormBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheDomain, Held>> {
        // A thread that panics ends the process.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so many bytes for a tenant: as much as its part of the limit holds, or the first form of a tenant that has none, whatever
    /// its size. `None` when it has to wait for its own requests to end.
    pub(crate) fn take(self: &Arc<Self>, tenancy: Tenancy, bytes: usize) -> Option<FormPermit> {
        let mut held = self.lock();
        let part = part(self.limit, tenancy, held.values().map(|one| one.tenancy));
        let domain = tenancy.domain;
        let own = held.entry(domain).or_insert(Held { tenancy, bytes: 0, permits: 0 });
        if own.permits > 0 && own.bytes.saturating_add(bytes) > part {
            return None;
        }
        own.bytes = own.bytes.saturating_add(bytes);
        own.permits += 1;
        drop(held);
        Some(FormPermit { budget: Arc::clone(self), domain, bytes })
    }
}

impl Drop for FormPermit {
    fn drop(&mut self) {
        let mut held = self.budget.lock();
        let Some(own) = held.get_mut(&self.domain) else { return };
        own.bytes = own.bytes.saturating_sub(self.bytes);
        own.permits -= 1;
        if own.permits == 0 {
            held.remove(&self.domain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u8, share: u32) -> Tenancy {
        Tenancy { domain: CacheDomain([number; 16]), share }
    }

    #[test]
    fn a_tenant_has_its_part_and_no_more() {
        let budget = FormBudget::new(120);
        let first = budget.take(tenant(1, 1), 40).unwrap();
        let second = budget.take(tenant(1, 1), 20).unwrap();
        assert!(budget.take(tenant(1, 1), 1).is_none(), "half, since one more may come");
        // A third for each of the two, and one more.
        let other = budget.take(tenant(2, 1), 30).unwrap();
        assert!(budget.take(tenant(2, 1), 11).is_none());
        let rest = budget.take(tenant(2, 1), 10).unwrap();
        drop(second);
        assert!(budget.take(tenant(1, 1), 1).is_none(), "its part is a third now");
        drop((other, rest));
        let third = budget.take(tenant(1, 1), 20).unwrap();
        drop((first, third));
        assert!(budget.lock().is_empty(), "all was given back");
    }

    #[test]
    fn a_tenant_without_forms_is_let_in_whatever_the_others_hold() {
        let budget = FormBudget::new(10);
        let large = budget.take(tenant(1, 1), usize::MAX).unwrap();
        assert!(budget.take(tenant(1, 9), 1).is_none());
        let small = budget.take(tenant(2, 1), 100).unwrap();
        assert!(budget.take(tenant(2, 1), 1).is_none());
        drop((large, small));
        assert!(budget.take(tenant(2, 1), 1).is_some());
    }
}
