//! Hostile and mistaken manifests: a folder of cases is outside input.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Measurement, ReportData};
use anchorhold_vectors::{Corpus, Error, MAX_CASES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, Outcome};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const AT: &str = "2026-07-25T00:00:00Z";

/// A folder with one good SNP guest.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = LaunchConfig::new(Measurement::new([7; 48]));
    let guest = SoftwareGuest::launch(config, AT.parse().unwrap()).unwrap();
    let evidence = guest.attest(&ReportData::new([9; 64])).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("report.bin", &evidence.report);
    write("vek.der", &evidence.certificates[0].0);
    write("ask.der", &evidence.certificates[1].0);
    write("ark.der", simulated_ark_der());
    folder
}

/// The good case.
fn case() -> Value {
    json!({
        "id": "one", "platform": "snp", "pin": "forged", "at": AT, "policy": {}, "expect": "accept", "stage": "",
        "files": { "report": "report.bin", "vek": "vek.der", "ask": "ask.der", "ark": "ark.der" },
    })
}

/// The good case with this value at a path of keys.
fn with(path: &str, value: Value) -> Value {
    let mut case = case();
    let (parent, key) = path.rsplit_once('/').unwrap();
    case.pointer_mut(parent).unwrap()[key] = value;
    case
}

fn open(folder: &Path, manifest: &Value) -> Result<Corpus, Error> {
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
    Corpus::open(folder)
}

fn opened(case: Value) -> Result<Corpus, Error> {
    open(folder().path(), &json!({ "format": 1, "cases": [case] }))
}

fn run_in(folder: &Path, case: Value) -> Outcome {
    let corpus = open(folder, &json!({ "format": 1, "cases": [case] })).unwrap();
    corpus.run(&corpus.cases()[0], || 0)
}

fn run(case: Value) -> Outcome {
    run_in(folder().path(), case)
}

/// What was wrong with a case that was not read.
fn error(case: Value) -> String {
    let outcome = run(case);
    assert_eq!((outcome.verdict, outcome.ok), ("error", false), "{}", outcome.code);
    outcome.code
}

/// Verdict, stage, code, and whether that is as expected.
fn verdict(case: Value) -> (&'static str, String, String, bool) {
    let outcome = run(case);
    (outcome.verdict, outcome.stage, outcome.code, outcome.ok)
}

#[test]
fn a_good_case_is_accepted() {
    assert_eq!(verdict(case()), ("accept", String::new(), String::new(), true));
}

#[test]
fn refuses_other_formats_and_shapes() {
    let folder = folder();
    let refused = |manifest: &Value| matches!(open(folder.path(), manifest), Err(Error::Manifest(_)));
    assert!(!refused(&json!({ "format": 1, "cases": [] })));
    for manifest in [
        json!({ "format": 2, "cases": [] }),
        json!({ "format": 0, "cases": [] }),
        json!({ "format": "1", "cases": [] }),
        json!({ "cases": [] }),
        json!({ "format": 1 }),
        json!([]),
        json!({ "format": 1, "cases": [case(), case()] }),
    ] {
        assert!(refused(&manifest), "{manifest}");
    }
    std::fs::write(folder.path().join("manifest.json"), "{\"format\":1,\"cases\":[").unwrap();
    assert!(matches!(Corpus::open(folder.path()), Err(Error::Manifest(_))));
    std::fs::remove_file(folder.path().join("manifest.json")).unwrap();
    assert!(matches!(Corpus::open(folder.path()), Err(Error::Io { .. })));
}

#[test]
fn refuses_words_that_the_contract_does_not_have() {
    for (path, value) in [
        ("/platform", json!("sgx")),
        ("/pin", json!("any")),
        ("/expect", json!("maybe")),
        ("/at", json!("yesterday")),
        ("/policy/require_luck", json!(true)),
        ("/policy/require_crl", json!("yes")),
        ("/policy/allow_vmpl", json!([-1])),
        ("/files/report", json!(["report.bin"])),
    ] {
        let opened = opened(with(path, value));
        assert!(matches!(opened, Err(Error::Manifest(_))), "{path}");
    }
    assert!(opened(with("/note", json!("for people"))).is_ok());
}

#[test]
fn case_09_refuses_manifests_and_files_over_their_limits() {
    let folder = folder();
    let many: Vec<Value> = (0..=MAX_CASES).map(|id| with("/id", json!(id.to_string()))).collect();
    let opened = open(folder.path(), &json!({ "format": 1, "cases": many }));
    assert!(matches!(opened, Err(Error::Manifest(_))));
    std::fs::write(folder.path().join("manifest.json"), vec![b' '; MAX_MANIFEST_BYTES + 1]).unwrap();
    assert!(matches!(Corpus::open(folder.path()), Err(Error::TooLong { .. })));
    std::fs::write(folder.path().join("report.bin"), vec![0; MAX_FILE_BYTES + 1]).unwrap();
    let outcome = run_in(folder.path(), case());
    assert_eq!(outcome.verdict, "error");
    assert!(outcome.code.ends_with("over the limit of 4194304 bytes"), "{}", outcome.code);
    std::fs::write(folder.path().join("report.bin"), vec![0; MAX_FILE_BYTES]).unwrap();
    assert_eq!(run_in(folder.path(), case()).code, "snp_report_length");
}

#[test]
fn refuses_paths_that_leave_the_folder() {
    let absolute = folder();
    let absolute = absolute.path().join("report.bin");
    for path in ["../report.bin", "a/../../report.bin", "./report.bin", "", "/etc/hostname", absolute.to_str().unwrap()]
    {
        let wanted = "the file of role report is not a plain path inside the folder";
        assert_eq!(error(with("/files/report", json!(path))), wanted, "{path}");
    }
    assert!(error(with("/files/report", json!("none.bin"))).contains("No such file"));
}

#[test]
fn refuses_a_case_whose_files_are_not_those_of_its_platform() {
    assert_eq!(error(with("/files/chain", json!("vek.der"))), "role chain is not known for this platform");
    assert_eq!(error(with("/files/crl-6", json!("vek.der"))), "role crl-6 is not known for this platform");
    assert_eq!(error(with("/files", json!({}))), "role report is missing");
    assert_eq!(error(with("/platform", json!("tdx"))), "role ark is not known for this platform");
    let mut tdx = with("/platform", json!("tdx"));
    tdx["files"] = json!({ "quote": "report.bin", "eventlog": "vek.der", "dstack-eventlog": "vek.der" });
    assert_eq!(error(tdx), "role dstack-eventlog is beside another log");
}

#[test]
fn refuses_rules_of_another_form() {
    assert_eq!(error(with("/policy/host_data", json!("0g"))), "host_data is not hexadecimal");
    assert_eq!(error(with("/policy/host_data", json!("000"))), "host_data is not hexadecimal");
    assert_eq!(error(with("/policy/host_data", json!("00"))), "host_data is not of the field's length");
    let components = error(with("/policy/min_tcb", json!({ "fmc": 1 })));
    assert_eq!(components, "min_tcb is not an object of this product's components");
}

#[test]
fn a_rejection_counts_only_in_the_stage_and_with_the_code_that_is_named() {
    let rejection = |stage: &str, code: &str| {
        let mut case = with("/policy/host_data", json!("01".repeat(32)));
        case["expect"] = json!("reject");
        case["stage"] = json!(stage);
        case["code"] = json!(code);
        let outcome = run(case);
        assert_eq!((outcome.verdict, outcome.code.as_str()), ("reject", "snp_host_data"));
        (outcome.stage, outcome.ok)
    };
    let policy = || "policy".to_owned();
    for stage in ["policy", "", "strict"] {
        assert_eq!(rejection(stage, ""), (policy(), true), "{stage}");
        assert_eq!(rejection(stage, "snp_host_data"), (policy(), true), "{stage}");
        assert_eq!(rejection(stage, "snp_measurement"), (policy(), false), "{stage}");
    }
    for stage in ["parse", "signature", "binding", "anything"] {
        assert_eq!(rejection(stage, ""), (policy(), false), "{stage}");
    }
}

#[test]
fn a_verdict_counts_only_when_it_is_the_expected_one() {
    let mut good = case();
    good["expect"] = json!("reject");
    assert_eq!(verdict(good.clone()), ("accept", String::new(), String::new(), false));
    good["expect"] = json!("either");
    assert!(verdict(good).3);
    let mut bad = with("/pin", json!("real"));
    let refused = ("reject", "chain".to_owned(), "snp_no_trust_anchor".to_owned());
    for (expect, ok) in [("accept", false), ("reject", true), ("either", true)] {
        bad["expect"] = json!(expect);
        let (verdict, stage, code, counted) = verdict(bad.clone());
        assert_eq!(((verdict, stage, code), counted), (refused.clone(), ok), "{expect}");
    }
    bad["expect"] = json!("either");
    bad["files"]["report"] = json!("none.bin");
    assert_eq!(run(bad).verdict, "error");
}

#[test]
fn a_root_that_is_none_is_refused_in_the_chain() {
    let mut case = with("/files/ark", json!("ask.der"));
    case["expect"] = json!("reject");
    assert_eq!(verdict(case), ("reject", "chain".to_owned(), "vectors_named_root".to_owned(), true));
}

/// A profile that accepts the good guest.
const PROFILE: &str = r#"
format = 1
id = "test"
version = 1
issued = "2026-01-01T00:00:00Z"
expires = "2027-01-01T00:00:00Z"
description = "the good guest"
[snp]
measurements = ["sha384:070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707"]
products = ["genoa"]
machines = "any"
require_crl = false
min_tcb.genoa = { bl = 10, tee = 0, snp = 25, ucode = 84 }
"#;

/// What comes of the good case under a profile.
fn profiled(profile: &str, edit: impl FnOnce(&mut Value)) -> Outcome {
    let folder = folder();
    std::fs::write(folder.path().join("profile.toml"), profile).unwrap();
    let mut case = with("/files/profile", json!("profile.toml"));
    edit(&mut case);
    run_in(folder.path(), case)
}

#[test]
fn a_profile_takes_the_place_of_the_permissive_rules() {
    assert_eq!(profiled(PROFILE, |_| {}).verdict, "accept");
    let other = PROFILE.replace("0707", "0807");
    assert_eq!(profiled(&other, |_| {}).code, "snp_measurement");
    let strict = PROFILE.replace("require_crl = false", "");
    assert_eq!(profiled(&strict, |_| {}).code, "snp_crl_missing");
    let bound = profiled(PROFILE, |case| case["policy"] = json!({ "report_data": "09".repeat(64) }));
    assert_eq!(bound.verdict, "accept");
    let bound = profiled(PROFILE, |case| case["policy"] = json!({ "report_data": "08".repeat(64) }));
    assert_eq!((bound.stage.as_str(), bound.code.as_str()), ("binding", "snp_report_data"));
}

#[test]
fn refuses_profiles_that_are_none_or_not_in_force_or_stand_beside_other_rules() {
    let refused = |profile: &str, edit: fn(&mut Value)| {
        let outcome = profiled(profile, edit);
        assert_eq!(outcome.verdict, "error");
        outcome.code
    };
    assert_eq!(refused("format = 1\n", |_| {}), "profile: id is missing");
    let unknown = PROFILE.replace("[snp]", "[snp]\nluck = true");
    assert_eq!(refused(&unknown, |_| {}), "profile: snp.luck is no key of a policy");
    let expired = "profile is not in force at the time of the case";
    assert_eq!(refused(PROFILE, |case| case["at"] = json!("2027-01-01T00:00:00Z")), expired);
    let beside = "policy is not without rules beside those of the profile";
    assert_eq!(refused(PROFILE, |case| case["policy"] = json!({ "require_crl": true })), beside);
    assert_eq!(refused(PROFILE, |case| case["policy"] = json!({ "allow_debug": true })), beside);
}

#[test]
fn a_profile_does_not_stand_for_the_pin() {
    let real = profiled(PROFILE, |case| case["pin"] = json!("real"));
    assert_eq!((real.verdict, real.code.as_str()), ("reject", "snp_no_trust_anchor"));
}
