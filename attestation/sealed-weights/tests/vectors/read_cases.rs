//! Packages to be read: good ones of each kind, and bad ones by who made them bad.

use anchorhold_sealed_weights::{OwnerKey, Padding, Role, SealOptions, Suite};
use serde_json::{Value, json};

use crate::floe::{HEADER, SEGMENT, hex, sha256};
use crate::folder;
use crate::make::{Ask, Cases, stranger};
use crate::package::{KEY, OWNER_SEED, Package, options, owner};
use crate::seal_cases::signature;
use crate::store::{Change, File};

pub(crate) fn add(cases: &mut Cases) {
    good(cases);
    envelope(cases);
    statement(cases);
    asked(cases);
    host(cases);
    segments(cases);
    key_holder(cases);
    lengths(cases);
    card(cases);
    tables(cases);
    contents(cases);
    bundle(cases);
}

fn small() -> Package {
    Package::seal(&folder::small(), &options(1))
}

/// Adds a case of the small package after an alteration.
fn altered(cases: &mut Cases, head: (&str, &str, &str), alter: impl FnOnce(&mut Package)) {
    let mut package = small();
    alter(&mut package);
    cases.read(head, &package, &Ask::default());
}

fn good(cases: &mut Cases) {
    cases.read(("good-safetensors", "", "one file of safetensors, SHA-256"), &small(), &Ask::default());
    let blake3 = SealOptions { suite: Suite::Blake3, ..options(1) };
    let package = Package::seal(&folder::small(), &blake3);
    cases.read(("good-blake3", "", "the same under the suite of BLAKE3 leaves"), &package, &Ask::default());
    let package = Package::seal(&folder::segments(), &options(1));
    cases.read(("good-segments", "", "weights of three segments"), &package, &Ask::default());
    let package = Package::seal(&folder::sharded(), &options(1));
    cases.read(("good-sharded", "", "two numbered files and their index"), &package, &Ask::default());
    let package = Package::seal(&folder::gguf(), &options(1));
    cases.read(("good-gguf", "", "one GGUF file"), &package, &Ask::default());
    let package = Package::seal(&folder::gguf_split(), &options(1));
    cases.read(("good-gguf-split", "", "three GGUF files"), &package, &Ask::default());
    let padme = SealOptions { padding: Padding::Padme, ..options(1) };
    let package = Package::seal(&folder::sharded(), &padme);
    cases.read(("good-padme", "", "all files in one bundle"), &package, &Ask::default());
    for (id, file, key) in
        [("good-signed-p256", "p256.sig", "p256.pem"), ("good-signed-p384", "p384.sig", "p384.pem")]
    {
        let signature = signature(file, key);
        let signed = SealOptions { model_signature: Some(&signature), ..options(1) };
        let package = Package::seal(&folder::small(), &signed);
        cases.read(
            (id, "", "carries a model signature of the reference implementation"),
            &package,
            &Ask::default(),
        );
    }
    let first = small();
    let previous = first.manifest();
    let next = Package::seal(&folder::small(), &SealOptions { previous: Some(&previous), ..options(2) });
    let ask = Ask {
        previous: Some(first.get("manifest.json")),
        manifest_digest: Some(sha256(&next.get("manifest.json"))),
        version_min: 2,
        at_s: 2_000,
        ..Ask::default()
    };
    cases.read(("good-successor", "", "the next version, at its last second"), &next, &ask);
}

fn envelope(cases: &mut Cases) {
    let manifest = "manifest.json";
    altered(cases, ("manifest-empty", "manifest_not_envelope", "an empty manifest"), |package| {
        package.put(manifest, Vec::new());
    });
    altered(cases, ("manifest-cut", "manifest_not_envelope", "its last byte is missing"), |package| {
        package.edit(manifest, |bytes| _ = bytes.pop());
    });
    altered(cases, ("manifest-longer", "manifest_too_long", "one byte over the limit"), |package| {
        package.0.insert(manifest.to_owned(), File::Fill(b' ', (256 << 10) + 1));
    });
    altered(cases, ("manifest-spaced", "manifest_not_canonical", "a space where none belongs"), |package| {
        let text = String::from_utf8(package.get(manifest)).unwrap().replacen(':', ": ", 1);
        package.put(manifest, text.into_bytes());
    });
    altered(cases, ("manifest-newline", "manifest_not_canonical", "a line end after it"), |package| {
        package.edit(manifest, |bytes| bytes.push(b'\n'));
    });
    let replace = |from: &'static str, to: &'static str| {
        move |package: &mut Package| {
            let text = String::from_utf8(package.get(manifest)).unwrap();
            assert!(text.contains(from));
            package.put(manifest, text.replacen(from, to, 1).into_bytes());
        }
    };
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
    altered(cases, ("signature-none", "signature_count", "no signature"), |package| {
        let text = String::from_utf8(package.get(manifest)).unwrap();
        let at = text.find("\"signatures\":[").unwrap() + "\"signatures\":[".len();
        package.put(manifest, format!("{}]}}", &text[..at]).into_bytes());
    });
    altered(cases, ("signature-twice", "signature_count", "the owner's signature twice"), |package| {
        let text = String::from_utf8(package.get(manifest)).unwrap();
        let at = text.find("{\"keyid\"").unwrap();
        let one = text[at..].strip_suffix("]}").unwrap();
        package.put(manifest, format!("{}{one},{one}]}}", &text[..at]).into_bytes());
    });
    altered(
        cases,
        ("signature-base64", "signature_encoding", "a signature without its padding"),
        replace("==\"}", "=\"}"),
    );
    altered(cases, ("signature-flip", "signature_invalid", "one character of the signature"), |package| {
        let text = String::from_utf8(package.get(manifest)).unwrap();
        let at = text.find("\"sig\":\"").unwrap() + 7;
        package.edit(manifest, |bytes| bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' });
    });
    altered(
        cases,
        ("signature-payload-flip", "signature_invalid", "one bit of the signed payload"),
        |package| {
            let text = package.payload().to_string();
            let genuine = package.get(manifest);
            package.sign_text(
                text.replace("\"version\":1", "\"version\":2").as_bytes(),
                &KEY,
                &owner().public_key(),
            );
            let forged = String::from_utf8(package.get(manifest)).unwrap();
            let genuine = String::from_utf8(genuine).unwrap();
            let sig = |text: &str| text[text.find("\"signatures\"").unwrap()..].to_owned();
            let forged = forged.replace(&sig(&forged), &sig(&genuine));
            package.put(manifest, forged.into_bytes());
        },
    );
    altered(
        cases,
        ("signature-by-stranger", "signature_other_owner", "somebody else's signature"),
        |package| {
            let text = package.payload().to_string();
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
            let text = package.payload().to_string();
            package.sign_text(text.as_bytes(), &KEY, &owner().public_key());
        },
    );
    let ask = Ask { owner_key: stranger(), ..Ask::default() };
    cases.read(("owner-other", "signature_other_owner", "another owner is expected"), &small(), &ask);
}

/// Statements that the owner signed and that break a rule.
fn statement(cases: &mut Cases) {
    type Change = fn(&mut Value);
    let edits: &[(&str, &str, &str, Change)] = &[
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
    for (id, code, why, edit) in edits {
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

/// Genuine packages that are not the ones asked for, and other keys.
fn asked(cases: &mut Cases) {
    let package = small();
    let ask = Ask { version_min: 2, ..Ask::default() };
    cases.read(("asked-newer", "version", "an older signed version"), &package, &ask);
    let ask = Ask { at_s: 2_001, ..Ask::default() };
    cases.read(("asked-later", "expired", "one second after its end"), &package, &ask);
    let ask = Ask { manifest_digest: Some([1; 32]), ..Ask::default() };
    cases.read(("asked-another", "mixed_not_released", "the release names another manifest"), &package, &ask);
    let first = small().get("manifest.json");
    let again = Package::seal(&folder::small(), &options(2));
    let ask = Ask { previous: Some(first.clone()), ..Ask::default() };
    cases.read(("asked-successor", "mixed_other_predecessor", "names no predecessor"), &again, &ask);
    let other = Package::seal(&folder::small(), &SealOptions { model_id: "acme/other", ..options(1) });
    let ask = Ask { previous: Some(other.get("manifest.json")), ..Ask::default() };
    cases.read(
        ("asked-other-model", "mixed_other_model", "the predecessor is of another model"),
        &again,
        &ask,
    );
    let ask = Ask { previous: Some(again.get("manifest.json")), ..Ask::default() };
    cases.read(("asked-rollback", "version", "the predecessor is newer"), &package, &ask);
    let ask = Ask { weights_key: [0x5b; 32], ..Ask::default() };
    cases.read(("key-other", "wrong_key", "another model's weights key"), &package, &ask);
    for (id, field, value) in [
        ("key-for-other-version", "version", json!(2)),
        ("key-for-other-model", "model", json!("acme/other")),
        ("key-of-other-id", "kid", json!("00".repeat(16))),
        ("key-of-other-commitment", "dek_commitment", json!("00".repeat(32))),
    ] {
        let why = format!("the owner signed another {field} than the one the key was committed for");
        altered(cases, (id, "wrong_key", &why), |package| package.resign(|p| p["predicate"][field] = value));
    }
}

/// What a host without any key can do.
fn host(cases: &mut Cases) {
    for (role, name) in [(Role::Weights, "weights"), (Role::Config, "config"), (Role::Card, "card")] {
        for (at, what) in [(0, "parameters"), (12, "vector"), (50, "tag")] {
            let id = format!("flip-{name}-header-{what}");
            altered(cases, (&id, "header_not_signed", "one bit of a header"), |package| {
                package.flip(&package.data(role), at);
            });
        }
        let code = if role == Role::Card { "card_tree" } else { "segment_not_in_tree" };
        for (at, what) in [(0, "length-word"), (4, "nonce"), (16, "body")] {
            let id = format!("flip-{name}-{what}");
            altered(cases, (&id, code, "one bit of a segment"), |package| {
                package.flip(&package.data(role), HEADER + at);
            });
        }
        altered(
            cases,
            (&format!("flip-{name}-segment-tag"), code, "one bit of a segment's tag"),
            |package| {
                package.edit(&package.data(role), |bytes| *bytes.last_mut().unwrap() ^= 1);
            },
        );
    }
    altered(cases, ("flip-tree", "tree", "one bit of a leaf hash"), |package| {
        package.flip(&package.tree(Role::Weights), 3);
    });
    altered(cases, ("missing-object", "io", "an object is not there"), |package| {
        package.0.remove(&package.data(Role::Config));
    });
    altered(cases, ("missing-tree", "io", "a tree is not there"), |package| {
        package.0.remove(&package.tree(Role::Config));
    });
    altered(cases, ("missing-card", "io", "the card is not there"), |package| {
        drop(package.0.remove("card.sealed"))
    });
    let other = Package::seal(&folder::small(), &options(2));
    for role in [Role::Weights, Role::Tokenizer] {
        let id = format!("mixed-{role}-of-other-version");
        altered(cases, (&id, "mixed_other_object", "the object and tree of another version"), |package| {
            package.put(&package.data(role), other.get(&other.data(role)));
            package.put(&package.tree(role), other.get(&other.tree(role)));
        });
        let id = format!("mixed-{role}-data-of-other-version");
        altered(
            cases,
            (&id, "header_not_signed", "the object of another version beside its own tree"),
            |package| {
                package.put(&package.data(role), other.get(&other.data(role)));
            },
        );
        let id = format!("mixed-{role}-tree-of-other-version");
        altered(cases, (&id, "tree", "the tree of another version"), |package| {
            package.put(&package.tree(role), other.get(&other.tree(role)));
        });
    }
    altered(
        cases,
        ("mixed-card-of-other-version", "mixed_other_object", "the card of another version"),
        |package| {
            // Cards of the two versions are of one length.
            package.put("card.sealed", other.get("card.sealed"));
        },
    );
    altered(cases, ("swapped-headers", "header_not_signed", "two objects' headers are swapped"), |package| {
        let (a, b) = (package.data(Role::Config), package.data(Role::Tokenizer));
        let (first, second) = (package.get(&a)[..HEADER].to_vec(), package.get(&b)[..HEADER].to_vec());
        package.edit(&a, |bytes| bytes[..HEADER].copy_from_slice(&second));
        package.edit(&b, |bytes| bytes[..HEADER].copy_from_slice(&first));
    });
}

/// Segments in the wrong place, in weights of three.
fn segments(cases: &mut Cases) {
    let package = Package::seal(&folder::segments(), &options(1));
    let (path, tree) = (package.data(Role::Weights), package.tree(Role::Weights));
    let place = |index: usize| HEADER + index * SEGMENT;
    let swap = vec![Change::Copy(place(0), place(1), SEGMENT), Change::Copy(place(1), place(0), SEGMENT)];
    let duplicate = vec![Change::Copy(place(0), place(1), SEGMENT)];
    let changes = [
        ("segments-swapped", "segment_not_in_tree", "the first two segments are swapped", swap.clone()),
        ("segments-duplicated", "segment_not_in_tree", "the first segment stands twice", duplicate),
        ("segments-cut", "truncated", "the last segment is missing", vec![Change::Resize(place(2))]),
        (
            "segments-cut-inside",
            "truncated",
            "half a segment is missing",
            vec![Change::Resize(place(2) - 1_000)],
        ),
        (
            "segments-appended",
            "trailing",
            "32 bytes too many",
            vec![Change::Resize(package.get(&path).len() + 32)],
        ),
    ];
    for (id, code, why, changes) in changes {
        let mut package = package.clone();
        package.0.insert(path.clone(), File::Changed(package.get(&path), changes));
        cases.read((id, code, why), &package, &Ask::default());
    }
    let mut reordered = package.clone();
    reordered.0.insert(path.clone(), File::Changed(package.get(&path), swap));
    reordered.edit(&tree, |leaves| {
        let (first, second) = leaves.split_at_mut(32);
        first.swap_with_slice(&mut second[..32]);
    });
    cases.read(
        ("segments-swapped-with-tree", "tree", "segments and leaf hashes are swapped alike"),
        &reordered,
        &Ask::default(),
    );
    let file = reordered.0[&path].clone();
    reordered.accept(Role::Weights);
    reordered.0.insert(path.clone(), file);
    cases.read(
        ("segments-swapped-and-signed", "tag", "the owner signs swapped segments by mistake"),
        &reordered,
        &Ask::default(),
    );
    let last = package.get(&path).len();
    for (id, code, why, at) in [
        ("segments-signed-flip", "tag", "the owner signs a flipped bit by mistake", place(1) + 500),
        ("segments-signed-tag", "tag", "the owner signs a flipped tag by mistake", last - 1),
        (
            "segments-signed-length-word",
            "segment_length_word",
            "the owner signs another length word by mistake",
            place(1),
        ),
    ] {
        let mut package = package.clone();
        let byte = package.get(&path)[at] ^ 1;
        let file = File::Changed(package.get(&path), vec![Change::Write(at, vec![byte])]);
        package.0.insert(path.clone(), file.clone());
        package.accept(Role::Weights);
        package.0.insert(path.clone(), file);
        cases.read((id, code, why), &package, &Ask::default());
    }
}

/// What a holder of the weights key can do without the owner, and with the owner's mistake.
fn key_holder(cases: &mut Cases) {
    for role in [Role::Weights, Role::Tokenizer] {
        let change = |package: &mut Package| {
            let mut plain = package.plain(role);
            let at = plain.len() - 2;
            plain[at] ^= 1;
            package.reencrypt(role, &plain);
        };
        let id = format!("reencrypted-{role}");
        altered(
            cases,
            (&id, "mixed_other_object", "altered, encrypted with correct tags, with a fitting tree"),
            change,
        );
        let id = format!("reencrypted-{role}-header-kept");
        altered(cases, (&id, "tree", "the same under the signed header"), |package| {
            let header = package.get(&package.data(role))[..HEADER].to_vec();
            change(package);
            package.edit(&package.data(role), |bytes| bytes[..HEADER].copy_from_slice(&header));
        });
        let id = format!("reencrypted-{role}-tree-kept");
        altered(
            cases,
            (&id, "segment_not_in_tree", "the same under the signed header and tree"),
            |package| {
                let (header, tree) =
                    (package.get(&package.data(role))[..HEADER].to_vec(), package.get(&package.tree(role)));
                change(package);
                package.edit(&package.data(role), |bytes| bytes[..HEADER].copy_from_slice(&header));
                package.put(&package.tree(role), tree);
            },
        );
        let id = format!("reencrypted-{role}-signed");
        altered(cases, (&id, "card_digest", "the same, signed by the owner by mistake"), |package| {
            change(package);
            package.accept(role);
        });
    }
    let old = small();
    let mut new = Package::seal(&folder::small(), &options(2));
    new.put(&new.data(Role::Tokenizer), old.get(&old.data(Role::Tokenizer)));
    new.accept(Role::Tokenizer);
    cases.read(
        (
            "moved-between-versions",
            "header_other_key",
            "the owner signs an object of another version by mistake",
        ),
        &new,
        &Ask::default(),
    );
}

fn lengths(cases: &mut Cases) {
    for (role, name) in [(Role::Weights, "weights"), (Role::Card, "card")] {
        for (len, what) in [(0, "empty"), (10, "parameters"), (HEADER, "header"), (HEADER + 16, "prefix")] {
            let id = format!("cut-{name}-at-{what}");
            altered(cases, (&id, "truncated", "cut off there"), |package| {
                package.edit(&package.data(role), |bytes| bytes.truncate(len));
            });
        }
        altered(cases, (&format!("cut-{name}-by-one"), "truncated", "its last byte is missing"), |package| {
            package.edit(&package.data(role), |bytes| _ = bytes.pop());
        });
        altered(cases, (&format!("longer-{name}"), "trailing", "one byte too many"), |package| {
            package.edit(&package.data(role), |bytes| bytes.push(0));
        });
    }
    altered(cases, ("cut-tree", "truncated", "a tree without its last byte"), |package| {
        package.edit(&package.tree(Role::Weights), |bytes| _ = bytes.pop());
    });
    altered(cases, ("longer-tree", "trailing", "a leaf hash too many"), |package| {
        package.edit(&package.tree(Role::Weights), |bytes| bytes.extend([0; 32]));
    });
}

/// Cards that the owner sealed and that break a rule.
fn card(cases: &mut Cases) {
    type Change = fn(&mut Value);
    let edits: &[(&str, &str, &str, Change)] = &[
        ("card-format", "card_format", "format version 1", |c| c["format"] = json!(1)),
        ("card-extra-key", "card_not_card", "a key that is not known", |c| c["more"] = json!(1)),
        ("card-missing-key", "card_not_card", "model_signature is missing", |c| {
            drop(c.as_object_mut().unwrap().remove("model_signature"))
        }),
        ("card-file-order", "mixed_card_files", "two files are swapped", |c| {
            c["files"].as_array_mut().unwrap().swap(0, 1)
        }),
        ("card-file-missing", "mixed_card_files", "a file is missing", |c| {
            drop(c["files"].as_array_mut().unwrap().pop())
        }),
        ("card-file-role", "mixed_card_files", "a file of another role", |c| {
            c["files"][0]["role"] = json!("modules")
        }),
        ("card-file-id", "mixed_card_files", "a file in another object", |c| {
            c["files"][0]["id"] = c["files"][1]["id"].clone()
        }),
        ("card-file-name", "card_file_name", "a name that its role does not have", |c| {
            c["files"][0]["name"] = json!("../config.json")
        }),
        ("card-weights-name", "card_file_name", "a name that weights do not have", |c| {
            c["files"][2]["name"] = json!("weights.bin")
        }),
        ("card-weights-shard", "card_shards", "the first of two numbered files alone", |c| {
            c["files"][2]["name"] = json!("model-00001-of-00002.safetensors")
        }),
        ("card-weights-no-index", "card_index_presence", "a numbered file without an index", |c| {
            c["files"][2]["name"] = json!("model-00001-of-00001.safetensors")
        }),
        ("card-weights-container", "card_containers", "safetensors under the name of GGUF", |c| {
            c["files"][2]["name"] = json!("model.gguf")
        }),
        ("card-offset", "card_place", "a file that does not begin its object", |c| {
            c["files"][0]["offset"] = json!(1)
        }),
        ("card-length", "card_place", "a file shorter than its object", |c| c["files"][0]["len"] = json!(1)),
        ("card-digest", "card_digest", "another digest of the config", |c| {
            c["files"][0]["sha256"] = json!("00".repeat(32))
        }),
        ("card-weights-digest", "card_digest", "another digest of the weights", |c| {
            c["files"][2]["sha256"] = json!("00".repeat(32))
        }),
        ("card-tables", "card_tables", "no table of tensors", |c| c["tables"] = json!([])),
    ];
    for (id, code, why, edit) in edits {
        altered(cases, (id, code, why), |package| package.edit_card(edit));
    }
    altered(cases, ("card-spaces", "card_padding_bytes", "spaces where no padding is"), |package| {
        let mut plain = package.plain(Role::Card);
        plain.push(b' ');
        package.reseal(Role::Card, &plain);
    });
    altered(cases, ("card-newline", "card_padding_bytes", "a line end"), |package| {
        let mut plain = package.plain(Role::Card);
        plain.push(b'\n');
        package.reseal(Role::Card, &plain);
    });
    altered(cases, ("card-not-json", "card_not_card", "a card that is no JSON"), |package| {
        package.reseal(Role::Card, b"{");
    });
    altered(cases, ("card-claims-bundle", "card_padding", "padding without a bundle"), |package| {
        let card: Value = serde_json::from_slice(&package.plain(Role::Card)).unwrap();
        let mut text = card.to_string().replace("\"none\"", "\"padme\"").into_bytes();
        text.resize(65_536, b' ');
        package.reseal(Role::Card, &text);
    });
    // Without config and tokenizer a model of safetensors is none.
    altered(cases, ("card-no-config", "card_missing", "a package without a config"), |package| {
        let path = package.data(Role::Config);
        package.resign(|payload| {
            let objects = payload["subject"].as_array_mut().unwrap();
            let at = objects.iter().position(|object| object["name"] == *path).unwrap();
            objects.remove(at);
            drop(payload["predicate"]["objects"].as_array_mut().unwrap().remove(at));
        });
        package.0.remove(&path);
        package.0.remove(&format!("{path}.tree"));
        package.edit_card(|card| drop(card["files"].as_array_mut().unwrap().remove(0)));
    });
}

/// Tables in cards, and weights whose own headers say something else.
fn tables(cases: &mut Cases) {
    type Change = fn(&mut Value);
    let edits: &[(&str, &str, &str, Change)] = &[
        ("table-overflow", "tensors_size", "a shape whose product is 2^64", |t| {
            t["tensors"][0]["shape"] = json!([1_u64 << 32, 1_u64 << 32])
        }),
        ("table-shape", "tensors_size", "a shape of another size", |t| t["tensors"][0]["shape"] = json!([4])),
        ("table-rank", "tensors_rank", "nine dimensions", |t| {
            t["tensors"][0]["shape"] = json!([1, 1, 1, 1, 1, 1, 1, 1, 3])
        }),
        ("table-name", "tensors_name", "an empty name", |t| t["tensors"][0]["name"] = json!("")),
        ("table-names", "tensors_duplicate_name", "two tensors of one name", |t| {
            t["tensors"][0]["name"] = json!("b")
        }),
        ("table-gap", "tensors_gap", "a byte that belongs to no tensor", |t| {
            t["tensors"][1]["begin"] = json!(13);
            t["tensors"][1]["end"] = json!(15);
        }),
        ("table-overlap", "tensors_gap", "two tensors share bytes", |t| {
            t["tensors"][1]["begin"] = json!(10);
            t["tensors"][1]["end"] = json!(12);
        }),
        ("table-end", "tensors_end", "bytes after the last tensor", |t| {
            drop(t["tensors"].as_array_mut().unwrap().pop())
        }),
        ("table-empty", "tensors_count", "no tensor", |t| t["tensors"] = json!([])),
        ("table-element-type", "tensors_element_type", "a type that safetensors do not have", |t| {
            t["tensors"][0]["dtype"] = json!("Q8_0");
            t["tensors"][0]["shape"] = json!([0]);
            t["tensors"][0]["end"] = json!(0);
        }),
        ("table-header-too-long", "tensors_header_too_long", "a header of more than 8 MiB", |t| {
            t["data_start"] = json!((8 << 20) + 9)
        }),
        ("table-header-beyond-file", "tensors_header_beyond_file", "a header longer than the file", |t| {
            t["data_start"] = json!(8 << 20)
        }),
        ("table-other-name", "tensors_disagree", "a name that the file's header does not have", |t| {
            t["tensors"][0]["name"] = json!("c")
        }),
        ("table-other-type", "tensors_disagree", "a type that the file's header does not have", |t| {
            t["tensors"][1]["dtype"] = json!("BF16")
        }),
    ];
    for (id, code, why, edit) in edits {
        altered(cases, (id, code, why), |package| package.edit_card(|card| edit(&mut card["tables"][0])));
    }
    altered(cases, ("table-container", "card_containers", "a table of the other container"), |package| {
        package.edit_card(|card| card["tables"][0]["container"] = json!("gguf"));
    });
    // The model's headers are held against the card again when it is loaded.
    let reheadered = |cases: &mut Cases, head: (&str, &str, &str), header: &str, data: &[u8]| {
        let weights = folder::safetensors(header, data);
        altered(cases, head, |package| {
            package.reseal(Role::Weights, &weights);
            let len = weights.len();
            package.edit_card(|card| {
                card["files"][2]["len"] = json!(len);
                card["files"][2]["sha256"] = json!(hex(&sha256(&weights)));
                card["tables"][0]["data_start"] = json!(len - data.len());
            });
        });
    };
    let header = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"x":{"dtype":"F16","shape":[1],"data_offsets":[12,14]}}"#;
    reheadered(
        cases,
        ("header-other-name", "tensors_disagree", "a header with a name that the card does not have"),
        header,
        &[0; 14],
    );
    reheadered(
        cases,
        ("header-not-table", "tensors_not_table", "a header that is no table"),
        r#"{"a":1}"#,
        &[0; 14],
    );
}

/// Small files that the owner sealed and that break a rule of their form.
fn contents(cases: &mut Cases) {
    let files: &[(&str, &str, &str, Role, &[u8])] = &[
        (
            "config-auto-map",
            "json_code_key",
            "a config that asks for code",
            Role::Config,
            br#"{"auto_map":{"AutoModel":"code.py"}}"#,
        ),
        ("config-not-json", "json_malformed", "a config that is no JSON", Role::Config, b"{"),
        ("config-repeated-key", "json_duplicate_key", "a key twice", Role::Config, br#"{"a":1,"a":2}"#),
        ("config-not-utf8", "json_utf8", "a config that is no UTF-8", Role::Config, b"\x80"),
    ];
    for (id, code, why, role, bytes) in files {
        altered(cases, (id, code, why), |package| {
            package.reseal(*role, bytes);
            package.edit_card(|card| {
                let files = card["files"].as_array_mut().unwrap();
                let file = files.iter_mut().find(|file| file["role"] == role.as_str()).unwrap();
                file["len"] = json!(bytes.len());
                file["sha256"] = json!(hex(&sha256(bytes)));
            });
        });
    }
    let mut package = Package::seal(&folder::sharded(), &options(1));
    let index = br#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#;
    package.reseal(Role::WeightsIndex, index);
    package.edit_card(|card| {
        let files = card["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["role"] == "weights_index").unwrap();
        file["len"] = json!(index.len());
        file["sha256"] = json!(hex(&sha256(index)));
    });
    cases.read(
        ("index-incomplete", "weights_index_incomplete", "an index that lacks a tensor"),
        &package,
        &Ask::default(),
    );
    let signature = signature("p256.sig", "p256.pem");
    let signed = SealOptions { model_signature: Some(&signature), ..options(1) };
    let package = Package::seal(&folder::small(), &signed);
    type Change = fn(&mut Value);
    let edits: &[(&str, &str, &str, Change)] = &[
        (
            "signed-other-digest",
            "model_signature_digest",
            "a file has another digest than the signed one",
            |c| c["files"][0]["sha256"] = json!("00".repeat(32)),
        ),
        ("signed-bundle-gone", "model_signature_not_bundle", "an empty bundle", |c| {
            c["model_signature"]["bundle"] = json!("")
        }),
        ("signed-signer-gone", "model_signature_signer_key", "an empty key", |c| {
            c["model_signature"]["signer"] = json!("")
        }),
        ("signed-base64", "model_signature_base64", "base64 that is none", |c| {
            c["model_signature"]["signer"] = json!("!")
        }),
    ];
    for (id, code, why, edit) in edits {
        let mut package = package.clone();
        package.edit_card(edit);
        cases.read((id, code, why), &package, &Ask::default());
    }
    let ask = Ask { owner_key: OwnerKey::from_seed(&[9; 32]).unwrap().public_key(), ..Ask::default() };
    cases.read(
        ("signed-other-owner", "signature_other_owner", "a model signature is not the owner's"),
        &package,
        &ask,
    );
}

/// Bundles that are not laid out as their card says. The bundle itself is that of the good case.
fn bundle(cases: &mut Cases) {
    let padme = SealOptions { padding: Padding::Padme, ..options(1) };
    let package = Package::seal(&folder::sharded(), &padme);
    let card: Value = serde_json::from_slice(&package.plain(Role::Card)).unwrap();
    let edits: &[(&str, &str, &str, fn(&mut Value))] = &[
        ("bundle-offset", "card_place", "a file off its page", |c| c["files"][1]["offset"] = json!(4097)),
        ("bundle-order", "card_file_order", "two files in the wrong order", |c| {
            let files = c["files"].as_array_mut().unwrap();
            let (first, second) = (files[0].clone(), files[1].clone());
            files[0]["role"] = second["role"].clone();
            files[0]["name"] = second["name"].clone();
            files[1]["role"] = first["role"].clone();
            files[1]["name"] = first["name"].clone();
        }),
        ("bundle-id", "mixed_card_files", "a file in an object that is not there", |c| {
            c["files"][0]["id"] = json!("00".repeat(16))
        }),
        ("bundle-length", "card_padding", "files longer than the bundle", |c| {
            let last = c["files"].as_array().unwrap().len() - 1;
            c["files"][last]["len"] = json!(1 << 21);
        }),
    ];
    for (id, code, why, edit) in edits {
        let mut package = package.clone();
        let mut card = card.clone();
        edit(&mut card);
        let mut text = card.to_string().into_bytes();
        text.resize(65_536, b' ');
        package.reseal(Role::Card, &text);
        cases.read((id, code, why), &package, &Ask::default());
    }
    let mut unpadded = package.clone();
    unpadded.reseal(Role::Card, card.to_string().as_bytes());
    cases.read(
        ("bundle-card-unpadded", "card_padding_bytes", "a card without its padding"),
        &unpadded,
        &Ask::default(),
    );
    let path = package.data(Role::Bundle);
    let len = package.get(&path).len();
    let mut flipped = package.clone();
    let byte = package.get(&path)[len - 17] ^ 1;
    flipped
        .0
        .insert(path.clone(), File::Changed(package.get(&path), vec![Change::Write(len - 17, vec![byte])]));
    cases.read(
        ("bundle-padding-flip", "segment_not_in_tree", "one bit of the padding"),
        &flipped,
        &Ask::default(),
    );
}
