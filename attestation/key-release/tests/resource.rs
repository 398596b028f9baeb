//! Grants of resources: what a file may not say, and which guests they take.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_attester::software::{Debug, LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_key_release::{
    Admission, Denied, PolicyError, Refusal, ReleasePolicy, ResourceGuest, Revocations, Revoked, admit, diff,
    require_endorsable_guest,
};
use anchorhold_rats::{Endorsements, Evidence, Expected, Measurement, ReportData, ResourcePath, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};

const GOOD: &str = include_str!("../../../policies/release/resources.toml");

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn path(text: &str) -> ResourcePath {
    text.parse().unwrap()
}

/// The example with `from` replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

/// The table of the example's grant.
fn grant() -> &'static str {
    &GOOD[GOOD.find("[[resource]]").unwrap()..]
}

fn refused(text: &str) -> (&'static str, String) {
    match ReleasePolicy::from_toml(text).unwrap_err() {
        PolicyError::Missing { path } => ("missing", path),
        PolicyError::Unknown { path } => ("unknown", path),
        PolicyError::Empty { path } => ("empty", path),
        PolicyError::Value { path, .. } => ("value", path),
        PolicyError::Denied { path, .. } => ("denied", path),
        other => panic!("{other}"),
    }
}

#[test]
fn the_example_grants_its_resources_by_name() {
    let policy = ReleasePolicy::from_toml(GOOD).unwrap();
    let [grant] = policy.resources() else { panic!("one grant") };
    assert_eq!(grant.name(), "pods-prod");
    assert_eq!(grant.measurements(), [Measurement::new([0xa1; 48])]);
    assert_eq!(grant.paths(), [path("acme/image-key/1"), path("acme/registry/credential")]);
    assert!(policy.grants().is_empty());
}

#[test]
fn case_08_refuses_a_grant_without_any_one_of_its_keys_and_with_one_more() {
    for (from, path) in [
        ("name  = \"pods-prod\"\n", "resource[0].name"),
        ("paths = [\"acme/image-key/1\", \"acme/registry/credential\"]\n", "resource[0].paths"),
        ("vmpls               = [0]\n", "resource[0].snp.vmpls"),
        (
            "require_alias_check = true  # against BadRAM, CVE-2024-21944\n",
            "resource[0].snp.require_alias_check",
        ),
    ] {
        assert_eq!(refused(&changed(from, "")), ("missing", path.to_owned()));
    }
    let without_image =
        changed("[resource.image]\n", "").replace("measurements = [\"sha384", "x = [\"sha384");
    assert_eq!(refused(&without_image), ("missing", "resource[0].image".to_owned()));
    assert_eq!(
        refused(&changed("paths =", "lease = 1\npaths =")),
        ("unknown", "resource[0].lease".to_owned())
    );
    let in_image = changed("[resource.image]", "[resource.image]\nextra = 1");
    assert_eq!(refused(&in_image), ("unknown", "resource[0].image.extra".to_owned()));
}

#[test]
fn case_08_refuses_values_out_of_range() {
    let names = "[\"acme/image-key/1\", \"acme/registry/credential\"]";
    assert_eq!(refused(&changed(names, "[]")), ("empty", "resource[0].paths".to_owned()));
    for bad in
        ["acme/*/1", "acme/image-key", "acme/image-key/..", "/a/b/c", "a/b/c/", "a/b/c/d", "a//c", "a/b/%31"]
    {
        let text = changed("acme/image-key/1", bad);
        assert_eq!(refused(&text), ("value", "resource[0].paths[0]".to_owned()), "{bad}");
    }
    let debug = changed("debug               = false", "debug = true");
    assert_eq!(refused(&debug), ("denied", "resource[0].snp.debug".to_owned()));
}

#[test]
fn refuses_two_grants_of_one_name_and_too_many() {
    let twice = format!("{GOOD}\n{}", grant());
    assert_eq!(refused(&twice), ("value", "resource[1].name".to_owned()));
    let more = |count: u32, change: &dyn Fn(u32) -> (String, String)| {
        (1..=count).fold(GOOD.to_owned(), |text, number| {
            let (from, to) = change(number);
            text + "\n" + &grant().replace("pods-prod", &format!("pods-{number}")).replace(&from, &to)
        })
    };
    let same = |_| ("x".repeat(99), String::new());
    assert_eq!(ReleasePolicy::from_toml(&more(63, &same)).unwrap().resources().len(), 64);
    assert_eq!(refused(&more(64, &same)), ("value", "resource".to_owned()));
}

#[test]
fn case_08_refuses_resources_beside_cedar_policies_which_are_never_asked_about_them() {
    let cedar = format!("cedar = \"sha256:{}\" #", "ab".repeat(32));
    assert_eq!(refused(&changed("cedar            = \"none\" #", &cedar)), ("value", "resource".to_owned()));
}

#[test]
fn a_diff_tells_of_grants_of_resources() {
    let policy = |text: &str| ReleasePolicy::from_toml(text).unwrap();
    let narrower = policy(&changed("\"acme/image-key/1\", ", ""));
    let found = diff(&policy(GOOD), &narrower);
    let [changed] = found.grants.as_slice() else { panic!("one grant") };
    assert_eq!((changed.table, changed.name.as_str()), ("resource", "pods-prod"));
    assert!(!found.widens());
    assert!(diff(&narrower, &policy(GOOD)).widens());
    assert!(diff(&policy(GOOD), &two_images()).widens());
}

#[test]
fn case_08_a_policy_about_nothing_is_refused() {
    let nothing = &GOOD[..GOOD.find("[[resource]]").unwrap()];
    assert_eq!(refused(nothing), ("missing", "grant".to_owned()));
    assert_eq!(refused(&format!("resource = []\n{nothing}")), ("empty", "resource".to_owned()));
    assert_eq!(refused(&format!("grant = []\n{GOOD}")), ("empty", "grant".to_owned()));
}

fn expected(byte: u8) -> Expected {
    let report_data = ReportData::new([byte; 64]);
    report_data.into()
}

fn launched(config: LaunchConfig) -> Evidence {
    let machine = SoftwareGuest::launch(config, at()).unwrap();
    machine.attest(&expected(1).report_data).unwrap()
}

fn good() -> LaunchConfig {
    LaunchConfig::new(Measurement::new([0xa1; 48]))
}

fn simulated() -> TrustAnchors {
    simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap()
}

fn judged(policy: &ReleasePolicy, evidence: &Evidence, expected: &Expected) -> Result<Admission, Refusal> {
    let guest = ResourceGuest { evidence, endorsements: &Endorsements::default(), expected };
    admit(policy, &simulated(), &guest, at())
}

fn code(policy: &ReleasePolicy, config: LaunchConfig) -> String {
    judged(policy, &launched(config), &expected(1)).unwrap_err().denied().code().to_owned()
}

/// The example, and a second grant for another image.
fn two_images() -> ReleasePolicy {
    let second = grant()
        .replace("pods-prod", "pods-test")
        .replace("acme/image-key/1", "acme/image-key/test")
        .replace("a1a1", "b2b2");
    ReleasePolicy::from_toml(&format!("{GOOD}\n{second}")).unwrap()
}

#[test]
fn each_guest_gets_the_resources_of_the_grants_that_take_it() {
    let policy = two_images();
    for (image, grants, own, others) in [
        (0xa1, ["pods-prod"], "acme/image-key/1", "acme/image-key/test"),
        (0xb2, ["pods-test"], "acme/image-key/test", "acme/image-key/1"),
    ] {
        let evidence = launched(LaunchConfig::new(Measurement::new([image; 48])));
        let admission = judged(&policy, &evidence, &expected(1)).unwrap();
        assert_eq!(admission.grants(), grants);
        assert_eq!(admission.policy_digest(), policy.digest());
        assert!(admission.attestation().checks().none_failed());
        assert_eq!(admission.trace().grants().len(), 2);
        let by = |name: &str| policy.grants_resource(admission.grants(), &path(name), at());
        assert_eq!(by(own).unwrap().name(), grants[0]);
        assert!(by(others).is_none());
        assert!(by("acme/image-key/none").is_none());
        // Both grants list this one, and each guest has it by its own.
        assert_eq!(by("acme/registry/credential").unwrap().name(), grants[0]);
        assert!(policy.grants_resource(&[], &path(own), at()).is_none());
        assert!(policy.grants_resource(admission.grants(), &path(own), policy.expires()).is_none());
    }
}

#[test]
fn case_05_refuses_guests_that_no_grant_takes() {
    let policy = two_images();
    for (config, wanted) in [
        (LaunchConfig { debug: Debug::Allowed, ..good() }, "snp_debug_allowed"),
        (LaunchConfig::new(Measurement::new([0xff; 48])), "snp_measurement"),
        (LaunchConfig { vmpl: 1, ..good() }, "snp_vmpl"),
    ] {
        assert_eq!(code(&policy, config), wanted);
    }
    let guest = launched(good());
    let refusal = judged(&policy, &guest, &expected(2)).unwrap_err();
    assert_eq!(refusal.denied().code(), "binding_mismatch");
    let endorsements = Endorsements::default();
    let guest = ResourceGuest { evidence: &guest, endorsements: &endorsements, expected: &expected(1) };
    let production = admit(&policy, &TrustAnchors::production(), &guest, at()).unwrap_err();
    assert_eq!(production.denied().code(), "snp_no_trust_anchor");
    // No vendor is asked about what nothing that it says makes good.
    let unendorsable = require_endorsable_guest(&guest, &TrustAnchors::production(), at()).unwrap_err();
    assert_eq!(unendorsable.denied().code(), "snp_no_trust_anchor");
    require_endorsable_guest(&guest, &simulated(), at()).unwrap();
    let late = admit(&policy, &simulated(), &guest, policy.expires()).unwrap_err();
    assert_eq!(late.denied(), &Denied::PolicyExpired);
}

#[test]
fn case_13_what_is_revoked_is_not_admitted_by_the_file_nor_beside_it() {
    let image = format!("sha384:{}", "a1".repeat(48));
    let listed = changed("measurements = \"none\"", &format!("measurements = [\"{image}\"]"));
    let beside: Revocations = [Revoked::parse("measurement", &image).unwrap()].into_iter().collect();
    let policy = ReleasePolicy::from_toml(GOOD).unwrap();
    for policy in [ReleasePolicy::from_toml(&listed).unwrap(), policy.revoking(&beside)] {
        assert_eq!(code(&policy, good()), "release_measurement_revoked");
    }
    let chip = SoftwareGuest::launch(good(), at()).unwrap();
    let evidence = chip.attest(&expected(1).report_data).unwrap();
    let admission = judged(&policy, &evidence, &expected(1)).unwrap();
    let anchorhold_verifier::TeeClaims::Snp(claims) = &admission.attestation().claims().tee else {
        panic!("an SNP guest")
    };
    let id: String = claims.chip_id().unwrap().0.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = changed("chips        = \"none\"", &format!("chips = [\"{id}\"]"));
    let beside: Revocations = [Revoked::parse("chip", &id).unwrap()].into_iter().collect();
    for policy in [ReleasePolicy::from_toml(&listed).unwrap(), policy.revoking(&beside)] {
        let refusal = judged(&policy, &evidence, &expected(1)).unwrap_err();
        assert_eq!(refusal.denied().code(), "snp_chip_denied");
    }
}
