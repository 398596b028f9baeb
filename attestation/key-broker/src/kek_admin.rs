//! What the operator asks about key-encryption keys, and what is answered. Both cross the admin socket as JSON.
//!
//! | request | may be cut off anywhere, because |
//! |---|---|
//! | `add`, `promote` | until `kek.toml` names the key, or names it the primary, nothing is under it; then new secrets are |
//! | `rewrap` | every secret says itself which key it is under; the next run goes on |
//! | `retire` | the state notes first that nothing is and nothing will be under the key; the next run destroys it |
//!
//! Brokers that share a state have a `kek.toml` each. A key is added to all of them on standby before one promotes it, and the
//! note of a retirement is in the shared state, where every storing of a secret looks at it.

use crate::kek::settings::{Origin, Role, Settings, SettingsError, WrittenKek};
use crate::kek::share::{MAX_SHARE_BYTES, Scheme, Share, ShareError};
use crate::kek::{KekError, KekId, file};
use crate::layout::make_private_folder;
use crate::ledger::LedgerError;
use crate::store::StoreError;
use anchorhold_rats::base64_bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What becomes of a key that is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The broker destroys it.
    Destroyed,
    /// The broker forgets it; whoever runs its backend destroys it.
    Left,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum KekRequest {
    /// Which keys there are, how they do, and how many secrets are under each.
    List {},
    /// A new key.
    Add {
        /// The key.
        kek: Box<WrittenKek>,
        /// Where it comes from.
        origin: Origin,
        /// What it is for.
        role: Role,
        /// The folder for its shares, and how many; for a key in a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shares: Option<ShareOrder>,
    },
    /// New secrets are wrapped under this key from now on.
    Promote {
        /// The key.
        id: KekId,
    },
    /// A new version of a key, in a backend with versions.
    Rotate {
        /// The key.
        id: KekId,
    },
    /// The next few secrets go under the primary, in its newest version. A run is asked for page by page, so that nothing
    /// else that the operator asks has to wait for all of it.
    Rewrap {
        /// Where the last page ended; nothing to begin.
        #[serde(with = "base64_bytes", default, skip_serializing_if = "Vec::is_empty")]
        after: Vec<u8>,
    },
    /// A key, or its old versions, open nothing any more.
    Retire {
        /// The key.
        id: KekId,
        /// Only the versions below this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        below: Option<u32>,
        /// What becomes of it.
        fate: Fate,
    },
}

/// Shares that are to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareOrder {
    /// How many, and how many recover the key: `3-of-5`.
    pub scheme: String,
    /// Where the files go. They are not overwritten.
    pub folder: PathBuf,
}

impl ShareOrder {
    /// The scheme.
    ///
    /// # Errors
    /// [`SettingsError::Share`].
    pub fn scheme(&self) -> Result<Scheme, SettingsError> {
        Ok(self.scheme.parse()?)
    }

    /// Writes shares as files that only their owner may read, one each.
    ///
    /// # Errors
    /// The file system; a file that is there is not overwritten.
    pub fn write(&self, kek: &KekId, shares: &[Share]) -> io::Result<Vec<PathBuf>> {
        make_private_folder(&self.folder)?;
        let write = |share: &Share| {
            let path = self.folder.join(format!("share-{kek}-{}.txt", share.index()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(share.to_text().as_bytes())?;
            file.sync_all()?;
            Ok(path)
        };
        shares.iter().map(write).collect()
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "lowercase", deny_unknown_fields)]
pub enum KekReply {
    /// The keys.
    List {
        /// By id.
        keks: Vec<Listed>,
        /// Ids that are never used again.
        retired: Vec<KekId>,
        /// Stored bytes that are no wrapped secret.
        unreadable: u64,
    },
    /// The key is there.
    Add {
        /// The key.
        id: KekId,
        /// Files with its shares.
        shares: Vec<PathBuf>,
    },
    /// The key is the primary.
    Promote {
        /// The key.
        id: KekId,
    },
    /// The key has a new version.
    Rotate {
        /// Which.
        version: u32,
    },
    /// Secrets were wrapped anew.
    Rewrap {
        /// How many.
        renewed: u64,
        /// Those that do not open, with the reason.
        failed: Vec<String>,
        /// Where the next page begins; nothing at the end.
        #[serde(with = "base64_bytes", default, skip_serializing_if = "Vec::is_empty")]
        next: Vec<u8>,
    },
    /// The key is no more.
    Retire {
        /// The key.
        id: KekId,
    },
}

/// One key of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The key.
    pub id: KekId,
    /// Whether new secrets are wrapped under it.
    pub primary: bool,
    /// Its version, when it works.
    pub version: Option<u32>,
    /// What is wrong with it, when it does not.
    pub trouble: Option<String>,
    /// How many secrets are under it.
    pub secrets: u64,
}

/// Why a change was not made.
#[derive(Debug)]
pub enum KekAdminError {
    /// The settings or the key.
    Settings(SettingsError),
    /// The key.
    Kek(KekError),
    /// The state or the log.
    Ledger(LedgerError),
    /// The broker's keys are not those of a `kek.toml`.
    NoSettings,
    /// The request names no place in the state.
    Cursor,
    /// The shares' files.
    Shares(io::Error),
    /// New secrets are wrapped under this key.
    Primary,
    /// Secrets are under what was to be retired.
    InUse {
        /// How many.
        secrets: u64,
    },
}

impl fmt::Display for KekAdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Kek(error) => error.fmt(f),
            Self::Ledger(error) => error.fmt(f),
            Self::NoSettings => f.write_str("the broker's key-encryption keys are not those of a kek.toml"),
            Self::Cursor => f.write_str("no place in the state"),
            Self::Shares(error) => write!(f, "files of the shares: {error}"),
            Self::Primary => f.write_str("new secrets are wrapped under this key: add another one first"),
            Self::InUse { secrets } => {
                write!(f, "{secrets} secrets are under it or cannot be read: rewrap first")
            }
        }
    }
}

impl std::error::Error for KekAdminError {}

impl From<SettingsError> for KekAdminError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<KekError> for KekAdminError {
    fn from(error: KekError) -> Self {
        Self::Kek(error)
    }
}

impl From<LedgerError> for KekAdminError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<StoreError> for KekAdminError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Reads the shares in these files.
///
/// # Errors
/// [`SettingsError`] with the first that is none.
pub fn read_shares(paths: &[PathBuf]) -> Result<Vec<Share>, SettingsError> {
    let read = |path: &PathBuf| {
        let bytes = file::read(path, MAX_SHARE_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ShareError::Text)?;
        Ok(Share::from_text(text)?)
    };
    paths.iter().map(read).collect()
}

/// Writes the files of a key in the state folder anew from its shares. No broker may run on it.
///
/// # Errors
/// [`SettingsError`].
pub fn recover(folder: &Path, id: &KekId, shares: &[PathBuf]) -> Result<(), SettingsError> {
    let settings = Settings::read(folder)?;
    let kek = settings.kek(id).ok_or(SettingsError::Ring { wanted: "the id of one of the keys" })?;
    kek.recover(folder, &read_shares(shares)?)
}
