//! Receipts: any text is refused or is one that the key signed, and of any stream comments are left out in one way only.
#![no_main]

use anchorhold_audit_log::{Origin, SignedReceipt, Signer, split_stream, without_comments};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SIGNER: LazyLock<Signer> =
    LazyLock::new(|| Signer::from_seed(Origin::new("acme/1").unwrap(), &[5; 32]).unwrap());

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(SignedReceipt::verify(text, &SIGNER.key().public_key()).is_err(), "nobody signed this");
    }
    let committed = without_comments(input);
    assert_eq!(without_comments(&committed), committed, "there is one form");
    if let Some((receipt, rest)) = split_stream(input) {
        assert!(rest == committed && !receipt.contains('\n'));
    }
    // Signed or not, a payload is read strictly: what is read writes itself again.
    if let Ok(receipt) = serde_json::from_slice::<SignedReceipt>(input) {
        let text = receipt.sign(&SIGNER);
        if let Some(text) = text {
            assert_eq!(SignedReceipt::verify(&text, &SIGNER.key().public_key()).unwrap(), receipt);
        }
    }
});
