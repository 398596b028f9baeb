//! Refusals of the policy for a paravisor's evidence.

use crate::support::*;
use anchorhold_verifier::azure::Policy;
use std::collections::BTreeMap;

fn quoted() -> Sent {
    let mut paravisor = paravisor();
    paravisor.pcrs = vec![(4, [4; 32]), (7, [7; 32]), (11, [11; 32])];
    sent_by(&paravisor)
}

fn pcrs(rows: &[(u8, &[[u8; 32]])]) -> Policy {
    Policy::strict(rows.iter().map(|(pcr, values)| (*pcr, values.to_vec())).collect())
}

#[test]
fn accepts_what_the_policy_names() {
    assert_eq!(failed(&quoted(), &pcrs(&[(4, &[[4; 32]]), (7, &[[0; 32], [7; 32]])]), &NONCE), [""; 0]);
}

#[test]
fn refuses_a_policy_without_pcrs() {
    assert_eq!(failed(&quoted(), &Policy::strict(BTreeMap::new()), &NONCE), ["azure_pcrs_empty"]);
}

#[test]
fn refuses_where_a_pcr_of_the_policy_was_not_quoted() {
    let policy = pcrs(&[(4, &[[4; 32]]), (5, &[[0; 32]])]);
    assert_eq!(failed(&quoted(), &policy, &NONCE), ["azure_pcr_not_quoted"]);
    let beyond = pcrs(&[(24, &[[0; 32]])]);
    assert_eq!(failed(&quoted(), &beyond, &NONCE), ["azure_pcr_not_quoted"]);
}

#[test]
fn refuses_another_value_of_a_pcr() {
    for values in [&[][..], &[[5; 32]], &[[5; 32], [7; 32]]] {
        assert_eq!(failed(&quoted(), &pcrs(&[(4, values)]), &NONCE), ["azure_pcr_value"], "{values:?}");
    }
    let both = pcrs(&[(4, &[[7; 32]]), (7, &[[4; 32]])]);
    assert_eq!(failed(&quoted(), &both, &NONCE), ["azure_pcr_value"; 2]);
}

#[test]
fn refuses_machines_without_secure_boot() {
    let off = claims_with(|claims| claims.replacen("\"secure-boot\":true", "\"secure-boot\":false", 1));
    let silent = claims_with(|claims| claims.replacen("\"secure-boot\":true,", "", 1));
    let either = Policy { require_secure_boot: false, ..policy() };
    for sent in [off, silent] {
        assert_eq!(failed(&sent, &policy(), &NONCE), ["azure_secure_boot"]);
        assert_eq!(failed(&sent, &either, &NONCE), [""; 0]);
    }
}

#[test]
fn refuses_a_console_when_asked() {
    let policy = Policy { require_no_console: true, ..policy() };
    assert_eq!(failed(&snp(), &policy, &NONCE), ["azure_console"]);
    let silent = claims_with(|claims| claims.replacen("\"console-enabled\":true,", "", 1));
    assert_eq!(failed(&silent, &policy, &NONCE), ["azure_console"]);
    let off =
        claims_with(|claims| claims.replacen("\"console-enabled\":true", "\"console-enabled\":false", 1));
    assert_eq!(failed(&off, &policy, &NONCE), [""; 0]);
}

#[test]
fn refuses_machines_that_the_policy_does_not_name() {
    let ids = |text: &str| Policy { vm_ids: Some(vec![text.parse().unwrap()]), ..policy() };
    assert_eq!(failed(&snp(), &ids("00000000-0000-4000-8000-51513c1a7ed0"), &NONCE), [""; 0]);
    assert_eq!(failed(&snp(), &ids("00000000-0000-4000-8000-51513c1a7ed1"), &NONCE), ["azure_vm_id"]);
    assert_eq!(failed(&snp(), &Policy { vm_ids: Some(vec![]), ..policy() }, &NONCE), ["azure_vm_id"]);
    let silent = claims_with(|claims| claims.replacen(",\"vmUniqueId\"", ",\"other\"", 1));
    assert_eq!(failed(&silent, &ids("00000000-0000-4000-8000-51513c1a7ed0"), &NONCE), ["azure_vm_id"]);
}

#[test]
fn case_03_refuses_a_quote_for_another_nonce() {
    for nonce in [&[][..], &[9; 63], &[9; 65], &[8; 64]] {
        assert_eq!(failed(&snp(), &policy(), nonce), ["azure_nonce"], "{nonce:?}");
    }
}

#[test]
fn every_broken_rule_is_reported() {
    let mut policy = pcrs(&[(4, &[[5; 32]]), (5, &[[5; 32]])]);
    policy.require_no_console = true;
    policy.vm_ids = Some(vec![]);
    let wanted = ["azure_pcr_value", "azure_pcr_not_quoted", "azure_console", "azure_vm_id", "azure_nonce"];
    assert_eq!(failed(&quoted(), &policy, b"other"), wanted);
}
