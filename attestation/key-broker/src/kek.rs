//! Key-encryption keys: everything secret in the broker's state is wrapped under one of them.
//!
//! A [`Keyring`] holds the keys that a broker knows. It wraps under one of them, the primary, and unwraps under
//! whichever a [`Blob`] names. Where a key lives is the business of a [`Backend`]: in a file, sealed under a
//! credential and shared among people for recovery ([`file`], [`share`]); in an HSM ([`pkcs11`]); or in OpenBao or
//! Vault ([`transit`]). Each secret goes to the backend itself, so that an HSM sees, counts and can stop every
//! release; there is no data key in between that would open everything once it was seen.
//!
//! Promised: what a backend gives back is compared with a commitment before anybody sees it; a wrapped secret opens
//! in its own [`Place`] only; every call of a remote backend ends by a deadline and few wait at a time; trouble with a
//! backend is told apart from a secret that does not open, and neither is ever a refusal of a guest.
//!
//! This module does *not* decide who gets a key, and it stores no blob.

#[cfg(feature = "pkcs11")]
mod backoff;
mod blob;
pub mod bulkhead;
mod error;
pub mod file;
mod id;
mod keyring;
mod local;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod settings;

pub mod shamir;
pub mod share;
pub mod transit;

pub use blob::{Blob, BlobError, MAX_SECRET_BYTES};
pub use error::{BackendError, KekError};
pub use id::{IdError, KekId};
pub use keyring::{Health, Keyring, Member, Target};
pub use local::LocalKey;

use keyring::commitment;
use zeroize::Zeroizing;

/// Separates these uses of a key from any other.
const DOMAIN: &[u8] = b"anchorhold/key-broker/v1/wrapped";

/// Where a wrapped secret belongs. It is bound into the wrapping, so no secret can stand in for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The kind of secret.
    pub kind: &'a str,
    /// Which one of its kind.
    pub name: &'a [u8],
}

/// What a backend binds a secret to: a digest of the key's id, the [`Place`] and the secret's commitment. One short
/// length suits the associated data of every HSM, and no name of a model reaches a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context([u8; Self::LEN]);

impl Context {
    /// The length in bytes.
    pub const LEN: usize = 32;

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// What a backend made of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The version of the key that it is under, from 1.
    pub version: u32,
    /// In the backend's own form.
    pub bytes: Vec<u8>,
}

/// What is to be destroyed of a key, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destroy {
    /// All of it.
    Key,
    /// The versions below this one, where a backend has versions.
    VersionsBelow(u32),
}

/// Where one key-encryption key lives and is used. The keyring brings deadlines, commitments and the form on disk.
///
/// An implementation may block; the keyring calls remote ones on a thread of their own. It never returns part of a
/// secret, and it wipes what it copies.
pub trait Backend: Send + Sync {
    /// Wraps `plain`, bound to `context`.
    ///
    /// # Errors
    /// [`BackendError`].
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError>;

    /// Unwraps what [`wrap`](Self::wrap) made for the same context.
    ///
    /// # Errors
    /// [`BackendError::Open`] when the backend works and this was not wrapped by it in this context; otherwise the
    /// trouble that the backend has.
    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError>;

    /// Wraps under the newest version what is under an older one.
    ///
    /// # Errors
    /// As [`unwrap`](Self::unwrap).
    fn rewrap(&self, context: &Context, sealed: &Sealed) -> Result<Sealed, BackendError> {
        self.wrap(context, &self.unwrap(context, sealed)?)
    }

    /// The version that [`wrap`](Self::wrap) uses now. Looks at the key: one that could leave the backend in the clear,
    /// or that does not bind a context, is refused.
    ///
    /// # Errors
    /// [`BackendError`].
    fn version(&self) -> Result<u32, BackendError>;

    /// Makes a new version, which [`wrap`](Self::wrap) uses from then on, and names it.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where a key has one version.
    fn rotate(&self) -> Result<u32, BackendError> {
        Err(BackendError::Unsupported { what: "versions of a key" })
    }

    /// Destroys the key, or versions of it.
    ///
    /// # Errors
    /// [`BackendError`]; what is left then still works.
    fn destroy(&self, what: Destroy) -> Result<(), BackendError>;

    /// What has to be done from time to time, such as the renewal of a credential. Called about once a second.
    ///
    /// # Errors
    /// [`BackendError`]; it is tried again.
    fn upkeep(&self) -> Result<(), BackendError> {
        Ok(())
    }
}
