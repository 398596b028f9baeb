//! The bodies of the protocol, read strictly and written as Trustee and guest-components write them.

use crate::jwk::{JwkError, JwkMembers};
use crate::{InitDataError, Tee, TeePublicKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// The one version of the protocol that both ends of today's code take.
pub const PROTOCOL_VERSION: &str = "0.4.0";
/// The longest body of an introduction (`/auth`) or of its answer, in bytes.
pub const MAX_AUTH_BYTES: usize = 4 * 1024;
/// The longest body of an attestation (`/attest`), in bytes.
pub const MAX_ATTEST_BYTES: usize = 1024 * 1024;
/// The longest nonce of another server that is taken, in bytes.
const MAX_NONCE_BYTES: usize = 1024;

/// Why a body was not read. No error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// Over its limit.
    TooLong {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// Not the JSON with the documented members and no others.
    Malformed,
    /// Another version of the protocol than [`PROTOCOL_VERSION`].
    Version,
    /// A kind of TEE of which nothing is known here.
    Tee,
    /// The guest's key is none that resources are encrypted to.
    Key(JwkError),
    /// The initialisation data is not read.
    InitData(InitDataError),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit_bytes } => write!(f, "the body is over the limit of {limit_bytes} bytes"),
            Self::Malformed => f.write_str("the body is not the documented JSON"),
            Self::Version => write!(f, "the protocol's version is not {PROTOCOL_VERSION}"),
            Self::Tee => f.write_str("evidence of this kind of TEE is not taken"),
            Self::Key(error) => write!(f, "tee-pubkey: {error}"),
            Self::InitData(error) => write!(f, "init-data: {error}"),
        }
    }
}

impl std::error::Error for MessageError {}

pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], limit_bytes: usize) -> Result<T, MessageError> {
    if body.len() > limit_bytes {
        return Err(MessageError::TooLong { limit_bytes });
    }
    serde_json::from_slice(body).map_err(|_| MessageError::Malformed)
}

/// How a guest introduces itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Auth<'a> {
    version: &'a str,
    tee: &'a str,
    /// Only the owner of an IBM Secure Execution guest has something to say here.
    #[serde(borrow)]
    extra_params: &'a RawValue,
}

/// The body with which a guest in a `tee` introduces itself.
///
/// # Panics
/// Never: texts are JSON.
#[must_use]
pub(crate) fn write_auth(tee: Tee) -> Vec<u8> {
    let extra =
        RawValue::from_string(r#"{"supported-hash-algorithms":["sha256","sha384","sha512"]}"#.to_owned());
    let extra = extra.expect("the constant is JSON");
    let auth = Auth { version: PROTOCOL_VERSION, tee: tee.name(), extra_params: &extra };
    serde_json::to_vec(&auth).expect("texts are JSON")
}

/// Reads an introduction: what the guest says that it runs in.
///
/// # Errors
/// [`MessageError`].
pub(crate) fn read_auth(body: &[u8]) -> Result<Tee, MessageError> {
    let auth: Auth<'_> = parse(body, MAX_AUTH_BYTES)?;
    if auth.version != PROTOCOL_VERSION {
        return Err(MessageError::Version);
    }
    Tee::ALL.into_iter().find(|tee| tee.name() == auth.tee).ok_or(MessageError::Tee)
}

/// A challenge, as Trustee writes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ChallengeBody<'a> {
    nonce: &'a str,
    #[serde(borrow)]
    extra_params: &'a RawValue,
}

/// The answer to an introduction. No hash function is chosen, so it is SHA-384.
///
/// # Panics
/// Never: texts are JSON.
#[must_use]
pub(crate) fn write_challenge(nonce: &str) -> Vec<u8> {
    let extra_params = RawValue::from_string("\"\"".to_owned()).expect("the constant is JSON");
    serde_json::to_vec(&ChallengeBody { nonce, extra_params: &extra_params }).expect("texts are JSON")
}

/// A challenge as a guest reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) nonce: String,
    pub(crate) algorithm: crate::HashAlgorithm,
}

/// Reads a challenge.
///
/// # Errors
/// [`MessageError::Malformed`] also for a hash function that this crate has not.
pub(crate) fn read_challenge(body: &[u8]) -> Result<Challenge, MessageError> {
    #[derive(Deserialize)]
    struct Chosen<'a> {
        #[serde(rename = "selected-hash-algorithm")]
        algorithm: Option<&'a str>,
    }
    let read: ChallengeBody<'_> = parse(body, MAX_AUTH_BYTES)?;
    let plain = read.nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if read.nonce.is_empty() || read.nonce.len() > MAX_NONCE_BYTES || !plain {
        return Err(MessageError::Malformed);
    }
    let extra = read.extra_params.get();
    let algorithm = if extra == "\"\"" || extra == "null" {
        None
    } else {
        serde_json::from_str::<Chosen<'_>>(extra).map_err(|_| MessageError::Malformed)?.algorithm
    };
    let algorithm = match algorithm {
        Some(name) => crate::HashAlgorithm::named(name).ok_or(MessageError::Malformed)?,
        None => crate::HashAlgorithm::default(),
    };
    Ok(Challenge { nonce: read.nonce.to_owned(), algorithm })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Attestation<'a> {
    #[serde(default)]
    init_data: Option<InitDataBody>,
    runtime_data: RuntimeDataBody,
    #[serde(borrow)]
    tee_evidence: TeeEvidence<'a>,
}

/// Measured configuration that came with an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InitDataBody {
    pub(crate) format: String,
    pub(crate) body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuntimeDataBody {
    nonce: String,
    tee_pubkey: JwkMembers,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TeeEvidence<'a> {
    #[serde(borrow)]
    primary_evidence: &'a RawValue,
    additional_evidence: String,
}

/// An attestation as a server reads it.
pub(crate) struct ReadAttestation<'a> {
    pub(crate) nonce: String,
    pub(crate) key: TeePublicKey,
    pub(crate) primary_evidence: &'a str,
    pub(crate) additional_evidence: String,
    pub(crate) init_data: Option<InitDataBody>,
}

/// Reads an attestation.
///
/// # Errors
/// [`MessageError`].
pub(crate) fn read_attestation(body: &[u8]) -> Result<ReadAttestation<'_>, MessageError> {
    let read: Attestation<'_> = parse(body, MAX_ATTEST_BYTES)?;
    Ok(ReadAttestation {
        nonce: read.runtime_data.nonce,
        key: read.runtime_data.tee_pubkey.try_into().map_err(MessageError::Key)?,
        primary_evidence: read.tee_evidence.primary_evidence.get(),
        additional_evidence: read.tee_evidence.additional_evidence,
        init_data: read.init_data,
    })
}

/// The body of an attestation.
///
/// # Panics
/// Never: texts are JSON.
#[must_use]
pub(crate) fn write_attestation(
    nonce: &str,
    key: &TeePublicKey,
    primary_evidence: &RawValue,
    additional_evidence: &str,
    init_data: Option<InitDataBody>,
) -> Vec<u8> {
    let body = Attestation {
        init_data,
        runtime_data: RuntimeDataBody { nonce: nonce.to_owned(), tee_pubkey: key.into() },
        tee_evidence: TeeEvidence { primary_evidence, additional_evidence: additional_evidence.to_owned() },
    };
    serde_json::to_vec(&body).expect("texts are JSON")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody<'a> {
    token: &'a str,
}

/// The answer to an attestation.
///
/// # Panics
/// Never: a text is JSON.
#[must_use]
pub(crate) fn write_token(token: &str) -> Vec<u8> {
    serde_json::to_vec(&TokenBody { token }).expect("a text is JSON")
}

/// Reads the answer to an attestation.
///
/// # Errors
/// [`MessageError`].
pub(crate) fn read_token(body: &[u8]) -> Result<&str, MessageError> {
    let limit_bytes = anchorhold_evaluation::ear::MAX_TOKEN_BYTES + 1024;
    parse::<TokenBody<'_>>(body, limit_bytes).map(|body| body.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HashAlgorithm;

    fn auth(version: &str, tee: &str, more: &str) -> String {
        format!(r#"{{"version":"{version}","tee":"{tee}","extra-params":{{}}{more}}}"#)
    }

    #[test]
    fn reads_introductions_of_this_version_and_tells_others_apart() {
        assert_eq!(read_auth(&write_auth(Tee::Tdx)), Ok(Tee::Tdx));
        assert_eq!(read_auth(auth("0.4.0", "az-snp-vtpm", "").as_bytes()), Ok(Tee::AzSnpVtpm));
        for version in ["0.1.1", "0.4.1", "0.4", "0.4.0-rc1", "0.4.0+1", "=0.4.0", " 0.4.0", ""] {
            let refused = read_auth(auth(version, "snp", "").as_bytes());
            assert_eq!(refused, Err(MessageError::Version), "{version}");
        }
        for tee in ["sample", "sampledevice", "nvidia", "sgx", "cca", "SNP", ""] {
            assert_eq!(read_auth(auth("0.4.0", tee, "").as_bytes()), Err(MessageError::Tee), "{tee}");
        }
        for body in [
            String::new(),
            "{}".into(),
            auth("0.4.0", "snp", r#","more":1"#),
            auth("0.4.0", "snp", r#","tee":"tdx""#),
            r#"{"version":"0.4.0","tee":"snp"}"#.into(),
            format!("{} x", auth("0.4.0", "snp", "")),
        ] {
            assert_eq!(read_auth(body.as_bytes()), Err(MessageError::Malformed), "{body}");
        }
        let long = auth("0.4.0", "snp", &" ".repeat(MAX_AUTH_BYTES));
        let refused = Err(MessageError::TooLong { limit_bytes: MAX_AUTH_BYTES });
        assert_eq!(read_auth(long.as_bytes()), refused);
    }

    #[test]
    fn reads_challenges_with_and_without_a_chosen_hash() {
        let read =
            |extra: &str| read_challenge(format!(r#"{{"nonce":"AAAA","extra-params":{extra}}}"#).as_bytes());
        for (extra, algorithm) in [
            ("\"\"", HashAlgorithm::Sha384),
            ("null", HashAlgorithm::Sha384),
            ("{}", HashAlgorithm::Sha384),
            (r#"{"selected-hash-algorithm":"sha256"}"#, HashAlgorithm::Sha256),
            (r#"{"selected-hash-algorithm":"sha512","x":1}"#, HashAlgorithm::Sha512),
        ] {
            assert_eq!(read(extra), Ok(Challenge { nonce: "AAAA".into(), algorithm }), "{extra}");
        }
        for extra in
            [r#"{"selected-hash-algorithm":"sm3"}"#, r#"{"selected-hash-algorithm":1}"#, "\"x\"", "1"]
        {
            assert_eq!(read(extra), Err(MessageError::Malformed), "{extra}");
        }
        assert_eq!(read_challenge(&write_challenge("AAAA")), read("\"\""));
        for nonce in ["", "a b", "\u{e9}", &"A".repeat(MAX_NONCE_BYTES + 1)] {
            let refused = read_challenge(&write_challenge(nonce));
            assert_eq!(refused, Err(MessageError::Malformed), "{nonce}");
        }
    }

    #[test]
    fn reads_attestations_and_refuses_members_that_are_not_documented() {
        let key = crate::TeeKey::generate().unwrap().public_key();
        let primary = RawValue::from_string("{\"quote\": \"AA==\"}".into()).unwrap();
        let init = InitDataBody { format: "toml".into(), body: "a = 1".into() };
        let body = write_attestation("bm9uY2U=", &key, &primary, "{}", Some(init.clone()));
        let read = read_attestation(&body).unwrap();
        assert_eq!((read.nonce.as_str(), read.additional_evidence.as_str()), ("bm9uY2U=", "{}"));
        assert_eq!(
            (read.key, read.primary_evidence, read.init_data),
            (key.clone(), primary.get(), Some(init))
        );
        // guest-components writes null where there is none.
        let without = write_attestation("bm9uY2U=", &key, &primary, "", None);
        assert!(String::from_utf8_lossy(&without).contains(r#""init-data":null"#));
        assert!(read_attestation(&without).unwrap().init_data.is_none());

        let text = String::from_utf8(without).unwrap();
        for (from, to) in [
            ("\"nonce\"", "\"more\":1,\"nonce\""),
            ("\"init-data\":null", "\"init-data\":null,\"more\":1"),
            ("\"primary_evidence\"", "\"more\":1,\"primary_evidence\""),
            ("\"nonce\":\"bm9uY2U=\"", "\"nonce\":\"bm9uY2U=\",\"nonce\":\"bm9uY2U=\""),
            ("\"additional_evidence\":\"\"", "\"additional_evidence\":{}"),
            ("\"additional_evidence\":\"\"", "\"additional_evidence\":null"),
            ("runtime-data", "runtime_data"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert_eq!(
                read_attestation(changed.as_bytes()).err(),
                Some(MessageError::Malformed),
                "{changed}"
            );
        }
        let other = text.replace("ECDH-ES+A256KW", "ECDH-ES");
        let refused = read_attestation(other.as_bytes()).err();
        assert_eq!(refused, Some(MessageError::Key(JwkError::Unsupported)));
        let long = vec![b' '; MAX_ATTEST_BYTES + 1];
        let refused = read_attestation(&long).err();
        assert_eq!(refused, Some(MessageError::TooLong { limit_bytes: MAX_ATTEST_BYTES }));
    }

    #[test]
    fn reads_tokens() {
        assert_eq!(read_token(&write_token("a.b.c")), Ok("a.b.c"));
        for body in ["", "{}", r#"{"token":1}"#, r#"{"token":"a","token":"b"}"#, r#"{"token":"a","more":1}"#]
        {
            assert_eq!(read_token(body.as_bytes()), Err(MessageError::Malformed), "{body}");
        }
    }
}
