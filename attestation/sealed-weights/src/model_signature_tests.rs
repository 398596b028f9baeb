use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;
use crate::hex;
use crate::merkle;
use crate::object::ObjectId;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/model-signing");

fn published(name: &str) -> Vec<u8> {
    std::fs::read(format!("{VECTORS}/{name}")).unwrap()
}

fn published_key(name: &str) -> Result<SignerKey, Error> {
    SignerKey::from_pem(&String::from_utf8(published(name)).unwrap())
}

fn files(names: &[&str]) -> Vec<CardFile> {
    let file = |name: &&str| {
        let named = Role::NAMED.into_iter().find(|role| role.file_name() == Some(name));
        let bytes = published(&format!("model/{name}"));
        CardFile {
            id: ObjectId::new([0; 16]),
            offset: 0,
            len: bytes.len() as u64,
            role: named.unwrap_or(Role::Weights),
            name: (*name).to_owned(),
            sha256: merkle::sha256(&bytes),
        }
    };
    names.iter().map(file).collect()
}

const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

#[test]
fn verifies_signatures_of_the_reference_implementation() {
    for (bundle, key) in
        [("p256.sig", "p256.pem"), ("p384.sig", "p384.pem"), ("certificate.sig", "certificate-key.pem")]
    {
        let key = published_key(key).unwrap();
        let signature = ModelSignature::verify(&published(bundle), &key).unwrap();
        assert_eq!((signature.model_name(), signature.resource_count()), ("model", 4), "{bundle}");
        assert_eq!((signature.bundle(), signature.signer()), (&published(bundle)[..], &key));
        assert_eq!(signature.check_files(&files(&FILES)), Ok(()));
    }
}

#[test]
fn refuses_what_the_reference_implementation_makes_and_this_does_not_read() {
    assert_eq!(published_key("p521.pem"), Err(ModelSignatureRule::SignerKey.into()));
    let key = published_key("p256.pem").unwrap();
    for bundle in ["shards.sig", "blake3.sig"] {
        assert_eq!(ModelSignature::verify(&published(bundle), &key), Err(ModelSignatureRule::Method.into()));
    }
}

#[test]
fn refuses_another_key() {
    let other = published_key("p384.pem").unwrap();
    // The bundle names its key, so another one is refused before its signature is.
    assert_eq!(ModelSignature::verify(&published("p256.sig"), &other), Err(ModelSignatureRule::Hint.into()));
    assert_eq!(
        ModelSignature::verify(&published("certificate.sig"), &other),
        Err(ModelSignatureRule::Invalid.into())
    );
}

#[test]
fn demands_exactly_the_signed_files_of_a_model() {
    let key = published_key("p256.pem").unwrap();
    let signature = ModelSignature::verify(&published("p256.sig"), &key).unwrap();
    let check = |alter: &dyn Fn(&mut Vec<CardFile>)| {
        let mut files = files(&FILES);
        alter(&mut files);
        signature.check_files(&files)
    };
    assert_eq!(check(&|files| files[1].sha256[31] ^= 1), Err(ModelSignatureRule::Digest));
    assert_eq!(check(&|files| files[0].name = "modules.json".to_owned()), Err(ModelSignatureRule::Unsigned));
    assert_eq!(check(&|files| drop(files.remove(0))), Err(ModelSignatureRule::Incomplete));
    assert_eq!(check(&|files| drop(files.remove(2))), Err(ModelSignatureRule::Incomplete));
}

/// A statement over these resources.
fn statement(resources: &[(&str, [u8; 32])]) -> Value {
    let all: Vec<u8> = resources.iter().flat_map(|(_, digest)| digest).copied().collect();
    let root = hex::encode(&merkle::sha256(&all));
    let resource = |(name, digest): &(&str, [u8; 32])| json!({ "name": name, "algorithm": "sha256", "digest": hex::encode(digest) });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "m", "digest": { "sha256": root } }],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false },
            "resources": resources.iter().map(resource).collect::<Vec<_>>(),
            "further": ["verifiers pass over this"],
        },
    })
}

fn two() -> Value {
    statement(&[("config.json", [1; 32]), ("README.md", [2; 32])])
}

fn ed25519() -> (Ed25519KeyPair, SignerKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(pair.public_key().as_ref());
    (pair, SignerKey::from_der(&der).unwrap())
}

/// A bundle around a payload, signed with Ed25519, and altered after that.
fn bundle(payload: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    let kind = "application/vnd.in-toto+json";
    let message = [format!("DSSEv1 28 {kind} {} ", payload.len()).as_bytes(), payload].concat();
    let signature = STANDARD.encode(ed25519().0.sign(&message).as_ref());
    let mut bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": ed25519().1.hint() }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": [{ "sig": signature, "keyid": "" }],
        },
    });
    alter(&mut bundle);
    bundle.to_string().into_bytes()
}

fn verify(bundle: &[u8]) -> Result<ModelSignature, Error> {
    ModelSignature::verify(bundle, &ed25519().1)
}

fn refuses_bundle(rule: ModelSignatureRule, alter: impl FnOnce(&mut Value)) {
    assert_eq!(verify(&bundle(two().to_string().as_bytes(), alter)), Err(rule.into()));
}

fn refuses_statement(rule: ModelSignatureRule, alter: impl FnOnce(&mut Value)) {
    let mut statement = two();
    alter(&mut statement);
    assert_eq!(verify(&bundle(statement.to_string().as_bytes(), |_| {})), Err(rule.into()));
}

#[test]
fn verifies_ed25519_with_and_without_a_hint() {
    let payload = two().to_string();
    let signature = verify(&bundle(payload.as_bytes(), |_| {})).unwrap();
    assert_eq!((signature.model_name(), signature.resource_count()), ("m", 2));
    for material in [json!({}), json!({ "publicKey": {} }), json!({ "certificate": { "rawBytes": "x" } })] {
        verify(&bundle(payload.as_bytes(), |bundle| bundle["verificationMaterial"] = material)).unwrap();
    }
}

#[test]
fn case_22_refuses_what_is_no_bundle() {
    use ModelSignatureRule::{Base64, Count, Hint, Invalid, MediaType, NotBundle, PayloadType, TooLong};
    assert_eq!(verify(&vec![b' '; MAX_MODEL_SIGNATURE_LEN + 1]), Err(TooLong.into()));
    for bytes in [&b""[..], b"[]", b"{}", b"\xff", &[b'['; MAX_MODEL_SIGNATURE_LEN]] {
        assert_eq!(verify(bytes), Err(NotBundle.into()));
    }
    refuses_bundle(NotBundle, |bundle| bundle["messageSignature"] = json!({}));
    refuses_bundle(NotBundle, |bundle| bundle["dsseEnvelope"]["extra"] = json!(1));
    refuses_bundle(NotBundle, |bundle| drop(bundle.as_object_mut().unwrap().remove("verificationMaterial")));
    refuses_bundle(NotBundle, |bundle| {
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.resize(3, signatures[0].clone());
    });
    refuses_bundle(MediaType, |bundle| bundle["mediaType"] = json!("application/json"));
    refuses_bundle(PayloadType, |bundle| bundle["dsseEnvelope"]["payloadType"] = json!("text/plain"));
    refuses_bundle(Count, |bundle| bundle["dsseEnvelope"]["signatures"] = json!([]));
    refuses_bundle(Count, |bundle| {
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
    });
    refuses_bundle(Hint, |bundle| bundle["verificationMaterial"]["publicKey"]["hint"] = json!(""));
    refuses_bundle(Base64, |bundle| bundle["dsseEnvelope"]["payload"] = json!("!"));
    refuses_bundle(Base64, |bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("YQ"));
    refuses_bundle(Invalid, |bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!("YQ=="));
    refuses_bundle(Invalid, |bundle| bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode("{}")));
}

#[test]
fn case_22_refuses_other_statements() {
    use ModelSignatureRule::{
        DuplicateResource, Method, NotStatement, Resource, ResourceCount, RootDigest, StatementType, Subject,
    };
    for payload in [&b"[]"[..], b"{}", b"\xff", "[".repeat(100_000).as_bytes()] {
        assert_eq!(verify(&bundle(payload, |_| {})), Err(NotStatement.into()));
    }
    refuses_statement(NotStatement, |statement| statement["extra"] = json!(1));
    refuses_statement(NotStatement, |statement| statement["predicate"] = json!([]));
    refuses_statement(StatementType, |statement| statement["_type"] = json!("x"));
    let old = json!("https://model_signing/Digests/v0.1");
    refuses_statement(StatementType, |statement| statement["predicateType"] = old);
    refuses_statement(Subject, |statement| statement["subject"] = json!([]));
    refuses_statement(Subject, |statement| {
        let subjects = statement["subject"].as_array_mut().unwrap();
        subjects.push(subjects[0].clone());
    });
    refuses_statement(Subject, |statement| statement["subject"][0]["digest"]["sha256"] = json!("00"));
    refuses_statement(Subject, |statement| statement["subject"][0]["name"] = json!("n".repeat(1025)));
    refuses_statement(NotStatement, |statement| {
        statement["subject"][0]["digest"] = json!({ "sha512": "00" })
    });
    refuses_statement(Method, |statement| {
        statement["predicate"]["serialization"]["method"] = json!("shards")
    });
    refuses_statement(Method, |statement| {
        statement["predicate"]["serialization"]["hash_type"] = json!("blake3")
    });
    refuses_statement(ResourceCount, |statement| statement["predicate"]["resources"] = json!([]));
    refuses_statement(Resource, |statement| statement["predicate"]["resources"][0]["name"] = json!(""));
    refuses_statement(Resource, |statement| {
        statement["predicate"]["resources"][0]["name"] = json!("n".repeat(1025));
    });
    refuses_statement(Resource, |statement| statement["predicate"]["resources"][0]["digest"] = json!("00"));
    refuses_statement(Resource, |statement| {
        statement["predicate"]["resources"][1]["algorithm"] = json!("md5")
    });
    refuses_statement(DuplicateResource, |statement| {
        let resources = statement["predicate"]["resources"].as_array_mut().unwrap();
        resources[1] = resources[0].clone();
    });
    refuses_statement(RootDigest, |statement| {
        statement["predicate"]["resources"].as_array_mut().unwrap().reverse();
    });
    refuses_statement(RootDigest, |statement| {
        drop(statement["predicate"]["resources"].as_array_mut().unwrap().pop())
    });
}

#[test]
fn case_22_refuses_too_many_resources() {
    let of = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("f{at}")).collect();
        let resources: Vec<(&str, [u8; 32])> = names.iter().map(|name| (name.as_str(), [0; 32])).collect();
        verify(&bundle(statement(&resources).to_string().as_bytes(), |_| {}))
    };
    assert_eq!(of(MAX_RESOURCES).unwrap().resource_count(), MAX_RESOURCES);
    assert_eq!(of(MAX_RESOURCES + 1), Err(ModelSignatureRule::ResourceCount.into()));
    assert_eq!(of(MAX_RESOURCES + 2), Err(ModelSignatureRule::NotStatement.into()));
}

#[test]
fn reads_keys_as_der_and_pem_only() {
    let rule: Error = ModelSignatureRule::SignerKey.into();
    let key = published_key("p256.pem").unwrap();
    assert_eq!(SignerKey::from_der(key.der()).unwrap(), key);
    let mut wrong = key.der().to_vec();
    for at in 0..26 {
        wrong[at] ^= 1;
        assert_eq!(SignerKey::from_der(&wrong), Err(rule.clone()), "{at}");
        wrong[at] ^= 1;
    }
    assert_eq!(SignerKey::from_der(&wrong[..wrong.len() - 1]), Err(rule.clone()));
    assert_eq!(SignerKey::from_der(&[&wrong[..], &[0]].concat()), Err(rule.clone()));
    let pem = String::from_utf8(published("p256.pem")).unwrap();
    assert_eq!(SignerKey::from_pem(&pem.replace('\n', "\r\n")).unwrap(), key);
    assert_eq!(SignerKey::from_pem(&format!("\n {pem}\n")).unwrap(), key);
    for wrong in [
        pem.replace("PUBLIC", "PRIVATE"),
        pem.replace("-----END", "-----EXD"),
        format!("x{pem}"),
        format!("{pem}{pem}"),
        pem.replace('=', ""),
        " ".repeat(1 << 20),
        format!("{}{}", pem.trim_end(), "-".repeat(5_000)),
        String::new(),
    ] {
        assert_eq!(SignerKey::from_pem(&wrong), Err(rule.clone()), "{wrong:.80}");
    }
}

#[test]
fn an_ecdsa_signature_is_of_one_payload() {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &SystemRandom::new())
            .unwrap();
    let mut der = published_key("p256.pem").unwrap().der()[..26].to_vec();
    der.extend_from_slice(pair.public_key().as_ref());
    let key = SignerKey::from_der(&der).unwrap();
    let payload = two().to_string().into_bytes();
    let message =
        [format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).as_bytes(), &payload].concat();
    let signature = pair.sign(&SystemRandom::new(), &message).unwrap();
    let with = |payload: &[u8]| {
        let made = bundle(payload, |bundle| {
            bundle["verificationMaterial"] = json!({});
            bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(STANDARD.encode(signature.as_ref()));
        });
        ModelSignature::verify(&made, &key)
    };
    assert!(with(&payload).is_ok());
    let mut other = payload.clone();
    other.push(b' ');
    assert_eq!(with(&other), Err(ModelSignatureRule::Invalid.into()));
}
