//! Sets of public keys (RFC 7517, section 5) that a relying party pins, to verify tokens with.

use super::jwt::Algorithm;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;

/// The longest set that is read, in bytes. Certificates may stand beside the keys.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;
/// The most keys of a set. Each may be tried.
const MAX_KEYS: usize = 16;
/// Bytes of an RSA modulus: 2048 to 4096 bits. A longer one only takes time.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// The most bytes of an RSA exponent, which is 65537 nearly everywhere.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// Why a set was not read. No error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Over [`MAX_JWKS_BYTES`] or with more than 16 keys.
    #[error("the key set is over the limit of {MAX_JWKS_BYTES} bytes or {MAX_KEYS} keys")]
    TooLong,
    /// Not the JSON of a set.
    #[error("not a JSON web key set")]
    Malformed,
    /// No key among them can verify.
    #[error("the key set has no key for ES256, ES384 or EdDSA")]
    Empty,
    /// A key of a kind that is known, with a number that is not canonical base64url of its length.
    #[error("a key of the set is not canonical base64url of its length")]
    Key,
}

/// A public key with the one algorithm that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    public_key: Vec<u8>,
    /// Of RSA, whose modulus is the public key; empty otherwise.
    exponent: Vec<u8>,
    kid: Option<String>,
}

impl VerifyingKey {
    /// The key with these bytes: an uncompressed point, or 32 bytes of Ed25519.
    #[must_use]
    pub const fn new(algorithm: Algorithm, public_key: Vec<u8>) -> Self {
        Self { algorithm, public_key, exponent: Vec::new(), kid: None }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Of RSA; empty for other keys.
    pub(super) fn exponent(&self) -> &[u8] {
        &self.exponent
    }

    /// The bytes; of RSA those of the modulus.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key's thumbprint (RFC 7638) in base64url: a name that everybody computes alike.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let members = self.members(&[]);
        URL_SAFE_NO_PAD.encode(digest(&SHA256, members.to_string().as_bytes()))
    }

    /// The key as a JSON web key whose id is its [thumbprint](Self::thumbprint).
    #[must_use]
    pub fn to_jwk(&self) -> serde_json::Value {
        let more = [("alg", self.algorithm.name()), ("kid", &self.thumbprint()), ("use", "sig")];
        self.members(&more)
    }

    /// The members that make the key, in the order of the alphabet, and more.
    fn members(&self, more: &[(&str, &str)]) -> serde_json::Value {
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.public_key.get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(point.len() / 2).unwrap_or_default();
        let mut members = match self.algorithm {
            Algorithm::Es256 => {
                json!({ "crv": "P-256", "kty": "EC", "x": coordinate(x), "y": coordinate(y) })
            }
            Algorithm::Es384 => {
                json!({ "crv": "P-384", "kty": "EC", "x": coordinate(x), "y": coordinate(y) })
            }
            Algorithm::EdDsa => json!({ "crv": "Ed25519", "kty": "OKP", "x": coordinate(&self.public_key) }),
            Algorithm::Rs256 => {
                json!({ "e": coordinate(&self.exponent), "kty": "RSA", "n": coordinate(&self.public_key) })
            }
        };
        if let Some(object) = members.as_object_mut() {
            object.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        }
        members
    }
}

/// Keys that a relying party trusts for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks(Vec<VerifyingKey>);

#[derive(Deserialize)]
struct Set {
    keys: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    kty: String,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

/// Whether keys of RSA are among those that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rsa {
    Read,
    LeftOut,
}

impl Jwks {
    /// One key.
    #[must_use]
    pub fn of(key: VerifyingKey) -> Self {
        let kid = Some(key.thumbprint());
        Self(vec![VerifyingKey { kid, ..key }])
    }

    /// Reads a set. Keys of other kinds, and keys for encryption, are left out, as RFC 7517 says.
    ///
    /// # Errors
    /// [`JwksError`]; in particular when no key is left.
    pub fn from_json(json: &[u8]) -> Result<Self, JwksError> {
        Self::read(json, Rsa::LeftOut)
    }

    /// As [`from_json`](Self::from_json), with keys for RS256 of 2048 to 4096 bits: most providers of identities sign so.
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn from_json_with_rsa(json: &[u8]) -> Result<Self, JwksError> {
        Self::read(json, Rsa::Read)
    }

    fn read(json: &[u8], rsa: Rsa) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| JwksError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwksError::TooLong);
        }
        let keys: Vec<VerifyingKey> =
            set.keys.into_iter().filter_map(|member| key(member, rsa)).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    /// The set as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({ "keys": self.0.iter().map(VerifyingKey::to_jwk).collect::<Vec<_>>() }).to_string()
    }

    /// The keys that may have signed a token whose header names `kid`: those of that id, or else those without an id.
    /// A token without an id may be of any.
    pub(super) fn candidates(&self, kid: Option<&str>) -> Vec<&VerifyingKey> {
        let having = |wanted: Option<&str>| -> Vec<_> {
            self.0.iter().filter(|key| key.kid.as_deref() == wanted).collect()
        };
        match kid {
            None => self.0.iter().collect(),
            Some(_) => {
                let named = having(kid);
                if named.is_empty() { having(None) } else { named }
            }
        }
    }
}

/// The key of one member; `None` of a kind that is not known.
fn key(member: Member, rsa: Rsa) -> Option<Result<VerifyingKey, JwksError>> {
    let (algorithm, coordinate_bytes) = match (member.kty.as_str(), member.crv.as_deref()) {
        ("EC", Some("P-256")) => (Algorithm::Es256, 32),
        ("EC", Some("P-384")) => (Algorithm::Es384, 48),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, 32),
        ("RSA", None) if rsa == Rsa::Read => (Algorithm::Rs256, 0),
        _ => return None,
    };
    let other_use = member.usage.is_some_and(|usage| usage != "sig");
    let other_algorithm = member.alg.is_some_and(|alg| alg != algorithm.name());
    if other_use || other_algorithm {
        return None;
    }
    let number = |text: Option<String>, wanted: std::ops::RangeInclusive<usize>| {
        let bytes = URL_SAFE_NO_PAD.decode(text.ok_or(JwksError::Key)?).map_err(|_| JwksError::Key)?;
        if wanted.contains(&bytes.len()) { Ok(bytes) } else { Err(JwksError::Key) }
    };
    let coordinate = |text| number(text, coordinate_bytes..=coordinate_bytes);
    let (public_key, exponent) = match algorithm {
        Algorithm::EdDsa => (coordinate(member.x), Ok(Vec::new())),
        Algorithm::Rs256 => {
            (number(member.n, RSA_MODULUS_BYTES), number(member.e, 1..=MAX_RSA_EXPONENT_BYTES))
        }
        _ => {
            let point = coordinate(member.x).and_then(|x| Ok([vec![4], x, coordinate(member.y)?].concat()));
            (point, Ok(Vec::new()))
        }
    };
    let kid = member.kid;
    Some(
        public_key
            .and_then(|public_key| Ok(VerifyingKey { algorithm, public_key, exponent: exponent?, kid })),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 7517, appendix A.1, and RFC 8037, appendix A.2.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}"#;
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn reads_keys_and_leaves_others_out() {
        let rsa = r#"{"kty":"RSA","n":"AA","e":"AQAB"}"#;
        let encryption = EC.replace("\"kid\"", "\"use\":\"enc\",\"kid\"");
        let agreement = EC.replace("\"kid\"", "\"alg\":\"ECDH-ES\",\"kid\"");
        let read = Jwks::from_json(set(&[EC, rsa, ED, &encryption, &agreement]).as_bytes()).unwrap();
        let [one, two] = read.0.as_slice() else { panic!("{read:?}") };
        assert_eq!(
            (one.algorithm, one.public_key.len(), one.kid.as_deref()),
            (Algorithm::Es256, 65, Some("1"))
        );
        assert_eq!((two.algorithm, two.public_key.len(), &two.kid), (Algorithm::EdDsa, 32, &None));
        assert_eq!(read.candidates(Some("1")), [one]);
        assert_eq!(read.candidates(Some("2")), [two]);
        assert_eq!(read.candidates(None), [one, two]);
        // RFC 8037, appendix A.3.
        assert_eq!(two.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let again = Jwks::from_json(Jwks::of(one.clone()).to_json().as_bytes()).unwrap();
        assert_eq!(
            (again.0[0].public_key(), again.0[0].kid.clone()),
            (one.public_key(), Some(one.thumbprint()))
        );
    }

    /// The key of RFC 7515, appendix A.2.
    const RSA: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;

    #[test]
    fn reads_rsa_keys_where_they_are_asked_for() {
        let json = set(&[RSA, EC]);
        assert_eq!(Jwks::from_json(json.as_bytes()).unwrap().0.len(), 1);
        let read = Jwks::from_json_with_rsa(json.as_bytes()).unwrap();
        let [rsa, _] = read.0.as_slice() else { panic!("{read:?}") };
        assert_eq!(
            (rsa.algorithm, rsa.public_key.len(), rsa.exponent.as_slice()),
            (Algorithm::Rs256, 256, [1, 0, 1].as_slice())
        );
        assert_eq!(
            Jwks::from_json_with_rsa(read.to_json().as_bytes()).unwrap().0[0].public_key,
            rsa.public_key
        );
        for wrong in [
            RSA.replace("ofgWCuLj", ""),
            RSA.replace("AQAB", "AQABAQAB"),
            RSA.replace("\"e\"", "\"f\""),
            RSA.replace("\"n\":\"", "\"n\":\"AAAA".repeat(200).as_str()),
        ] {
            assert!(Jwks::from_json_with_rsa(set(&[&wrong]).as_bytes()).is_err(), "{wrong:.60}");
        }
    }

    #[test]
    fn refuses_sets_that_are_none() {
        let many: Vec<&str> = vec![EC; MAX_KEYS + 1];
        let short = EC.replace("FyM", "F");
        for (json, error) in [
            (set(&[]), JwksError::Empty),
            (set(&[r#"{"kty":"RSA"}"#]), JwksError::Empty),
            (set(&[&short]), JwksError::Key),
            (set(&[&EC.replace("\"y\"", "\"z\"")]), JwksError::Key),
            (set(&many), JwksError::TooLong),
            (EC.to_owned(), JwksError::Malformed),
            (String::new(), JwksError::Malformed),
            (" ".repeat(MAX_JWKS_BYTES + 1), JwksError::TooLong),
        ] {
            assert_eq!(Jwks::from_json(json.as_bytes()), Err(error), "{json:.80}");
        }
    }
}
