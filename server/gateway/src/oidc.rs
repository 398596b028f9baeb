//! Tokens of an identity provider (OpenID Connect Core, section 3.1.3.7; RFC 9068) as a way in.
//!
//! The provider's keys stand in the settings: the gateway asks nobody, so a provider that changes its keys is followed by a new file and
//! SIGHUP. A token is believed when a key of its issuer signed it with that key's own algorithm, it is for us, and the time is right.

use crate::keys::NoEntry;
use anchorhold_api_keys::{Scopes, TenantName};
use anchorhold_evaluation::ear::{Jwks, verify_json};
use anchorhold_rats::Timestamp;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest token that is looked at, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far a provider's clock may be ahead of ours, in seconds. There is no such allowance at a token's end.
const AHEAD_S: i64 = 60;

/// Whose tokens are believed, and who their holders are.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    /// The exact `iss`.
    pub(crate) issuer: String,
    /// What must be among `aud`.
    pub(crate) audience: String,
    pub(crate) keys: Jwks,
    /// The claim whose value says which tenant it is: a text, or a list of texts of which one is known.
    pub(crate) claim: String,
    pub(crate) tenants: BTreeMap<String, TenantName>,
    /// Narrower than those of the tenant.
    pub(crate) scopes: Option<Scopes>,
}

/// What every token must say.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    iat: Option<i64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Whether a bearer credential has the form of a token.
pub(crate) fn is_token(credential: &[u8]) -> bool {
    credential.len() <= MAX_TOKEN_BYTES && credential.iter().filter(|byte| **byte == b'.').count() == 2
}

/// Who the holder of a token is, and for what.
///
/// Establishes that one of `issuers` says so of whoever may show this token now. Presumes that the holder did not lose it: it is a
/// bearer credential until it expires, and revocation at the provider is not seen.
///
/// # Errors
/// [`NoEntry`].
pub(crate) fn judge<'a>(
    issuers: &'a [Issuer],
    token: &[u8],
    now: Timestamp,
) -> Result<(&'a TenantName, Option<Scopes>), NoEntry> {
    let token = std::str::from_utf8(token).map_err(|_| NoEntry::Token)?;
    // Which keys are tried is all that is taken from a token before its signature.
    let named = named_issuer(token).ok_or(NoEntry::Token)?;
    let issuer = issuers.iter().find(|issuer| issuer.issuer == named).ok_or(NoEntry::Token)?;
    let claims = verify_json(token, &issuer.keys).map_err(|_| NoEntry::Token)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| NoEntry::Token)?;
    issuer.check(&claims, now)?;
    let tenant = issuer.tenant(&claims).ok_or(NoEntry::Token)?;
    Ok((tenant, issuer.scopes))
}

fn named_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Named>(&claims).ok().map(|named| named.iss)
}

impl Issuer {
    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), NoEntry> {
        let for_us = match &claims.aud {
            Audience::One(audience) => *audience == self.audience,
            Audience::Several(all) => all.contains(&self.audience),
        };
        if claims.iss != self.issuer || !for_us {
            return Err(NoEntry::Token);
        }
        // A token must say since when it is good; providers without `nbf` say when it was made.
        let since = claims.nbf.or(claims.iat).ok_or(NoEntry::Token)?;
        let now = now.unix_seconds();
        if now.saturating_add(AHEAD_S) < since {
            return Err(NoEntry::NotYet);
        }
        if now >= claims.exp { Err(NoEntry::Expired) } else { Ok(()) }
    }

    fn tenant(&self, claims: &Claims) -> Option<&TenantName> {
        // `sub` and others that nothing else looks at are among the rest.
        match claims.rest.get(&self.claim)? {
            Value::String(one) => self.tenants.get(one),
            Value::Array(several) => {
                several.iter().filter_map(Value::as_str).find_map(|one| self.tenants.get(one))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_evaluation::ear::{Signer, VerifyingKey};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn p256() -> Signer {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Signer::from_pkcs8(der.as_ref()).unwrap()
    }

    fn ed25519() -> Signer {
        Signer::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
    }

    fn issuer(name: &str, signer: &Signer) -> Issuer {
        let key = VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec());
        let tenants = [("tenant-7", "acme"), ("group-b", "bolt")];
        Issuer {
            issuer: name.to_owned(),
            audience: "anchorhold".to_owned(),
            keys: Jwks::of(key),
            claim: "tid".to_owned(),
            tenants: tenants.map(|(value, tenant)| (value.to_owned(), tenant.parse().unwrap())).into(),
            scopes: None,
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example", "aud": "anchorhold", "exp": NOW + 1, "nbf": NOW, "sub": "x", "tid": "tenant-7"})
    }

    fn with(change: Value) -> Value {
        let mut claims = claims();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn sign(signer: &Signer, claims: &Value) -> String {
        signer.sign_json(None, claims.to_string().as_bytes()).unwrap()
    }

    fn tenant(issuers: &[Issuer], token: &str) -> Result<String, NoEntry> {
        let now = Timestamp::from_unix_seconds(NOW);
        assert!(is_token(token.as_bytes()));
        judge(issuers, token.as_bytes(), now).map(|(tenant, _)| tenant.to_string())
    }

    #[test]
    fn a_token_of_either_algorithm_names_its_tenant() {
        for signer in [p256(), ed25519()] {
            let issuers = [issuer("https://other.example", &p256()), issuer("https://id.example", &signer)];
            assert_eq!(tenant(&issuers, &sign(&signer, &claims())).as_deref(), Ok("acme"));
            let several = with(
                json!({"aud": ["x", "anchorhold"], "tid": [1, "none", "group-b"], "nbf": null, "iat": NOW}),
            );
            assert_eq!(tenant(&issuers, &sign(&signer, &several)).as_deref(), Ok("bolt"));
        }
    }

    #[test]
    fn refuses_tokens_for_others_of_others_and_out_of_their_time() {
        let (signer, other) = (ed25519(), ed25519());
        let issuers = [issuer("https://id.example", &signer), issuer("https://other.example", &other)];
        for (change, wanted) in [
            (json!({"iss": "https://id.example/"}), NoEntry::Token),
            // Signed by a key of another issuer that is believed.
            (json!({"iss": "https://other.example"}), NoEntry::Token),
            (json!({"iss": null}), NoEntry::Token),
            (json!({"aud": "other"}), NoEntry::Token),
            (json!({"aud": []}), NoEntry::Token),
            (json!({"aud": null}), NoEntry::Token),
            (json!({"exp": NOW}), NoEntry::Expired),
            (json!({"exp": null}), NoEntry::Token),
            (json!({"exp": "soon"}), NoEntry::Token),
            (json!({"nbf": NOW + AHEAD_S + 1}), NoEntry::NotYet),
            (json!({"nbf": i64::MAX}), NoEntry::NotYet),
            (json!({"nbf": null}), NoEntry::Token),
            (json!({"tid": "nobody"}), NoEntry::Token),
            (json!({"tid": {"tenant-7": 1}}), NoEntry::Token),
            (json!({"tid": null}), NoEntry::Token),
        ] {
            assert_eq!(tenant(&issuers, &sign(&signer, &with(change.clone()))), Err(wanted), "{change}");
        }
        assert_eq!(tenant(&issuers, &sign(&other, &claims())), Err(NoEntry::Token));
    }

    #[test]
    fn refuses_tokens_without_a_signature_or_signed_with_a_shared_secret() {
        let signer = p256();
        let issuers = [issuer("https://id.example", &signer)];
        let good = sign(&signer, &claims());
        let parts: Vec<&str> = good.split('.').collect();
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"EdDSA"}"#, "{}"]
        {
            let header = URL_SAFE_NO_PAD.encode(header);
            // A shared secret that is the public key is the classic confusion.
            let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, signer.public_key());
            let tag = ring::hmac::sign(&secret, format!("{header}.{}", parts[1]).as_bytes());
            for signature in [String::new(), URL_SAFE_NO_PAD.encode(tag.as_ref()), parts[2].to_owned()] {
                let token = format!("{header}.{}.{signature}", parts[1]);
                assert_eq!(tenant(&issuers, &token), Err(NoEntry::Token), "{token}");
            }
        }
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let now = Timestamp::from_unix_seconds(NOW);
            assert!(judge(&issuers, &bytes, now).is_err(), "{at}");
        }
    }

    #[test]
    fn other_credentials_are_no_tokens() {
        assert!(is_token(b"a.b.c") && !is_token(b"ah-key") && !is_token(b"a.b") && !is_token(b"a.b.c.d"));
        assert!(!is_token(format!("a.b.{}", "c".repeat(MAX_TOKEN_BYTES)).as_bytes()));
    }
}
