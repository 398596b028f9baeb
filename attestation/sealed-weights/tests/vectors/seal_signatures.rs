//! Model signatures that are not what they must be, over a folder to be sealed.

use anchorhold_sealed_weights::{ModelSignature, SignerKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::floe::{hex, sha256};
use crate::folder::{self, published};
use crate::make::Cases;
use crate::package::options;
use crate::read_cases::Edit;
use crate::seal_cases::whole;
use crate::store::{File, text};

pub(crate) fn signature(name: &str, key: &str) -> ModelSignature {
    let pem = String::from_utf8(published(&format!("model-signing/{key}"))).unwrap();
    let key = SignerKey::from_pem(&pem).unwrap();
    ModelSignature::verify(&published(&format!("model-signing/{name}")), &key).unwrap()
}

fn signer() -> (Ed25519KeyPair, Vec<u8>) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [&prefix[..], pair.public_key().as_ref()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    (pair, pem.into_bytes())
}

/// A statement over the small folder.
pub(crate) fn statement() -> Value {
    let resources: Vec<Value> = folder::small()
        .iter()
        .map(|(name, file)| json!({ "name": name, "algorithm": "sha256", "digest": hex(&sha256(&file.bytes())) }))
        .collect();
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "tiny", "digest": { "sha256": "" } }],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false },
            "resources": resources,
        },
    });
    reroot(&mut statement);
    statement
}

/// Makes the subject's digest fit the resources.
fn reroot(statement: &mut Value) {
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let all: Vec<u8> = resources
        .iter()
        .flat_map(|resource| crate::floe::unhex(resource["digest"].as_str().unwrap()))
        .collect();
    statement["subject"][0]["digest"]["sha256"] = hex(&sha256(&all)).into();
}

fn bundle(payload: &[u8]) -> Value {
    let kind = "application/vnd.in-toto+json";
    let message = [format!("DSSEv1 28 {kind} {} ", payload.len()).as_bytes(), payload].concat();
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {},
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": [{ "sig": STANDARD.encode(signer().0.sign(&message).as_ref()), "keyid": "" }],
        },
    })
}

fn signed(cases: &mut Cases, head: (&str, &str, &str), bundle: &[u8], signer: Vec<u8>) {
    let extra = [("model_signature", whole(bundle)), ("model_signer", File::Whole(signer))];
    cases.seal(head, &folder::small(), &options(1), &extra);
}

const BUNDLES: &[Edit] = &[
    ("oms-not-bundle", "model_signature_not_bundle", "a key that is not known", |b| b["more"] = json!(1)),
    ("oms-media-type", "model_signature_media_type", "another media type", |b| {
        b["mediaType"] = json!("application/json")
    }),
    ("oms-payload-type", "model_signature_payload_type", "another payload type", |b| {
        b["dsseEnvelope"]["payloadType"] = json!("text/plain")
    }),
    ("oms-no-signature", "model_signature_count", "no signature", |b| {
        b["dsseEnvelope"]["signatures"] = json!([])
    }),
    ("oms-base64", "model_signature_base64", "base64 that is none", |b| {
        b["dsseEnvelope"]["payload"] = json!("!")
    }),
    ("oms-hint", "model_signature_hint", "names another key", |b| {
        b["verificationMaterial"] = json!({ "publicKey": { "hint": "00" } })
    }),
    ("oms-payload", "model_signature_invalid", "another payload under the signature", |b| {
        b["dsseEnvelope"]["payload"] = json!(STANDARD.encode("{}"))
    }),
];

const STATEMENTS: &[Edit] = &[
    ("oms-not-statement", "model_signature_not_statement", "no predicate", |s| s["predicate"] = json!(1)),
    ("oms-old-statement", "model_signature_statement_type", "the predicate of model signing 0.2", |s| {
        s["predicateType"] = json!("https://model_signing/Digests/v0.1")
    }),
    ("oms-subject", "model_signature_subject", "no subject", |s| s["subject"] = json!([])),
    ("oms-shards", "model_signature_method", "hashed by shards", |s| {
        s["predicate"]["serialization"]["method"] = json!("shards")
    }),
    ("oms-resource", "model_signature_resource", "a digest of another algorithm", |s| {
        s["predicate"]["resources"][0]["algorithm"] = json!("blake3")
    }),
    ("oms-no-resource", "model_signature_resource_count", "no resource", |s| {
        s["predicate"]["resources"] = json!([])
    }),
    ("oms-resource-twice", "model_signature_duplicate_resource", "a resource twice", |s| {
        s["predicate"]["resources"][1] = s["predicate"]["resources"][0].clone();
    }),
    ("oms-root", "model_signature_root_digest", "resources that are not those of the subject", |s| {
        s["predicate"]["resources"].as_array_mut().unwrap().reverse();
    }),
    ("oms-unsigned-file", "model_signature_unsigned", "a file that is not signed", |s| {
        drop(s["predicate"]["resources"].as_array_mut().unwrap().remove(0));
        reroot(s);
    }),
    ("oms-other-file", "model_signature_digest", "a file that is not the signed one", |s| {
        s["predicate"]["resources"][0]["digest"] = json!("00".repeat(32));
        reroot(s);
    }),
    ("oms-missing-file", "model_signature_incomplete", "a signed file that is not there", |s| {
        let file = json!({ "name": "chat_template.jinja", "algorithm": "sha256", "digest": "00".repeat(32) });
        s["predicate"]["resources"].as_array_mut().unwrap().push(file);
        reroot(s);
    }),
];

pub(crate) fn signatures(cases: &mut Cases) {
    for (id, code, why, edit) in BUNDLES {
        let mut bundle = bundle(text(&statement()).as_bytes());
        edit(&mut bundle);
        signed(cases, (id, code, why), text(&bundle).as_bytes(), signer().1);
    }
    for (id, code, why, edit) in STATEMENTS {
        let mut statement = statement();
        edit(&mut statement);
        let bundle = bundle(text(&statement).as_bytes());
        signed(cases, (id, code, why), text(&bundle).as_bytes(), signer().1);
    }
    let good = text(&bundle(text(&statement()).as_bytes()));
    signed(
        cases,
        ("oms-signer-p521", "model_signature_signer_key", "a key of P-521"),
        good.as_bytes(),
        published("model-signing/p521.pem"),
    );
    signed(
        cases,
        ("oms-signer-other", "model_signature_invalid", "another signer is named"),
        good.as_bytes(),
        published("model-signing/p256.pem"),
    );
    let extra =
        [("model_signature", File::Fill(b' ', (1 << 20) + 1)), ("model_signer", File::Whole(signer().1))];
    cases.seal(
        ("oms-too-long", "model_signature_too_long", "one byte over the limit"),
        &folder::small(),
        &options(1),
        &extra,
    );
}
