//! Wrappers in certificates: any bytes are refused, or hold a document that is wrapped in the same way again.
#![no_main]

use anchorhold_document::wrapper::{unwrap, wrap};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(document) = unwrap(input) {
        let again = wrap(document);
        assert_eq!(unwrap(&again), Ok(document));
        // Two or three members, and the kinds: the rest has one form.
        let end = input.len().min(again.len()) - 5;
        assert_eq!(input.get(1..end), again.get(1..end));
    }
    let wrapped = wrap(input);
    assert_eq!(
        unwrap(&wrapped).ok(),
        (input.len() <= anchorhold_document::document::MAX_DOCUMENT_BYTES).then_some(input)
    );
});
