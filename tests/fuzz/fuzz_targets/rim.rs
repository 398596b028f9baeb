//! Any bytes as a manifest are read and judged without a panic, every refusal has a reason, and a canonical form is its
//! own canonical form.
#![no_main]

use anchorhold_rats::Timestamp;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::nvidia::rim::authenticate;
use anchorhold_verifier::xml::{Document, Error};
use libfuzzer_sys::fuzz_target;

/// 2026-06-01, inside the validity of the real samples.
const AT: i64 = 1_780_272_000;

fuzz_target!(|input: &[u8]| {
    if let Ok(document) = Document::parse(input) {
        let canonical = document.canonical_subtree(document.root());
        match Document::parse(&canonical) {
            Ok(again) => assert_eq!(again.canonical_subtree(again.root()), canonical),
            // Escapes make it longer.
            Err(Error::Limit { what: "bytes", .. }) => {}
            Err(error) => panic!("a canonical form is not a document: {error}"),
        }
        for element in document.elements().take(4) {
            assert!(document.canonical_without(element).len() <= canonical.len());
        }
    }
    if let Err(refusal) = authenticate(input, &TrustAnchors::production(), Timestamp::from_unix_seconds(AT)) {
        assert!(!refusal.code().is_empty(), "a refusal without a reason");
    }
});
