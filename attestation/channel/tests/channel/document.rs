//! One test for each reason to refuse a document.

use crate::support::{Guest, MEASUREMENT, NONCE, anchors, at, judge, policy, state, strict_policy};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::{Authority, Debug, LaunchConfig, simulated_ark_der};
use anchorhold_channel::document::{
    AuditHead, Document, DocumentState, Error, MAX_DOCUMENT_BYTES, MAX_LAYERS, MAX_MODELS, Presented,
    RuntimeClaims, nonce_of_query, path_for,
};
use anchorhold_channel::{Subject, Verdict, VerificationDocument, verify_document, verify_relayed_document};
use anchorhold_rats::{Der, Endorsements, Measurement, Nonce, Outcome, Purpose, Sha256Digest, Stage};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::x509::Certificate;

const TLS_KEY: Sha256Digest = Sha256Digest::new([1; 32]);

fn refused(document: &[u8]) -> String {
    judge(document, TLS_KEY).unwrap_err().code().to_owned()
}

/// The document with each `(from, to)` replaced; every `from` must be there.
fn altered(document: &[u8], changes: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from_utf8(document.to_vec()).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text.into_bytes()
}

#[test]
fn accepts_the_genuine_document_and_says_what_it_saw() {
    let guest = Guest::new(TLS_KEY);
    let server = judge(&guest.document(NONCE), TLS_KEY).unwrap();
    assert_eq!((server.keys(), server.state()), (&guest.keys, &guest.state()));
    assert_eq!(server.result().measurement(), MEASUREMENT);
    assert!(server.result().simulated());
    assert!(server.expires() > at());
    let passed = |code: &str| {
        server.checks().all().iter().any(|check| check.code == code && check.outcome == Outcome::Passed)
    };
    for code in ["document_format", "document_state", "document_nonce", "tls_key_bound", "snp_report_data"] {
        assert!(passed(code), "{code}");
    }
}

#[test]
fn case_04_refuses_the_key_of_another_connection() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    let relay = Sha256Digest::new([0xaa; 32]);
    assert_eq!(judge(&document, relay).unwrap_err().code(), "tls_key_bound");
    // A relay that puts its own key into the text does not change what was signed.
    let rewritten = altered(&document, &[(&TLS_KEY.to_string(), relay.to_string())]);
    let refusal = judge(&rewritten, relay).unwrap_err();
    assert_eq!((refusal.code(), refusal.stage()), ("snp_report_data", Stage::Binding));
}

#[test]
fn case_01_refuses_a_replayed_document() {
    let other = Nonce::new([6; 32]);
    let document = Guest::new(TLS_KEY).document(other);
    assert_eq!(refused(&document), "document_nonce");
    let rewritten = altered(&document, &[(&other.to_string(), NONCE.to_string())]);
    assert_eq!(refused(&rewritten), "snp_report_data");
}

#[test]
fn case_03_refuses_other_keys_and_another_state() {
    let guest = Guest::new(TLS_KEY);
    let document = guest.document(NONCE);
    let other = "ee".repeat(32);
    for (from, to) in [
        (guest.keys.release_key.to_string(), other.clone()),
        (guest.keys.audit_key.to_string(), other),
        ("acme/chat".to_owned(), "acme/chas".to_owned()),
        (r#"\"tree_size\":12"#.to_owned(), r#"\"tree_size\":13"#.to_owned()),
        // The same state in other words is not what was signed.
        (r#"{\"models\""#.to_owned(), r#"{ \"models\""#.to_owned()),
    ] {
        assert_eq!(refused(&altered(&document, &[(&from, to)])), "snp_report_data", "{from}");
    }
}

#[test]
fn refuses_evidence_made_for_a_key_release() {
    let document = Guest::new(TLS_KEY).document_for(NONCE, Purpose::KeyRelease);
    assert_eq!(refused(&document), "snp_report_data");
}

#[test]
fn case_05_refuses_another_measurement_and_a_debug_guest() {
    let other = LaunchConfig::new(Measurement::new([0x5b; 48]));
    let refusal = judge(&Guest::launch(other, TLS_KEY).document(NONCE), TLS_KEY).unwrap_err();
    assert_eq!((refusal.code(), Verdict::of(refusal.checks())), ("snp_measurement", Verdict::NotAcceptable));
    let mut debug = LaunchConfig::new(MEASUREMENT);
    debug.debug = Debug::Allowed;
    assert_eq!(refused(&Guest::launch(debug, TLS_KEY).document(NONCE)), "snp_debug_allowed");
}

#[test]
fn case_05_refuses_simulated_evidence_unless_both_root_and_policy_allow_it() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    let presented = Presented { document: &document, nonce: NONCE, tls_key: TLS_KEY };
    let refusal =
        verify_document(&presented, &Endorsements::default(), &TrustAnchors::production(), &policy(), at())
            .unwrap_err();
    assert_eq!(Verdict::of(refusal.checks()), Verdict::NotAuthentic);
    let refusal = verify_document(&presented, &Endorsements::default(), &anchors(), &strict_policy(), at())
        .unwrap_err();
    assert_eq!(refusal.code(), "snp_simulated");
}

#[test]
fn a_failure_of_the_document_is_shown_beside_those_of_the_evidence() {
    let document = Guest::launch(LaunchConfig::new(Measurement::new([1; 48])), TLS_KEY).document(NONCE);
    let refusal = judge(&document, Sha256Digest::new([0xaa; 32])).unwrap_err();
    let failed: Vec<_> = refusal.checks().failed().map(|check| check.code.as_ref()).collect();
    assert_eq!(failed, ["tls_key_bound", "snp_measurement", "snp_report_data"]);
}

#[test]
fn case_09_refuses_what_is_not_exactly_a_document() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    for (from, to) in [
        ("{\"format\"", "{\"more\":1,\"format\""),
        ("{\"format\"", "{\"nonce\":\"\",\"format\""),
        ("\"nonce\":", "\"nonce\":null,\"nonce\":"),
        ("attestation:v1", "attestation:v2"),
        ("\"tee\":\"snp\"", "\"tee\":\"sgx\""),
        ("\"keys\":{", "\"keys\":{\"more\":1,"),
    ] {
        assert_eq!(refused(&altered(&document, &[(from, to.to_owned())])), "document_format", "{from} {to}");
    }
    for (from, to) in [
        (r#"{\"models\""#, r#"{\"more\":1,\"models\""#),
        (r#"\"tree_size\":12"#, r#"\"tree_size\":12,\"tree_size\":12"#),
        (r#"\"tree_size\":12"#, r#"\"tree_size\":-1"#),
        ("acme/chat", r"acme\\u001b[2J"),
    ] {
        assert_eq!(refused(&altered(&document, &[(from, to.to_owned())])), "document_state", "{from} {to}");
    }
    for bad in [&b""[..], b"null", b"[]", b"\xff", &vec![b'['; 100_000], &vec![b' '; MAX_DOCUMENT_BYTES + 1]]
    {
        assert_eq!(refused(bad), "document_format");
    }
}

#[test]
fn case_47_refuses_every_single_byte_mutation() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    for position in 0..document.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut mutated = document.clone();
            mutated[position] ^= flip;
            assert!(judge(&mutated, TLS_KEY).is_err(), "byte {position} with {flip:#x}");
        }
    }
}

#[test]
fn a_state_over_its_limits_is_not_written() {
    let model = state().models.remove(0);
    let many = DocumentState { models: vec![model; MAX_MODELS + 1], ..state() };
    assert!(matches!(many.to_json(), Err(Error::Limit { what: "models", .. })));
    let audit = AuditHead { origin: "x".repeat(257), ..state().audit };
    let long = DocumentState { audit: audit.clone(), ..state() };
    assert!(matches!(long.to_json(), Err(Error::Limit { what: "name bytes", .. })));
    let audit = AuditHead { origin: "a\nb".into(), ..audit };
    assert_eq!(DocumentState { audit, ..state() }.to_json(), Err(Error::Name));
    let held_by = |layers| {
        let runtime = Some(RuntimeClaims { selinux_policy: None, layers });
        DocumentState { runtime, ..state() }.to_json()
    };
    assert!(held_by(vec!["seccomp".to_owned(); MAX_LAYERS]).is_ok());
    let many = held_by(vec!["seccomp".to_owned(); MAX_LAYERS + 1]);
    assert!(matches!(many, Err(Error::Limit { what: "layers", .. })), "{many:?}");
    assert_eq!(held_by(vec!["\u{1b}[2J".to_owned()]), Err(Error::Name));
}

#[test]
fn a_query_is_a_nonce_and_nothing_else() {
    let path = path_for(&NONCE);
    let (_, query) = path.split_once('?').unwrap();
    assert_eq!(nonce_of_query(Some(query)), Some(NONCE));
    let upper = query.replace("07", "0A");
    for bad in [None, Some(""), Some("nonce="), Some(upper.as_str()), Some(&query[..68]), Some("a=b")] {
        assert_eq!(nonce_of_query(bad), None, "{bad:?}");
    }
    assert_eq!(nonce_of_query(Some(&format!("{query}&a=b"))), None);
    assert_eq!(nonce_of_query(Some(&format!("{query}00"))), None);
}

#[test]
fn a_verification_document_says_simulated_and_names_nothing_of_a_refused_server() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    let subject = || Subject {
        target: "https://models.example".into(),
        at: at(),
        simulated: true,
        document_digest: Sha256Digest::of(&document),
    };
    let server = judge(&document, TLS_KEY).unwrap();
    let accepted = serde_json::to_value(VerificationDocument::accepted(subject(), &server)).unwrap();
    assert_eq!(accepted["format"], "urn:anchorhold:verification:v1");
    assert_eq!(accepted["verdict"], "accepted");
    assert_eq!(accepted["simulated"], true);
    assert_eq!(accepted["measurement"], MEASUREMENT.to_string());
    assert_eq!(accepted["keys"]["tls_key"], TLS_KEY.to_string());
    assert_eq!(accepted["state"]["models"][0]["id"], "acme/chat");
    let refusal = judge(&document, Sha256Digest::new([0xaa; 32])).unwrap_err();
    let refused = serde_json::to_value(VerificationDocument::refused(subject(), refusal.checks())).unwrap();
    assert_eq!(refused["verdict"], "not_authentic");
    for key in ["measurement", "product", "tcb", "keys", "state", "expires"] {
        assert!(refused[key].is_null(), "{key}");
    }
    let failed =
        refused["checks"].as_array().unwrap().iter().find(|check| check["outcome"] == "failed").unwrap();
    assert_eq!((&failed["code"], &failed["stage"]), (&"tls_key_bound".into(), &"binding".into()));
}

#[test]
fn case_04_a_relayed_document_is_judged_without_a_connection_and_its_keys_are_still_those_of_the_evidence() {
    let document = Guest::new(TLS_KEY).document(NONCE);
    let judge = |document: &[u8], nonce| {
        verify_relayed_document((document, nonce), &Endorsements::default(), &anchors(), &policy(), at())
    };
    let server = judge(&document, NONCE).unwrap();
    assert_eq!(server.keys().tls_key, TLS_KEY);
    let bound = server.checks().all().iter().find(|check| check.code == "tls_key_bound").unwrap();
    assert_eq!(bound.outcome, Outcome::Skipped);
    // Whoever passes it on can change the text, and not what the report was made over.
    let other = Sha256Digest::new([9; 32]).to_string();
    let changed = altered(&document, &[(&TLS_KEY.to_string(), other)]);
    assert_eq!(judge(&changed, NONCE).unwrap_err().code(), "snp_report_data");
    assert_eq!(judge(&document, Nonce::new([8; 32])).unwrap_err().code(), "document_nonce");
}

/// The document of a guest with what its server says that vendors say.
fn bringing(crls: Vec<Vec<u8>>) -> Vec<u8> {
    let document = Document::from_json(&Guest::new(TLS_KEY).document(NONCE)).unwrap();
    let snp_crls = crls.into_iter().map(Der).collect();
    let endorsements = Endorsements { snp_crls, ..Endorsements::default() };
    document.with_endorsements(endorsements).unwrap().to_json().unwrap()
}

/// A list of the simulated root's that is in force, or has ended.
fn crl(end: i64) -> Vec<u8> {
    let root = simulated_ark_der();
    let issuer = Certificate::parse(root).unwrap().subject.to_vec();
    let (this_update, next_update) = (at().plus_seconds(-20), at().plus_seconds(end));
    let template = RevocationTemplate { issuer, this_update, next_update, revoked: Vec::new() };
    template.sign(&Authority::Ark.key().unwrap()).unwrap()
}

/// Under a policy that asks for a revocation list, with these endorsements of the relying party's own.
fn judged_with(document: &[u8], own: Vec<Vec<u8>>) -> Result<(), String> {
    let mut policy = policy();
    policy.snp.as_mut().unwrap().require_crl = true;
    let snp_crls = own.into_iter().map(Der).collect();
    let own = Endorsements { snp_crls, ..Endorsements::default() };
    let presented = Presented { document, nonce: NONCE, tls_key: TLS_KEY };
    let judged = verify_document(&presented, &own, &anchors(), &policy, at());
    judged.map(|_| ()).map_err(|refusal| refusal.code().to_owned())
}

#[test]
fn a_document_that_brings_its_revocation_lists_is_judged_without_a_network() {
    assert_eq!(judged_with(&bringing(vec![]), vec![]), Err("snp_crl_missing".to_owned()));
    assert_eq!(judged_with(&bringing(vec![crl(10)]), vec![]), Ok(()));
    assert!(judge(&bringing(vec![crl(10)]), TLS_KEY).is_ok(), "who asks for none may have one");
}

#[test]
fn case_48_lists_that_a_document_brings_are_judged_as_any_and_give_way_to_the_relying_partys_own() {
    assert!(judged_with(&bringing(vec![crl(-1)]), vec![]).is_err(), "ended");
    let mut forged = crl(10);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(judged_with(&bringing(vec![forged]), vec![]), Err("snp_crl_signature".to_owned()));
    assert_eq!(judged_with(&bringing(vec![crl(-1)]), vec![crl(10)]), Ok(()));
    let many = Endorsements { snp_crls: vec![Der(vec![]); 9], ..Endorsements::default() };
    let document = Document::from_json(&Guest::new(TLS_KEY).document(NONCE)).unwrap();
    assert!(matches!(document.with_endorsements(many), Err(Error::Evidence(_))));
}
