//! What a transit engine says, read strictly. Pure functions of bytes.
//!
//! OpenBao's API documentation, "Transit secrets engine", "Token auth method" and "HTTP API": an answer is an object with
//! `data` or `auth`, a refusal one with `errors`. Fields that we do not use are passed over, since versions differ in
//! them.

use crate::kek::{BackendError, Sealed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest ciphertext, as text. That of the longest secret stays below.
const MAX_CIPHERTEXT_BYTES: usize = 4096;
/// A nonce of 12 bytes and a tag of 16 stand around at least one byte.
const MIN_RAW_BYTES: usize = 12 + 16 + 1;

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

fn data<'a, T: Deserialize<'a>>(body: &'a [u8], wanted: &'static str) -> Result<T, BackendError> {
    let answer: Data<T> = serde_json::from_slice(body).map_err(|_| BackendError::Garbage { wanted })?;
    Ok(answer.data)
}

/// The version in `vault:v3:...`, if it is one and the rest is base64 of some ciphertext.
pub(super) fn version_of(text: &str) -> Option<u32> {
    let (digits, raw) = text.strip_prefix("vault:v")?.split_once(':')?;
    let version: u32 = digits.parse().ok()?;
    let canonical = version > 0 && version.to_string() == digits && text.len() <= MAX_CIPHERTEXT_BYTES;
    let raw = STANDARD.decode(raw).ok()?;
    (canonical && raw.len() >= MIN_RAW_BYTES).then_some(version)
}

/// The ciphertext of an answer to `encrypt` and `rewrap`.
///
/// # Errors
/// [`BackendError::Garbage`].
pub fn ciphertext(body: &[u8]) -> Result<Sealed, BackendError> {
    #[derive(Deserialize)]
    struct Ciphertext<'a> {
        ciphertext: &'a str,
        key_version: Option<u32>,
    }
    const WANTED: &str = "a ciphertext of the transit engine";
    let answer: Ciphertext<'_> = data(body, WANTED)?;
    let version = version_of(answer.ciphertext).ok_or(BackendError::Garbage { wanted: WANTED })?;
    if answer.key_version.is_some_and(|told| told != version) {
        return Err(BackendError::Garbage { wanted: "a ciphertext of the version that it tells" });
    }
    Ok(Sealed { version, bytes: answer.ciphertext.as_bytes().to_vec() })
}

/// The secret of an answer to `decrypt`.
///
/// # Errors
/// [`BackendError::Garbage`].
pub fn plaintext(body: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackendError> {
    #[derive(Deserialize)]
    struct Plaintext<'a> {
        plaintext: &'a str,
    }
    const WANTED: &str = "a plaintext of the transit engine";
    let answer: Plaintext<'_> = data(body, WANTED)?;
    // Decoded into room that it does not outgrow, so that no copy is left behind.
    let mut plain = Zeroizing::new(vec![0; answer.plaintext.len()]);
    let length = STANDARD
        .decode_slice(answer.plaintext, &mut plain)
        .map_err(|_| BackendError::Garbage { wanted: WANTED })?;
    plain.truncate(length);
    Ok(plain)
}

/// A key as its engine describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyState {
    #[serde(rename = "type")]
    kind: String,
    latest_version: u32,
    derived: bool,
    exportable: bool,
    allow_plaintext_backup: bool,
    #[serde(default)]
    convergent_encryption: bool,
    #[serde(default)]
    soft_deleted: bool,
}

/// Reads the answer about a key.
///
/// # Errors
/// [`BackendError::Garbage`].
pub fn key_state(body: &[u8]) -> Result<KeyState, BackendError> {
    data(body, "a description of a key")
}

impl KeyState {
    /// The newest version. Refuses a key that does not bind a context, or that could be read out.
    ///
    /// # Errors
    /// [`BackendError::Unfit`].
    pub fn version(&self) -> Result<u32, BackendError> {
        let rules = [
            (self.kind == "aes256-gcm96", "of type aes256-gcm96"),
            (self.derived, "derived, so that it binds a context"),
            (!self.convergent_encryption, "free of convergent encryption"),
            (!self.exportable, "kept in the engine (exportable false)"),
            (!self.allow_plaintext_backup, "kept in the engine (allow_plaintext_backup false)"),
            (!self.soft_deleted, "there any more: it is soft-deleted"),
            (self.latest_version > 0, "of version 1 or above"),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, wanted)) => Err(BackendError::Unfit { wanted }),
            None => Ok(self.latest_version),
        }
    }
}

/// For how long a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    ttl_s: u64,
    renewable: bool,
}

impl Lease {
    /// When to renew: after two thirds of the time. `None` for a token that cannot be renewed, or that does not end.
    #[must_use]
    pub const fn renew_after(self) -> Option<Duration> {
        /// A day; longer waits are of no use, and this one cannot overflow a clock.
        const LONGEST_S: u64 = 86_400;
        if !self.renewable || self.ttl_s == 0 {
            return None;
        }
        let two_thirds = self.ttl_s / 3 * 2;
        Some(Duration::from_secs(if two_thirds < LONGEST_S { two_thirds } else { LONGEST_S }))
    }
}

/// Reads the answer to `lookup-self`.
///
/// # Errors
/// [`BackendError::Garbage`].
pub fn lease(body: &[u8]) -> Result<Lease, BackendError> {
    #[derive(Deserialize)]
    struct Token {
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let Token { ttl, renewable } = data(body, "a description of a token")?;
    Ok(Lease { ttl_s: ttl, renewable })
}

/// Reads the answer to `renew-self`.
///
/// # Errors
/// [`BackendError::Garbage`].
pub fn renewed(body: &[u8]) -> Result<Lease, BackendError> {
    #[derive(Deserialize)]
    struct Answer {
        auth: Auth,
    }
    #[derive(Deserialize)]
    struct Auth {
        lease_duration: u64,
        renewable: bool,
    }
    let Answer { auth } =
        serde_json::from_slice(body).map_err(|_| BackendError::Garbage { wanted: "a renewed token" })?;
    Ok(Lease { ttl_s: auth.lease_duration, renewable: auth.renewable })
}

/// What a status other than 200 and 204 means. `version` is that of the ciphertext that was sent. The engine tells what it
/// has against a ciphertext in words alone; where the words are not known the status is the answer.
#[must_use]
pub fn refusal(status: u16, body: &[u8], version: u32) -> BackendError {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<String>,
    }
    let says = |words: &str| {
        let refusal: Result<Refusal, _> = serde_json::from_slice(body);
        refusal.is_ok_and(|refusal| refusal.errors.iter().any(|error| error.contains(words)))
    };
    match status {
        400 if says("disallowed by policy (too old)") || says("version is too new") => {
            BackendError::Version { observed: version }
        }
        400 if says("message authentication failed") || says("invalid ciphertext") => BackendError::Open,
        400 if says("encryption key not found") => BackendError::Missing { what: "key of that name" },
        401 | 403 => BackendError::Denied { what: "this with this token" },
        404 => BackendError::Missing { what: "key, engine or namespace of that name" },
        501 | 503 => BackendError::Locked,
        observed => BackendError::Status { observed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphertext_json(text: &str, tail: &str) -> Vec<u8> {
        format!(r#"{{"request_id":"x","data":{{"ciphertext":"{text}"{tail}}}}}"#).into_bytes()
    }

    fn raw(length: usize) -> String {
        STANDARD.encode(vec![7; length])
    }

    #[test]
    fn a_ciphertext_keeps_its_text_and_tells_its_version() {
        let text = format!("vault:v12:{}", raw(60));
        for tail in ["", r#","key_version":12"#, r#","key_version":null,"more":[1]"#] {
            let sealed = ciphertext(&ciphertext_json(&text, tail)).unwrap();
            assert_eq!(sealed, Sealed { version: 12, bytes: text.clone().into_bytes() });
        }
    }

    #[test]
    fn refuses_what_is_no_ciphertext() {
        let long = raw(3_100);
        let good = raw(60);
        for bad in [
            String::new(),
            "vault:v1".to_owned(),
            "vault:v1:".to_owned(),
            format!("vault:v0:{good}"),
            format!("vault:v01:{good}"),
            format!("vault:v+1:{good}"),
            format!("vault:v4294967296:{good}"),
            format!("vault:1:{good}"),
            format!("bao:v1:{good}"),
            format!("vault:v1:{good}!"),
            format!("vault:v1:{}", raw(28)),
            format!("vault:v1:{long}"),
        ] {
            let refused = ciphertext(&ciphertext_json(&bad, ""));
            assert!(matches!(refused, Err(BackendError::Garbage { .. })), "{bad:.40}");
        }
        assert!(ciphertext(&ciphertext_json(&format!("vault:v1:{}", raw(29)), "")).is_ok());
        let other = ciphertext(&ciphertext_json(&format!("vault:v1:{good}"), r#","key_version":2"#));
        let wanted = "a ciphertext of the version that it tells";
        assert_eq!(other, Err(BackendError::Garbage { wanted }));
        for bad in
            ["", "{}", "[]", r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":{"ciphertext":1}}"#, "\u{0}"]
        {
            assert!(ciphertext(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_a_plaintext_whole_or_not_at_all() {
        let answer = |text: &str| plaintext(format!(r#"{{"data":{{"plaintext":"{text}"}}}}"#).as_bytes());
        assert_eq!(answer("c2VjcmV0").unwrap().as_slice(), b"secret");
        assert_eq!(answer("").unwrap().as_slice(), b"");
        for bad in ["c2VjcmV", "c2Vjcm V0", "c2VjcmV0=", "%%%%", "c2VjcmV0\\n"] {
            assert!(matches!(answer(bad), Err(BackendError::Garbage { .. })), "{bad}");
        }
        assert!(plaintext(br#"{"data":{"plaintext":"c2VjcmV0""#).is_err());
        assert!(plaintext(br#"{"data":{"ciphertext":"c2VjcmV0"}}"#).is_err());
    }

    fn state() -> serde_json::Value {
        serde_json::json!({
            "type": "aes256-gcm96", "derived": true, "exportable": false, "allow_plaintext_backup": false,
            "deletion_allowed": false, "keys": { "1": 1_442_851_412 }, "latest_version": 3,
            "min_decryption_version": 1, "min_encryption_version": 0, "name": "kek", "kdf": "hkdf_sha256",
            "convergent_encryption": false, "supports_encryption": true
        })
    }

    #[test]
    fn refuses_keys_that_bind_nothing_or_could_be_read_out() {
        let version = |state: serde_json::Value| {
            key_state(serde_json::json!({ "data": state }).to_string().as_bytes())?.version()
        };
        assert_eq!(version(state()), Ok(3));
        for (field, value) in [
            ("type", serde_json::json!("rsa-4096")),
            ("derived", false.into()),
            ("exportable", true.into()),
            ("allow_plaintext_backup", true.into()),
            ("convergent_encryption", true.into()),
            ("soft_deleted", true.into()),
            ("latest_version", 0.into()),
        ] {
            let mut bad = state();
            bad[field] = value;
            assert!(matches!(version(bad), Err(BackendError::Unfit { .. })), "{field}");
        }
        for field in ["type", "derived", "exportable", "allow_plaintext_backup", "latest_version"] {
            let mut bad = state();
            bad.as_object_mut().unwrap().remove(field);
            assert!(matches!(version(bad), Err(BackendError::Garbage { .. })), "{field}");
        }
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_of_its_time() {
        let after = |ttl: u64, renewable: bool| {
            let body = serde_json::json!({ "data": { "ttl": ttl, "renewable": renewable, "id": "s.x" } });
            lease(body.to_string().as_bytes()).unwrap().renew_after()
        };
        assert_eq!(after(3_600, true), Some(Duration::from_secs(2_400)));
        assert_eq!(after(3_600, false), None);
        assert_eq!(after(0, true), None);
        assert_eq!(after(u64::MAX, true), Some(Duration::from_secs(86_400)));
        let body = br#"{"auth":{"client_token":"s.x","lease_duration":600,"renewable":true}}"#;
        assert_eq!(renewed(body).unwrap().renew_after(), Some(Duration::from_secs(400)));
        assert!(renewed(br#"{"auth":null}"#).is_err());
        assert!(lease(br#"{"data":{"ttl":-1}}"#).is_err());
    }

    #[test]
    fn every_refusal_has_its_meaning() {
        let meaning = |status: u16, text: &str| {
            refusal(status, serde_json::json!({ "errors": [text] }).to_string().as_bytes(), 2)
        };
        let old = "ciphertext or signature version is disallowed by policy (too old)";
        assert_eq!(meaning(400, old), BackendError::Version { observed: 2 });
        let new = "invalid ciphertext: version is too new";
        assert_eq!(meaning(400, new), BackendError::Version { observed: 2 });
        assert_eq!(meaning(400, "cipher: message authentication failed"), BackendError::Open);
        assert_eq!(meaning(400, "invalid ciphertext: no prefix"), BackendError::Open);
        assert!(matches!(meaning(400, "encryption key not found"), BackendError::Missing { .. }));
        assert_eq!(meaning(400, "something else"), BackendError::Status { observed: 400 });
        assert_eq!(refusal(400, b"<html>", 2), BackendError::Status { observed: 400 });
        assert!(matches!(meaning(401, ""), BackendError::Denied { .. }));
        assert!(matches!(meaning(403, "permission denied"), BackendError::Denied { .. }));
        assert!(matches!(meaning(404, ""), BackendError::Missing { .. }));
        assert_eq!(meaning(503, "Vault is sealed"), BackendError::Locked);
        assert_eq!(meaning(501, ""), BackendError::Locked);
        // Words count in a refusal of a ciphertext only.
        for status in [301, 307, 429, 500, 502] {
            assert_eq!(meaning(status, old), BackendError::Status { observed: status });
        }
    }
}
