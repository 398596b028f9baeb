//! Attestations that a server refuses, one rule each.

use crate::support::{Guest, Sent, at, attest, device, introduced, sent, sent_with, server};
use anchorhold_kbs::{Problem, TeeKey, WrittenEvidence, session_cookie};
use anchorhold_rats::Timestamp;
use serde_json::{Value, json};

fn changed(body: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

/// What the server answers to a good attestation after a change.
fn refused(guest: Guest, change: impl FnOnce(&mut Value)) -> Problem {
    let server = server();
    let Sent { body, cookie, .. } = sent(&server, guest);
    attest(&server, guest, &changed(&body, change), Some(&cookie)).unwrap_err()
}

#[test]
fn case_01_refuses_the_key_of_another_guest() {
    let other: Value = serde_json::from_str(&TeeKey::generate().unwrap().public_key().to_json()).unwrap();
    for guest in Guest::ALL {
        let problem = refused(guest, |body| body["runtime-data"]["tee-pubkey"] = other.clone());
        assert_eq!(problem, Problem::Evidence, "{guest:?}");
    }
}

#[test]
fn case_02_refuses_evidence_for_another_nonce() {
    let server = server();
    let (old, new) = (sent(&server, Guest::Snp), sent(&server, Guest::Snp));
    // The old body with the new cookie: they were not issued together.
    assert_eq!(attest(&server, Guest::Snp, &old.body, Some(&new.cookie)).unwrap_err(), Problem::Session);
    // The old evidence with the new nonce.
    let nonce: Value = serde_json::from_slice::<Value>(&new.body).unwrap()["runtime-data"]["nonce"].clone();
    let body = changed(&old.body, |body| body["runtime-data"]["nonce"] = nonce);
    assert_eq!(attest(&server, Guest::Snp, &body, Some(&new.cookie)).unwrap_err(), Problem::Evidence);
}

#[test]
fn case_02_refuses_an_attestation_that_comes_too_late() {
    let server = server();
    let Sent { body, cookie, .. } = sent(&server, Guest::Snp);
    let read = |at: Timestamp| server.read_attestation(&body, Some(&cookie), at).map(|_| ());
    assert_eq!(read(at().plus_seconds(119)), Ok(()));
    assert_eq!(read(at().plus_seconds(120)), Err(Problem::SessionExpired));
}

#[test]
fn refuses_an_attestation_without_its_cookie() {
    let server = server();
    let Sent { body, cookie, .. } = sent(&server, Guest::Snp);
    let value = session_cookie(&cookie).unwrap();
    for header in [None, Some("kbs-session-id="), Some("other=1"), Some(value)] {
        assert_eq!(attest(&server, Guest::Snp, &body, header).unwrap_err(), Problem::Session, "{header:?}");
    }
}

#[test]
fn refuses_evidence_of_another_kind_than_was_introduced() {
    let server = server();
    let tdx = sent(&server, Guest::Tdx);
    let evidence = serde_json::from_slice::<Value>(&tdx.body).unwrap()["tee-evidence"].clone();
    let Sent { body, cookie, .. } = sent(&server, Guest::Snp);
    let body = changed(&body, |body| body["tee-evidence"] = evidence);
    assert_eq!(attest(&server, Guest::Snp, &body, Some(&cookie)).unwrap_err(), Problem::Unsupported);
}

#[test]
fn refuses_evidence_that_no_policy_takes() {
    let server = server();
    let Sent { body, cookie, .. } = sent(&server, Guest::Snp);
    // The policy is of a guest with a GPU.
    assert_eq!(attest(&server, Guest::SnpWithGpu, &body, Some(&cookie)).unwrap_err(), Problem::Evidence);
}

#[test]
fn case_07_refuses_devices_that_were_exchanged_or_taken_out() {
    let server = server();
    let additional = |nonce| {
        let gpus = vec![device().evidence(&nonce).unwrap()];
        WrittenEvidence::additional(&gpus)
    };
    let other = additional(introduced(&server, Guest::SnpWithGpu).device_nonce());
    let set = |text: String| {
        refused(Guest::SnpWithGpu, |body| body["tee-evidence"]["additional_evidence"] = text.into())
    };
    assert_eq!(set(other), Problem::Evidence);
    assert_eq!(set(String::new()), Problem::Evidence);
    for text in ["{}", r#"{"sampledevice":{}}"#, r#"{"nvidia":{"device_evidence_list":[]}}"#, "[]", "x"] {
        assert_eq!(set(text.to_owned()), Problem::Unsupported, "{text}");
    }
}

#[test]
fn refuses_initialisation_data_that_the_evidence_has_not() {
    let server = server();
    let init_data = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n";
    for guest in [Guest::Snp, Guest::Tdx, Guest::AzSnp] {
        let Sent { body, cookie, .. } = sent_with(&server, guest, [0; 32], Some(init_data));
        let problem = attest(&server, guest, &body, Some(&cookie)).unwrap_err();
        assert_eq!(problem, Problem::InitData, "{guest:?}");
        let other = changed(&body, |body| body["init-data"]["format"] = "json".into());
        assert_eq!(attest(&server, guest, &other, Some(&cookie)).unwrap_err(), Problem::InitData);
    }
}

#[test]
fn refuses_azure_claims_without_the_report_data_in_version_2() {
    let problem = refused(Guest::AzSnp, |body| {
        body["tee-evidence"]["primary_evidence"]["version"] = json!(2);
    });
    assert_eq!(problem, Problem::Binding);
    for version in [json!(0), json!(3), json!(null)] {
        let problem =
            refused(Guest::AzSnp, |body| body["tee-evidence"]["primary_evidence"]["version"] = version);
        assert_eq!(problem, Problem::Unsupported);
    }
}

#[test]
fn case_09_refuses_bodies_that_are_not_of_the_protocol() {
    let server = server();
    for body in [&b""[..], b"{}", b"[]", &[b' '; 1024 * 1024 + 1]] {
        let cookie = sent(&server, Guest::Snp).cookie;
        assert_eq!(attest(&server, Guest::Snp, body, Some(&cookie)).unwrap_err(), Problem::Malformed);
    }
    assert_eq!(refused(Guest::Snp, |body| body["more"] = json!(1)), Problem::Malformed);
    let p384 = |body: &mut Value| body["runtime-data"]["tee-pubkey"]["crv"] = "P-384".into();
    assert_eq!(refused(Guest::Snp, p384), Problem::Unsupported);
    for (body, problem) in [
        (r#"{"version":"0.1.1","tee":"snp","extra-params":{}}"#, Problem::Version),
        (r#"{"version":"0.4.0","tee":"sample","extra-params":{}}"#, Problem::Unsupported),
        (r#"{"version":"0.4.0","tee":"snp"}"#, Problem::Malformed),
    ] {
        assert_eq!(server.introduce(body.as_bytes(), at()).unwrap_err(), problem, "{body}");
    }
}
