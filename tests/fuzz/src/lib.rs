//! What the targets share: good evidence made once, edits that a fuzzer's input describes, and what must hold of every
//! refusal.

#![allow(missing_docs, reason = "no library for others")]

pub mod asn1;
pub mod edit;
pub mod made;
pub mod tcb;

use anchorhold_rats::{Checks, Timestamp};
use anchorhold_verifier::{Refusal, codes};
use std::collections::BTreeSet;
use std::sync::LazyLock;

static CODES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| codes::all().map(|code| code.name).collect());

/// More text than any one rule needs to say what it wanted and saw.
const MAX_TEXT_BYTES: usize = 4096;

/// The time of all evidence.
pub fn now() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().expect("a time")
}

/// A refusal names a rule that failed, by a code of the tables, in a text that a terminal or a log can show.
pub fn assert_reasoned(refusal: &Refusal) {
    assert!(refusal.checks().failed().next().is_some(), "a refusal without a reason");
    assert_named(refusal.checks());
}

/// Every rule that was looked at is one of the tables, and no text of outside breaks a line or hides.
pub fn assert_named(checks: &Checks) {
    for check in checks.all() {
        assert!(CODES.contains(check.code.as_ref()), "a code that is in no table: {}", check.code);
        for text in [&check.wanted, &check.observed] {
            assert!(text.len() <= MAX_TEXT_BYTES, "{}: {} bytes of text", check.code, text.len());
            assert!(!text.chars().any(char::is_control), "{}: a control character in {text:?}", check.code);
        }
    }
}

/// The value of a result; of a refusal, that it has its reason.
pub fn accepted<T>(result: Result<T, Refusal>) -> Option<T> {
    result.inspect_err(assert_reasoned).ok()
}
