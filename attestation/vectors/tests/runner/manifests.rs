//! Hostile and mistaken manifests, and what counts as the expected verdict.

use crate::support::*;
use anchorhold_vectors::{Corpus, Error, MAX_CASES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES};
use serde_json::{Value, json};
use std::path::Path;

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
        json!({ "format": 1, "cases": [case(), with("/policy/require_luck", json!(true))] }),
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
        let outcome = unread(with(path, value));
        assert_eq!((outcome.id.as_str(), outcome.verdict, outcome.ok), ("one", "error", false), "{path}");
        assert_eq!(outcome.expected, if path == "/expect" { "unknown" } else { "accept" });
        assert!(!outcome.code.is_empty(), "{path}");
    }
    assert!(verdict(with("/note", json!("for people"))).3);
}

#[test]
fn a_case_that_is_not_understood_leaves_the_others_as_they_are() {
    let folder = folder();
    let mut unknown = with("/policy/require_luck", json!(true));
    unknown["id"] = json!("two");
    let cases = json!({ "format": 1, "cases": [unknown, case(), 7, {}] });
    let corpus = open(folder.path(), &cases).unwrap();
    let unread: Vec<_> = corpus.unread().collect();
    let ids: Vec<_> = unread.iter().map(|outcome| outcome.id.as_str()).collect();
    assert_eq!(ids, ["two", "case 3", "case 4"]);
    assert!(unread[0].code.contains("unknown field `require_luck`"), "{}", unread[0].code);
    let judged: Vec<_> = corpus.cases().iter().map(|case| corpus.run(case, || 0)).collect();
    assert!(judged.len() == 1 && judged[0].ok, "{judged:?}");
}

#[test]
fn refuses_a_case_that_names_a_key_twice() {
    let folder = folder();
    let twice = r#"{"format":1,"cases":[{"id":"one","expect":"reject","expect":"accept"}]}"#;
    std::fs::write(folder.path().join("manifest.json"), twice).unwrap();
    let corpus = Corpus::open(folder.path()).unwrap();
    assert!(corpus.unread().next().unwrap().code.contains("duplicate field"));
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
    for path in [
        "../report.bin",
        "a/../../report.bin",
        "./report.bin",
        "",
        "/etc/hostname",
        absolute.to_str().unwrap(),
    ] {
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
    let refused = ("reject", "chain".to_owned(), "snp_presented_root".to_owned());
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

#[cfg(unix)]
#[test]
fn refuses_links_out_of_the_folder_and_what_is_no_file() {
    let (here, other) = (folder(), folder());
    let link =
        |name: &str, target: &Path| std::os::unix::fs::symlink(target, here.path().join(name)).unwrap();
    link("outside.bin", &other.path().join("report.bin"));
    link("inside.bin", &here.path().join("report.bin"));
    link("device.bin", Path::new("/dev/zero"));
    std::fs::create_dir(here.path().join("folder.bin")).unwrap();
    let of = |path: &str| run_in(here.path(), with("/files/report", json!(path)));
    assert_eq!(of("inside.bin").verdict, "accept");
    for path in ["outside.bin", "device.bin", "folder.bin"] {
        let outcome = of(path);
        assert_eq!(outcome.verdict, "error", "{path}");
        assert_eq!(outcome.code, "the file of role report is not a plain path inside the folder", "{path}");
    }
}
