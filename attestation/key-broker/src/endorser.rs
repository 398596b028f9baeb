//! Where the broker gets what vendors say about the parts in evidence. Nothing that comes from there is believed before the
//! verifier has judged it.

use anchorhold_endorsements::{Cache, CacheLimits, Config, EndorsementStore, Error, HttpsTransport};
use anchorhold_rats::{Endorsements, Evidence, Timestamp};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// The most requests that wait for endorsements at once. A vendor that does not answer must not take every worker.
const MAX_WAITING: usize = 64;
/// How long a request waits at most.
const WAIT: Duration = Duration::from_secs(15);
const ATTEMPT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;

/// A source of endorsements.
pub trait Endorser: Send + Sync {
    /// What can be had for `evidence` at `at`; what cannot is left out, and the source tells the operator why. May block.
    fn endorse(&self, evidence: &Evidence, at: Timestamp) -> Endorsements;
}

/// The vendors' services or mirrors of them, behind a folder in which everything is kept; with
/// [`Mode::Offline`](anchorhold_endorsements::Mode::Offline) the folder alone.
pub struct Fetched {
    store: EndorsementStore<HttpsTransport>,
    runtime: Handle,
    waiting: Semaphore,
    report: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetched")
    }
}

impl Fetched {
    /// The source with these settings. It is asked from threads that may block, and works on `runtime`.
    ///
    /// # Errors
    /// When the folder cannot be used, or there is no TLS.
    pub fn open(
        mut config: Config,
        folder: &Path,
        runtime: Handle,
        report: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> anyhow::Result<Self> {
        config.limits.total_timeout = WAIT;
        config.limits.request_timeout = ATTEMPT;
        config.limits.retry.attempts = ATTEMPTS;
        let cache = Cache::open(folder, CacheLimits::default())?;
        let store = EndorsementStore::new(config, HttpsTransport::new()?, cache);
        Ok(Self { store, runtime, waiting: Semaphore::new(MAX_WAITING), report })
    }
}

impl Endorser for Fetched {
    fn endorse(&self, evidence: &Evidence, at: Timestamp) -> Endorsements {
        let Ok(_turn) = self.waiting.try_acquire() else {
            (self.report)("endorsements: too many requests wait for them");
            return Endorsements::default();
        };
        match self.runtime.block_on(self.store.gather(evidence, at)) {
            Ok(gathered) => {
                for failure in &gathered.missing {
                    (self.report)(&format!("endorsement missing: {failure}"));
                }
                gathered.endorsed.endorsements
            }
            // Evidence that does not say what to ask for is refused by the verifier, which says more about it.
            Err(Error::Evidence(_)) => Endorsements::default(),
            Err(error) => {
                (self.report)(&format!("endorsements: {error}"));
                Endorsements::default()
            }
        }
    }
}
