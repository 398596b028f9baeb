//! The only strings an entry can hold: bounded identifiers over a small alphabet.
//!
//! A sentence does not fit: there is no white space, no control or quoting character, nothing that a
//! spreadsheet, a terminal or a browser would act on, and a short limit.

use std::borrow::Cow;
use std::fmt;

/// Text that is not an identifier. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdError {
    /// Which kind of identifier was wanted.
    pub kind: &'static str,
    /// The most bytes it may have.
    pub limit_bytes: usize,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a {}: wanted 1 to {} bytes of its alphabet", self.kind, self.limit_bytes)
    }
}

impl std::error::Error for IdError {}

fn is_name(text: &str, limit_bytes: usize) -> bool {
    text.len() <= limit_bytes
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._:/-".contains(&c))
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $limit:literal, $kind:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Cow<'static, str>);

        impl $name {
            /// The most bytes it may have.
            pub const LIMIT_BYTES: usize = $limit;

            /// The identifier with this text.
            ///
            /// # Errors
            /// [`IdError`] when the text is empty, over the limit or uses another character.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if $accepts(text, $limit) {
                    Ok(Self(Cow::Owned(text.to_owned())))
                } else {
                    Err(IdError { kind: $kind, limit_bytes: $limit })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&Cow::<'de, str>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(
    /// The name of a log, also its C2SP key name: `<deployment>/<boot id>`. Alphabet of [`ModelId`].
    Origin, 200, "log origin", is_name
);

impl Origin {
    /// The name without its last part, which is the boot's: all boots of a deployment have it in common. `None` when there is no such part.
    #[must_use]
    pub fn deployment(&self) -> Option<&str> {
        let (deployment, _) = self.0.rsplit_once('/')?;
        (!deployment.is_empty()).then_some(deployment)
    }
}

text_newtype!(
    /// A model's name. It starts with a letter or digit and goes on with letters, digits and `. _ : / -`.
    ModelId, 128, "model id", is_name
);
text_newtype!(
    /// A tenant's configured name. Alphabet of [`ModelId`].
    TenantId, 64, "tenant id", is_name
);
text_newtype!(
    /// Our own name of a request, never the client's. Alphabet of [`ModelId`].
    RequestId, 64, "request id", is_name
);
text_newtype!(
    /// A release policy's name. Alphabet of [`ModelId`].
    PolicyId, 64, "policy id", is_name
);
text_newtype!(
    /// The name of a grant in a release policy. Alphabet of [`ModelId`].
    GrantId, 64, "grant id", is_name
);
text_newtype!(
    /// The public name of a key, never its bytes. Alphabet of [`ModelId`].
    KeyId, 128, "key id", is_name
);
text_newtype!(
    /// Ties entries of the broker to those of the guest. Alphabet of [`ModelId`].
    CorrelationId, 64, "correlation id", is_name
);
text_newtype!(
    /// The name of a legal hold. Alphabet of [`ModelId`].
    HoldId, 64, "hold id", is_name
);

fn is_code(text: &str, limit_bytes: usize) -> bool {
    !text.is_empty()
        && text.len() <= limit_bytes
        && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'))
}

text_newtype!(
    /// A stable reason code: lower-case letters, digits, `_` and `.`.
    Code, 64, "reason code", is_code
);

impl Code {
    /// Nothing went wrong.
    pub const OK: Self = Self(Cow::Borrowed("ok"));

    /// The code written in the program itself. One that breaks the alphabet becomes `unnamed`, so that a
    /// mistyped code never costs the entry.
    #[must_use]
    pub fn from_static(text: &'static str) -> Self {
        Self(Cow::Borrowed(if is_code(text, Self::LIMIT_BYTES) { text } else { "unnamed" }))
    }
}

fn is_claim(text: &str, limit_bytes: usize) -> bool {
    text.len() <= limit_bytes
        && text.as_bytes().first().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'>')
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._:/-,>=".contains(&c))
}

text_newtype!(
    /// What a rule wanted or saw in evidence, such as `>=23` or a measurement. Letters, digits and
    /// `. _ : / - , > =`; it starts with a letter, a digit or `>`.
    Claim, 128, "claim", is_claim
);

impl Claim {
    /// The claim for a verifier's text: spaces become `_`; text that still does not fit is named by its
    /// SHA-256, `sha256:<hex>`. Only for values from evidence and policy, which are public.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let joined = text.replace(' ', "_");
        Self::new(&joined)
            .unwrap_or_else(|_| Self(Cow::Owned(format!("sha256:{}", crate::Hash::of(text.as_bytes())))))
    }
}

/// Crockford's base32: no I, L, O, U.
const ULID_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID_LEN: usize = 26;

fn is_ulid(text: &str, _limit_bytes: usize) -> bool {
    // 26 digits hold 130 bits; the first must leave the upper two clear.
    text.len() == ULID_LEN
        && text.as_bytes().first().is_some_and(|c| (b'0'..=b'7').contains(c))
        && text.bytes().all(|c| ULID_ALPHABET.contains(&c))
}

text_newtype!(
    /// A ULID: 48 bits of Unix milliseconds and 80 random bits, in 26 characters of Crockford's base32.
    Ulid, 26, "ULID", is_ulid
);

impl Ulid {
    /// The ULID of this time and this randomness. Milliseconds beyond 48 bits wrap.
    #[must_use]
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut value = u128::from(unix_ms & 0xffff_ffff_ffff);
        for byte in random {
            value = value << 8 | u128::from(byte);
        }
        let mut text = [0; ULID_LEN];
        for character in text.iter_mut().rev() {
            let [low, ..] = value.to_le_bytes();
            *character = ULID_ALPHABET.get(usize::from(low & 31)).copied().unwrap_or(b'0');
            value >>= 5;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        Self(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings that clients send to break a log reader.
    pub(crate) const HOSTILE: [&str; 14] = [
        "",
        " ",
        "two words",
        "line\nbreak",
        "\u{1b}[31mred",
        "\"},{\"",
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "<script>alert(1)</script>",
        "\u{202e}abc",
        "nul\0",
        "naïve",
    ];

    #[test]
    fn case_33_hostile_strings_are_no_identifier() {
        let long = "a".repeat(1024 * 1024);
        for text in HOSTILE.iter().copied().chain([long.as_str()]) {
            assert!(Origin::new(text).is_err(), "{text:.20}");
            assert!(ModelId::new(text).is_err(), "{text:.20}");
            assert!(TenantId::new(text).is_err(), "{text:.20}");
            assert!(RequestId::new(text).is_err(), "{text:.20}");
            assert!(KeyId::new(text).is_err(), "{text:.20}");
            assert!(Code::new(text).is_err(), "{text:.20}");
            assert!(Claim::new(text).is_err(), "{text:.20}");
            assert!(Ulid::new(text).is_err(), "{text:.20}");
        }
        assert!(ModelId::new("acme/chat-70b:v2").is_ok());
        assert!(ModelId::new(&"m".repeat(128)).is_ok());
        assert!(ModelId::new(&"m".repeat(129)).is_err());
    }

    #[test]
    fn claim_of_never_repeats_hostile_text() {
        assert_eq!(Claim::of(">= 23").as_str(), ">=_23");
        assert_eq!(Claim::of(&"ab".repeat(48)).as_str(), "ab".repeat(48));
        let named = Claim::of("<script>");
        assert_eq!(named.as_str(), format!("sha256:{}", crate::Hash::of(b"<script>")));
        assert!(Claim::new(named.as_str()).is_ok());
    }

    #[test]
    fn the_deployment_of_a_log_is_its_name_without_the_boot() {
        let deployment = |name: &str| Origin::new(name).unwrap().deployment().map(str::to_owned);
        assert_eq!(deployment("acme/chat/0011").as_deref(), Some("acme/chat"));
        assert_eq!(deployment("acme"), None);
    }

    #[test]
    fn a_mistyped_static_code_is_unnamed() {
        assert_eq!(Code::from_static("Bad Code").as_str(), "unnamed");
        assert_eq!(Code::from_static("snp_debug_allowed").as_str(), "snp_debug_allowed");
    }

    #[test]
    fn ulid_matches_the_specification_example() {
        // https://github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV is 1469922850259 ms.
        let ulid = Ulid::from_parts(1_469_922_850_259, [0; 10]);
        assert_eq!(&ulid.as_str()[..10], "01ARZ3NDEK");
        assert_eq!(Ulid::from_parts(u64::MAX, [0xff; 10]).as_str(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert!(Ulid::new("8ZZZZZZZZZZZZZZZZZZZZZZZZZ").is_err());
        assert!(Ulid::new("01ARZ3NDEKTSV4RRFFQ69G5FAU").is_err());
    }
}
