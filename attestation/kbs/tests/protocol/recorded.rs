//! Exchanges with Trustee's and guest-components' own programs, replayed (`tests/vectors/kbs`).

use anchorhold_evaluation::ear::{Error, Jwks};
use anchorhold_kbs::client::{Attested, attest_path, auth_path};
use anchorhold_kbs::ear::TokenIssuer;
use anchorhold_kbs::server::Server;
use anchorhold_kbs::{Problem, SessionKey, Tee, TokenError, TokenRules, dangerous};
use anchorhold_rats::{Secret, Timestamp};
use anchorhold_verifier::{TeeClaims, authenticate};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// One request and its answer.
#[derive(Deserialize)]
struct Recorded {
    method: String,
    path: String,
    request_headers: BTreeMap<String, String>,
    request_body: String,
    status: u16,
    response_headers: BTreeMap<String, String>,
    response_body: String,
    at: Timestamp,
}

fn file(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/kbs/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn exchange(name: &str) -> Vec<Recorded> {
    serde_json::from_slice(&file(name)).unwrap()
}

fn private_key(name: &str) -> Vec<u8> {
    let text = String::from_utf8(file(name)).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

fn trustee_keys() -> Jwks {
    Jwks::from_json(&file("tokens/keys.json")).unwrap()
}

fn header<'a>(headers: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    headers.get(name).map(String::as_str)
}

/// What our guest does with what Trustee said, up to the resource.
fn replay_as_guest(name: &str, introduced_as: &str) {
    let recorded = exchange(name);
    let [auth, attest, resource] = recorded.as_slice() else { panic!("{name}") };
    assert!(recorded.iter().all(|one| one.status == 200), "{name}");
    let rules = TokenRules::new(trustee_keys());
    let (body, waiting) =
        dangerous::begin_with_known_key(Tee::Snp, rules, &private_key("guest-key.pem")).unwrap();
    // The crate knows no sample TEE, so whoever recorded that exchange changed the one word.
    let body = String::from_utf8(body).unwrap().replace("\"snp\"", &format!("\"{introduced_as}\""));
    assert_eq!((auth.path.as_str(), auth.request_body.as_str()), (auth_path().as_str(), body.as_str()));

    let attesting =
        waiting.take(auth.response_body.as_bytes(), header(&auth.response_headers, "set-cookie")).unwrap();
    assert_eq!(Some(attesting.cookie_header().as_str()), header(&attest.request_headers, "cookie"));
    let sent: Value = serde_json::from_str(&attest.request_body).unwrap();
    let primary = &sent["tee-evidence"]["primary_evidence"];
    if introduced_as == "sample" {
        let digest = STANDARD.encode(attesting.digest("").as_bytes());
        assert_eq!(primary["report_data"].as_str(), Some(digest.as_str()));
    } else {
        let report_data: Vec<u8> =
            serde_json::from_value(primary["attestation_report"]["report_data"].clone()).unwrap();
        assert_eq!(report_data, attesting.digest("").report_data().as_bytes());
    }
    let primary = RawValue::from_string(primary.to_string()).unwrap();
    let (body, waiting) = attesting.send(&primary, "", None);
    assert_eq!(attest.path, attest_path());
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), sent);

    let set_cookie = header(&attest.response_headers, "set-cookie");
    let attested = waiting.take(attest.response_body.as_bytes(), set_cookie, attest.at).unwrap();
    assert!(attested.token().claims().is_affirming());
    assert_eq!(Some(attested.cookie_header().as_str()), header(&resource.request_headers, "cookie"));
    let path = Attested::resource_path(&"anchorhold/secret/1".parse().unwrap());
    assert_eq!((resource.method.as_str(), resource.path.as_str()), ("GET", path.as_str()));
    let opened = attested.open(resource.response_body.as_bytes()).unwrap();
    assert_eq!(opened.expose(), b"a resource of Trustee");
}

#[test]
fn our_guest_got_a_resource_from_trustee_with_its_sample_evidence() {
    replay_as_guest("our-guest-trustee-sample.json", "sample");
}

#[test]
fn our_guest_got_a_resource_from_trustee_with_snp_evidence() {
    replay_as_guest("our-guest-trustee-snp.json", "snp");
}

/// What our server does with what guest-components' client sent.
fn replay_as_server(name: &str) -> (Value, Server) {
    let recorded = exchange(name);
    let [early, auth, attest, resource] = recorded.as_slice() else { panic!("{name}") };
    let issuer = TokenIssuer::new(&private_key("token-key.pem")).unwrap();
    let server = Server::new(SessionKey::new(&Secret::take(&mut [1; 32])), issuer);
    // It asks first, and attests when it is told that it must.
    assert_eq!(early.response_body.as_bytes(), Problem::TokenMissing.to_json());
    assert_eq!(server.session(None, None, early.at).unwrap_err(), Problem::TokenMissing);
    let answer = server.introduce(auth.request_body.as_bytes(), auth.at).unwrap();
    assert_eq!(answer.body.len(), auth.response_body.len());

    let cookie = header(&attest.request_headers, "cookie");
    let attesting = server.read_attestation(attest.request_body.as_bytes(), cookie, attest.at).unwrap();
    let read = attesting.read_evidence();
    let anchors = crate::support::anchors();
    let authentic = authenticate(&read.evidence, &read.endorsements, &anchors, attest.at).unwrap();
    let TeeClaims::Snp(report) = &authentic.claims().tee else { panic!("{name}") };
    assert_eq!(report.report().report_data, attesting.expected().report_data);

    let cookie = header(&resource.request_headers, "cookie");
    assert!(server.session(None, cookie, resource.at).is_ok());
    assert_eq!(resource.status, 200);
    (serde_json::from_str(&attest.request_body).unwrap(), server)
}

#[test]
fn guest_components_client_got_a_resource_from_our_server_to_keys_of_every_kind() {
    for (name, kind) in [("p256", "P-256"), ("p521", "P-521"), ("rsa", "RSA")] {
        let (sent, _) = replay_as_server(&format!("their-guest-{name}.json"));
        let key = &sent["runtime-data"]["tee-pubkey"];
        assert!([&key["crv"], &key["kty"]].iter().any(|text| text.as_str() == Some(kind)), "{key}");
    }
}

#[derive(Deserialize)]
struct TokenCase {
    name: String,
    at: Timestamp,
    keys: String,
    outcome: String,
    token: String,
}

#[test]
fn tokens_that_trustee_issued_and_forgeries_of_them_end_as_listed() {
    let cases: Vec<TokenCase> = serde_json::from_slice(&file("tokens/cases.json")).unwrap();
    assert!(cases.len() >= 18);
    for case in cases {
        let keys = Jwks::from_json(&file(&format!("tokens/{}", case.keys))).unwrap();
        let outcome = match TokenRules::new(keys).accept(&case.token, case.at) {
            Ok(_) => "accepted",
            Err(TokenError::Signature(Error::Algorithm)) => "algorithm",
            Err(TokenError::Signature(Error::Critical)) => "critical",
            Err(TokenError::Signature(_)) => "signature",
            Err(TokenError::Claims) => "claims",
            Err(TokenError::Profile) => "profile",
            Err(TokenError::Expired) => "expired",
            Err(TokenError::NotYetValid) => "not_yet_valid",
            Err(TokenError::NotAffirming) => "not_affirming",
            Err(TokenError::OtherKey | TokenError::OtherNonce) => "other",
        };
        assert_eq!(outcome, case.outcome, "{}", case.name);
    }
}
