//! The settings in force, which change while the gateway serves.
//!
//! The gateway has no files, so the keeper reads them when it is told to (SIGHUP) and sends their text. What cannot change while
//! it serves, and any fault, leaves everything as it was.

use crate::config::{Config, Files, Overrides, Written};
use crate::keys::{Keyring, NoRandomness};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

/// Settings and what was made of them.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) keyring: Keyring,
}

impl Live {
    fn new(config: Config, before: Option<&Keyring>) -> Result<Self, NoRandomness> {
        let keyring = Keyring::new(&config.tenants, &config.keys, before)?;
        Ok(Self { keyring: keyring.with(&config.issuers, &config.named_clients), config })
    }
}

/// What is in force now. A request takes it once, at its beginning; the lock is held for that only.
#[derive(Debug)]
pub(crate) struct Current {
    live: RwLock<Arc<Live>>,
    /// What stands beside the file; the same for as long as the process runs.
    overrides: Overrides,
}

impl Current {
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn new(config: Config, overrides: Overrides) -> io::Result<Self> {
        let live = Live::new(config, None).map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok(Self { live: RwLock::new(Arc::new(live)), overrides })
    }

    pub(crate) fn get(&self) -> Arc<Live> {
        // A panic while the lock is held leaves a whole value behind.
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts these texts in force, or says in the log why not.
    pub(crate) fn reload(&self, text: &str, files: &Files) {
        match self.take(text, files) {
            Ok(()) => crate::log::settings_taken(),
            Err(reason) => crate::log::settings_refused(&reason),
        }
    }

    fn take(&self, text: &str, files: &Files) -> Result<(), String> {
        let text = self.overrides.apply(text).map_err(|error| error.to_string())?;
        let config = Written::parse(&text).and_then(|written| written.check(files));
        let config = config.map_err(|faults| faults.to_string())?;
        let before = self.get();
        let fixed = before.config.fixed_changes(&config);
        if !fixed.is_empty() {
            return Err(format!("changed, and takes a restart: {}", fixed.join(", ")));
        }
        let live = Live::new(config, Some(&before.keyring));
        let live = live.map_err(|_| "the system gives no randomness".to_owned())?;
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        Ok(())
    }
}
