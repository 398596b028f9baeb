//! The threads that compute.

use crate::error::LoadError;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A fixed set of threads for matrix products. Started once, before the process gives up making threads; shared by clones.
#[derive(Clone)]
pub struct Threads(Arc<rayon::ThreadPool>);

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", self.count())
    }
}

impl Threads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// [`LoadError::Threads`] when the system gives no thread.
    pub fn start(count: NonZeroUsize) -> Result<Self, LoadError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count.get())
            .thread_name(|index| format!("compute-{index}"))
            .build()
            .map_err(|_| LoadError::Threads)?;
        Ok(Self(Arc::new(pool)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on these threads.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}
