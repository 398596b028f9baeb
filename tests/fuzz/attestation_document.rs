//! An attestation document from a hostile server, and the rule that none but a signed one is accepted.
#![no_main]

use anchorhold_channel::document::{Document, Presented};
use anchorhold_channel::verify_document;
use anchorhold_rats::{Endorsements, Measurement, Nonce, Sha256Digest, Timestamp};
use anchorhold_verifier::snp::{GenoaTcb, MilanTcb, MinimumTcb, Policy, TurinTcb};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static ANCHORS: LazyLock<TrustAnchors> = LazyLock::new(TrustAnchors::production);
static POLICY: LazyLock<AppraisalPolicy> = LazyLock::new(|| {
    let minimum = MinimumTcb {
        milan: Some(MilanTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        genoa: Some(GenoaTcb { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
        turin: Some(TurinTcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
    };
    Policy::strict(vec![Measurement::new([0; 48])], minimum).into()
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::from_json(bytes) {
        // What was read is written and read back as the same.
        let written = document.to_json().expect("a document that was read is within its limits");
        assert_eq!(Document::from_json(&written).as_ref(), Ok(&document));
        let _ = document.state();
    }
    let presented =
        Presented { document: bytes, nonce: Nonce::new([1; 32]), tls_key: Sha256Digest::new([2; 32]) };
    let at = Timestamp::from_unix_seconds(1_780_000_000);
    let refusal = verify_document(&presented, &Endorsements::default(), &ANCHORS, &POLICY, at)
        .expect_err("AMD signed none of this");
    assert!(!refusal.checks().none_failed());
});
