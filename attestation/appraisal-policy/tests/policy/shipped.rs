//! The profiles of `policies/appraisal`: each is read, and its key decisions are held.

use crate::support::{read, shipped};
use anchorhold_appraisal_policy::AppraisalProfile;
use anchorhold_verifier::snp::{Flag, Policy, Signer};

fn profile(name: &str) -> AppraisalProfile {
    let (_, text) = shipped().into_iter().find(|(other, _)| other == name).unwrap();
    read(&text)
}

fn snp(name: &str) -> Policy {
    profile(name).snp().unwrap().clone()
}

#[test]
fn every_profile_has_its_files_name_says_why_and_names_no_reference_value() {
    let all = shipped();
    assert!(all.len() >= 3, "{} profiles", all.len());
    for (name, text) in all {
        let profile = read(&text);
        assert_eq!(profile.header().id, name);
        let comments = text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(comments >= 5, "{name} has {comments} lines of reasons");
        assert_eq!(read(&profile.to_toml()).appraisal(), profile.appraisal(), "{name}");
        if let Some(snp) = profile.snp() {
            assert!(snp.measurements.is_empty(), "{name}");
        }
    }
}

#[test]
fn every_profile_asks_for_the_alias_check_a_revocation_list_and_floors_at_launch() {
    for (name, text) in shipped() {
        let Some(snp) = read(&text).snp().cloned() else { continue };
        assert!(snp.require_alias_check && snp.require_crl, "{name}");
        assert_eq!(snp.min_committed_tcb, Some(snp.min_tcb), "{name}");
        assert_eq!(snp.min_launch_tcb, Some(snp.min_tcb), "{name}");
        assert_eq!(snp.guest_policy.cxl_allowed, Flag::Clear, "{name}");
        assert_eq!(snp.allowed_vmpls, [0], "{name}");
    }
}

#[test]
fn case_06_no_profile_but_that_of_aws_names_milan_and_that_one_says_so() {
    for (name, text) in shipped() {
        let profile = read(&text);
        let named = profile.snp().is_some_and(|snp| snp.min_tcb.milan.is_some());
        assert_eq!(named, name == "snp-aws", "{name}");
    }
    let (_, text) = shipped().into_iter().find(|(name, _)| name == "snp-aws").unwrap();
    assert!(text.contains("THIS PROFILE NAMES MILAN"));
    assert!(profile("snp-aws").header().description.contains("Milan's seed is not safe"));
    assert_eq!(snp("snp-aws").allowed_signers, [Signer::Vlek]);
}

#[test]
fn machines_must_be_listed_where_they_are_ones_own() {
    assert_eq!(snp("snp-bare-metal").allowed_chips, Some(Vec::new()));
    for name in ["snp-gcp", "snp-aws"] {
        assert_eq!(snp(name).allowed_chips, None, "{name}");
    }
}
