//! The settings in force, which change while the gateway serves.
//!
//! The gateway has no files, so the keeper reads them when it is told to (SIGHUP) and sends their text. What cannot change while
//! it serves, and any fault, leaves everything as it was.

use crate::config::{Config, Written};
use crate::keys::Keyring;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

/// Settings and what was made of them.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) keyring: Keyring,
}

/// What is in force now. A request takes it once, at its beginning; the lock is held for that only.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Live>>);

impl Current {
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn new(config: Config) -> io::Result<Self> {
        let keyring = Keyring::new(&config.tenants, &config.keys, None);
        let keyring = keyring.map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok(Self(RwLock::new(Arc::new(Live { config, keyring }))))
    }

    pub(crate) fn get(&self) -> Arc<Live> {
        // A panic while the lock is held leaves a whole value behind.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts these texts in force, or says in the log why not.
    pub(crate) fn reload(&self, text: &str, keys: Option<&str>) {
        match self.take(text, keys) {
            Ok(()) => crate::log::settings_taken(),
            Err(reason) => crate::log::settings_refused(&reason),
        }
    }

    fn take(&self, text: &str, keys: Option<&str>) -> Result<(), String> {
        let config =
            Written::parse(text).and_then(|written| written.check(keys)).map_err(|e| e.to_string())?;
        let before = self.get();
        let fixed = before.config.fixed_changes(&config);
        if !fixed.is_empty() {
            return Err(format!("changed, and takes a restart: {}", fixed.join(", ")));
        }
        let keyring = Keyring::new(&config.tenants, &config.keys, Some(&before.keyring));
        let keyring = keyring.map_err(|_| "the system gives no randomness".to_owned())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Live { config, keyring });
        Ok(())
    }
}
