//! Entries: no input panics, and what is read has one spelling, without control characters.
#![no_main]

use anchorhold_audit_log::Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::from_bytes(bytes) {
        assert_eq!(entry.to_bytes().as_deref(), Ok(bytes));
        assert!(bytes.iter().all(|byte| (b' '..0x7f).contains(byte)), "an entry is plain ASCII on one line");
    }
});
