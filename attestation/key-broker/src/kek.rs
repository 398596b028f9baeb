//! The key-encryption key: everything secret in the broker's state is wrapped under it.

use anchorhold_rats::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

const KEK_BYTES: usize = 32;
/// Separates this use of the key from any other.
const DOMAIN: &[u8] = b"anchorhold broker state v1";

/// Why a secret was not wrapped or not unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KekError {
    /// What is stored was not wrapped under this key in this place.
    Open,
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for KekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "a stored secret was not wrapped under this key-encryption key in this place",
            Self::Random => "the system's random generator gave nothing",
        })
    }
}

impl std::error::Error for KekError {}

/// Where a wrapped secret belongs. It is authenticated with it, so no secret can stand in for another.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The kind of secret.
    pub kind: &'static str,
    /// Which one of its kind.
    pub name: &'a [u8],
}

impl Place<'_> {
    fn aad(&self) -> Vec<u8> {
        let mut aad = Vec::new();
        for item in [DOMAIN, self.kind.as_bytes(), self.name] {
            aad.extend_from_slice(&(item.len() as u64).to_be_bytes());
            aad.extend_from_slice(item);
        }
        aad
    }
}

/// The key-encryption key, from a file that only its owner can read.
pub struct Kek(LessSafeKey);

impl Kek {
    /// Makes a key and its file.
    ///
    /// # Errors
    /// Any from the file system; an existing file is never overwritten.
    pub fn create(path: &Path) -> io::Result<Self> {
        let secret: Secret<KEK_BYTES> = Secret::random().map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret.expose())?;
        file.sync_all()?;
        Ok(Self::new(&secret))
    }

    /// Reads the key.
    ///
    /// # Errors
    /// Any from the file system; a file that others may read, or that has not exactly 32 bytes, is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the key-encryption key is open to others",
            ));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEK_BYTES + 1));
        file.take(KEK_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, "the key-encryption key has not exactly 32 bytes");
        Secret::copy_from(&bytes).map(|secret| Self::new(&secret)).ok_or_else(wrong)
    }

    fn new(secret: &Secret<KEK_BYTES>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, secret.expose()).expect("32 bytes are an AES-256 key");
        Self(LessSafeKey::new(key))
    }

    /// Wraps `plain` for `place`: a random 12-byte nonce, then ciphertext and tag.
    ///
    /// # Errors
    /// [`KekError::Random`]. Random nonces are safe for 2^32 secrets, far more than a broker ever wraps.
    pub fn wrap(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KekError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KekError::Random)?;
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plain);
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.aad()), &mut *body)
            .map_err(|_| KekError::Random)?;
        let mut out = Vec::with_capacity(NONCE_LEN + body.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Unwraps what [`wrap`](Self::wrap) made for the same place.
    ///
    /// # Errors
    /// [`KekError::Open`].
    pub fn unwrap(&self, place: Place<'_>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let (nonce, body) = wrapped.split_at_checked(NONCE_LEN).ok_or(KekError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KekError::Open)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length =
            self.0.open_in_place(nonce, Aad::from(place.aad()), &mut body).map_err(|_| KekError::Open)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// Unwraps exactly `N` bytes.
    ///
    /// # Errors
    /// [`KekError::Open`].
    pub fn unwrap_secret<const N: usize>(
        &self,
        place: Place<'_>,
        wrapped: &[u8],
    ) -> Result<Secret<N>, KekError> {
        Secret::copy_from(&self.unwrap(place, wrapped)?).ok_or(KekError::Open)
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { kind: "weights key", name: b"acme/chat" };

    #[test]
    fn a_secret_opens_only_under_its_key_and_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let kek = Kek::create(&folder.path().join("kek")).unwrap();
        let other = Kek::create(&folder.path().join("other")).unwrap();
        let wrapped = kek.wrap(PLACE, b"secret").unwrap();
        let again = Kek::open(&folder.path().join("kek")).unwrap();
        assert_eq!(again.unwrap(PLACE, &wrapped).unwrap().as_slice(), b"secret");
        assert_eq!(other.unwrap(PLACE, &wrapped), Err(KekError::Open));
        let elsewhere = Place { name: b"acme/chas", ..PLACE };
        assert_eq!(kek.unwrap(elsewhere, &wrapped), Err(KekError::Open));
        assert_eq!(kek.unwrap(PLACE, &wrapped[..8]), Err(KekError::Open));
        assert!(!wrapped.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn refuses_a_key_that_others_can_read_and_one_of_another_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        Kek::create(&path).unwrap();
        assert_eq!(Kek::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(Kek::open(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [0; 33]).unwrap();
        assert_eq!(Kek::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
