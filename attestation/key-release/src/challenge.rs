//! Challenges: nonces that the broker recognises without having stored them.

use anchorhold_rats::{Nonce, RandomError, Secret, Sha256Digest, Timestamp};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest time for which a challenge may be answered, in seconds.
pub const MAX_CHALLENGE_LIFETIME_S: i64 = 60;
/// Separates this use of the key from any other.
const DOMAIN: &[u8] = b"anchorhold release nonce v1";

/// What this code understands of the protocol's first version beyond what all do: from 1 on, a guest is told which log came before its
/// own. Both ends say theirs, the guest in the body of `POST /v1/challenge` and the broker in its answer, so that neither sends what the
/// other would refuse.
pub const PROTOCOL_MINOR: u32 = 1;

/// The body of `POST /v1/challenge`. Brokers of minor version 0 do not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeAsked {
    /// The highest minor version that the guest understands.
    #[serde(default)]
    pub minor: u32,
}

impl ChallengeAsked {
    /// What this code asks.
    pub const OWN: Self = Self { minor: PROTOCOL_MINOR };

    /// The body's bytes.
    ///
    /// # Panics
    /// Never: a number is JSON.
    #[must_use]
    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a number is JSON")
    }

    /// The minor version that both ends understand. A body that says nothing, or nothing that can be read, is one of version 0.
    #[must_use]
    pub fn agreed(body: &[u8]) -> u32 {
        // serde takes a list of the members' values too.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let read = serde_json::from_slice::<Self>(body).ok().filter(|_| is_object);
        let asked = read.map_or(0, |asked| asked.minor);
        asked.min(PROTOCOL_MINOR)
    }
}

/// The answer to `POST /v1/challenge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// What the evidence must hold.
    pub nonce: Nonce,
    /// Until when it is taken.
    pub expires: Timestamp,
    /// The broker's clock.
    pub broker_time: Timestamp,
    /// [`BrokerKey::key_id`](crate::BrokerKey::key_id) of the key that will sign the answer.
    pub broker_key_id: Sha256Digest,
    /// The minor version that both ends understand; not written where it is 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub minor: u32,
}

const fn is_first(minor: &u32) -> bool {
    *minor == 0
}

/// Why a nonce is no challenge of this broker. [`code`](Self::code) names each in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeError {
    /// It was not issued with this key.
    Foreign,
    /// It was, and is over.
    Expired,
}

impl ChallengeError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Foreign => "challenge_foreign",
            Self::Expired => "challenge_expired",
        }
    }
}

impl fmt::Display for ChallengeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "the nonce was not issued by this broker",
            Self::Expired => "the challenge has expired",
        })
    }
}

impl std::error::Error for ChallengeError {}

/// The secret by which a broker recognises its own nonces.
///
/// A nonce is 32 bytes: the second of its expiry since the Unix epoch (8 bytes, big-endian), 8 random bytes,
/// and the first 16 bytes of HMAC-SHA256 over a domain string and those 16. Issuing one costs no memory, so a
/// flood of challenges costs none either.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &Secret<32>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// A nonce that is good for [`MAX_CHALLENGE_LIFETIME_S`] seconds from `at`, and when it expires.
    ///
    /// # Errors
    /// [`RandomError`] when the system gives no randomness.
    pub fn issue(&self, at: Timestamp) -> Result<(Nonce, Timestamp), RandomError> {
        let random: Secret<8> = Secret::random()?;
        let expires = at.plus_seconds(MAX_CHALLENGE_LIFETIME_S);
        let mut head = [0; 16];
        let (first, second) = head.split_at_mut(8);
        first.copy_from_slice(&expires.unix_seconds().to_be_bytes());
        second.copy_from_slice(random.expose());
        let mut nonce = [0; 32];
        let (front, back) = nonce.split_at_mut(16);
        front.copy_from_slice(&head);
        back.copy_from_slice(&self.tag(&head));
        Ok((Nonce::new(nonce), expires))
    }

    /// Establishes that `nonce` was issued with this key and is not over at `at`; gives its expiry back.
    ///
    /// # Errors
    /// [`ChallengeError`]. A nonce that claims more life than this broker gives is foreign.
    pub fn recognise(&self, nonce: &Nonce, at: Timestamp) -> Result<Timestamp, ChallengeError> {
        let (head, tag) = nonce.as_bytes().split_at(16);
        let head: &[u8; 16] = head.try_into().map_err(|_| ChallengeError::Foreign)?;
        if !same_tag(&self.tag(head), tag) {
            return Err(ChallengeError::Foreign);
        }
        let seconds = head.iter().take(8).fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        let expires = Timestamp::from_unix_seconds(seconds);
        if at >= expires {
            return Err(ChallengeError::Expired);
        }
        // The clock was set back since: the nonce is ours, but nobody may rely on when it ends.
        if expires > at.plus_seconds(MAX_CHALLENGE_LIFETIME_S) {
            return Err(ChallengeError::Foreign);
        }
        Ok(expires)
    }

    fn tag(&self, head: &[u8; 16]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(DOMAIN);
        context.update(head);
        let mut out = [0; 16];
        out.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        out
    }
}

/// Constant-time equality of two tags of 16 bytes.
fn same_tag(a: &[u8; 16], b: &[u8]) -> bool {
    match (Secret::<16>::copy_from(a), Secret::<16>::copy_from(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000)
    }

    fn key(byte: u8) -> NonceKey {
        NonceKey::new(&Secret::take(&mut [byte; 32]))
    }

    #[test]
    fn a_fresh_nonce_is_recognised_until_its_last_second() {
        let (nonce, expires) = key(1).issue(at()).unwrap();
        assert_eq!(expires, at().plus_seconds(60));
        assert_eq!(key(1).recognise(&nonce, at()), Ok(expires));
        assert_eq!(key(1).recognise(&nonce, at().plus_seconds(59)), Ok(expires));
        assert_ne!(key(1).issue(at()).unwrap().0, nonce);
    }

    #[test]
    fn case_02_refuses_expired_challenge() {
        let (nonce, expires) = key(1).issue(at()).unwrap();
        assert_eq!(key(1).recognise(&nonce, expires), Err(ChallengeError::Expired));
    }

    #[test]
    fn case_02_refuses_nonce_of_another_broker_and_altered_nonce() {
        let (nonce, _) = key(1).issue(at()).unwrap();
        assert_eq!(key(2).recognise(&nonce, at()), Err(ChallengeError::Foreign));
        for position in 0..Nonce::LEN {
            let mut bytes = *nonce.as_bytes();
            bytes[position] ^= 1;
            assert_eq!(
                key(1).recognise(&Nonce::new(bytes), at()),
                Err(ChallengeError::Foreign),
                "{position}"
            );
        }
    }

    #[test]
    fn refuses_nonce_from_beyond_its_lifetime() {
        let (nonce, _) = key(1).issue(at().plus_seconds(100)).unwrap();
        assert_eq!(key(1).recognise(&nonce, at()), Err(ChallengeError::Foreign));
    }

    #[test]
    fn what_is_shown_tells_no_secret() {
        let key = NonceKey::new(&Secret::take(&mut [0xa7; 32]));
        assert_eq!(format!("{key:?}"), "NonceKey");
        assert_eq!(ChallengeError::Foreign.code(), "challenge_foreign");
        assert_eq!(ChallengeError::Expired.code(), "challenge_expired");
        assert_ne!(ChallengeError::Foreign.to_string(), ChallengeError::Expired.to_string());
        assert!(ChallengeError::Expired.to_string().contains("expired"));
    }
}
