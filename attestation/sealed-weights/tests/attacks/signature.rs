//! Packages that carry an OpenSSF model signature.

use std::fs;
use std::path::Path;

use anchorhold_sealed_weights::{
    Effort, ModelSignature, ModelSignatureRule, Padding, SealOptions, SegmentSize, SignerKey, seal,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::support::*;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/model-signing");

/// The folder that the reference implementation signed, without its README.
fn model() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(VECTORS).join("model").join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn signature(name: &str, key: &str) -> ModelSignature {
    let read = |name: &str| fs::read(Path::new(VECTORS).join(name)).unwrap();
    let key = SignerKey::from_pem(&String::from_utf8(read(key)).unwrap()).unwrap();
    ModelSignature::verify(&read(name), &key).unwrap()
}

#[test]
fn signatures_of_the_reference_implementation_travel_with_the_package() {
    let model = model();
    let parent = tempfile::tempdir().unwrap();
    for (name, key) in
        [("p256.sig", "p256.pem"), ("p384.sig", "p384.pem"), ("certificate.sig", "certificate-key.pem")]
    {
        for padding in [Padding::None, Padding::Padme] {
            let signature = signature(name, key);
            let out = parent.path().join(format!("{name}-{}", padding.as_str()));
            let options =
                SealOptions { model_signature: Some(&signature), padding, ..options(1, SegmentSize::Mib1) };
            seal_with(model.path(), &out, &options);
            consume(&out).unwrap();
            let opened = opened(&out);
            assert_eq!(opened.card().model_signature(), Some(&signature));
            assert_eq!(
                opened.card().model_signature().unwrap().bundle(),
                fs::read(Path::new(VECTORS).join(name)).unwrap()
            );
        }
    }
}

#[test]
fn refuses_to_seal_another_folder_than_the_signed_one() {
    let signature = signature("p256.sig", "p256.pem");
    let refuses = |alter: &dyn Fn(&Path), rule: ModelSignatureRule| {
        let model = model();
        alter(model.path());
        let parent = tempfile::tempdir().unwrap();
        let options = SealOptions { model_signature: Some(&signature), ..options(1, SegmentSize::Mib1) };
        let refused =
            seal(model.path(), &parent.path().join("out"), &options, &owner(), &KEY, &Effort::default());
        assert_eq!(refused, Err(rule.into()));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    };
    let write = |name: &'static str, text: &'static str| {
        move |model: &Path| fs::write(model.join(name), text).unwrap()
    };
    refuses(&write("config.json", r#"{"hidden_size":4}"#), ModelSignatureRule::Digest);
    refuses(&write("generation_config.json", "{}"), ModelSignatureRule::Unsigned);
}

#[test]
fn case_18_refuses_a_card_whose_signature_is_of_other_files_or_another_key() {
    let parent = tempfile::tempdir().unwrap();
    let package = parent.path().join("package");
    let genuine = signature("p256.sig", "p256.pem");
    let options = SealOptions { model_signature: Some(&genuine), ..options(1, SegmentSize::Mib1) };
    seal_with(model().path(), &package, &options);
    let card = decrypted(&package, anchorhold_sealed_weights::Role::Card);
    let refuses = |rule: ModelSignatureRule, edit: &dyn Fn(&mut serde_json::Value)| {
        edit_card(&package, |card| edit(card));
        assert_eq!(consume(&package).unwrap_err(), rule.into());
        reseal(&package, anchorhold_sealed_weights::Role::Card, &card);
    };
    let field = |name: &'static str, value: String| {
        move |card: &mut serde_json::Value| card["model_signature"][name] = json!(value)
    };
    let other = signature("p384.sig", "p384.pem");
    refuses(ModelSignatureRule::Hint, &field("signer", STANDARD.encode(other.signer().der())));
    refuses(ModelSignatureRule::Hint, &field("bundle", STANDARD.encode(other.bundle())));
    refuses(ModelSignatureRule::SignerKey, &field("signer", STANDARD.encode("x")));
    refuses(ModelSignatureRule::Base64, &field("signer", "!".to_owned()));
    refuses(ModelSignatureRule::Base64, &field("bundle", "!".to_owned()));
    refuses(ModelSignatureRule::NotBundle, &field("bundle", String::new()));
    refuses(ModelSignatureRule::TooLong, &field("bundle", "A".repeat(1_500_000)));
    refuses(ModelSignatureRule::Digest, &|card| card["files"][0]["sha256"] = json!("00".repeat(32)));
    consume(&package).unwrap();
    edit_card(&package, |card| card["model_signature"] = json!(null));
    consume(&package).unwrap();
}
