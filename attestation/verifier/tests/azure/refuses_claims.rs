//! Refusals of the runtime claims. Report and quote are for the changed claims, so only the rule in question can refuse.

use crate::support::*;
use anchorhold_verifier::azure::VmId;

/// The modulus in the claims of the software paravisor.
fn modulus() -> String {
    let claims = paravisor().claims;
    let from = claims.find("\"n\":\"").unwrap() + 5;
    claims[from..from + claims[from..].find('"').unwrap()].to_string()
}

#[test]
fn claims_are_given_out() {
    let claims = snp().authentic().claims().clone();
    assert_eq!(claims.user_data, Some([0; 64]));
    let vm = claims.vm;
    assert_eq!((vm.console_enabled, vm.secure_boot), (Some(true), Some(true)));
    assert_eq!((vm.tpm_enabled, vm.tpm_persisted), (Some(true), Some(false)));
    assert_eq!(vm.vm_id, Some("00000000-0000-4000-8000-51513c1a7ed0".parse::<VmId>().unwrap()));
}

#[test]
fn members_without_a_meaning_here_are_passed_over() {
    claims_with(|claims| claims.replacen('{', "{\"later\":[{}],", 1)).authentic();
    claims_with(|claims| claims.replacen("\"secure-boot\"", "\"later\":1,\"secure-boot\"", 1)).authentic();
    let bare = claims_with(|claims| claims.replacen("\"tpm-persisted\":false,", "", 1)).authentic();
    assert_eq!(bare.claims().vm.tpm_persisted, None);
}

#[test]
fn refuses_other_json() {
    let twice = |member: &str, name: &str| {
        let (member, name) = (member.to_string(), name.to_string());
        claims_with(move |claims| claims.replacen(&name, &format!("{member},{name}"), 1)).refusal()
    };
    for (member, name) in [
        ("\"keys\":[]", "\"keys\""),
        ("\"kid\":\"HCLEkPub\"", "\"kid\""),
        ("\"kty\":\"RSA\"", "\"kty\""),
        ("\"e\":\"AQAB\"", "\"e\""),
        ("\"n\":\"AQAB\"", "\"n\""),
        ("\"secure-boot\":true", "\"secure-boot\""),
        ("\"secure\\u002dboot\":true", "\"secure-boot\""),
        ("\"user-data\":\"\"", "\"user-data\""),
    ] {
        assert_eq!(twice(member, name), "azure_claims_json", "{member}");
    }
    for (from, to) in [
        ("{", "["),
        ("\"keys\"", "\"kees\""),
        ("\"vm-configuration\"", "\"vm\""),
        ("\"secure-boot\":true", "\"secure-boot\":1"),
        ("00000000-0000", "00000000"),
        ("51513C1A7ED0", "51513C1A7EDG"),
        ("\"user-data\":\"00", "\"user-data\":\""),
        ("\"user-data\":\"00", "\"user-data\":\"0g"),
    ] {
        let sent = claims_with(|claims| claims.replacen(from, to, 1));
        assert_eq!(sent.refusal(), "azure_claims_json", "{to}");
    }
    assert_eq!(claims_with(|claims| format!("{claims}x")).refusal(), "azure_claims_json");
    assert_eq!(claims_with(|_| String::new()).refusal(), "azure_claims_json");
    assert_eq!(claims_with(|_| "[".repeat(2000)).refusal(), "azure_claims_json");
}

#[test]
fn refuses_keys_that_are_not_one_good_hclakpub() {
    let n = modulus();
    let key = format!(
        "{{\"kid\":\"HCLAkPub\",\"key_ops\":[\"sign\"],\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"{n}\"}}"
    );
    let long = "_".repeat(684);
    for (from, to) in [
        ("HCLAkPub".to_string(), "HCLEkPub"),
        (key.clone(), ""),
        (key.clone(), &format!("{key},{key}")),
        ("\"RSA\"".into(), "\"EC\""),
        ("AQAB".into(), "Aw"),
        ("AQAB".into(), "AAEAAQ"),
        ("AQAB".into(), "AQAB=="),
        ("\"e\":\"AQAB\",".into(), ""),
        (n.clone(), ""),
        (n.clone(), &n[..340]),
        (n.clone(), &format!("f{}", &n[1..])),
        (n.clone(), &format!("AA{}", &n[2..])),
        (n.clone(), &long),
        (n.clone(), &format!("{n}=")),
        (n.clone(), &format!("+{}", &n[1..])),
        (format!(",\"n\":\"{n}\""), ""),
    ] {
        assert_ne!(from, to);
        let sent = claims_with(|claims| claims.replacen(&from, to, 1));
        assert_eq!(sent.refusal(), "azure_claims_key", "{to}");
    }
    for (from, to, observed) in [
        ("AQAB", "Aw", "another exponent"),
        ("AQAB", "AQAB==", "a key without modulus and exponent in base64url"),
        ("\"RSA\"", "\"EC\"", "a key of another type"),
    ] {
        assert_eq!(claims_with(|claims| claims.replacen(from, to, 1)).said().1, observed);
    }
}

#[test]
fn vm_ids_are_guids() {
    let id: VmId = "baefd3e1-184b-4c4c-ab88-0bdad260505f".parse().unwrap();
    assert_eq!(id.to_string(), "BAEFD3E1-184B-4C4C-AB88-0BDAD260505F");
    for text in [
        "",
        "-",
        "BAEFD3E1184B4C4CAB880BDAD260505F",
        "BAEFD3E1-184B-4C4C-AB88-0BDAD260505",
        "é-184B-4C4C-AB88-0BDAD260505F",
    ] {
        assert!(text.parse::<VmId>().is_err(), "{text}");
    }
}
