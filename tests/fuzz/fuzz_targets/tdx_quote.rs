//! Any bytes as a TDX quote are read without a panic, and a quote that is read is of a known kind.
#![no_main]

use anchorhold_fuzz::edit::raw_or_edited;
use anchorhold_fuzz::{accepted, made};
use anchorhold_verifier::tdx::{BodyKind, Quote};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static GOOD: LazyLock<Vec<u8>> =
    LazyLock::new(|| made::tdx_guest().quote(&made::REPORT_DATA).expect("a quote"));

fuzz_target!(|input: &[u8]| {
    let bytes = raw_or_edited(input, &GOOD);
    if let Some(quote) = accepted(Quote::parse(&bytes)) {
        let known = [BodyKind::Td10, BodyKind::Td15, BodyKind::Td15Extended];
        assert!(matches!(quote.version, 4 | 5) && known.contains(&quote.kind));
    }
});
