//! Threads that wait for work which lives on another thread's stack.
//!
//! A step has hundreds of short phases, so a helper looks for the next one for some microseconds before it sleeps. No phase takes memory.

use rustix::thread::{CpuSet, sched_setaffinity};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::{hint, io};

/// Looks for a change, each some ten nanoseconds apart, before a thread sleeps: longer than the gaps inside a step, shorter than what
/// another process on the same core would notice.
const LOOKS: usize = 1000;

/// What a phase does, called with the number of the thread.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Helpers of the thread that calls [`Pool::run`].
pub(crate) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held while there is a phase, so that callers take turns.
    turn: Mutex<()>,
}

struct Shared {
    /// Counts the phases. Changed under the lock of `state`, read also without it.
    phase: AtomicUsize,
    /// Helpers that are still in the phase.
    busy: AtomicUsize,
    panicked: AtomicBool,
    state: Mutex<State>,
    begun: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    work: Option<Work<'static>>,
    stop: bool,
    /// Helpers that sleep until a phase begins.
    asleep: usize,
    /// Whether the caller sleeps until the phase ends.
    waiting: bool,
}

impl Pool {
    /// Starts `helpers` threads, each bound to the CPU of its place if there is one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(helpers: usize, cpus: &[usize]) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            phase: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            state: Mutex::default(),
            begun: Condvar::new(),
            ended: Condvar::new(),
        });
        // Made first, so that those that were started stop when one is not.
        let mut pool = Self { shared, helpers: Vec::with_capacity(helpers), turn: Mutex::default() };
        for worker in 1..=helpers {
            let shared = Arc::clone(&pool.shared);
            let builder = Builder::new().name(format!("compute-{worker}"));
            let cpu = cpus.get(worker - 1).copied();
            let work = move || {
                if let Some(cpu) = cpu {
                    bind(&[cpu]);
                }
                shared.help(worker);
            };
            pool.helpers.push(builder.spawn(work)?);
        }
        Ok(pool)
    }

    /// Threads that take part in a phase, the caller among them.
    pub(crate) fn count(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work` once on each thread, on this one with 0, and returns when all are done. `work` must not call this.
    #[expect(unsafe_code, reason = "the helpers outlive what they are lent")]
    pub(crate) fn run(&self, work: Work<'_>) {
        if self.helpers.is_empty() {
            return work(0);
        }
        let _turn = lock(&self.turn);
        // SAFETY: only the lifetime changes. The helpers use it between `begin` and the end of the phase, and `Phase` does not let this
        // function end, not even by a panic of `work`, before every helper has left the phase and the work is forgotten.
        let lent = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        self.shared.begin(lent, self.helpers.len());
        let phase = Phase(&self.shared);
        work(0);
        drop(phase);
        if self.shared.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a compute thread panicked"));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.stop = true;
        self.shared.phase.fetch_add(1, Ordering::Release);
        drop(state);
        self.shared.begun.notify_all();
        for helper in self.helpers.drain(..) {
            // A panic of a helper was reported by the phase that it was in.
            let _ = helper.join();
        }
    }
}

/// A phase that has begun; ends it when dropped.
struct Phase<'a>(&'a Shared);

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    fn begin(&self, work: Work<'static>, helpers: usize) {
        self.busy.store(helpers, Ordering::Relaxed);
        // Of a phase whose caller panicked too, nobody took it.
        self.panicked.store(false, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.work = Some(work);
        self.phase.fetch_add(1, Ordering::Release);
        if state.asleep > 0 {
            self.begun.notify_all();
        }
    }

    fn end(&self) {
        look(|| self.busy.load(Ordering::Acquire) == 0);
        let mut state = lock(&self.state);
        state.waiting = true;
        while self.busy.load(Ordering::Acquire) > 0 {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
        state.work = None;
    }

    /// What a helper does for as long as it lives.
    fn help(&self, worker: usize) {
        let mut seen = 0;
        loop {
            look(|| self.phase.load(Ordering::Acquire) != seen);
            let mut state = lock(&self.state);
            state.asleep += 1;
            while self.phase.load(Ordering::Acquire) == seen && !state.stop {
                state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.asleep -= 1;
            let (work, stop) = (state.work, state.stop);
            drop(state);
            if stop {
                return;
            }
            seen = self.phase.load(Ordering::Acquire);
            if let Some(work) = work
                && catch_unwind(AssertUnwindSafe(|| work(worker))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 && lock(&self.state).waiting {
                self.ended.notify_one();
            }
        }
    }
}

/// Keeps this thread to these CPUs, if the system has them and allows it.
pub(crate) fn bind(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
    // A thread that runs elsewhere computes the same.
    let _ = sched_setaffinity(None, &set);
}

/// Waits a moment for `done`.
fn look(done: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if done() {
            return;
        }
        hint::spin_loop();
    }
}

/// Nothing that a panic could leave half done is behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_takes_part_in_every_phase() {
        for helpers in [0, 1, 3] {
            let pool = Pool::start(helpers, &[]).unwrap();
            let calls: Vec<AtomicUsize> = (0..=helpers).map(|_| AtomicUsize::new(0)).collect();
            for phase in 1..=500 {
                pool.run(&|worker| {
                    calls[worker].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == phase));
            }
        }
    }

    #[test]
    fn callers_take_turns() {
        let pool = Pool::start(1, &[]).unwrap();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(&|_| {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_after_all_have_left() {
        for culprit in [0, 1] {
            let pool = Pool::start(1, &[]).unwrap();
            let left = AtomicUsize::new(0);
            let work = |worker| {
                assert_ne!(worker, culprit, "meant");
                left.fetch_add(1, Ordering::SeqCst);
            };
            assert!(catch_unwind(AssertUnwindSafe(|| pool.run(&work))).is_err());
            assert_eq!(left.load(Ordering::SeqCst), 1);
            pool.run(&|_| {
                left.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(left.load(Ordering::SeqCst), 3, "the pool goes on");
        }
    }
}
