//! Signed notes and checkpoints: no input panics, and what is read has one spelling.
#![no_main]

use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::{Checkpoint, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        if let Ok(checkpoint) = Checkpoint::from_text(note.unverified_text()) {
            assert_eq!(checkpoint.to_text(), note.unverified_text());
        }
        // The key of the Go checksum database: a note that verifies is one that it signed.
        let key = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key = VerifierKey::parse(key).expect("the key is well formed");
        let _ = note.verify(&[key]);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = VerifierKey::parse(text)
    {
        assert_eq!(key.to_string(), text);
    }
});
