//! The form of a key.

use anchorhold_rats::Sha256Digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use zeroize::Zeroizing;

/// What every key begins with.
const PREFIX: &str = "ah-";
/// Random bytes of a key; 43 characters of base64url.
const SECRET_BYTES: usize = 32;
/// Bytes of the check at its end; 6 characters of base64url.
const CHECK_BYTES: usize = 4;
const SECRET_CHARS: usize = 43;

/// The system gives no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoRandomness;

/// A new key: `ah-`, 43 characters of base64url for 256 random bits, and 6 for the first four bytes of the SHA-256 of all that
/// stands before them; 52 characters. Wiped on drop, never printed but by [`expose`](Self::expose).
///
/// The check is there for scanners of repositories and logs: with the prefix alone they report every text that happens to begin
/// so, with the check one in four thousand million, and need ask nobody. The gateway does not look at it: a key is known by its
/// digest, so that keys of another form work too.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A key that nobody had before.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| NoRandomness)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8; SECRET_BYTES]) -> Self {
        let random = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes));
        // As long as it will get, so that no part of it stays behind in memory that was given back.
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(PREFIX);
        text.push_str(&random);
        let check = check(&text);
        text.push_str(&check);
        Self(text)
    }

    /// The key itself, for its owner, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By which it is known.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

fn check(text: &str) -> String {
    let digest = Sha256Digest::of(text.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_bytes().first_chunk::<CHECK_BYTES>().unwrap_or(&[0; CHECK_BYTES]))
}

/// Whether this text is a key of [`Secret`]'s form, check included.
#[must_use]
pub fn has_form(text: &str) -> bool {
    let Some((secret, own)) = text.split_at_checked(PREFIX.len() + SECRET_CHARS) else { return false };
    let Some(random) = secret.strip_prefix(PREFIX) else { return false };
    URL_SAFE_NO_PAD.decode(random).is_ok_and(|bytes| bytes.len() == SECRET_BYTES) && own == check(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sha256sum` of `ah-` and 43 times `A` begins with 189ce6cd.
    #[test]
    fn has_one_form_that_a_scanner_knows() {
        let zero = Secret::of(&[0; 32]);
        assert_eq!(zero.expose(), format!("ah-{}GJzmzQ", "A".repeat(43)));
        assert_eq!(zero.expose().len(), 52);
        assert!(has_form(zero.expose()));
        let key = Secret::generate().unwrap();
        assert!(has_form(key.expose()), "{}", key.expose());
        assert_eq!(key.digest(), Sha256Digest::of(key.expose().as_bytes()));
        assert_ne!(key.expose(), Secret::generate().unwrap().expose());
        assert_eq!(format!("{key:?}"), "Secret");
    }

    #[test]
    fn any_character_that_is_changed_is_noticed() {
        let key = Secret::generate().unwrap();
        for at in 0..key.expose().len() {
            let mut other = key.expose().to_owned().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert!(!has_form(&String::from_utf8(other).unwrap()), "{at}");
        }
        let key = key.expose();
        for other in [&key[1..], &key[..51], &format!("{key}A"), "", "ah-", &key.replacen("ah-", "sk-", 1)] {
            assert!(!has_form(other), "{other}");
        }
    }
}
