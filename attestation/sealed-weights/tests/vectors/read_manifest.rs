//! Manifests that are not what an owner would sign, or that a reader refuses although the owner did.

use anchorhold_sealed_weights::Suite;
use serde_json::json;

use crate::make::{Ask, Cases, stranger};
use crate::package::{KEY, OWNER_SEED, Package, owner};
use crate::read_cases::{Edit, altered, small};
use crate::store::{File, text};

const MANIFEST: &str = "manifest.json";

/// Replaces one text in the envelope.
fn replace(from: &'static str, to: &'static str) -> impl FnOnce(&mut Package) {
    move |package| {
        let text = String::from_utf8(package.get(MANIFEST)).unwrap();
        assert!(text.contains(from));
        package.put(MANIFEST, text.replacen(from, to, 1).into_bytes());
    }
}

pub(crate) fn add(cases: &mut Cases) {
    envelope(cases);
    signature(cases);
    statement(cases);
}

fn envelope(cases: &mut Cases) {
    altered(cases, ("manifest-empty", "manifest_not_envelope", "an empty manifest"), |package| {
        package.put(MANIFEST, Vec::new());
    });
    altered(cases, ("manifest-cut", "manifest_not_envelope", "its last byte is missing"), |package| {
        package.edit(MANIFEST, |bytes| _ = bytes.pop());
    });
    altered(cases, ("manifest-longer", "manifest_too_long", "one byte over the limit"), |package| {
        package.0.insert(MANIFEST.to_owned(), File::Fill(b' ', (256 << 10) + 1));
    });
    altered(cases, ("manifest-spaced", "manifest_not_canonical", "a space where none belongs"), |package| {
        let text = String::from_utf8(package.get(MANIFEST)).unwrap().replacen(':', ": ", 1);
        package.put(MANIFEST, text.into_bytes());
    });
    altered(cases, ("manifest-newline", "manifest_not_canonical", "a line end after it"), |package| {
        package.edit(MANIFEST, |bytes| bytes.push(b'\n'));
    });
    altered(
        cases,
        ("manifest-payload-type", "manifest_payload_type", "another payload type"),
        replace("in-toto+json", "in-toto+jsoN"),
    );
    altered(
        cases,
        ("manifest-payload-base64", "manifest_payload_base64", "base64 with a character that is none"),
        replace("\"payload\":\"ey", "\"payload\":\"!y"),
    );
}

fn signature(cases: &mut Cases) {
    altered(cases, ("signature-none", "signature_count", "no signature"), |package| {
        let text = String::from_utf8(package.get(MANIFEST)).unwrap();
        let at = text.find("\"signatures\":[").unwrap() + "\"signatures\":[".len();
        package.put(MANIFEST, format!("{}]}}", &text[..at]).into_bytes());
    });
    altered(cases, ("signature-twice", "signature_count", "the owner's signature twice"), |package| {
        let text = String::from_utf8(package.get(MANIFEST)).unwrap();
        let at = text.find("{\"keyid\"").unwrap();
        let one = text[at..].strip_suffix("]}").unwrap();
        package.put(MANIFEST, format!("{}{one},{one}]}}", &text[..at]).into_bytes());
    });
    altered(
        cases,
        ("signature-base64", "signature_encoding", "a signature without its padding"),
        replace("==\"}", "=\"}"),
    );
    altered(cases, ("signature-flip", "signature_invalid", "one character of the signature"), |package| {
        let text = String::from_utf8(package.get(MANIFEST)).unwrap();
        let at = text.find("\"sig\":\"").unwrap() + 7;
        package.edit(MANIFEST, |bytes| bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' });
    });
    altered(
        cases,
        ("signature-payload-flip", "signature_invalid", "one bit of the signed payload"),
        |package| {
            let text = text(&package.payload());
            let genuine = package.get(MANIFEST);
            package.sign_text(
                text.replace("\"version\":1", "\"version\":2").as_bytes(),
                &KEY,
                &owner().public_key(),
            );
            let forged = String::from_utf8(package.get(MANIFEST)).unwrap();
            let genuine = String::from_utf8(genuine).unwrap();
            let sig = |text: &str| text[text.find("\"signatures\"").unwrap()..].to_owned();
            let forged = forged.replace(&sig(&forged), &sig(&genuine));
            package.put(MANIFEST, forged.into_bytes());
        },
    );
    altered(
        cases,
        ("signature-by-stranger", "signature_other_owner", "somebody else's signature"),
        |package| {
            let text = text(&package.payload());
            package.sign_text(text.as_bytes(), &[8; 32], &stranger());
        },
    );
    altered(
        cases,
        (
            "signature-by-key-holder",
            "signature_invalid",
            "a holder of the weights key signs in the owner's name",
        ),
        |package| {
            let text = text(&package.payload());
            package.sign_text(text.as_bytes(), &KEY, &owner().public_key());
        },
    );
    let ask = Ask { owner_key: stranger(), ..Ask::default() };
    cases.read(("owner-other", "signature_other_owner", "another owner is expected"), &small(), &ask);
}

const STATEMENTS: &[Edit] = &[
    ("statement-extra-key", "manifest_not_statement", "a key that is not known", |p| {
        p["predicate"]["more"] = json!(1)
    }),
    ("statement-missing-key", "manifest_not_statement", "previous is missing", |p| {
        drop(p["predicate"].as_object_mut().unwrap().remove("previous"));
    }),
    ("statement-float", "manifest_not_statement", "a version that is no integer", |p| {
        p["predicate"]["version"] = json!(1.5)
    }),
    ("statement-role", "manifest_not_statement", "a role that is not known", |p| {
        p["predicate"]["objects"][1]["role"] = json!("code")
    }),
    ("statement-upper-hex", "manifest_not_statement", "hexadecimal in capitals", |p| {
        let kid = p["predicate"]["kid"].as_str().unwrap().to_uppercase();
        p["predicate"]["kid"] = json!(kid);
    }),
    ("statement-type", "manifest_statement_type", "another statement type", |p| {
        p["_type"] = json!("https://in-toto.io/Statement/v0.1")
    }),
    ("statement-version-1", "manifest_statement_type", "the predicate type of format version 1", |p| {
        p["predicateType"] = json!("https://anchorhold.dev/sealed-weights/v1");
    }),
    ("statement-format", "manifest_format", "format version 1", |p| p["predicate"]["format"] = json!(1)),
    ("statement-suite-null", "manifest_suite", "a suite without encryption", |p| {
        p["predicate"]["suite"] = json!("floe-null.rfc6962-sha256.ed25519")
    }),
    (
        "statement-suite-other",
        "manifest_subject_digest",
        "the other suite's name over this suite's roots",
        |p| {
            p["predicate"]["suite"] = json!(Suite::Blake3.as_str());
        },
    ),
    ("statement-digest-name", "manifest_subject_digest", "a root under the other suite's name", |p| {
        let root = p["subject"][0]["digest"]["rfc6962Sha256"].clone();
        p["subject"][0]["digest"] = json!({ "rfc6962Sha256Blake3Leaves": root });
    }),
    ("statement-model-id", "manifest_model_id", "a model id that leaves its folder", |p| {
        p["predicate"]["model"] = json!("acme/../tiny")
    }),
    ("statement-version-zero", "manifest_version_zero", "version zero", |p| {
        p["predicate"]["version"] = json!(0)
    }),
    ("statement-times", "manifest_times", "made when it ends", |p| {
        p["predicate"]["created_s"] = json!(2_000)
    }),
    ("statement-subjects", "manifest_subject_count", "a subject too few", |p| {
        drop(p["subject"].as_array_mut().unwrap().pop())
    }),
    ("statement-subject-path", "manifest_subject_name", "a subject outside the package", |p| {
        p["subject"][1]["name"] = json!("objects/../../x")
    }),
    ("statement-subjects-swapped", "manifest_subject_name", "two subjects' names are swapped", |p| {
        let name = p["subject"][1]["name"].clone();
        p["subject"][1]["name"] = p["subject"][2]["name"].clone();
        p["subject"][2]["name"] = name;
    }),
    ("statement-segment-length", "manifest_segment_length", "segments of 2 MiB", |p| {
        p["predicate"]["objects"][1]["segment_len"] = json!((2 << 20) + 32)
    }),
    ("statement-empty-object", "manifest_plaintext_length", "an empty object", |p| {
        p["predicate"]["objects"][1]["plaintext_len"] = json!(0)
    }),
    ("statement-large-config", "manifest_plaintext_length", "a config of more than 1 MiB", |p| {
        p["predicate"]["objects"][1]["plaintext_len"] = json!((1 << 20) + 1)
    }),
    ("statement-huge-weights", "manifest_plaintext_length", "weights of 2^64 - 1 bytes", |p| {
        p["predicate"]["objects"][3]["plaintext_len"] = json!(u64::MAX)
    }),
    ("statement-segment-count", "manifest_lengths", "a segment that is not there", |p| {
        p["predicate"]["objects"][1]["segment_count"] = json!(2)
    }),
    ("statement-ciphertext-length", "manifest_lengths", "a file longer than its segments", |p| {
        let len = p["predicate"]["objects"][1]["ciphertext_len"].as_u64().unwrap();
        p["predicate"]["objects"][1]["ciphertext_len"] = json!(len + 1);
    }),
    ("statement-header-parameters", "manifest_header_parameters", "a header of another AEAD", |p| {
        let header = p["predicate"]["objects"][1]["header"].as_str().unwrap();
        p["predicate"]["objects"][1]["header"] = json!(format!("01{}", &header[2..]));
    }),
    ("statement-card-second", "manifest_card_place", "the card is not first", |p| {
        p["subject"].as_array_mut().unwrap().swap(0, 1);
        p["predicate"]["objects"].as_array_mut().unwrap().swap(0, 1);
    }),
    ("statement-no-object", "manifest_card_place", "no object at all", |p| {
        p["subject"] = json!([]);
        p["predicate"]["objects"] = json!([]);
    }),
    ("statement-same-header", "manifest_shared", "two objects with one header", |p| {
        p["predicate"]["objects"][2]["header"] = p["predicate"]["objects"][1]["header"].clone();
    }),
    ("statement-same-id", "manifest_shared", "two objects with one id", |p| {
        p["predicate"]["objects"][2]["id"] = p["predicate"]["objects"][1]["id"].clone();
        p["subject"][2]["name"] = p["subject"][1]["name"].clone();
    }),
    ("statement-role-twice", "manifest_duplicate_role", "two configs", |p| {
        p["predicate"]["objects"][2]["role"] = json!("config")
    }),
    ("statement-bundle-and-files", "manifest_bundle_not_alone", "a bundle beside files", |p| {
        p["predicate"]["objects"][3]["role"] = json!("bundle")
    }),
    ("statement-no-weights", "manifest_weights_count", "no weights", |p| {
        drop(p["subject"].as_array_mut().unwrap().pop());
        drop(p["predicate"]["objects"].as_array_mut().unwrap().pop());
    }),
];

/// Statements that the owner signed and that break a rule.
fn statement(cases: &mut Cases) {
    for (id, code, why, edit) in STATEMENTS {
        altered(cases, (id, code, why), |package| package.resign(edit));
    }
    altered(cases, ("statement-repeated-key", "manifest_not_statement", "a version twice"), |package| {
        package.resign_text("\"version\":1", "\"version\":1,\"version\":1");
    });
    altered(
        cases,
        ("statement-not-json", "manifest_not_statement", "a signed text that is no JSON"),
        |package| {
            package.sign_text(b"{", &OWNER_SEED, &owner().public_key());
        },
    );
    altered(cases, ("statement-deep", "manifest_not_statement", "100,000 lists in one another"), |package| {
        package.sign_text("[".repeat(100_000).as_bytes(), &OWNER_SEED, &owner().public_key());
    });
}
