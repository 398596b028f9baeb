//! The threads that compute.

use crate::error::LoadError;
use crate::kernel::{Pool, bind};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A fixed set of threads for matrix products. Started once, before the process gives up making threads; shared by clones.
#[derive(Clone)]
pub struct Threads(Arc<Pool>);

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.count())
    }
}

impl Threads {
    /// Prepares to compute on `count` threads. One of them is always the thread that asks for a result; the others are started.
    ///
    /// # Errors
    /// [`LoadError::Threads`] when the system gives no thread.
    pub fn start(count: NonZeroUsize) -> Result<Self, LoadError> {
        Self::start_on(count, &[])
    }

    /// The same with each started thread bound to one of these CPUs. The calling thread, and all that it starts later, is kept to them
    /// together: it is the one that takes the memory of weights, which then lies where the threads run. Where there are fewer CPUs
    /// than threads, or the system does not allow it, threads run wherever the system puts them.
    ///
    /// # Errors
    /// [`LoadError::Threads`] when the system gives no thread.
    pub fn start_on(count: NonZeroUsize, cpus: &[usize]) -> Result<Self, LoadError> {
        let cpus = if cpus.len() < count.get() { &[] } else { cpus };
        if !cpus.is_empty() {
            bind(cpus);
        }
        // The first is left to the calling thread.
        let pool = Pool::start(count.get() - 1, cpus.get(1..).unwrap_or_default());
        Ok(Self(Arc::new(pool.map_err(|_| LoadError::Threads)?)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count()
    }
}

/// Who does a piece of work: all threads, or one that already runs on behalf of all.
#[derive(Clone, Copy)]
pub(crate) enum Team<'a> {
    All(&'a Threads),
    /// The thread of this number alone.
    Alone(usize),
}

impl Team<'_> {
    /// How many threads share the work.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::All(threads) => threads.count(),
            Self::Alone(_) => 1,
        }
    }

    /// This team, or the calling thread alone where the work is not worth waking others.
    pub(crate) fn for_work(self, worth: bool) -> Self {
        match self {
            Self::All(_) if !worth => Self::Alone(0),
            team => team,
        }
    }

    /// Calls `work` with each item and the number of the thread, in any order. Items are drawn one by one, so that a thread which the
    /// system holds up does not hold up the others.
    pub(crate) fn each<I>(self, items: I, work: impl Fn(usize, I::Item) + Sync)
    where
        I: Iterator + Send,
    {
        match self {
            Self::All(threads) if threads.count() > 1 => {
                let items = Mutex::new(items);
                threads.0.run(&|worker| {
                    while let Some(item) = draw(&items) {
                        work(worker, item);
                    }
                });
            }
            Self::All(_) => items.for_each(|item| work(0, item)),
            Self::Alone(worker) => items.for_each(|item| work(worker, item)),
        }
    }
}

fn draw<I: Iterator>(items: &Mutex<I>) -> Option<I::Item> {
    items.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// A value for each thread, such as memory that its tasks use one after the other.
pub(crate) struct PerThread<T>(Vec<Mutex<T>>);

impl<T> PerThread<T> {
    pub(crate) fn new(threads: &Threads, mut make: impl FnMut() -> T) -> Self {
        Self((0..threads.count()).map(|_| Mutex::new(make())).collect())
    }

    /// That of the thread with this number, which alone asks for it; `None` if there is no such thread.
    pub(crate) fn of(&self, worker: usize) -> Option<MutexGuard<'_, T>> {
        // After a panic the memory is of use again: every task writes it before it reads it.
        self.0.get(worker).map(|value| value.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity};

    fn own() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    /// The CPUs that each thread may run on.
    fn seen(threads: &Threads) -> Vec<Vec<usize>> {
        let seen = PerThread::new(threads, Vec::new);
        // Each thread waits for the others, so that all take an item.
        let all = std::sync::Barrier::new(threads.count());
        Team::All(threads).each(0..threads.count(), |worker, _| {
            all.wait();
            *seen.of(worker).unwrap() = own();
        });
        (0..threads.count()).map(|worker| seen.of(worker).unwrap().clone()).collect()
    }

    #[test]
    fn each_started_thread_is_bound_to_a_cpu_of_its_own() {
        // A thread for the test, since what is bound stays so.
        let body = || {
            let all = own();
            let count = NonZeroUsize::new(all.len().min(2)).unwrap();
            let Some(cpus) = all.get(..count.get()) else { return };
            let mut wanted = vec![cpus.to_vec()];
            wanted.extend(cpus[1..].iter().map(|&cpu| vec![cpu]));
            assert_eq!(seen(&Threads::start_on(count, cpus).unwrap()), wanted);
        };
        std::thread::spawn(body).join().unwrap();
    }

    #[test]
    fn nothing_is_bound_where_cpus_are_too_few_or_absent() {
        let body = || {
            let all = own();
            for cpus in [&all[..1], &[], &[CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU]] {
                let threads = Threads::start_on(NonZeroUsize::new(2).unwrap(), cpus).unwrap();
                assert_eq!(seen(&threads), [all.clone(), all.clone()]);
            }
        };
        std::thread::spawn(body).join().unwrap();
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let threads = Threads::start(NonZeroUsize::new(3).unwrap()).unwrap();
        for team in [Team::All(&threads), Team::Alone(2), Team::All(&threads).for_work(false)] {
            let mut values = vec![0; 1000];
            let own = PerThread::new(&threads, || 0);
            team.each(values.chunks_mut(7).enumerate(), |worker, (at, chunk)| {
                chunk.iter_mut().for_each(|value| *value += at + 1);
                *own.of(worker).unwrap() += 1;
            });
            assert!(values.iter().enumerate().all(|(at, value)| *value == at / 7 + 1));
            assert_eq!((0..3).map(|worker| *own.of(worker).unwrap()).sum::<usize>(), 143);
            assert!(own.of(3).is_none());
        }
    }
}
