//! A call to something that may hang, with a deadline, and few of them at a time.
//!
//! A call into a PKCS#11 module cannot be cancelled, so each runs on a thread of its own that is left behind when the
//! deadline passes. A thread counts until it ends: a backend that hangs for good costs [`Bulkhead::LIMIT`] threads and
//! no more, and whoever comes then is told at once. So a broker whose backend hangs goes on to answer challenges and
//! to refuse guests.

use super::BackendError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Bounds the calls to one backend in time and number.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    under_way: Arc<AtomicUsize>,
    deadline: Duration,
}

/// One call's place, given back when its thread ends.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Bulkhead {
    /// The most calls under way at one time. Below the number of releases that the broker judges at one time, so that
    /// some can still be refused while others wait.
    pub const LIMIT: usize = 8;

    /// With this long for each call.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self { under_way: Arc::default(), deadline }
    }

    fn permit(&self) -> Result<Permit, BackendError> {
        let taken = self.under_way.fetch_add(1, Ordering::Acquire);
        let permit = Permit(Arc::clone(&self.under_way));
        if taken < Self::LIMIT { Ok(permit) } else { Err(BackendError::Busy { limit: Self::LIMIT }) }
    }

    /// Runs `work` and waits for it, but not beyond the deadline. What comes later is dropped, which wipes it.
    ///
    /// # Errors
    /// Those of `work`; [`BackendError::Busy`] and [`BackendError::Timeout`].
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let permit = self.permit()?;
        let (sender, receiver) = sync_channel(1);
        let call = move || {
            let outcome = work();
            // Before the outcome is told: whoever has it may call again at once. A panic gives the place back as well.
            drop(permit);
            // Nobody waits any more when this fails.
            let _ = sender.send(outcome);
        };
        thread::Builder::new()
            .name("kek backend".to_owned())
            .spawn(call)
            .map_err(|_| BackendError::Unreachable { what: "thread for the call" })?;
        match receiver.recv_timeout(self.deadline) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(BackendError::Timeout { within: self.deadline }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(BackendError::Garbage { wanted: "one: the call broke" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn an_outcome_comes_back_as_it_is() {
        let bulkhead = Bulkhead::new(Duration::from_secs(60));
        assert_eq!(bulkhead.run(|| Ok(7)), Ok(7));
        assert_eq!(bulkhead.run(|| Err::<(), _>(BackendError::Locked)), Err(BackendError::Locked));
    }

    #[test]
    fn a_place_is_free_before_the_outcome_is_told() {
        let bulkhead = Bulkhead::new(Duration::from_secs(60));
        for _ in 0..1000 {
            assert_eq!(bulkhead.run(|| Ok(())), Ok(()));
            assert_eq!(bulkhead.under_way.load(Ordering::Acquire), 0);
        }
    }

    #[test]
    fn a_call_that_hangs_is_left_behind_and_still_counts() {
        let bulkhead = Bulkhead::new(Duration::from_millis(1));
        let gate = Arc::new(Barrier::new(Bulkhead::LIMIT + 1));
        for _ in 0..Bulkhead::LIMIT {
            let gate = Arc::clone(&gate);
            let hang = move || {
                gate.wait();
                Ok(())
            };
            assert_eq!(bulkhead.run(hang), Err(BackendError::Timeout { within: Duration::from_millis(1) }));
        }
        let patient = Bulkhead { deadline: Duration::from_secs(60), ..bulkhead.clone() };
        assert_eq!(patient.run(|| Ok(())), Err(BackendError::Busy { limit: Bulkhead::LIMIT }));
        // Let go, the threads end and give their places back.
        gate.wait();
        while bulkhead.under_way.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        assert_eq!(patient.run(|| Ok(())), Ok(()));
    }

    #[test]
    fn a_call_that_panics_is_trouble_and_gives_its_place_back() {
        let bulkhead = Bulkhead::new(Duration::from_secs(60));
        let broken = bulkhead.run::<()>(|| panic!("on purpose"));
        assert_eq!(broken, Err(BackendError::Garbage { wanted: "one: the call broke" }));
        while bulkhead.under_way.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
    }
}
