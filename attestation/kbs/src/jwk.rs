//! The guest's public key as a JSON web key (RFC 7517), to which resources are encrypted.

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P521, ParsedPublicKey, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Key agreement with a wrapped key (RFC 7518, section 4.6).
pub(crate) const ECDH_ES_A256KW: &str = "ECDH-ES+A256KW";
/// RSAES OAEP with SHA-256 and MGF1 with SHA-256 (RFC 7518, section 4.3).
pub(crate) const RSA_OAEP_256: &str = "RSA-OAEP-256";
/// 65537, the only exponent that is taken.
const EXPONENT: &str = "AQAB";
/// The lengths of RSA moduli that are taken, in bytes: 2048, 3072 and 4096 bits.
const MODULUS_BYTES: [usize; 3] = [256, 384, 512];

/// The curves of guests' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-521.
    P521,
}

impl Curve {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P521 => "P-521",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    /// The length of one coordinate, in bytes.
    pub(crate) const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P521 => 66,
        }
    }

    pub(crate) fn agreement(self) -> &'static Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P521 => &ECDH_P521,
        }
    }
}

/// Why JSON is not a guest's public key. No error quotes the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwkError {
    /// Not an object of exactly the members of its key type.
    Members,
    /// A key type, curve or algorithm that resources are not encrypted to.
    Unsupported,
    /// A number that is not canonical base64url of the right length.
    Encoding,
    /// A point that is not on its curve.
    Point,
}

impl fmt::Display for JwkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Members => "the key has not exactly the members of its type",
            Self::Unsupported => {
                "the key is not EC on P-256 or P-521 for ECDH-ES+A256KW, nor RSA for RSA-OAEP-256"
            }
            Self::Encoding => "a number of the key is not canonical base64url of its length",
            Self::Point => "the key is not a point on its curve",
        })
    }
}

impl std::error::Error for JwkError {}

/// The members of a key, as JSON has them. Written in the order of the alphabet, as RFC 8785 demands of what is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JwkMembers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// A guest's public key. Points are on their curve and moduli have a length that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeePublicKey {
    /// For ECDH-ES+A256KW.
    Ec(EcPublicKey),
    /// For RSA-OAEP-256.
    Rsa(RsaPublicKey),
}

/// A point on a curve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcPublicKey {
    curve: Curve,
    /// 4, x and y (SEC 1, section 2.3.3).
    point: Vec<u8>,
}

/// An RSA key with the exponent 65537.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    modulus: Vec<u8>,
}

impl RsaPublicKey {
    /// The modulus, big-endian.
    pub(crate) fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// 65537, big-endian.
    pub(crate) const EXPONENT: [u8; 3] = [1, 0, 1];
}

impl EcPublicKey {
    /// The point `point`, uncompressed.
    ///
    /// # Errors
    /// [`JwkError::Point`] when it is none of the curve.
    pub(crate) fn new(curve: Curve, point: Vec<u8>) -> Result<Self, JwkError> {
        let parsed = ParsedPublicKey::try_from(UnparsedPublicKey::new(curve.agreement(), point.as_slice()));
        let uncompressed = point.len() == 2 * curve.coordinate_bytes() + 1;
        match parsed {
            Ok(key) if uncompressed && key.alg() == curve.agreement() => Ok(Self { curve, point }),
            _ => Err(JwkError::Point),
        }
    }

    /// The point with these coordinates in base64url.
    pub(crate) fn of_coordinates(curve: Curve, x: &str, y: &str) -> Result<Self, JwkError> {
        let mut point = vec![4];
        for text in [x, y] {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkError::Encoding)?;
            if bytes.len() != curve.coordinate_bytes() {
                return Err(JwkError::Encoding);
            }
            point.extend_from_slice(&bytes);
        }
        Self::new(curve, point)
    }

    pub(crate) fn curve(&self) -> Curve {
        self.curve
    }

    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    /// The coordinates in base64url.
    pub(crate) fn coordinates(&self) -> (String, String) {
        let coordinates = self.point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(self.curve.coordinate_bytes()).unwrap_or_default();
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

impl TryFrom<JwkMembers> for TeePublicKey {
    type Error = JwkError;

    fn try_from(read: JwkMembers) -> Result<Self, JwkError> {
        let JwkMembers { alg, crv, e, kty, n, x, y } = read;
        match (kty.as_str(), alg, crv, e, n, x, y) {
            ("EC", Some(alg), Some(crv), None, None, Some(x), Some(y)) => {
                let curve = Curve::named(&crv).filter(|_| alg == ECDH_ES_A256KW);
                EcPublicKey::of_coordinates(curve.ok_or(JwkError::Unsupported)?, &x, &y).map(Self::Ec)
            }
            ("RSA", Some(alg), None, Some(e), Some(n), None, None) => {
                if alg != RSA_OAEP_256 || e != EXPONENT {
                    return Err(JwkError::Unsupported);
                }
                let modulus = URL_SAFE_NO_PAD.decode(n).map_err(|_| JwkError::Encoding)?;
                let full = modulus.first().is_some_and(|first| *first >= 0x80);
                let odd = modulus.last().is_some_and(|last| last % 2 == 1);
                if !full || !odd || !MODULUS_BYTES.contains(&modulus.len()) {
                    return Err(JwkError::Encoding);
                }
                Ok(Self::Rsa(RsaPublicKey { modulus }))
            }
            ("EC" | "RSA", ..) => Err(JwkError::Members),
            _ => Err(JwkError::Unsupported),
        }
    }
}

impl From<&TeePublicKey> for JwkMembers {
    fn from(key: &TeePublicKey) -> Self {
        match key {
            TeePublicKey::Ec(key) => {
                let (x, y) = key.coordinates();
                Self {
                    alg: Some(ECDH_ES_A256KW.to_owned()),
                    crv: Some(key.curve.name().to_owned()),
                    e: None,
                    kty: "EC".to_owned(),
                    n: None,
                    x: Some(x),
                    y: Some(y),
                }
            }
            TeePublicKey::Rsa(key) => Self {
                alg: Some(RSA_OAEP_256.to_owned()),
                crv: None,
                e: Some(EXPONENT.to_owned()),
                kty: "RSA".to_owned(),
                n: Some(URL_SAFE_NO_PAD.encode(&key.modulus)),
                x: None,
                y: None,
            },
        }
    }
}

impl TeePublicKey {
    /// Reads one JSON web key.
    ///
    /// # Errors
    /// [`JwkError`]; in particular for members that its type has not, since what is hashed would not hold them.
    pub fn from_json(json: &[u8]) -> Result<Self, JwkError> {
        let members: JwkMembers = serde_json::from_slice(json).map_err(|_| JwkError::Members)?;
        members.try_into()
    }

    /// The key in the canonical form of RFC 8785, which is what evidence commits to.
    ///
    /// # Panics
    /// Never: the type has only texts.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&JwkMembers::from(self)).expect("texts are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of RFC 7517, appendix A.1, with the algorithm that the protocol asks for.
    const EC: &str = r#"{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    fn rsa(n: &str) -> String {
        format!(r#"{{"alg":"RSA-OAEP-256","e":"AQAB","kty":"RSA","n":"{n}"}}"#)
    }

    fn refused(json: &str) -> JwkError {
        TeePublicKey::from_json(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn reads_keys_and_writes_them_canonically() {
        let modulus = URL_SAFE_NO_PAD.encode([0xff; 256]);
        for json in [EC.to_owned(), rsa(&modulus)] {
            let shuffled: serde_json::Value = serde_json::from_str(&json).unwrap();
            let text = serde_json::to_string_pretty(&shuffled).unwrap();
            assert_eq!(TeePublicKey::from_json(text.as_bytes()).unwrap().to_json(), json);
        }
    }

    #[test]
    fn refuses_members_that_are_not_hashed_and_members_that_stand_twice() {
        for json in [
            EC.replace("\"kty\"", "\"kid\":\"1\",\"kty\""),
            EC.replace("\"kty\"", "\"d\":\"AQ\",\"kty\""),
            EC.replace("\"kty\"", "\"n\":\"AQ\",\"kty\""),
            EC.replace("\"kty\":\"EC\"", "\"kty\":\"EC\",\"kty\":\"EC\""),
            EC.replace("\"alg\":\"ECDH-ES+A256KW\",", ""),
            EC.replace("\"kty\":\"EC\"", "\"kty\":\"RSA\""),
            "[]".to_owned(),
            String::new(),
        ] {
            assert_eq!(refused(&json), JwkError::Members, "{json}");
        }
    }

    #[test]
    fn refuses_algorithms_that_nothing_is_encrypted_with() {
        let modulus = URL_SAFE_NO_PAD.encode([0xff; 256]);
        for json in [
            EC.replace("ECDH-ES+A256KW", "ECDH-ES"),
            EC.replace("P-256", "P-384"),
            EC.replace("\"kty\":\"EC\"", "\"kty\":\"OKP\""),
            rsa(&modulus).replace("RSA-OAEP-256", "RSA1_5"),
            rsa(&modulus).replace("AQAB", "Aw"),
            r#"{"kty":"AKP","alg":"ML-KEM-768+A192KW"}"#.to_owned(),
        ] {
            assert_eq!(refused(&json), JwkError::Unsupported, "{json}");
        }
    }

    #[test]
    fn refuses_numbers_of_another_length_or_form() {
        let modulus = |bytes: &[u8]| rsa(&URL_SAFE_NO_PAD.encode(bytes));
        let even = [vec![0xff; 255], vec![0]].concat();
        let short = [vec![0x7f], vec![0xff; 255]].concat();
        for json in [
            modulus(&[0xff; 255]),
            modulus(&[0xff; 128]),
            modulus(&[0xff; 1024]),
            modulus(&even),
            modulus(&short),
            EC.replace("7D4\"", "7D4=\""),
            EC.replace("7D4\"", "7D5\""),
            EC.replace("IFyM", "IFw"),
        ] {
            assert_eq!(refused(&json), JwkError::Encoding, "{json}");
        }
    }

    #[test]
    fn refuses_points_off_the_curve() {
        assert_eq!(refused(&EC.replace("IFyM", "IFyN")), JwkError::Encoding);
        assert_eq!(refused(&EC.replace("\"4Etl", "\"4Ftl")), JwkError::Point);
        let zero = URL_SAFE_NO_PAD.encode([0; 32]);
        let json =
            format!(r#"{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"{zero}","y":"{zero}"}}"#);
        assert_eq!(refused(&json), JwkError::Point);
    }
}
