//! Policies: no input panics, and whatever a policy says, it accepts no checkpoint that none of its logs signed.
#![no_main]

use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::tlog::policy::{MAX_POLICY_ITEMS, Policy};
use anchorhold_audit_log::{Checkpoint, Origin, Signer};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    Signer::from_seed(Origin::new("example.com/log").expect("a name"), &[7; 32]).expect("every seed is a key")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(policy) = Policy::parse(bytes) else { return };
    assert!(policy.logs().len() <= MAX_POLICY_ITEMS && policy.witnesses().len() <= MAX_POLICY_ITEMS);
    let note =
        Checkpoint::new("example.com/log", TreeHead::empty()).sign(&SIGNER).expect("a checkpoint is text");
    if !policy.logs().contains(SIGNER.key()) {
        assert!(policy.judge(&note).is_err(), "signed by a log that is not named");
    }
    if let Ok(accepted) = policy.for_logs(vec![SIGNER.key().clone()]).judge(&note) {
        assert!(accepted.cosignatures().is_empty(), "nobody cosigned");
    }
});
