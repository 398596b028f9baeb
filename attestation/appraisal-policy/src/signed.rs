//! The signed form: a DSSE envelope over the exact bytes of the file.

use crate::header::NotInForce;
use crate::{AppraisalProfile, Header, MachineList, PolicyError, Reader, ReferenceValues, reference};
use anchorhold_dsse::{SigningKey, TrustedSigners};
use anchorhold_rats::Timestamp;
use std::fmt;

/// The payload type of signed profiles.
pub const PROFILE_TYPE: &str = "application/vnd.anchorhold.appraisal-policy.v1+toml";
/// The payload type of signed machine lists.
pub const MACHINE_LIST_TYPE: &str = "application/vnd.anchorhold.machine-list.v1+toml";
/// The payload type of signed reference values.
pub const REFERENCE_VALUES_TYPE: &str = "application/vnd.anchorhold.reference-values.v1+toml";

/// A file of this crate that can be signed: [`AppraisalProfile`], [`MachineList`] or [`ReferenceValues`].
pub trait Document: Sized + sealed::Sealed {
    /// Under which payload type it is signed, so that a signature on one kind of file is none on another.
    const PAYLOAD_TYPE: &'static str;

    /// Reads the file.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key.
    fn read(text: &str) -> Result<Self, PolicyError>;

    /// Name, version and time.
    fn header(&self) -> &Header;
}

mod sealed {
    /// Keeps [`super::Document`] to this crate.
    pub trait Sealed {}
}

impl sealed::Sealed for AppraisalProfile {}
impl Document for AppraisalProfile {
    const PAYLOAD_TYPE: &'static str = PROFILE_TYPE;

    fn read(text: &str) -> Result<Self, PolicyError> {
        Self::from_toml(text)
    }

    fn header(&self) -> &Header {
        self.header()
    }
}

impl sealed::Sealed for MachineList {}
impl Document for MachineList {
    const PAYLOAD_TYPE: &'static str = MACHINE_LIST_TYPE;

    fn read(text: &str) -> Result<Self, PolicyError> {
        Self::from_toml(text)
    }

    fn header(&self) -> &Header {
        self.header()
    }
}

impl sealed::Sealed for ReferenceValues {}
impl Document for ReferenceValues {
    const PAYLOAD_TYPE: &'static str = REFERENCE_VALUES_TYPE;

    fn read(text: &str) -> Result<Self, PolicyError> {
        Self::from_toml(text)
    }

    fn header(&self) -> &Header {
        &self.header
    }
}

/// Why a signed file was refused, or not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedError {
    /// The envelope or its signatures.
    Envelope(anchorhold_dsse::Error),
    /// The signed bytes are no text.
    NotUtf8,
    /// The signed text is not the file that it should be.
    Policy(PolicyError),
    /// The file does not hold at the time.
    NotInForce(NotInForce),
}

impl fmt::Display for SignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("signed payload is not UTF-8 text"),
            Self::Policy(error) => error.fmt(f),
            Self::NotInForce(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SignedError {}

impl From<anchorhold_dsse::Error> for SignedError {
    fn from(error: anchorhold_dsse::Error) -> Self {
        Self::Envelope(error)
    }
}

impl From<PolicyError> for SignedError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

/// A file that enough trusted signers signed, and that held when it was verified. Made only by [`verify_signed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDocument<T> {
    document: T,
    signers: Vec<[u8; 32]>,
}

impl<T> VerifiedDocument<T> {
    /// The file.
    #[must_use]
    pub const fn document(&self) -> &T {
        &self.document
    }

    /// The file, by value.
    #[must_use]
    pub fn into_document(self) -> T {
        self.document
    }

    /// The raw Ed25519 public keys of those who signed.
    #[must_use]
    pub fn signers(&self) -> &[[u8; 32]] {
        &self.signers
    }
}

/// Reads a signed file.
///
/// Establishes that at least the threshold of `trusted` signed exactly these bytes as a file of this kind, that every rule
/// of the format holds, and that the file is in force at `at`. Presumes that `at` is the caller's honest time, and says
/// nothing about whether there is a newer version: a caller that has seen one refuses this one by
/// [`Header::version`].
///
/// # Errors
/// [`SignedError`], naming the rule.
pub fn verify_signed<T: Document>(
    bytes: &[u8],
    trusted: &TrustedSigners,
    at: Timestamp,
) -> Result<VerifiedDocument<T>, SignedError> {
    let verified = anchorhold_dsse::verify(bytes, T::PAYLOAD_TYPE, trusted)?;
    let text = std::str::from_utf8(verified.payload()).map_err(|_| SignedError::NotUtf8)?;
    let document = T::read(text)?;
    document.header().require_at(at).map_err(SignedError::NotInForce)?;
    Ok(VerifiedDocument { document, signers: verified.signers().to_vec() })
}

/// The envelope of a file, signed by each of `keys`. What a reader would refuse is refused here already.
///
/// # Errors
/// [`SignedError`] when the text is no such file or nothing signs it.
pub fn sign<T: Document>(text: &str, keys: &[&SigningKey]) -> Result<Vec<u8>, SignedError> {
    T::read(text)?;
    Ok(anchorhold_dsse::sign(T::PAYLOAD_TYPE, text.as_bytes(), keys)?)
}

/// What a TOML file says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A release policy, which `anchorhold-key-release` reads: it begins with `policy`.
    ReleasePolicy,
    /// An [`AppraisalProfile`]: it has a `format` and no `kind`.
    Profile,
    /// A [`MachineList`]: it has another `kind`.
    MachineList,
    /// [`ReferenceValues`]: its `kind` says so.
    ReferenceValues,
    /// Who may sign release policies, which `anchorhold-key-release` reads: it begins with `signers`.
    SignerSet,
}

impl FileKind {
    /// Tells the kinds of policy files apart by one key. A file that is none of them counts as a release policy, whose
    /// reader then says what is wrong.
    ///
    /// # Errors
    /// [`PolicyError`] when the text is too long or not TOML.
    pub fn of(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        if file.has("signers") && !file.has("policy") {
            return Ok(Self::SignerSet);
        }
        Ok(match (file.has("policy"), file.has("kind"), file.has("format")) {
            (false, true, _) if file.take_word("kind", reference::KIND) => Self::ReferenceValues,
            (false, true, _) => Self::MachineList,
            (false, false, true) => Self::Profile,
            _ => Self::ReleasePolicy,
        })
    }
}
