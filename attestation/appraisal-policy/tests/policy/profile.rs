//! What a profile says and may not say. The starting point is a small one that is accepted.

use crate::support::{HEADER, SNP, edited, path_of, paths, read, with, without};
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, MAX_LIST_ITEMS, MAX_POLICY_BYTES, NotInForce, PolicyError,
};
use anchorhold_rats::{Measurement, Sha256Digest, Timestamp};
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::snp::{Flag, GenoaTcb, MinimumTcb, Policy, Signer};
use toml::Value;

fn small() -> String {
    format!("{HEADER}{SNP}")
}

/// The small profile with every rule spelled out.
fn full() -> String {
    read(&small()).to_toml()
}

fn refused(text: &str) -> PolicyError {
    AppraisalProfile::from_toml(text).unwrap_err()
}

/// The policy of SNP after one edit of the small profile.
fn snp(path: &str, value: impl Into<Value>) -> Policy {
    read(&with(&small(), path, value)).snp().unwrap().clone()
}

const FLOOR: GenoaTcb = GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 };

#[test]
fn an_empty_profile_names_no_family() {
    assert_eq!(read(HEADER).appraisal(), &AppraisalPolicy::default());
}

#[test]
fn what_a_profile_leaves_out_is_strict_and_in_four_rules_stricter() {
    let minimum = MinimumTcb { genoa: Some(FLOOR), ..MinimumTcb::default() };
    let mut wanted = Policy::strict(vec![Measurement::new([0x5a; 48])], minimum);
    wanted.min_committed_tcb = Some(minimum);
    wanted.min_launch_tcb = Some(minimum);
    wanted.require_crl = true;
    wanted.allowed_chips = Some(Vec::new());
    assert_eq!(read(&small()).appraisal().snp, Some(wanted));
}

#[test]
fn every_rule_of_the_verifier_can_be_written() {
    let hex = |byte: &str, bytes: usize| byte.repeat(bytes);
    let any = |key: &str| snp(&format!("snp.{key}"), "any");
    assert_eq!(any("min_committed_tcb").min_committed_tcb, None);
    assert_eq!(any("min_launch_tcb").min_launch_tcb, None);
    assert_eq!(any("machines").allowed_chips, None);
    assert_eq!(snp("snp.machines", vec![hex("0c", 64)]).allowed_chips.unwrap()[0].0, [0x0c; 64]);
    assert_eq!(snp("snp.denied_machines", vec![hex("0d", 64)]).denied_chips[0].0, [0x0d; 64]);
    assert!(snp("snp.require_committed_firmware", true).require_committed_firmware);
    let version = snp("snp.min_firmware_version", "1.55.43").min_firmware_version.unwrap();
    assert_eq!((version.major, version.minor, version.build), (1, 55, 43));
    let vectors = |vectors: [(&str, i64); 2]| {
        Value::Table(vectors.map(|(key, bits)| (key.to_owned(), Value::from(bits))).into_iter().collect())
    };
    let mitigations =
        snp("snp.required_mitigations", vectors([("launch", 8), ("current", 0xb)])).required_mitigations;
    assert_eq!((mitigations.launch, mitigations.current), (8, 0xb));
    let providers = snp("snp.allowed_providers", vec!["CN=cloud.example"]).allowed_providers;
    assert_eq!(providers, Some(vec!["CN=cloud.example".to_owned()]));
    assert_eq!(snp("snp.vmpls", vec![0, 1]).allowed_vmpls, [0, 1]);
    assert_eq!(snp("snp.signers", vec!["vlek", "vcek"]).allowed_signers, [Signer::Vlek, Signer::Vcek]);
    assert_eq!(snp("snp.min_guest_svn", 4).min_guest_svn, 4);
    assert!(!snp("snp.require_alias_check", false).require_alias_check);
    assert!(!snp("snp.require_crl", false).require_crl);
    assert!(snp("snp.require_author_key", true).require_author_key);
    assert_eq!(snp("snp.host_data", hex("01", 32)).host_data, Some([1; 32]));
    assert_eq!(snp("snp.family_id", hex("02", 16)).family_id, Some([2; 16]));
    assert_eq!(snp("snp.image_id", hex("03", 16)).image_id, Some([3; 16]));
    assert_eq!(snp("snp.id_keys", vec![hex("04", 48)]).id_keys, Some(vec![[4; 48]]));
    assert_eq!(snp("snp.author_keys", vec![hex("05", 48)]).author_keys, Some(vec![[5; 48]]));
    let table =
        |key: &str, value: &str| Value::Table([(key.to_owned(), Value::from(value))].into_iter().collect());
    let guest = |key: &str| snp("snp.guest_policy", table(key, "set")).guest_policy;
    assert_eq!(guest("smt_allowed").smt_allowed, Flag::Set);
    assert_eq!(guest("single_socket").single_socket, Flag::Set);
    assert_eq!(guest("cxl_allowed").cxl_allowed, Flag::Set);
    assert_eq!(guest("aes_256_xts").aes_256_xts, Flag::Set);
    assert_eq!(guest("rapl_disabled").rapl_disabled, Flag::Set);
    assert_eq!(guest("ciphertext_hiding").ciphertext_hiding, Flag::Set);
    assert_eq!(guest("page_swap_disabled").page_swap_disabled, Flag::Set);
    let version = snp("snp.guest_policy", table("min_abi_version", "1.55")).guest_policy;
    assert_eq!(version.min_abi_version, (1, 55));
    let platform = |key: &str| snp("snp.platform", table(key, "clear")).platform;
    assert_eq!(platform("smt_enabled").smt_enabled, Flag::Clear);
    assert_eq!(platform("tsme_enabled").tsme_enabled, Flag::Clear);
    assert_eq!(platform("ecc_enabled").ecc_enabled, Flag::Clear);
    assert_eq!(platform("rapl_disabled").rapl_disabled, Flag::Clear);
    assert_eq!(platform("tio_enabled").tio_enabled, Flag::Clear);
    assert_eq!(platform("ciphertext_hiding_enabled").ciphertext_hiding_enabled, Flag::Clear);
}

#[test]
fn a_profile_with_every_rule_spelled_out_is_the_same_profile() {
    let edits = [
        ("snp.machines", Value::from(vec!["0c".repeat(64)])),
        ("snp.min_launch_tcb", Value::from("any")),
        ("snp.host_data", Value::from("01".repeat(32))),
        ("snp.id_keys", Value::from(vec!["04".repeat(48)])),
        ("snp.min_firmware_version", Value::from("1.55.43")),
        ("snp.denied_machines", Value::from(vec!["0d".repeat(64)])),
        ("description", Value::from("\"quoted\" and \\ back")),
    ];
    for (path, value) in edits {
        let one = read(&with(&small(), path, value));
        let other = read(&one.to_toml());
        assert_eq!(one.appraisal(), other.appraisal(), "{path}");
        assert_eq!((one.header(), one.rules()), (other.header(), other.rules()), "{path}");
        assert_eq!(other.to_toml(), one.to_toml(), "{path}");
    }
}

#[test]
fn case_05_refuses_debug_migration_and_simulated_roots_whatever_the_rest_says() {
    for key in ["debug", "migration", "simulated"] {
        let path = format!("snp.{key}");
        assert!(AppraisalProfile::from_toml(&with(&small(), &path, false)).is_ok());
        let error = refused(&with(&small(), &path, true));
        assert_eq!(path_of(&error), ("denied", path.as_str()));
        assert!(error.to_string().contains("is refused: "), "{error}");
    }
}

#[test]
fn case_06_refuses_milan_without_a_word_on_why() {
    let milan = small().replace("genoa", "milan");
    assert_eq!(path_of(&refused(&milan)), ("missing", "snp.milan_because"));
    let blank = with(&milan, "snp.milan_because", "  ");
    assert_eq!(path_of(&refused(&blank)), ("value", "snp.milan_because"));
    let named = read(&with(&milan, "snp.milan_because", "trials only"));
    assert!(named.snp().unwrap().min_tcb.milan.is_some());
    let rule = named.rules().into_iter().find(|rule| rule.path() == "snp.milan_because").unwrap();
    assert!(rule.weaker().unwrap().contains("forged"), "{rule:?}");
    // The word stands for Milan and for nothing else.
    let idle = with(&small(), "snp.milan_because", "trials only");
    assert_eq!(path_of(&refused(&idle)), ("unknown", "snp.milan_because"));
}

#[test]
fn case_08_refuses_a_profile_without_any_one_of_its_mandatory_keys() {
    let mandatory = [
        "format",
        "id",
        "version",
        "issued",
        "expires",
        "description",
        "snp.measurements",
        "snp.products",
        "snp.min_tcb",
        "snp.min_tcb.genoa",
        "snp.min_tcb.genoa.bl",
        "snp.min_tcb.genoa.ucode",
    ];
    for path in mandatory {
        assert_eq!(path_of(&refused(&without(&small(), path))), ("missing", path));
    }
    // Every other key of the full form may be left out, and then has the value that stood there.
    let (_, keys) = paths(&full());
    let below_floors = |key: &str| {
        (key.starts_with("snp.min_") && key.contains("tcb.")) || key.starts_with("snp.required_mitigations.")
    };
    let optional: Vec<_> =
        keys.iter().filter(|key| !mandatory.contains(&key.as_str()) && !below_floors(key)).collect();
    assert!(optional.len() > 35, "{}", optional.len());
    for key in optional.into_iter().filter(|key| *key != "snp") {
        assert_eq!(read(&without(&full(), key)).appraisal(), read(&full()).appraisal(), "{key}");
    }
}

#[test]
fn case_08_refuses_an_unknown_key_in_every_table() {
    let (tables, _) = paths(&full());
    assert!(tables.len() > 6, "{tables:?}");
    for table in tables {
        let path = if table.is_empty() { "extra".to_owned() } else { format!("{table}.extra") };
        assert_eq!(path_of(&refused(&with(&full(), &path, true))), ("unknown", path.as_str()));
    }
    // A whole family that no profile has.
    let family = edited(&full(), "sgx", |table, key| {
        table.insert(key.to_owned(), Value::Table(toml::Table::new()));
    });
    assert_eq!(path_of(&refused(&family)), ("unknown", "sgx"));
}

#[test]
fn case_08_refuses_a_value_of_the_wrong_type_under_every_key() {
    let (_, keys) = paths(&full());
    assert!(keys.len() > 50, "{}", keys.len());
    for key in keys {
        assert_eq!(path_of(&refused(&with(&full(), &key, 1.5))), ("value", key.as_str()));
    }
}

#[test]
fn case_08_refuses_empty_lists_where_they_would_mean_any_and_keeps_those_that_accept_nothing() {
    for key in ["snp.products", "snp.signers", "snp.vmpls", "snp.machines", "snp.id_keys", "snp.author_keys"]
    {
        let error = refused(&with(&small(), key, Value::Array(Vec::new())));
        assert_eq!(path_of(&error), ("empty", key));
    }
    assert!(snp("snp.measurements", Value::Array(Vec::new())).measurements.is_empty());
}

#[test]
fn refuses_values_out_of_range_and_of_another_form() {
    let digest = format!("sha384:{}", "5a".repeat(48));
    for (path, at, value) in [
        ("format", "format", Value::from(2)),
        ("version", "version", Value::from(-1)),
        ("id", "id", Value::from("two words")),
        ("id", "id", Value::from("x".repeat(65))),
        ("issued", "issued", Value::from("2026-01-01")),
        ("expires", "expires", Value::from("2026-01-01T00:00:00Z")),
        ("expires", "expires", Value::from("2028-01-03T00:00:00Z")),
        ("description", "description", Value::from("")),
        ("description", "description", Value::from("two\nlines")),
        ("description", "description", Value::from("x".repeat(1025))),
        ("snp.measurements", "snp.measurements[1]", Value::from(vec![digest.clone(), digest.clone()])),
        ("snp.measurements", "snp.measurements[0]", Value::from(vec![digest.replace("384", "256")])),
        ("snp.measurements", "snp.measurements[0]", Value::from(vec![digest.to_uppercase()])),
        ("snp.products", "snp.products[0]", Value::from(vec!["rome"])),
        ("snp.min_tcb.genoa.snp", "snp.min_tcb.genoa.snp", Value::from(256)),
        ("snp.min_tcb.genoa.snp", "snp.min_tcb.genoa.snp", Value::from(-1)),
        ("snp.vmpls", "snp.vmpls", Value::from(vec![0, 4])),
        ("snp.vmpls", "snp.vmpls[1]", Value::from(vec![0, 0])),
        ("snp.vmpls", "snp.vmpls[0]", Value::from(vec![-1])),
        ("snp.signers", "snp.signers[0]", Value::from(vec!["VCEK"])),
        ("snp.machines", "snp.machines", Value::from("all")),
        ("snp.machines", "snp.machines[0]", Value::from(vec!["0c".repeat(63)])),
        ("snp.denied_machines", "snp.denied_machines", Value::from("any")),
        ("snp.min_firmware_version", "snp.min_firmware_version", Value::from("1.55")),
        ("snp.min_firmware_version", "snp.min_firmware_version", Value::from("1.55.43.1")),
        ("snp.min_firmware_version", "snp.min_firmware_version", Value::from("1.055.43")),
        ("snp.min_firmware_version", "snp.min_firmware_version", Value::from("1.256.43")),
        ("snp.required_mitigations", "snp.required_mitigations", Value::from(11)),
        ("snp.min_launch_tcb", "snp.min_launch_tcb", Value::from("none")),
        ("snp.allowed_providers", "snp.allowed_providers[0]", Value::from(vec!["two\nlines"])),
        ("snp.allowed_providers", "snp.allowed_providers[0]", Value::from(vec!["x".repeat(257)])),
        ("snp.host_data", "snp.host_data", Value::from("01".repeat(31))),
        ("snp.host_data", "snp.host_data", Value::from("0A".repeat(32))),
        ("snp.image_id", "snp.image_id", Value::from("")),
        ("snp.debug", "snp.debug", Value::from("false")),
        ("snp", "snp", Value::from("any")),
    ] {
        assert_eq!(path_of(&refused(&with(&small(), path, value.clone()))), ("value", at), "{value}");
    }
}

#[test]
fn refuses_a_floor_for_another_product_and_a_product_without_one() {
    let turin = with(&small(), "snp.products", vec!["genoa", "turin"]);
    assert_eq!(path_of(&refused(&turin)), ("missing", "snp.min_tcb.turin"));
    let other = with(&small(), "snp.products", vec!["turin"]);
    assert_eq!(path_of(&refused(&other)), ("missing", "snp.min_tcb.turin"));
    let more = with(&small(), "snp.min_tcb.turin", 1);
    assert_eq!(path_of(&refused(&more)), ("unknown", "snp.min_tcb.turin"));
    let fmc = with(&small(), "snp.min_tcb.genoa.fmc", 1);
    assert_eq!(path_of(&refused(&fmc)), ("unknown", "snp.min_tcb.genoa.fmc"));
}

#[test]
fn case_09_refuses_excess_and_what_is_no_toml() {
    let digest = |number: usize| Value::from(format!("{number:048x}").repeat(2));
    let list = |count: usize| Value::Array((0..count).map(digest).collect());
    // A list is too long before its file is.
    let long = with(&small(), "snp.vmpls", Value::Array(vec![Value::from(0); MAX_LIST_ITEMS + 1]));
    assert!(long.len() < MAX_POLICY_BYTES);
    assert_eq!(path_of(&refused(&long)), ("value", "snp.vmpls"));
    assert!(matches!(refused(&with(&small(), "snp.id_keys", list(3000))), PolicyError::TooLong { .. }));
    assert_eq!(
        refused(&" ".repeat(MAX_POLICY_BYTES + 1)),
        PolicyError::TooLong { observed_bytes: MAX_POLICY_BYTES + 1 }
    );
    assert_eq!(refused("format = 1\nformat = 1"), PolicyError::Syntax { line: 2 });
    assert_eq!(refused(&format!("{}[snp]\n", small())), PolicyError::Syntax { line: 13 });
    assert!(matches!(refused(&format!("format = {}", "[".repeat(10_000))), PolicyError::Syntax { .. }));
}

#[test]
fn holds_from_its_issue_to_its_end() {
    let profile = read(&small());
    let (issued, expires) = (profile.header().issued, profile.header().expires);
    assert!(profile.valid_at(issued) && profile.valid_at(expires.plus_seconds(-1)));
    assert!(!profile.valid_at(expires) && !profile.valid_at(issued.plus_seconds(-1)));
    assert_eq!(profile.require_at(expires), Err(NotInForce::Expired { expires }));
    let epoch = Timestamp::from_unix_seconds(0);
    assert_eq!(profile.require_at(epoch), Err(NotInForce::NotYet { issued }));
}

#[test]
fn is_named_by_the_digest_of_its_bytes() {
    let text = small();
    assert_eq!(read(&text).digest(), Sha256Digest::of(text.as_bytes()));
    let spaced = format!("{text}\n");
    assert_ne!(read(&spaced).digest(), read(&text).digest());
    assert_eq!(read(&spaced).appraisal(), read(&text).appraisal());
}

#[test]
fn the_kinds_of_policy_files_are_told_apart() {
    assert_eq!(FileKind::of(&small()), Ok(FileKind::Profile));
    assert_eq!(FileKind::of(&with(&small(), "kind", "allow")), Ok(FileKind::MachineList));
    assert_eq!(FileKind::of("policy = \"a\""), Ok(FileKind::ReleasePolicy));
    assert_eq!(FileKind::of(&with(&small(), "policy", "a")), Ok(FileKind::ReleasePolicy));
    assert_eq!(FileKind::of(""), Ok(FileKind::ReleasePolicy));
    assert_eq!(FileKind::of("= 1"), Err(PolicyError::Syntax { line: 1 }));
}
