//! Cases that are judged by an appraisal profile.

use crate::support::*;
use anchorhold_vectors::Outcome;
use serde_json::{Value, json};

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
    assert_eq!((real.verdict, real.code.as_str()), ("reject", "snp_presented_root"));
}
