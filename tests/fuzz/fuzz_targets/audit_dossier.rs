//! Dossiers: no input panics, and none is accepted whose exporter is nobody, or whose logs nobody's evidence vouches for.
#![no_main]

use anchorhold_audit_log::{PublicKey, VerifierKey};
use anchorhold_dossier::{Expected, Outcome, verify, verify_bundles};
use anchorhold_dsse::TrustedSigners;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let report = verify(|| Ok(bytes), &Expected::default()).expect("reading a slice does not fail");
    assert_eq!(report.verdicts.len(), 16);
    let _ = (report.to_text(), report.to_json());
    // The private halves of these keys are nobody's.
    let exporters = Some(TrustedSigners::one(&[0x2b; 32]));
    let key = VerifierKey::new("broker.example", PublicKey::new([0x2b; 32])).expect("a name");
    let expected = Expected { exporters, log_keys: vec![key], ..Expected::default() };
    let report = verify(|| Ok(bytes), &expected).expect("reading a slice does not fail");
    assert_ne!(report.outcome(), Outcome::Accepted);
    let report =
        verify_bundles(&["bundle.tar"], |_| Ok(bytes), &expected).expect("reading a slice does not fail");
    assert_ne!(report.outcome(), Outcome::Accepted);
});
