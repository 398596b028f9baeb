//! Files of subjects' keys and of a privacy recipient's: no input panics, each has one spelling, and none opens for a key that nobody sealed to.
#![no_main]

use anchorhold_audit_personal::{KeyFile, OpenedKey, RecipientKey, Subject};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static RECIPIENT: LazyLock<RecipientKey> = LazyLock::new(|| {
    RecipientKey::parse(format!("anchorhold-privacy-key x25519 {}\n", "2b".repeat(32)).as_bytes())
        .expect("a key")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = KeyFile::from_bytes(bytes) {
        assert_eq!(file.to_bytes(), bytes);
        assert!(OpenedKey::open(&file, &RECIPIENT).is_err());
    }
    if let Ok(key) = RecipientKey::parse(bytes) {
        assert_eq!(key.to_text().as_bytes(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(subject) = text.parse::<Subject>()
    {
        assert_eq!(subject.to_string(), text);
    }
});
