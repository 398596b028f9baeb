//! Whose key it is, and the key.

use crate::keyring::KeyFile;
use crate::part::PersonalPart;
use crate::recipient::RecipientKey;
use anchorhold_audit_log::{BootId, Ciphertext, Entry, Hex, RequestId, Sealed, SubjectKeyId, TenantId};
use anchorhold_rats::{Secret, WrappingKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

const PERIOD_NS: i64 = 90 * 24 * 3600 * 1_000_000_000;
const AAD_LABEL: &[u8] = b"anchorhold personal part v1\0";

/// A period of 90 days, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub u32);

impl Period {
    /// The period of a time in nanoseconds since 1970; the first one for any before.
    #[must_use]
    pub fn of(wall_ns: i64) -> Self {
        Self(u32::try_from(wall_ns.div_euclid(PERIOD_NS)).unwrap_or(0))
    }
}

/// Whom a key is for: one API key of a tenant, or the tenant where there was none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The tenant.
    pub tenant: TenantId,
    /// The id of its key.
    pub key: Option<Hex<6>>,
}

/// Not a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a subject: expected TENANT or TENANT/KEY, the key in 12 hex digits")]
pub struct SubjectError;

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        // A tenant's name may hold a slash, so it is what stands before the last one that is followed by a key's id.
        let split = text.rsplit_once('/').and_then(|(tenant, key)| Some((tenant, key.parse().ok()?)));
        let (tenant, key) = split.map_or((text, None), |(tenant, key)| (tenant, Some(key)));
        Ok(Self { tenant: TenantId::new(tenant).map_err(|_| SubjectError)?, key })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            None => write!(f, "{}", self.tenant),
            Some(key) => write!(f, "{}/{key}", self.tenant),
        }
    }
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system's random generator gave nothing.
    #[error("the system's random generator gave nothing")]
    Random,
    /// The recipient's key is no usable key.
    #[error("the privacy recipient's key is not usable")]
    Recipient,
    /// The key has sealed as many parts as one key may.
    #[error("the subject's key is used up")]
    UsedUp,
}

/// A key's file was not made for this recipient, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key was not made for this recipient")]
pub struct OpenError;

/// The key of one subject in one boot and period, where parts are sealed. Wiped on drop.
pub struct SubjectKey {
    opened: OpenedKey,
    /// How many parts were sealed: the nonce of the next one. The key is in no other process, so that none comes twice.
    sealed: u32,
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({})", self.opened.kid)
    }
}

impl SubjectKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn generate(boot: BootId, subject: Subject, period: Period) -> Result<Self, SealError> {
        let secret = Secret::random().map_err(|_| SealError::Random)?;
        let kid = Secret::<16>::random().map_err(|_| SealError::Random)?;
        let opened = OpenedKey { kid: Hex::new(*kid.expose()), boot, subject, period, secret };
        Ok(Self { opened, sealed: 0 })
    }

    /// Its public name.
    #[must_use]
    pub const fn kid(&self) -> SubjectKeyId {
        self.opened.kid
    }

    /// The key's file for the keyring, which only the recipient reads.
    ///
    /// # Errors
    /// [`SealError::Recipient`] or [`SealError::Random`].
    pub fn to_file(&self, recipient: &WrappingKey) -> Result<KeyFile, SealError> {
        KeyFile::seal(&self.opened, recipient)
    }

    /// Seals a part for the entry of this request.
    ///
    /// # Errors
    /// [`SealError::UsedUp`] after 2^32 - 1 parts.
    pub fn seal(&mut self, part: &PersonalPart, request: &RequestId) -> Result<Sealed, SealError> {
        let next = self.sealed.checked_add(1).ok_or(SealError::UsedUp)?;
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().rev().zip(self.sealed.to_le_bytes()) {
            *to = from;
        }
        let mut bytes = Zeroizing::new(part.to_bytes().to_vec());
        let aad = Aad::from(associated(&self.opened, request));
        let key = self.opened.aead().ok_or(SealError::Random)?;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| SealError::UsedUp)?;
        self.sealed = next;
        let ciphertext = [bytes.as_slice(), tag.as_ref()].concat();
        let ct = Ciphertext::new(ciphertext).ok_or(SealError::UsedUp)?;
        Ok(Sealed { ct, kid: self.opened.kid, n: Hex::new(nonce) })
    }
}

/// The key of one subject, where parts are opened. Wiped on drop.
pub struct OpenedKey {
    pub(crate) kid: SubjectKeyId,
    pub(crate) boot: BootId,
    pub(crate) subject: Subject,
    pub(crate) period: Period,
    pub(crate) secret: Secret<32>,
}

impl fmt::Debug for OpenedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedKey({})", self.kid)
    }
}

impl OpenedKey {
    /// The key in a file of the keyring.
    ///
    /// # Errors
    /// [`OpenError`] when it was sealed to another recipient, or changed.
    pub fn open(file: &KeyFile, recipient: &RecipientKey) -> Result<Self, OpenError> {
        file.open(recipient.private_key()).map_err(|_| OpenError)
    }

    /// Its public name.
    #[must_use]
    pub const fn kid(&self) -> SubjectKeyId {
        self.kid
    }

    /// Whose it is.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// For which period it was drawn.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The personal part of an entry; `None` when it was not sealed under this key for this very entry's boot and request.
    #[must_use]
    pub fn open_part(&self, entry: &Entry) -> Option<PersonalPart> {
        let (sealed, request) = (entry.sealed.as_ref()?, entry.req.as_ref()?);
        if sealed.kid != self.kid || entry.boot != self.boot {
            return None;
        }
        let mut bytes = Zeroizing::new(sealed.ct.as_bytes().to_vec());
        let aad = Aad::from(associated(self, &request.rid));
        let nonce = Nonce::assume_unique_for_key(*sealed.n.as_bytes());
        let plain = self.aead()?.open_in_place(nonce, aad, &mut bytes).ok()?;
        PersonalPart::from_bytes(plain)
    }

    fn aead(&self) -> Option<LessSafeKey> {
        // 32 bytes are a key of AES-256.
        UnboundKey::new(&AES_256_GCM, self.secret.expose()).ok().map(LessSafeKey::new)
    }
}

/// What is authenticated with a part. The entry's index is not known before the log assigns it; the request's id is unique within a boot.
fn associated(key: &OpenedKey, request: &RequestId) -> Vec<u8> {
    [AAD_LABEL, key.boot.as_bytes(), key.kid.as_bytes(), request.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_tenant_or_one_of_its_keys() {
        for text in ["clinic", "clinic/0123456789ab", "a/b", "a/b/0123456789ab"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert_eq!("clinic/0123456789ab".parse::<Subject>().unwrap().tenant.as_str(), "clinic");
        assert_eq!("a/b".parse::<Subject>().unwrap().key, None);
        for text in ["", " ", "/0123456789ab"] {
            assert_eq!(text.parse::<Subject>(), Err(SubjectError), "{text}");
        }
    }

    #[test]
    fn periods_are_of_ninety_days() {
        assert_eq!(Period::of(-1), Period(0));
        assert_eq!(Period::of(PERIOD_NS - 1), Period(0));
        assert_eq!(Period::of(PERIOD_NS), Period(1));
    }

    #[test]
    fn a_key_that_is_used_up_seals_nothing_more() {
        let subject: Subject = "clinic".parse().unwrap();
        let mut key = SubjectKey::generate(BootId::new([1; 16]), subject, Period(1)).unwrap();
        let rid = RequestId::new("r1").unwrap();
        let one = key.seal(&PersonalPart::default(), &rid).unwrap();
        let two = key.seal(&PersonalPart::default(), &rid).unwrap();
        assert!(one.n != two.n && one.ct != two.ct);
        key.sealed = u32::MAX;
        assert_eq!(key.seal(&PersonalPart::default(), &rid), Err(SealError::UsedUp));
    }
}
