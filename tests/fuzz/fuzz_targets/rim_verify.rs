//! Manifests changed without or with a new signature: what nobody signed is not believed.
#![no_main]

use anchorhold_attester::software::gpu::{Edition, RimSigner};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_verifier::nvidia::rim::{AuthenticRim, authenticate};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

struct Good {
    signer: RimSigner,
    document: String,
    manifest: Vec<u8>,
    claims: AuthenticRim,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let (signer, document) = (made::rim_signer(), made::rim_document(Edition::Driver));
    let manifest = signer.sign(&document).expect("a signature");
    let claims = judge(&manifest).expect("a good manifest");
    Good { signer, document, manifest, claims }
});

fn judge(manifest: &[u8]) -> Option<AuthenticRim> {
    let authentic = accepted(authenticate(manifest, &made::ANCHORS, now()))?;
    assert_named(authentic.checks());
    Some(authentic.claims().clone())
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 4 {
        0 => {
            if let Some(claims) = judge(&script.edited(&GOOD.manifest)) {
                assert!(claims == GOOD.claims, "an unsigned change counts");
            }
        }
        1 => {
            // The Signature alone, which is the one part that is not digested.
            let at = GOOD
                .manifest
                .windows(10)
                .position(|bytes| bytes.ends_with(b"Signature"))
                .expect("a Signature");
            let (before, signature) = GOOD.manifest.split_at(at);
            let manifest = [before, &script.edited(signature)].concat();
            if let Some(claims) = judge(&manifest) {
                assert!(claims == GOOD.claims, "an unsigned change counts");
            }
        }
        2 => {
            let document = script.edited_text(&GOOD.document);
            judge(&GOOD.signer.sign(&document).expect("a signature"));
        }
        _ => {
            let mut signature = GOOD.signer.signature(&GOOD.document).expect("a signature");
            signature.signed_info = script.edited_text(&signature.signed_info);
            GOOD.signer.renew(&mut signature).expect("a signature");
            if let Some(claims) = judge(&signature.insert_into(&GOOD.document)) {
                assert!(claims == GOOD.claims, "another digest counts");
            }
        }
    }
});
