//! Sessions without a table: nonces and cookies that the server recognises without having stored them.

use crate::Tee;
use anchorhold_rats::{Nonce, RandomError, Secret, Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use std::fmt;

/// The name of the cookie.
pub const COOKIE: &str = "kbs-session-id";
/// The longest time for which a challenge may be answered, in seconds. Devices take a while to sign.
pub const MAX_SESSION_LIFETIME_S: i64 = 120;
/// The longest `Cookie` header that is read, in bytes: a token may be in it.
pub(crate) const MAX_COOKIE_HEADER_BYTES: usize = 16 * 1024;
const NONCE_DOMAIN: &[u8] = b"anchorhold kbs nonce v1";
const COOKIE_DOMAIN: &[u8] = b"anchorhold kbs session v1";
const TAG_BYTES: usize = 16;

/// Why a nonce and cookie are no open session of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// They were not issued with this key, or not together.
    Foreign,
    /// They were, and it is over.
    Expired,
}

/// What a client is given to attest with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The nonce, base64 as in Trustee.
    pub nonce: String,
    /// The value of [`COOKIE`].
    pub cookie: String,
    /// When both are over.
    pub expires: Timestamp,
}

/// A session that was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The nonce. It begins with its expiry, as those of key release do, so that used ones lie in the order in which they
    /// expire.
    pub nonce: Nonce,
    /// When it is over.
    pub expires: Timestamp,
    /// What the guest said that it runs in.
    pub tee: Tee,
}

/// The secret by which a server recognises its own sessions. Several servers with the same secret share them.
///
/// A nonce is 32 bytes: the second of its expiry since the Unix epoch (8 bytes, big-endian), 8 random bytes, and the first
/// 16 bytes of HMAC-SHA256 over a domain string and those 16. The cookie is the number of the kind of TEE and 16 bytes of
/// HMAC-SHA256 over another domain string, that number and the nonce. A flood of introductions costs no memory, and a
/// nonce of this protocol is none of key release.
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &Secret<32>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// A session for a guest in a `tee`, good for [`MAX_SESSION_LIFETIME_S`] seconds from `at`.
    ///
    /// # Errors
    /// [`RandomError`] when the system gives no randomness.
    pub fn issue(&self, tee: Tee, at: Timestamp) -> Result<Issued, RandomError> {
        let random: Secret<8> = Secret::random()?;
        let expires = at.plus_seconds(MAX_SESSION_LIFETIME_S);
        let mut head = Vec::with_capacity(Nonce::LEN);
        head.extend_from_slice(&expires.unix_seconds().to_be_bytes());
        head.extend_from_slice(random.expose());
        let tag = self.tag(&[NONCE_DOMAIN, &head]);
        head.extend_from_slice(&tag);
        let number = [tee.number()];
        let cookie = [&number[..], &self.tag(&[COOKIE_DOMAIN, &number, &head])].concat();
        Ok(Issued { nonce: STANDARD.encode(&head), cookie: URL_SAFE_NO_PAD.encode(cookie), expires })
    }

    /// Establishes that `nonce` and `cookie` were issued together with this key and are not over at `at`.
    ///
    /// # Errors
    /// [`SessionError`]. What claims more life than this server gives is foreign.
    pub fn recognise(&self, nonce: &str, cookie: &str, at: Timestamp) -> Result<Session, SessionError> {
        let nonce = STANDARD.decode(nonce).map_err(|_| SessionError::Foreign)?;
        let nonce = Nonce::try_from(nonce.as_slice()).map_err(|_| SessionError::Foreign)?;
        let cookie = URL_SAFE_NO_PAD.decode(cookie).map_err(|_| SessionError::Foreign)?;
        let (number, cookie_tag) = cookie.split_first().ok_or(SessionError::Foreign)?;
        let (head, nonce_tag) = nonce.as_bytes().split_at(16);
        let ours = self.is_tag(&[NONCE_DOMAIN, head], nonce_tag)
            & self.is_tag(&[COOKIE_DOMAIN, &[*number], nonce.as_bytes()], cookie_tag);
        let tee = Tee::ALL.into_iter().find(|tee| tee.number() == *number).filter(|_| ours);
        let tee = tee.ok_or(SessionError::Foreign)?;
        let seconds = head.iter().take(8).fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        let expires = Timestamp::from_unix_seconds(seconds);
        if at >= expires {
            return Err(SessionError::Expired);
        }
        // The clock was set back since: the nonce is ours, but nobody may rely on when it ends.
        if expires > at.plus_seconds(MAX_SESSION_LIFETIME_S) {
            return Err(SessionError::Foreign);
        }
        Ok(Session { nonce, expires, tee })
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        let mut out = [0; TAG_BYTES];
        out.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    /// In constant time.
    fn is_tag(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let ours = Secret::take(&mut self.tag(parts));
        Secret::<TAG_BYTES>::copy_from(tag).is_some_and(|theirs| theirs == ours)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

/// The value of [`COOKIE`] in the value of a `Cookie` header (RFC 6265, section 4.2.1); `None` when it is not there, stands
/// twice, or the header is over [`MAX_COOKIE_HEADER_BYTES`].
#[must_use]
pub fn session_cookie(header: &str) -> Option<&str> {
    if header.len() > MAX_COOKIE_HEADER_BYTES {
        return None;
    }
    let mut values = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(name, value)| (name == COOKIE).then_some(value));
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000)
    }

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&Secret::take(&mut [byte; 32]))
    }

    #[test]
    fn a_fresh_session_is_recognised_until_its_last_second() {
        for tee in Tee::ALL {
            let issued = key(1).issue(tee, at()).unwrap();
            assert_eq!(issued.expires, at().plus_seconds(120));
            let session = key(1).recognise(&issued.nonce, &issued.cookie, at().plus_seconds(119)).unwrap();
            assert_eq!((session.tee, session.expires), (tee, issued.expires));
            assert_eq!(session.nonce.as_bytes()[..8], issued.expires.unix_seconds().to_be_bytes());
            assert_eq!(issued.nonce.len(), 44);
        }
        assert_ne!(key(1).issue(Tee::Snp, at()).unwrap().nonce, key(1).issue(Tee::Snp, at()).unwrap().nonce);
    }

    #[test]
    fn case_02_refuses_expired_session() {
        let issued = key(1).issue(Tee::Snp, at()).unwrap();
        let refused = key(1).recognise(&issued.nonce, &issued.cookie, issued.expires);
        assert_eq!(refused, Err(SessionError::Expired));
        let early = key(1).recognise(&issued.nonce, &issued.cookie, at().plus_seconds(-1));
        assert_eq!(early, Err(SessionError::Foreign));
    }

    #[test]
    fn case_02_refuses_what_was_not_issued_together_by_this_server() {
        let (one, other) = (key(1).issue(Tee::Snp, at()).unwrap(), key(1).issue(Tee::Snp, at()).unwrap());
        let foreign = Err(SessionError::Foreign);
        assert_eq!(key(2).recognise(&one.nonce, &one.cookie, at()), foreign);
        assert_eq!(key(1).recognise(&one.nonce, &other.cookie, at()), foreign);
        let nonce = STANDARD.decode(&one.nonce).unwrap();
        let cookie = URL_SAFE_NO_PAD.decode(&one.cookie).unwrap();
        for place in 0..nonce.len() {
            let mut changed = nonce.clone();
            changed[place] ^= 1;
            assert_eq!(key(1).recognise(&STANDARD.encode(changed), &one.cookie, at()), foreign, "{place}");
        }
        for place in 0..cookie.len() {
            let mut changed = cookie.clone();
            changed[place] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(key(1).recognise(&one.nonce, &changed, at()), foreign, "{place}");
        }
        let longer = URL_SAFE_NO_PAD.encode([cookie, vec![0]].concat());
        for cookie in ["", "AQ", &longer, "####"] {
            assert_eq!(key(1).recognise(&one.nonce, cookie, at()), foreign, "{cookie}");
        }
        for nonce in ["", "AQ==", &one.nonce.replace('=', ""), "####"] {
            assert_eq!(key(1).recognise(nonce, &one.cookie, at()), foreign, "{nonce}");
        }
    }

    #[test]
    fn the_cookie_is_found_once_or_not_at_all() {
        assert_eq!(session_cookie("kbs-session-id=abc"), Some("abc"));
        assert_eq!(session_cookie("a=b; kbs-session-id=a.b=; c=d"), Some("a.b="));
        for header in ["", "kbs-session-id", "x-kbs-session-id=a", "kbs-session-id=a; kbs-session-id=b"] {
            assert_eq!(session_cookie(header), None, "{header}");
        }
        let long = format!("kbs-session-id={}", "a".repeat(MAX_COOKIE_HEADER_BYTES));
        assert_eq!(session_cookie(&long), None);
    }
}
