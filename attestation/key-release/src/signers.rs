//! Who may sign release policies: a set of named keys, of which so many are needed. A set is replaced by a document that
//! the set itself signed.

use anchorhold_appraisal_policy::{PolicyError, Reader};
use anchorhold_dsse::{MAX_SIGNATURES, TrustedSigners};
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest};
use std::fmt;

/// The payload type of signed signer sets.
pub const SIGNER_SET_TYPE: &str = "application/vnd.anchorhold.release-signers.v1+toml";
/// The most signers of one set: half of what an envelope holds, so that an old set and a new one fit into one.
pub const MAX_SIGNERS: usize = MAX_SIGNATURES / 2;

/// One who may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySigner {
    /// What people call the holder.
    pub name: String,
    /// The public key.
    pub key: Ed25519PublicKey,
}

/// Who may sign release policies, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerSet {
    id: String,
    version: u64,
    threshold: usize,
    signers: Vec<PolicySigner>,
    text: String,
}

/// A signer set that takes the place of another, and who said so. Made only by [`SignerSet::rotate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    set: SignerSet,
    signed_by: Vec<Ed25519PublicKey>,
}

impl Rotation {
    /// The new set.
    #[must_use]
    pub const fn set(&self) -> &SignerSet {
        &self.set
    }

    /// The keys that signed it, of either set, in the order of their key ids.
    #[must_use]
    pub fn signed_by(&self) -> &[Ed25519PublicKey] {
        &self.signed_by
    }
}

/// Why a signer set does not take the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationError {
    /// The envelope or its signatures.
    Envelope(anchorhold_dsse::Error),
    /// The signed bytes are no text.
    NotUtf8,
    /// The signed text is no signer set.
    Malformed(PolicyError),
    /// A set of another name.
    OtherSet,
    /// A version that is not the next one.
    Version {
        /// The next one.
        wanted: u64,
        /// The version that came.
        observed: u64,
    },
    /// Fewer signers of the set in force signed than it demands.
    OldThreshold {
        /// How many it demands.
        wanted: usize,
        /// How many signed.
        observed: usize,
    },
    /// Fewer signers of the new set signed than it demands, so it may not be able to sign anything.
    NewThreshold {
        /// How many it demands.
        wanted: usize,
        /// How many signed.
        observed: usize,
    },
}

impl RotationError {
    /// The stable code, as the log writes it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Envelope(anchorhold_dsse::Error::DuplicateSigner { .. }) => "signers_duplicate_signer",
            Self::Envelope(anchorhold_dsse::Error::UnknownSigner { .. }) => "signers_wrong_signer",
            Self::Envelope(_) => "signers_signature",
            Self::NotUtf8 | Self::Malformed(_) => "signers_malformed",
            Self::OtherSet => "signers_other_set",
            Self::Version { .. } => "signers_not_next",
            Self::OldThreshold { .. } => "signers_too_few_old",
            Self::NewThreshold { .. } => "signers_too_few_new",
        }
    }
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("signed payload is not UTF-8 text"),
            Self::Malformed(error) => error.fmt(f),
            Self::OtherSet => f.write_str("the signer set has another name than the one in force"),
            Self::Version { wanted, observed } => {
                write!(f, "signer set is of version {observed}, wanted {wanted}, the next one")
            }
            Self::OldThreshold { wanted, observed } => {
                write!(f, "{observed} signers of the set in force signed, wanted at least {wanted}")
            }
            Self::NewThreshold { wanted, observed } => {
                write!(f, "{observed} signers of the new set signed, wanted at least {wanted}")
            }
        }
    }
}

impl std::error::Error for RotationError {}

impl SignerSet {
    /// Reads a signer set.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, of the wrong form, a name or key twice, or a threshold that
    /// the signers cannot meet.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        let id = file.name("signers")?;
        let version = file.number("version", "a whole number, 0 or more")?;
        let tables = file.tables("signer")?;
        if tables.len() > MAX_SIGNERS {
            return Err(file.wrong("signer", "at most 8 signers"));
        }
        let threshold = file.number("threshold", "a whole number from 1 to the number of signers")?;
        if threshold == 0 || threshold > tables.len() {
            return Err(file.wrong("threshold", "a whole number from 1 to the number of signers"));
        }
        let mut signers: Vec<PolicySigner> = Vec::new();
        for (at, mut table) in tables.into_iter().enumerate() {
            let signer = PolicySigner {
                name: table.name("name")?,
                key: table.parsed("key", "an Ed25519 public key, 32 bytes in hex")?,
            };
            table.finish()?;
            if signers.iter().any(|other| other.name == signer.name || other.key == signer.key) {
                let path = format!("signer[{at}]");
                return Err(PolicyError::Value { path, wanted: "of a name and key that stand only once" });
            }
            signers.push(signer);
        }
        file.finish()?;
        Ok(Self { id, version, threshold, signers, text: text.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its version; each set is one above the one that it replaces.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many of the signers must sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The signers in the order of the file.
    #[must_use]
    pub fn signers(&self) -> &[PolicySigner] {
        &self.signers
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.text.as_bytes())
    }

    /// Whose signatures count.
    ///
    /// # Panics
    /// Never: a set has as many different keys as it says, and a threshold that they can meet.
    #[must_use]
    pub fn trusted(&self) -> TrustedSigners {
        let keys: Vec<_> = self.signers.iter().map(|signer| *signer.key.as_bytes()).collect();
        TrustedSigners::of(&keys, self.threshold).expect("different keys, and a threshold among them")
    }

    /// The set that takes this one's place.
    ///
    /// Establishes that this set's threshold of its signers, and the new set's threshold of the new ones, signed exactly
    /// this document, and that it is the next version of this set. The second half keeps a mistyped key from locking everybody out.
    ///
    /// # Errors
    /// [`RotationError`]; this set stays in force.
    ///
    /// # Panics
    /// Never: two sets have at most as many keys as an envelope has room for.
    pub fn rotate(&self, envelope: &[u8]) -> Result<Rotation, RotationError> {
        let (_, payload) = anchorhold_dsse::unverified(envelope).map_err(RotationError::Envelope)?;
        let text = std::str::from_utf8(&payload).map_err(|_| RotationError::NotUtf8)?;
        let new = Self::from_toml(text).map_err(RotationError::Malformed)?;
        let mut keys: Vec<[u8; 32]> = Vec::new();
        for signer in self.signers.iter().chain(&new.signers) {
            if !keys.contains(signer.key.as_bytes()) {
                keys.push(*signer.key.as_bytes());
            }
        }
        let union =
            TrustedSigners::of(&keys, 1).expect("different keys, at least one and at most two sets of them");
        let verified =
            anchorhold_dsse::verify(envelope, SIGNER_SET_TYPE, &union).map_err(RotationError::Envelope)?;
        let signed = |set: &Self| {
            let keys = set.signers.iter().filter(|signer| verified.signers().contains(signer.key.as_bytes()));
            keys.count()
        };
        let (old_count, new_count) = (signed(self), signed(&new));
        if old_count < self.threshold {
            return Err(RotationError::OldThreshold { wanted: self.threshold, observed: old_count });
        }
        if new_count < new.threshold {
            return Err(RotationError::NewThreshold { wanted: new.threshold, observed: new_count });
        }
        if new.id != self.id {
            return Err(RotationError::OtherSet);
        }
        let wanted = self.version.saturating_add(1);
        if new.version != wanted {
            return Err(RotationError::Version { wanted, observed: new.version });
        }
        let signed_by = verified.signers().iter().copied().map(Ed25519PublicKey::new).collect();
        Ok(Rotation { set: new, signed_by })
    }
}

#[cfg(test)]
#[path = "signers_tests.rs"]
mod tests;
