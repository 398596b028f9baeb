//! What this boot's log is encrypted under. The key lies in this process, and in the copies for those whom the settings name.

use crate::settings::Audit;
use anchorhold_audit_log::{Origin, ReadingKey, StorageKey};
use anchorhold_log_key::KeyCopies;
use anchorhold_rats::Secret;
use anyhow::Context as _;

/// The key of one log, in the forms in which it is used.
pub(crate) struct LogKey {
    /// For the writer.
    pub(crate) storage: StorageKey,
    /// For whoever reads the log in this process.
    pub(crate) reading: ReadingKey,
    /// For readers elsewhere; empty when there are none.
    pub(crate) copies: Vec<u8>,
}

impl LogKey {
    /// A fresh key for the log called `origin`.
    ///
    /// # Errors
    /// A reader of the settings has no usable key, or the system gives no randomness.
    pub(crate) fn new(settings: &Audit, origin: &Origin) -> anyhow::Result<Self> {
        let (storage, mut bytes) = StorageKey::generate()?;
        let key = Secret::take(&mut bytes);
        let copies = match settings.readers.as_slice() {
            [] => Vec::new(),
            readers => KeyCopies::seal(&key, origin.as_str(), readers).context("audit.readers")?.to_json(),
        };
        Ok(Self { storage, reading: ReadingKey::new(key.expose()), copies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_log_key::ReaderKey;
    use anchorhold_rats::{Kem, WrappingKey};

    fn made(readers: Vec<WrappingKey>) -> anyhow::Result<LogKey> {
        let settings = Audit { directory: "audit".into(), readers, witnesses: None, personal: None };
        LogKey::new(&settings, &Origin::new("acme/1").unwrap())
    }

    #[test]
    fn readers_of_the_settings_get_copies_and_without_any_there_is_no_file() {
        let reader = ReaderKey::generate(Kem::X25519).unwrap();
        let key = made(vec![reader.public_key().clone()]).unwrap();
        KeyCopies::from_json(&key.copies).unwrap().open(&reader).unwrap();
        assert!(made(Vec::new()).unwrap().copies.is_empty());
    }

    #[test]
    fn a_reader_without_a_usable_key_ends_the_start() {
        let zero = WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap();
        let error = format!("{:#}", made(vec![zero]).err().unwrap());
        assert!(error.contains("audit.readers") && error.contains("reader 0"), "{error}");
    }
}
