//! Proof files: no input panics, what is read has one spelling but for its base64 of extra data, and none proves what nobody signed.
#![no_main]

use anchorhold_audit_log::tlog::policy::Policy;
use anchorhold_audit_log::tlog::proof::TlogProof;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A log whose private key is nobody's.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let key = anchorhold_audit_log::PublicKey::new([0x2b; 32]);
    let key = anchorhold_audit_log::VerifierKey::new("example.com/log", key).expect("a name");
    Policy::parse(format!("log {key}\nquorum none\n").as_bytes()).expect("a policy")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = TlogProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        assert!(proof.verify(b"leaf 41", &POLICY).is_err(), "nobody signed this");
    }
});
