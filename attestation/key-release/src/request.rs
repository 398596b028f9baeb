//! What a guest asks for, and the body of `POST /v1/release`.

use crate::{Asked, AuditTerms};
use anchorhold_audit_log::{Origin, PublicKey, VerifierKey};
use anchorhold_rats::{
    Ed25519PublicKey, Endorsements, Evidence, KeyBinding, Nonce, Purpose, Sha256Digest, WrappingKey,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest body of `POST /v1/release`, in bytes.
pub const MAX_RELEASE_JSON_BYTES: usize = 1024 * 1024;
/// The longest canonical request inside it, in bytes.
pub const MAX_REQUEST_BYTES: usize = 2048;
/// The deepest nesting of a body; the documented one is 4 deep.
const MAX_NESTING: usize = 8;
const MAX_MODEL_ID_BYTES: usize = 128;

/// Why a body was not read. No error quotes the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Over a length limit.
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The length that came, in bytes.
        observed_bytes: usize,
        /// The most that is read, in bytes.
        limit_bytes: usize,
    },
    /// Nested deeper than any body of this protocol.
    TooDeep {
        /// The deepest nesting that is read.
        limit: usize,
    },
    /// Not the documented JSON; line and column of where reading stopped.
    Malformed {
        /// Which JSON text.
        what: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A list or an item of the evidence is over its limit.
    Evidence(anchorhold_rats::EvidenceError),
    /// The audit log's name does not end with a slash and the instance id.
    LogOrigin,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { what, observed_bytes, limit_bytes } => {
                write!(f, "{what} is {observed_bytes} bytes, the limit is {limit_bytes}")
            }
            Self::TooDeep { limit } => write!(f, "nested deeper than {limit}"),
            Self::Malformed { what, line, column } => {
                write!(f, "{what} is not the expected JSON (line {line}, column {column})")
            }
            Self::Evidence(error) => error.fmt(f),
            Self::LogOrigin => {
                f.write_str("the audit log's name does not end with a slash and the instance id")
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// Reads one JSON document of a documented shape: bounded length, bounded nesting, nothing after it.
pub(crate) fn read_json<'de, T: Deserialize<'de>>(
    what: &'static str,
    json: &'de [u8],
    limit_bytes: usize,
) -> Result<T, RequestError> {
    if json.len() > limit_bytes {
        return Err(RequestError::TooLong { what, observed_bytes: json.len(), limit_bytes });
    }
    if nesting(json) > MAX_NESTING {
        return Err(RequestError::TooDeep { limit: MAX_NESTING });
    }
    serde_json::from_slice(json).map_err(|e| RequestError::Malformed {
        what,
        line: e.line(),
        column: e.column(),
    })
}

/// How deep brackets are open at most. Strings are skipped; whether they match is the parser's business.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The one form in which a model is named: parts of `a-z 0-9 . _ -` between single slashes, each beginning
/// with a letter or digit, at most 128 bytes. There is one way to write each id, so no path trick names another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ModelId(String);

/// Text that is no [`ModelId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseModelIdError;

impl fmt::Display for ParseModelIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a model id such as acme/chat-70b: lower-case letters, digits, '.', '_', '-', '/'")
    }
}

impl std::error::Error for ParseModelIdError {}

impl std::str::FromStr for ModelId {
    type Err = ParseModelIdError;

    fn from_str(text: &str) -> Result<Self, ParseModelIdError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let part = |part: &str| {
            part.bytes().next().is_some_and(plain)
                && part.bytes().all(|c| plain(c) || matches!(c, b'.' | b'_' | b'-'))
        };
        let good = text.len() <= MAX_MODEL_ID_BYTES && text.split('/').all(part);
        good.then(|| Self(text.to_owned())).ok_or(ParseModelIdError)
    }
}

impl ModelId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModelId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the key will be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// To answer requests with the model.
    Serve,
    /// To measure the model's answers, without outside callers.
    Evaluate,
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Evaluate => "evaluate",
        })
    }
}

/// Names one boot of one guest, chosen by the guest at random: 16 bytes, lower-case hex. It renews a lease
/// under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    /// The id with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for InstanceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text that is no [`InstanceId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseInstanceIdError;

impl fmt::Display for ParseInstanceIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 16 bytes of lower-case hex")
    }
}

impl std::error::Error for ParseInstanceIdError {}

impl std::str::FromStr for InstanceId {
    type Err = ParseInstanceIdError;

    fn from_str(text: &str) -> Result<Self, ParseInstanceIdError> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseInstanceIdError);
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            let pair = text.get(at..at + 2).ok_or(ParseInstanceIdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseInstanceIdError)?;
        }
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the guest asks for. Its exact JSON bytes are hashed into the report data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The model as the caller wrote it. It is compared byte for byte and need not be a [`ModelId`]: an id that
    /// cannot exist gets the same answer as one that does not.
    pub model_id: String,
    /// The lowest version that will do.
    pub min_version: u64,
    /// What for.
    pub purpose: KeyUse,
    /// Who asks.
    pub instance_id: InstanceId,
    /// The name of the guest's audit log, which the broker will witness: it ends with `/` and the instance id.
    pub log_origin: Origin,
    /// How that log is witnessed.
    pub audit: AuditTerms,
}

impl KeyRequest {
    /// Whether the log's name is one that only this instance may have.
    fn names_its_own_log(&self) -> bool {
        let name = self.log_origin.as_str().strip_suffix(&self.instance_id.to_string());
        name.and_then(|name| name.strip_suffix('/')).is_some_and(|deployment| !deployment.is_empty())
    }
}

/// The guest's three public keys, as its evidence names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestKeys {
    /// SHA-256 of the DER SubjectPublicKeyInfo of the gateway's TLS key.
    pub tls_key: Sha256Digest,
    /// The HPKE key to which the weights key is wrapped.
    pub release_key: WrappingKey,
    /// The key that signs this boot's audit checkpoints.
    pub audit_key: Ed25519PublicKey,
}

/// The body of `POST /v1/release` as it travels.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseBody {
    pub(crate) nonce: Nonce,
    /// The JSON of [`KeyRequest`] as a string, so that both ends hash the same bytes.
    pub(crate) request: String,
    pub(crate) keys: GuestKeys,
    pub(crate) evidence: Evidence,
    /// What vendors say about the parts in the evidence, as the guest has it. Whoever carries the request can change it, so it is
    /// no part of what the evidence commits to; a verifier judges it by its own signatures and dates.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) endorsements: Endorsements,
}

fn is_none(endorsements: &Endorsements) -> bool {
    *endorsements == Endorsements::default()
}

/// A release request that was read: of the documented shape and inside every limit, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRequest {
    pub(crate) nonce: Nonce,
    pub(crate) request: KeyRequest,
    pub(crate) context: Sha256Digest,
    pub(crate) keys: GuestKeys,
    pub(crate) evidence: Evidence,
    pub(crate) endorsements: Endorsements,
}

impl ReleaseRequest {
    /// Reads the body of `POST /v1/release`.
    ///
    /// # Errors
    /// [`RequestError`]: over a limit, or not the documented JSON (unknown, missing or doubled keys included).
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        let body: ReleaseBody = read_json("release request", json, MAX_RELEASE_JSON_BYTES)?;
        body.evidence.check_limits().map_err(RequestError::Evidence)?;
        body.endorsements.check_limits().map_err(RequestError::Evidence)?;
        let request: KeyRequest = read_json("request", body.request.as_bytes(), MAX_REQUEST_BYTES)?;
        if request.model_id.len() > MAX_MODEL_ID_BYTES {
            let observed_bytes = request.model_id.len();
            return Err(RequestError::TooLong {
                what: "model id",
                observed_bytes,
                limit_bytes: MAX_MODEL_ID_BYTES,
            });
        }
        if !request.names_its_own_log() {
            return Err(RequestError::LogOrigin);
        }
        let context = Sha256Digest::of(body.request.as_bytes());
        let ReleaseBody { nonce, keys, evidence, endorsements, .. } = body;
        Ok(Self { nonce, request, context, keys, evidence, endorsements })
    }

    /// The nonce that the request answers.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &KeyRequest {
        &self.request
    }

    /// The keys that the evidence must name.
    #[must_use]
    pub fn keys(&self) -> &GuestKeys {
        &self.keys
    }

    /// What grants have rules about.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            model_id: &self.request.model_id,
            min_version: self.request.min_version,
            purpose: self.request.purpose,
            kem: self.keys.release_key.kem(),
            audit: self.request.audit,
        }
    }

    /// What verifies the guest's audit log, once evidence has shown whose key it is.
    ///
    /// # Panics
    /// Never: a log's name is a key's name.
    #[must_use]
    pub fn log_key(&self) -> VerifierKey {
        let key = PublicKey::new(*self.keys.audit_key.as_bytes());
        VerifierKey::new(self.request.log_origin.as_str(), key).expect("a log's name is a key's name")
    }

    /// The evidence, untrusted.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the guest attached of what vendors say, untrusted.
    #[must_use]
    pub const fn endorsements(&self) -> &Endorsements {
        &self.endorsements
    }

    /// What the evidence's report data must commit to for this request.
    #[must_use]
    pub fn key_binding(&self) -> KeyBinding {
        key_binding(&self.nonce, &self.keys, self.context, self.evidence.gpu_digest())
    }
}

/// The binding of a key release, made in one place for both ends.
pub(crate) fn key_binding(
    nonce: &Nonce,
    keys: &GuestKeys,
    context: Sha256Digest,
    gpu_evidence: Sha256Digest,
) -> KeyBinding {
    KeyBinding {
        purpose: Purpose::KeyRelease,
        nonce: *nonce,
        tls_key: keys.tls_key,
        release_key: keys.release_key.digest(),
        audit_key: keys.audit_key,
        context,
        gpu_evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::Der;

    fn body() -> serde_json::Value {
        let request = r#"{"model_id":"acme/chat","min_version":1,"purpose":"serve","instance_id":"00112233445566778899aabbccddeeff","log_origin":"acme/00112233445566778899aabbccddeeff","audit":{"witnesses":0}}"#;
        let evidence = Evidence::snp(vec![1], vec![Der(vec![2])]);
        serde_json::json!({
            "nonce": "11".repeat(32), "request": request, "evidence": evidence,
            "keys": { "tls_key": "22".repeat(32), "release_key": format!("x25519:{}", "33".repeat(32)), "audit_key": "44".repeat(32) },
        })
    }

    fn read(body: &serde_json::Value) -> Result<ReleaseRequest, RequestError> {
        ReleaseRequest::from_json(&serde_json::to_vec(body).unwrap())
    }

    #[test]
    fn the_context_is_the_digest_of_the_exact_request_bytes() {
        let mut body = body();
        let read_once = read(&body).unwrap();
        assert_eq!(
            read_once.key_binding().context,
            Sha256Digest::of(body["request"].as_str().unwrap().as_bytes())
        );
        let spaced = body["request"].as_str().unwrap().replace(':', ": ");
        body["request"] = spaced.into();
        let read_again = read(&body).unwrap();
        assert_eq!(read_again.request(), read_once.request());
        assert_ne!(read_again.key_binding().context, read_once.key_binding().context);
    }

    #[test]
    fn case_09_refuses_unknown_missing_and_doubled_keys() {
        let mut unknown = body();
        unknown["more"] = 1.into();
        let mut missing = body();
        missing.as_object_mut().unwrap().remove("keys");
        for bad in [unknown, missing] {
            assert!(matches!(read(&bad), Err(RequestError::Malformed { what: "release request", .. })));
        }
        let mut inner = body();
        inner["request"] = "{\"model_id\":\"a\",\"model_id\":\"b\"}".into();
        assert!(matches!(read(&inner), Err(RequestError::Malformed { what: "request", .. })));
        let text = serde_json::to_string(&body()).unwrap();
        let doubled = text.replacen('{', &format!("{{\"nonce\":\"{}\",", "11".repeat(32)), 1);
        assert!(matches!(ReleaseRequest::from_json(doubled.as_bytes()), Err(RequestError::Malformed { .. })));
        let trailing = format!("{text}{{}}");
        assert!(matches!(
            ReleaseRequest::from_json(trailing.as_bytes()),
            Err(RequestError::Malformed { .. })
        ));
        let mut invalid = text.into_bytes();
        invalid[2] = 0xff;
        assert!(matches!(ReleaseRequest::from_json(&invalid), Err(RequestError::Malformed { .. })));
    }

    #[test]
    fn case_09_refuses_excess_length_nesting_and_certificates() {
        let long = vec![b' '; MAX_RELEASE_JSON_BYTES + 1];
        assert!(matches!(ReleaseRequest::from_json(&long), Err(RequestError::TooLong { .. })));
        let deep = "[".repeat(10_000);
        assert_eq!(
            ReleaseRequest::from_json(deep.as_bytes()),
            Err(RequestError::TooDeep { limit: MAX_NESTING })
        );
        let mut many = body();
        many["evidence"]["certificates"] = vec!["AA=="; 1000].into();
        assert!(matches!(read(&many), Err(RequestError::Evidence(_))));
        let mut name = body();
        name["request"] = name["request"].as_str().unwrap().replace("acme/chat", &"a".repeat(129)).into();
        assert!(matches!(read(&name), Err(RequestError::TooLong { what: "model id", .. })));
    }

    #[test]
    fn refuses_an_audit_log_that_is_not_named_after_the_instance() {
        for name in [
            "acme/ffeeddccbbaa99887766554433221100",
            "00112233445566778899aabbccddeeff",
            "/00112233445566778899aabbccddeeff",
            "acme00112233445566778899aabbccddeeff",
        ] {
            let mut other = body();
            let request = other["request"].as_str().unwrap();
            other["request"] = request.replace("acme/00112233445566778899aabbccddeeff", name).into();
            assert!(read(&other).is_err(), "{name}");
        }
        let mut other = body();
        other["request"] = other["request"].as_str().unwrap().replace("\"acme/0", "\"acme/b/0").into();
        assert_eq!(read(&other).unwrap().log_key().name(), "acme/b/00112233445566778899aabbccddeeff");
    }

    #[test]
    fn brackets_inside_strings_are_not_nesting() {
        assert_eq!(nesting(br#"{"a":"[[[[\"[[[["}"#), 1);
        assert_eq!(nesting(br#"{"a":[{"b":[]}]}"#), 4);
    }

    #[test]
    fn case_10_a_model_id_has_one_form() {
        assert!("acme/chat-70b.v2_x".parse::<ModelId>().is_ok());
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "a/./b",
            "a/../b",
            "A",
            "a%2fb",
            "ä",
            "a b",
            ".a",
            "-a",
            &"a".repeat(129),
        ] {
            assert_eq!(bad.parse::<ModelId>(), Err(ParseModelIdError), "{bad}");
        }
    }

    #[test]
    fn each_limit_is_the_last_length_that_is_read() {
        let padded = |bytes: usize| {
            let mut json = serde_json::to_vec(&body()).unwrap();
            json.resize(bytes, b' ');
            ReleaseRequest::from_json(&json)
        };
        padded(MAX_RELEASE_JSON_BYTES).unwrap();
        let error = padded(MAX_RELEASE_JSON_BYTES + 1).unwrap_err();
        let text = format!(
            "release request is {} bytes, the limit is {MAX_RELEASE_JSON_BYTES}",
            MAX_RELEASE_JSON_BYTES + 1
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(crate::Denied::from(&error), crate::Denied::TooLarge);
        let nested = |depth: usize| {
            let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            read_json::<serde_json::Value>("x", json.as_bytes(), 1000)
        };
        nested(MAX_NESTING).unwrap();
        let error = nested(MAX_NESTING + 1).unwrap_err();
        assert_eq!(error.to_string(), format!("nested deeper than {MAX_NESTING}"));
        assert_eq!(crate::Denied::from(&error), crate::Denied::Malformed);
        let mut named = body();
        named["request"] = named["request"].as_str().unwrap().replace("acme/chat", &"a".repeat(128)).into();
        read(&named).unwrap();
    }

    #[test]
    fn an_instance_is_sixteen_bytes_of_lower_case_hex() {
        let read = |text: &str| serde_json::from_value::<InstanceId>(text.into());
        let id = read("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(id.as_bytes()[..3], [0, 0x11, 0x22]);
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        for bad in [
            "",
            "00112233445566778899aabbccddee",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeeff00",
            "00112233445566778899AABBCCDDEEFF",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endorsements_are_left_out_when_there_are_none_and_kept_when_there_are() {
        let mut body = body();
        assert!(read(&body).unwrap().endorsements().snp_crls.is_empty());
        let endorsements = Endorsements { snp_crls: vec![Der(vec![7])], ..Endorsements::default() };
        body["endorsements"] = serde_json::to_value(&endorsements).unwrap();
        assert_eq!(read(&body).unwrap().endorsements(), &endorsements);
        let written = |endorsements: Endorsements| {
            let ReleaseRequest { nonce, keys, evidence, .. } = read(&self::body()).unwrap();
            let body = ReleaseBody { nonce, request: "{}".to_owned(), keys, evidence, endorsements };
            serde_json::to_value(&body).unwrap()["endorsements"].clone()
        };
        assert!(written(Endorsements::default()).is_null());
        assert!(written(endorsements).is_object());
    }

    #[test]
    fn names_are_shown_as_they_are_written() {
        assert_eq!("acme/chat".parse::<ModelId>().unwrap().to_string(), "acme/chat");
        assert!(ParseModelIdError.to_string().contains("acme/chat-70b"));
    }
}
