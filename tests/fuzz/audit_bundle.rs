//! Evidence bundles: no input panics or is accepted without the audit key that the caller expects.
#![no_main]

use anchorhold_audit_log::{Expectations, PublicKey, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let report = verify(bytes, &Expectations::default());
    assert!(report.is_ok(), "reading a slice does not fail");
    // The private half of this key is nobody's: its bytes are no point of small order either.
    let audit_key = Some(PublicKey::new([0x2b; 32]));
    let expectations = Expectations { audit_key, earlier: vec![bytes.to_vec()], ..Expectations::default() };
    assert!(verify(bytes, &expectations).is_ok_and(|report| !report.is_accepted()));
});
