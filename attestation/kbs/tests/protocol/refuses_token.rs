//! Tokens that a guest, a server or another relying party refuses, one rule each.

use crate::support::{Guest, Sent, at, attest, attested, issuer, sent, server};
use anchorhold_evaluation::ear::{Error, Jwks, Signer, VerifyingKey};
use anchorhold_kbs::client::ClientError;
use anchorhold_kbs::server::Server;
use anchorhold_kbs::{MessageError, Problem, SessionKey, TokenError, TokenRules, dangerous};
use anchorhold_rats::Secret;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use serde_json::{Value, json};

fn signer() -> Signer {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    Signer::from_pkcs8(key.as_ref()).unwrap()
}

fn keys(signer: &Signer) -> Jwks {
    Jwks::of(VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec()))
}

/// Claims as Trustee writes them, with what it writes more.
fn claims() -> Value {
    json!({
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
        "iss": "CoCo-Attestation-Service",
        "iat": at().unix_seconds(),
        "exp": at().unix_seconds() + 300,
        "ear.verifier-id": { "developer": "https://confidentialcontainers.org", "build": "attestation-service 0.1.0" },
        "submods": { "cpu0": {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": { "instance-identity": 0, "configuration": 2, "executables": 3, "hardware": 2 },
            "ear.appraisal-policy-id": "default",
            "ear.veraison.annotated-evidence": {
                "report_data": "00", "runtime_data_claims": { "nonce": "AAAA" }, "init_data_claims": null,
                "snp": { "measurement": "00" },
            },
        } },
    })
}

/// What rules for one key say to a token of that key with changed claims.
fn judged(change: impl FnOnce(&mut Value)) -> Result<(), TokenError> {
    let signer = signer();
    let mut claims = claims();
    change(&mut claims);
    let token = signer.sign_json(None, claims.to_string().as_bytes()).unwrap();
    TokenRules::new(keys(&signer)).accept(&token, at()).map(|_| ())
}

#[test]
fn takes_a_token_as_trustee_writes_it() {
    assert_eq!(judged(|_| {}), Ok(()));
    assert_eq!(judged(|claims| claims["iat"] = (at().unix_seconds() + 60).into()), Ok(()));
}

#[test]
fn refuses_expired_token() {
    for exp in [0, at().unix_seconds()] {
        assert_eq!(judged(|claims| claims["exp"] = exp.into()), Err(TokenError::Expired));
    }
    let without = judged(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    assert_eq!(without, Err(TokenError::Claims));
}

#[test]
fn refuses_token_that_is_not_valid_yet() {
    for name in ["iat", "nbf"] {
        let refused = judged(|claims| claims[name] = (at().unix_seconds() + 61).into());
        assert_eq!(refused, Err(TokenError::NotYetValid), "{name}");
    }
}

#[test]
fn refuses_token_of_another_profile() {
    for profile in ["tag:ietf.org,2026:rats/ear#04", "tag:github.com,2023:veraison/ear", ""] {
        let refused = judged(|claims| claims["eat_profile"] = profile.into());
        assert_eq!(refused, Err(TokenError::Profile), "{profile}");
    }
}

#[test]
fn refuses_token_that_does_not_affirm() {
    for status in ["none", "warning", "contraindicated"] {
        let refused = judged(|claims| claims["submods"]["cpu0"]["ear.status"] = status.into());
        assert_eq!(refused, Err(TokenError::NotAffirming), "{status}");
    }
    for claim in [32, 97, -32, -128] {
        let vector = |claims: &mut Value| {
            claims["submods"]["cpu0"]["ear.trustworthiness-vector"]["hardware"] = claim.into();
        };
        assert_eq!(judged(vector), Err(TokenError::NotAffirming), "{claim}");
    }
    let device = |claims: &mut Value| {
        claims["submods"]["gpu0"] = json!({ "ear.status": "contraindicated" });
    };
    assert_eq!(judged(device), Err(TokenError::NotAffirming));
    for submods in [json!({}), json!({ "gpu0": { "ear.status": "affirming" } })] {
        assert_eq!(judged(|claims| claims["submods"] = submods), Err(TokenError::NotAffirming));
    }
    assert_eq!(
        judged(|claims| claims["submods"]["cpu0"]["ear.status"] = "fine".into()),
        Err(TokenError::Claims)
    );
}

#[test]
fn refuses_token_of_another_key_and_token_without_a_signature() {
    let (one, other) = (signer(), signer());
    let token = one.sign_json(None, claims().to_string().as_bytes()).unwrap();
    let rules = TokenRules::new(keys(&other));
    let refused = |token: &str| rules.accept(token, at()).unwrap_err();
    assert_eq!(refused(&token), TokenError::Signature(Error::Signature));
    let (_, claims) = token.split_once('.').unwrap();
    let (claims, _) = claims.split_once('.').unwrap();
    for alg in ["none", "None", "HS256", "RS256"] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
        for signature in ["", "AAAA"] {
            let token = format!("{header}.{claims}.{signature}");
            assert_eq!(refused(&token), TokenError::Signature(Error::Algorithm), "{alg}");
        }
    }
    // The key that the token brings is not looked at.
    let jwk = VerifyingKey::new(one.algorithm(), one.public_key().to_vec()).to_jwk();
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "jwk": jwk, "x5c": [] }).to_string());
    let own = format!("{header}.{claims}.{}", token.rsplit_once('.').unwrap().1);
    assert_eq!(refused(&own), TokenError::Signature(Error::Signature));
}

#[test]
fn a_guest_refuses_the_token_of_another_guest_and_of_another_challenge() {
    let server = server();
    let (one, other) = (sent(&server, Guest::Snp), sent(&server, Guest::Snp));
    let answer = attest(&server, Guest::Snp, &one.body, Some(&one.cookie)).unwrap();
    let refused = other.waiting.take(&answer.body, None, at()).unwrap_err();
    assert_eq!(refused, ClientError::Token(TokenError::OtherKey));

    // A token for this key with another nonce.
    let Sent { body, waiting, .. } = sent(&server, Guest::Snp);
    let sent: Value = serde_json::from_slice(&body).unwrap();
    let mut claims = claims();
    let key = sent["runtime-data"]["tee-pubkey"].clone();
    claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]["tee-pubkey"] = key;
    let signer = signer();
    let token = signer.sign_json(None, claims.to_string().as_bytes()).unwrap();
    let body = json!({ "token": token }).to_string();
    let refused = waiting.take(body.as_bytes(), None, at()).unwrap_err();
    assert!(matches!(refused, ClientError::Token(TokenError::Signature(_))), "{refused:?}");
}

#[test]
fn a_guest_refuses_a_token_that_does_not_affirm_unless_it_was_told_otherwise() {
    let server = server();
    let strict = TokenRules::new(server.tokens().keys().clone());
    let token = attested(&server, Guest::Snp).token().as_str().to_owned();
    assert_eq!(strict.accept(&token, at()).unwrap_err(), TokenError::NotAffirming);
    assert!(dangerous::any_status(strict).accept(&token, at()).is_ok());
}

#[test]
fn a_guest_refuses_bodies_and_cookies_that_are_none() {
    let server = server();
    let answer = |body: &[u8], cookie: Option<&str>| {
        let Sent { waiting, .. } = sent(&server, Guest::Snp);
        waiting.take(body, cookie, at()).unwrap_err()
    };
    for body in [&b""[..], b"{}", b"{\"token\":\"a\",\"more\":1}"] {
        assert_eq!(answer(body, None), ClientError::Message(MessageError::Malformed));
    }
    let Sent { body, cookie, waiting } = sent(&server, Guest::Snp);
    let good = attest(&server, Guest::Snp, &body, Some(&cookie)).unwrap();
    let refused = waiting.take(&good.body, Some("kbs-session-id=a b"), at()).unwrap_err();
    assert_eq!(refused, ClientError::Cookie);
}

#[test]
fn a_server_refuses_tokens_that_are_not_its_own() {
    let server = server();
    let token = attested(&server, Guest::Snp).token().as_str().to_owned();
    let session = |server: &Server, token: &str, seconds| {
        server.session(Some(&format!("Bearer {token}")), None, at().plus_seconds(seconds)).map(|_| ())
    };
    assert_eq!(session(&server, &token, 299), Ok(()));
    assert_eq!(session(&server, &token, 300), Err(Problem::Token));
    assert_eq!(session(&server, &token, -1), Err(Problem::Token));
    let other = Server::new(SessionKey::new(&Secret::take(&mut [1; 32])), issuer());
    assert_eq!(session(&other, &token, 0), Err(Problem::Token));
    for text in ["", "a.b.c", &token[..token.len() - 2]] {
        assert_eq!(session(&server, text, 0), Err(Problem::Token), "{text}");
    }
    for header in ["", "Basic x", "bearer x", &token] {
        assert_eq!(server.session(Some(header), None, at()).unwrap_err(), Problem::TokenMissing, "{header}");
    }
    assert_eq!(server.session(None, None, at()).unwrap_err(), Problem::TokenMissing);
    assert_eq!(server.session(None, Some("other=1"), at()).unwrap_err(), Problem::TokenMissing);
    // The cookie of an introduction is no pass.
    let cookie = sent(&server, Guest::Snp).cookie;
    assert_eq!(server.session(None, Some(&cookie), at()).unwrap_err(), Problem::Token);
}

#[test]
fn a_server_refuses_claims_that_its_own_key_signed_for_something_else() {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let issuer = anchorhold_kbs::ear::TokenIssuer::new(pkcs8.as_ref()).unwrap();
    let signer = Signer::from_pkcs8(pkcs8.as_ref()).unwrap();
    let key: Value =
        serde_json::from_str(&anchorhold_kbs::TeeKey::generate().unwrap().public_key().to_json()).unwrap();
    let own = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        claims["iss"] = "anchorhold-key-broker".into();
        claims["anchorhold"] =
            json!({ "policy_digest": "04".repeat(32), "basis": "05".repeat(32), "grants": [] });
        claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]["tee-pubkey"] =
            key.clone();
        change(&mut claims);
        issuer.read(&signer.sign_json(None, claims.to_string().as_bytes()).unwrap(), at()).map(|_| ())
    };
    assert_eq!(own(&|_| {}), Ok(()));
    let changes: [&dyn Fn(&mut Value); 6] = [
        &|claims| claims["iss"] = "CoCo-Attestation-Service".into(),
        &|claims| claims["eat_profile"] = "tag:ietf.org,2026:rats/ear#04".into(),
        &|claims| claims["exp"] = (at().unix_seconds() + 301).into(),
        &|claims| claims["anchorhold"]["more"] = json!(1),
        &|claims| drop(claims.as_object_mut().unwrap().remove("anchorhold")),
        &|claims| claims["submods"] = json!({}),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_eq!(own(change), Err(Problem::Token), "{at}");
    }
    let ed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    assert!(anchorhold_kbs::ear::TokenIssuer::new(ed.as_ref()).is_err(), "Trustee's readers take P-256");
}
