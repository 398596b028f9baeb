//! The newest head of the broker's log that enough witnesses have cosigned, and waiting for it.

use crate::ledger::SignedHead;
use anchorhold_audit_log::cosignature::Quorum;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Told by whoever talks to the witnesses; asked by whoever answers a guest.
#[derive(Debug)]
pub struct Cosigned {
    quorum: Quorum,
    newest: Mutex<Option<Arc<SignedHead>>>,
    changed: Condvar,
}

impl Cosigned {
    /// Nothing is cosigned yet; `quorum` is what an answer waits for.
    #[must_use]
    pub const fn new(quorum: Quorum) -> Self {
        Self { quorum, newest: Mutex::new(None), changed: Condvar::new() }
    }

    /// What an answer waits for.
    #[must_use]
    pub const fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// Takes a head whose note has enough cosignatures.
    pub fn publish(&self, head: SignedHead) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|newest| newest.head.size < head.head.size) {
            *newest = Some(Arc::new(head));
            self.changed.notify_all();
        }
    }

    /// The size of the newest head that is cosigned; 0 when there is none.
    #[must_use]
    pub fn size(&self) -> u64 {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map_or(0, |newest| newest.head.size)
    }

    /// A cosigned head of at least `size` entries, or `own` where no witness is asked for. `None` when there is none
    /// within `within`.
    #[must_use]
    pub fn wait(&self, size: u64, own: Arc<SignedHead>, within: Duration) -> Option<Arc<SignedHead>> {
        if self.quorum.needed() == 0 {
            return Some(own);
        }
        let until = Instant::now() + within;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(head) = newest.as_ref().filter(|head| head.head.size >= size) {
                return Some(Arc::clone(head));
            }
            let left = until.checked_duration_since(Instant::now())?;
            newest = self.changed.wait_timeout(newest, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
