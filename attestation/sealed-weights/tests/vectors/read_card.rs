//! Cards, files and bundles that the owner sealed and that break a rule.

use anchorhold_sealed_weights::{OwnerKey, Padding, Role, SealOptions};
use serde_json::{Value, json};

use crate::floe::{hex, sha256};
use crate::folder;
use crate::make::{Ask, Cases};
use crate::package::{Package, options};
use crate::read_cases::{Edit, altered};
use crate::seal_signatures::signature;
use crate::store::{Change, File, text};

pub(crate) fn add(cases: &mut Cases) {
    card(cases);
    tables(cases);
    contents(cases);
    bundle(cases);
}

const CARDS: &[Edit] = &[
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

/// Cards that the owner sealed and that break a rule.
fn card(cases: &mut Cases) {
    for (id, code, why, edit) in CARDS {
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
        let mut text = text(&card).replace("\"none\"", "\"padme\"").into_bytes();
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

const TABLES: &[Edit] = &[
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

/// Tables in cards, and weights whose own headers say something else.
fn tables(cases: &mut Cases) {
    for (id, code, why, edit) in TABLES {
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

const SIGNED: &[Edit] = &[
    ("signed-other-digest", "model_signature_digest", "a file has another digest than the signed one", |c| {
        c["files"][0]["sha256"] = json!("00".repeat(32))
    }),
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
    for (id, code, why, edit) in SIGNED {
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

const BUNDLES: &[Edit] = &[
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

/// Bundles that are not laid out as their card says. The bundle itself is that of the good case.
fn bundle(cases: &mut Cases) {
    let padme = SealOptions { padding: Padding::Padme, ..options(1) };
    let package = Package::seal(&folder::sharded(), &padme);
    let card: Value = serde_json::from_slice(&package.plain(Role::Card)).unwrap();
    for (id, code, why, edit) in BUNDLES {
        let mut package = package.clone();
        let mut card = card.clone();
        edit(&mut card);
        let mut text = text(&card).into_bytes();
        text.resize(65_536, b' ');
        package.reseal(Role::Card, &text);
        cases.read((id, code, why), &package, &Ask::default());
    }
    let mut unpadded = package.clone();
    unpadded.reseal(Role::Card, text(&card).as_bytes());
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
