//! The public vectors in `tests/vectors/sealed-weights`: they are what the generator makes, byte for byte; every case ends as
//! its manifest says; and every way to refuse a file has a case. `UPDATE_VECTORS=1` writes them anew.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fixture that cannot be made fails its test"
)]

mod floe;
mod folder;
mod make;
mod package;
mod read_card;
mod read_cases;
mod read_host;
mod read_manifest;
mod run;
mod seal_cases;
mod seal_gguf;
mod seal_signatures;
mod store;

use std::collections::BTreeSet;

use crate::store::Store;
use anchorhold_sealed_weights::{
    CardRule, GgufRule, HeaderRule, IndexRule, JsonRule, ManifestRule, MixedRule, ModelSignatureRule,
    OptionRule, SegmentRule, SignatureRule, SourceRule, TensorRule,
};

/// What no file can show, with the reason. Everything else that can be refused has a case.
const WITHOUT_CASE: &[(&str, &str)] = &[
    ("card_too_long", "takes a model whose card exceeds 64 MiB; unit test"),
    ("manifest_too_many", "never refused under this name"),
    ("mixed_file_count", "a caller hands over another number of files"),
    ("mixed_unknown_object", "a caller asks for an object of another package"),
    ("options_output_exists", "depends on the place of the output"),
    ("options_output_name", "depends on the place of the output"),
    ("options_too_large", "takes a model beyond 2 TiB"),
    ("segment_absent", "a caller asks for a segment that is not there"),
    ("segment_length", "a caller gives memory of another length"),
    ("source_changed", "takes a file that changes while it is read; unit test"),
    ("source_link", "links are not kept in these folders; unit test"),
    ("source_not_regular", "takes a file that its reader may not open"),
    ("source_too_many_weights", "takes 257 files"),
    ("tensors_model_count", "takes 262145 tensors; unit test"),
    ("tensors_unaligned", "a caller asks for numbers; unit test"),
    ("weights_index_too_many", "takes 262145 tensors; unit test"),
];

/// Stages with one rule each.
const SINGLE: &[&str] = &["version", "expired", "wrong_key", "tree", "tag", "truncated", "trailing", "io"];

fn every_code() -> BTreeSet<&'static str> {
    let mut codes: BTreeSet<&str> = SINGLE.iter().copied().collect();
    macro_rules! add {
        ($($name:ident)+) => { $(codes.extend($name::ALL.iter().map(|rule| rule.code()));)+ };
    }
    // Those of callers' memory and of keys are about no file: `DestinationRule`, `KeyRule`.
    add!(ManifestRule SignatureRule MixedRule HeaderRule SegmentRule CardRule TensorRule GgufRule JsonRule);
    add!(IndexRule ModelSignatureRule SourceRule OptionRule);
    codes
}

#[test]
fn the_vectors_are_what_the_generator_makes() {
    let made = make::all();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        made.write();
    }
    let kept = Store::read();
    let (wanted, found) = (made.names(), kept.names());
    let other: Vec<&String> = wanted.symmetric_difference(&found).collect();
    assert!(other.is_empty(), "made or kept only: {other:?}");
    for name in made.names() {
        assert!(made.get(&name) == kept.get(&name), "{name} differs");
    }
}

#[test]
fn every_case_ends_as_its_manifest_says() {
    let store = Store::read();
    let mut wrong = Vec::new();
    for case in store.cases() {
        let outcome = run::run(&store, &case);
        let expected = (
            case["expect"].as_str().unwrap(),
            case["stage"].as_str().unwrap(),
            case["code"].as_str().unwrap(),
        );
        if (outcome.verdict, outcome.stage.as_str(), outcome.code.as_str()) != expected {
            wrong.push(format!("{}: {outcome:?}, expected {expected:?}", case["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_way_to_refuse_a_file_has_a_case() {
    let cases = Store::read().cases();
    let shown: BTreeSet<&str> =
        cases.iter().map(|case| case["code"].as_str().unwrap()).filter(|code| !code.is_empty()).collect();
    let without: BTreeSet<&str> = WITHOUT_CASE.iter().map(|(code, _)| *code).collect();
    let all = every_code();
    let missing: Vec<&&str> =
        all.iter().filter(|code| !shown.contains(**code) && !without.contains(**code)).collect();
    assert!(missing.is_empty(), "no case: {missing:?}");
    let needless: Vec<&&str> = without.iter().filter(|code| shown.contains(**code)).collect();
    assert!(needless.is_empty(), "have a case after all: {needless:?}");
    let unknown: Vec<&&str> = shown.iter().filter(|code| !all.contains(**code)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let bad = cases.iter().filter(|case| case["expect"] == "reject").count();
    assert!(bad >= 120, "{bad} bad cases");
    let ids: BTreeSet<&str> = cases.iter().map(|case| case["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), cases.len(), "ids are distinct");
}
