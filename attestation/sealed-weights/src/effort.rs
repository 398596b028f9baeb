//! Doing many small things on a few threads, with progress, until one fails.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::Error;
use crate::rules::DestinationRule;

/// The most threads that anything here uses, whatever it is asked for. Each takes one segment of memory.
pub const MAX_THREADS: usize = 64;

/// How far something is, in bytes of plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
}

/// What is called with each step, from any of the threads; it must return soon.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);

/// With how many threads something is done, and who is told how far it is.
#[derive(Clone, Copy)]
pub struct Effort<'a> {
    /// Threads, the calling one among them; [`MAX_THREADS`] at most are used.
    pub threads: NonZeroUsize,
    /// Who is told after every segment.
    pub progress: Option<OnProgress<'a>>,
}

impl Effort<'static> {
    /// So many threads, and nobody is told.
    #[must_use]
    pub const fn on_threads(threads: NonZeroUsize) -> Self {
        Self { threads, progress: None }
    }
}

impl Default for Effort<'static> {
    /// One thread, and nobody is told.
    fn default() -> Self {
        Self::on_threads(NonZeroUsize::MIN)
    }
}

impl fmt::Debug for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effort").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Effort<'_> {
    /// Counts towards `total` bytes.
    pub(crate) const fn meter(&self, total: u64) -> Meter<'_> {
        Meter { done: AtomicU64::new(0), total, progress: self.progress }
    }

    /// Does every task, each on one of the threads, and stops handing them out once one has failed. Each thread has a state
    /// of its own. Tasks are handed out in order, so that files are read ahead.
    pub(crate) fn run<T: Send, S>(
        &self,
        tasks: Vec<T>,
        state: impl Fn() -> Result<S, Error> + Sync,
        task: impl Fn(&mut S, T) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let threads = self.threads.get().min(MAX_THREADS).min(tasks.len().max(1));
        let tasks = Mutex::new(tasks.into_iter());
        let stopped = AtomicBool::new(false);
        let next = || {
            // A thread that panicked held the lock only to take a task, so the list is whole.
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if stopped.load(Ordering::Relaxed) { None } else { tasks.next() }
        };
        let work = || -> Result<(), Error> {
            let mut state = state()?;
            while let Some(next) = next() {
                task(&mut state, next).inspect_err(|_| stopped.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                result = result.and(other.join().unwrap_or(Err(DestinationRule::Panicked.into())));
            }
            result
        })
    }
}

/// Counts bytes that are done, from several threads.
pub(crate) struct Meter<'a> {
    done: AtomicU64,
    total: u64,
    progress: Option<OnProgress<'a>>,
}

impl Meter<'_> {
    pub(crate) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if let Some(progress) = self.progress {
            progress(Progress { done, total: self.total });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::KeyRule;

    fn threads(count: usize) -> Effort<'static> {
        Effort::on_threads(NonZeroUsize::new(count).unwrap())
    }

    #[test]
    fn does_every_task_once_with_any_number_of_threads() {
        for count in [1, 2, 7, 200] {
            let mut done = vec![0_u8; 100];
            let tasks = done.iter_mut().collect();
            threads(count)
                .run(
                    tasks,
                    || Ok(()),
                    |(), task: &mut u8| {
                        *task += 1;
                        Ok(())
                    },
                )
                .unwrap();
            assert_eq!(done, [1; 100]);
        }
        threads(3).run(Vec::<()>::new(), || Ok(()), |(), ()| unreachable!()).unwrap();
    }

    #[test]
    fn starts_no_more_threads_than_tasks_or_the_limit() {
        for (asked, tasks, wanted) in [(8, 3, 3), (2, 9, 2), (1_000, 1_000, MAX_THREADS), (5, 0, 1)] {
            let started = AtomicU64::new(0);
            let state = || {
                started.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            threads(asked).run(vec![(); tasks], state, |(), ()| Ok(())).unwrap();
            assert_eq!(started.into_inner(), wanted as u64);
        }
    }

    #[test]
    fn stops_at_the_first_failure() {
        let ran = AtomicU64::new(0);
        let result = threads(1).run(
            (0..10).collect(),
            || Ok(()),
            |(), task: i32| {
                ran.fetch_add(1, Ordering::Relaxed);
                if task == 3 { Err(KeyRule::Seed.into()) } else { Ok(()) }
            },
        );
        assert_eq!((result, ran.into_inner()), (Err(KeyRule::Seed.into()), 4));
        let result = threads(4).run(vec![(); 4], || Err::<(), _>(KeyRule::Seed.into()), |(), ()| Ok(()));
        assert_eq!(result, Err(KeyRule::Seed.into()));
    }

    #[test]
    fn a_panic_on_another_thread_is_an_error() {
        let here = thread::current().id();
        let barrier = std::sync::Barrier::new(2);
        let result = threads(2).run(
            vec![(); 2],
            || Ok(()),
            |(), ()| {
                barrier.wait();
                assert_eq!(thread::current().id(), here, "the other thread");
                Ok(())
            },
        );
        assert_eq!(result, Err(DestinationRule::Panicked.into()));
    }

    #[test]
    fn tells_how_far_it_is() {
        let told = Mutex::new(Vec::new());
        let progress = |progress: Progress| told.lock().unwrap().push((progress.done, progress.total));
        let effort = Effort { threads: NonZeroUsize::MIN, progress: Some(&progress) };
        let meter = effort.meter(10);
        meter.add(4);
        meter.add(6);
        assert_eq!(told.into_inner().unwrap(), [(4, 10), (10, 10)]);
    }
}
