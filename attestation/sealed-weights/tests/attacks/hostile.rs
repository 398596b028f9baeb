//! Case 22: an owner, or somebody with the owner's signing key, seals hostile contents.

use std::fs;

use anchorhold_sealed_weights::{CardRule, Error, MixedRule, Role, TensorRule, WeightsKey, open_card};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn another_implementation_reads_every_object() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for role in [Role::Config, Role::Tokenizer, Role::Pooling, Role::Weights] {
        assert_eq!(decrypted(&package, role), fixture.plain(role), "{role}");
    }
    let card: Value = serde_json::from_slice(&decrypted(&package, Role::Card)).unwrap();
    assert_eq!(card["files"].as_array().unwrap().len(), 4);
    assert_eq!(card["tables"][0]["tensors"][0]["name"], "embedding");
}

#[test]
fn case_22_refuses_a_file_header_that_the_card_does_not_describe() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let genuine = fixture.plain(Role::Weights);
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = genuine.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut altered = genuine.clone();
        altered[at..at + to.len()].copy_from_slice(to.as_bytes());
        altered
    };
    let mut long_header = genuine.clone();
    long_header[..8].copy_from_slice(&(100_u64 << 20).to_le_bytes());
    let cases = [
        (text("\"embedding\"", "\"Embedding\""), TensorRule::Disagree),
        (text("\"BF16\"", "\"I16\" "), TensorRule::Disagree),
        (text("\"shape\":[17]", "\"shape\":[18]"), TensorRule::Size),
        (text("[0,2400000]", "[8,2400008]"), TensorRule::Gap),
        (text("\"half\"", "\"tail\""), TensorRule::DuplicateName),
        (long_header, TensorRule::HeaderTooLong),
    ];
    for (altered, rule) in cases {
        reseal(&package, Role::Weights, &altered);
        assert_eq!(consume(&package).unwrap_err(), rule.into());
        let skips = || {
            opened(&package).index().tensors().map(|_| anchorhold_sealed_weights::Destination::Skip).collect()
        };
        assert_eq!(opened(&package).load_tensors(skips(), &threads(1)).unwrap_err(), rule.into());
    }
    reseal(&package, Role::Weights, &genuine);
    consume(&package).unwrap();
}

/// Checks that a card with this change is refused, and that the genuine one is not.
fn refuses_card(expected: impl Into<Error>, edit: impl FnOnce(&mut Value)) {
    let fixture = Fixture::new();
    let package = fixture.package();
    edit_card(&package, edit);
    let key = WeightsKey::open(&verified(&package), &KEY).unwrap();
    let refusal = open_card(&key, &fs::File::open(data(&package, Role::Card)).unwrap()).unwrap_err();
    assert_eq!(refusal, expected.into());
}

#[test]
fn case_22_refuses_a_hostile_tensor_table_in_the_card() {
    let fixture = Fixture::new();
    edit_card(&fixture.package(), |_| {});
    consume(&fixture.package()).unwrap();
    let tensor = |card: &mut Value, at: usize, field: &str, value: Value| {
        card["tables"][0]["tensors"][at][field] = value;
    };
    refuses_card(TensorRule::Gap, |card| {
        tensor(card, 5, "begin", json!(1));
        tensor(card, 5, "end", json!(1));
    });
    refuses_card(TensorRule::Size, |card| tensor(card, 0, "begin", json!(8)));
    refuses_card(TensorRule::Size, |card| tensor(card, 0, "shape", json!([600_001])));
    refuses_card(TensorRule::Size, |card| tensor(card, 0, "shape", json!([1_u64 << 32, 1_u64 << 32])));
    refuses_card(TensorRule::Rank, |card| tensor(card, 0, "shape", json!([1, 1, 1, 1, 1, 1, 1, 1, 600_000])));
    refuses_card(CardRule::NotCard, |card| tensor(card, 0, "shape", json!(vec![1; 10])));
    refuses_card(TensorRule::DuplicateName, |card| tensor(card, 0, "name", json!("half")));
    refuses_card(TensorRule::Name, |card| tensor(card, 0, "name", json!("n".repeat(513))));
    refuses_card(CardRule::NotCard, |card| tensor(card, 0, "dtype", json!("F99")));
    refuses_card(TensorRule::ElementType, |card| {
        tensor(card, 3, "dtype", json!("Q8_0"));
        tensor(card, 3, "shape", json!([128]));
    });
    refuses_card(TensorRule::End, |card| {
        drop(card["tables"][0]["tensors"].as_array_mut().unwrap().drain(4..))
    });
    refuses_card(TensorRule::Count, |card| card["tables"][0]["tensors"] = json!([]));
    refuses_card(TensorRule::HeaderTooLong, |card| card["tables"][0]["data_start"] = json!((8 << 20) + 9));
    refuses_card(TensorRule::HeaderBeyondFile, |card| card["tables"][0]["data_start"] = json!(8 << 20));
    refuses_card(TensorRule::End, |card| card["tables"][0]["data_start"] = json!(8));
    refuses_card(CardRule::NotCard, |card| card["tables"][0]["container"] = json!("pickle"));
    refuses_card(CardRule::Containers, |card| card["tables"][0]["container"] = json!("gguf"));
    refuses_card(CardRule::Tables, |card| card["tables"] = json!([]));
    refuses_card(CardRule::Tables, |card| {
        let table = card["tables"][0].clone();
        card["tables"].as_array_mut().unwrap().push(table);
    });
}

#[test]
fn case_22_refuses_a_card_of_another_form() {
    refuses_card(CardRule::Format, |card| card["format"] = json!(1));
    refuses_card(CardRule::NotCard, |card| card["more"] = json!(1));
    refuses_card(CardRule::NotCard, |card| drop(card.as_object_mut().unwrap().remove("model_signature")));
    refuses_card(CardRule::NotCard, |card| card["padding"] = json!("some"));
    refuses_card(CardRule::NotCard, |card| *card = json!([]));
    let fixture = Fixture::new();
    let package = fixture.package();
    let genuine = decrypted(&package, Role::Card);
    let padme = String::from_utf8(genuine.clone()).unwrap().replace("\"none\"", "\"padme\"");
    let cases: [(Vec<u8>, CardRule); 6] = [
        ([&genuine[..], b" "].concat(), CardRule::PaddingBytes),
        ([&genuine[..], b"\n"].concat(), CardRule::PaddingBytes),
        ([&genuine[..], b"{}"].concat(), CardRule::NotCard),
        (b"[".repeat(100_000), CardRule::NotCard),
        (padme.clone().into_bytes(), CardRule::PaddingBytes),
        (format!("{padme:<65535} ").into_bytes(), CardRule::Padding),
    ];
    for (plain, rule) in cases {
        reseal(&package, Role::Card, &plain);
        assert_eq!(consume(&package).unwrap_err(), rule.into());
    }
}

#[test]
fn case_18_refuses_a_card_of_other_files() {
    let file = |card: &mut Value, at: usize, field: &str, value: Value| card["files"][at][field] = value;
    refuses_card(MixedRule::CardFiles, |card| file(card, 0, "role", json!("modules")));
    refuses_card(MixedRule::CardFiles, |card| card["files"][0]["id"] = card["files"][1]["id"].clone());
    refuses_card(MixedRule::CardFiles, |card| drop(card["files"].as_array_mut().unwrap().pop()));
    refuses_card(MixedRule::CardFiles, |card| card["files"].as_array_mut().unwrap().swap(0, 1));
    refuses_card(CardRule::FileName, |card| file(card, 0, "name", json!("config.jsoN")));
    refuses_card(CardRule::FileName, |card| file(card, 3, "name", json!("../model.safetensors")));
    refuses_card(CardRule::Shards, |card| file(card, 3, "name", json!("model-00001-of-00002.safetensors")));
    refuses_card(CardRule::IndexPresence, |card| {
        file(card, 3, "name", json!("model-00001-of-00001.safetensors"));
    });
    refuses_card(CardRule::Containers, |card| file(card, 3, "name", json!("model.gguf")));
    refuses_card(CardRule::Place, |card| file(card, 0, "offset", json!(1)));
    refuses_card(CardRule::Place, |card| file(card, 0, "len", json!(1)));
}

#[test]
fn case_22_refuses_small_files_that_are_not_what_the_card_says_or_not_well_formed() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let hostile = br#"{"auto_map":{"AutoModel":"code.py"}}"#;
    reseal(&package, Role::Config, hostile);
    assert_eq!(consume(&package).unwrap_err(), CardRule::Place.into(), "another length");
    edit_card(&package, |card| card["files"][0]["len"] = json!(hostile.len()));
    assert_eq!(consume(&package).unwrap_err(), CardRule::Digest.into());
    edit_card(&package, |card| card["files"][0]["sha256"] = json!(hex(&sha256(hostile))));
    assert_eq!(consume(&package).unwrap_err().code(), "json_code_key");
    assert_eq!(opened(&package).file(Role::Config).unwrap_err().code(), "json_code_key");
    assert_eq!(opened(&package).file(Role::Card).unwrap_err(), Error::Absent(Role::Card));
    assert_eq!(opened(&package).file(Role::Weights).unwrap_err(), Error::Absent(Role::Weights));
}
