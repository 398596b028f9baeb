//! Changes of the key-encryption keys while the broker serves: a new one comes, every secret goes under it, the old one is
//! destroyed.
//!
//! | request | may be cut off anywhere, because |
//! |---|---|
//! | `add` | until `kek.toml` names the key nothing is under it; then new secrets are |
//! | `rewrap` | every secret says itself which key it is under; the next run goes on |
//! | `retire` | the state notes first that nothing is and nothing will be under the key; the next run destroys it |
//!
//! Brokers that share a state have a `kek.toml` each. A key is added to all of them before one wraps under it, and the
//! note of a retirement is in the shared state, where every storing of a secret looks at it.

use crate::broker::Broker;
use crate::journal::{JournalError, model_and_key};
use crate::kek::settings::{Origin, Settings, SettingsError, WrittenKek};
use crate::kek::share::{Scheme, Share};
use crate::kek::{Destroy, Health, KekError, KekId};
use crate::state::{Layout, Page, StateError, StoredKey};
use anchorhold_audit_log::{Code, EventType, Key, KeyId, KeyOperation, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of a key that is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The broker destroys it.
    Destroyed,
    /// The broker forgets it; whoever runs its backend destroys it.
    Left,
}

/// What is asked. It crosses a socket as JSON, so that a command reaches the broker that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum KekRequest {
    /// Which keys there are, how they do, and how many secrets are under each.
    List {},
    /// A new key, under which secrets are wrapped from now on.
    Add {
        /// The key.
        kek: WrittenKek,
        /// Where it comes from.
        origin: Origin,
        /// The folder for its shares, and how many; for a key in a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shares: Option<ShareOrder>,
    },
    /// A new version of a key, in a backend with versions.
    Rotate {
        /// The key.
        id: KekId,
    },
    /// Every secret goes under the primary, in its newest version.
    Rewrap {},
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
        std::fs::create_dir_all(&self.folder)?;
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
    /// The key is there, and the primary.
    Add {
        /// The key.
        id: KekId,
        /// Files with its shares.
        shares: Vec<PathBuf>,
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
    /// The state.
    State(StateError),
    /// The log.
    Journal(JournalError),
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
            Self::State(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Shares(error) => write!(f, "files of the shares: {error}"),
            Self::Primary => f.write_str("new secrets are wrapped under this key: add another one first"),
            Self::InUse { secrets } => {
                write!(f, "{secrets} secrets are under it or cannot be read: rewrap first")
            }
        }
    }
}

impl std::error::Error for KekAdminError {}

macro_rules! from_errors {
    ($($variant:ident($kind:ty)),+) => {
        $(impl From<$kind> for KekAdminError {
            fn from(error: $kind) -> Self {
                Self::$variant(error)
            }
        })+
    };
}
from_errors!(Settings(SettingsError), Kek(KekError), State(StateError), Journal(JournalError));

/// Carries out changes, one at a time.
#[derive(Debug)]
pub struct KekAdmin {
    broker: Arc<Broker>,
    folder: PathBuf,
    /// Held over one change: `kek.toml` is read, judged and written under it.
    change: Mutex<()>,
}

impl KekAdmin {
    /// For the broker of the state in `layout`.
    #[must_use]
    pub fn new(broker: Arc<Broker>, layout: &Layout) -> Self {
        Self { broker, folder: layout.folder().to_owned(), change: Mutex::default() }
    }

    /// Carries out one request. Blocks for as long as the backends take.
    ///
    /// # Errors
    /// [`KekAdminError`].
    pub fn carry_out(&self, request: &KekRequest) -> Result<KekReply, KekAdminError> {
        // A panic leaves a change that is cut off, and every one of them may be.
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        match request {
            KekRequest::List {} => self.list(),
            KekRequest::Add { kek, origin, shares } => self.add(kek, *origin, shares.as_ref()),
            KekRequest::Rotate { id } => {
                let version = self.broker.state().keyring().member(id)?.call(|backend| backend.rotate())?;
                self.log(EventType::ConfigChange, id, KeyOperation::Rotate)?;
                Ok(KekReply::Rotate { version })
            }
            KekRequest::Rewrap {} => self.rewrap(),
            KekRequest::Retire { id, below: Some(below), fate } => self.retire_versions(id, *below, *fate),
            KekRequest::Retire { id, below: None, fate } => self.retire(id, *fate),
        }
    }

    fn list(&self) -> Result<KekReply, KekAdminError> {
        let (state, settings) = (self.broker.state(), Settings::read(&self.folder)?);
        let census = state.census()?;
        let listed = |health: Health| Listed {
            secrets: census.of(&health.kek, None),
            primary: health.primary,
            trouble: health.version.as_ref().err().map(ToString::to_string),
            version: health.version.ok(),
            id: health.kek,
        };
        let keks = state.keyring().health().into_iter().map(listed).collect();
        let retired = settings.retired().iter().cloned().collect();
        Ok(KekReply::List { keks, retired, unreadable: census.unreadable })
    }

    fn add(
        &self,
        kek: &WrittenKek,
        origin: Origin,
        shares: Option<&ShareOrder>,
    ) -> Result<KekReply, KekAdminError> {
        let settings = Settings::read(&self.folder)?.with_primary(kek.clone())?;
        let scheme = shares.map(ShareOrder::scheme).transpose()?;
        let (member, made) = kek.obtain(&self.folder, origin, scheme)?;
        member.health()?;
        let written = shares.map(|order| order.write(kek.id(), &made)).transpose();
        let written = match written {
            Ok(written) => written.unwrap_or_default(),
            Err(error) => {
                // Nothing is under the key yet, and without its shares it is not what was asked for.
                member.call(|backend| backend.destroy(Destroy::Key))?;
                return Err(KekAdminError::Shares(error));
            }
        };
        settings.write(&self.folder)?;
        let keyring = self.broker.state().keyring();
        let _ = keyring.add(member);
        keyring.set_primary(kek.id())?;
        self.log(EventType::ConfigChange, kek.id(), KeyOperation::Wrap)?;
        Ok(KekReply::Add { id: kek.id().clone(), shares: written })
    }

    fn rewrap(&self) -> Result<KekReply, KekAdminError> {
        let state = self.broker.state();
        let target = state.keyring().target()?;
        let (mut renewed, mut failed, mut after) = (0, Vec::new(), None);
        loop {
            let page = state.rewrap_page(&target, after.as_ref())?;
            self.log_page(&target.kek, &page)?;
            renewed += page.renewed.len() as u64;
            failed.extend(page.failed.iter().map(|(key, error)| format!("{key}: {error}")));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(KekReply::Rewrap { renewed, failed }),
            }
        }
    }

    fn log_page(&self, kek: &KekId, page: &Page) -> Result<(), KekAdminError> {
        for (key, terms) in &page.renewed {
            let mut event = self.broker.operator_event(EventType::KeyRotate, Outcome::Success, Code::OK);
            match terms {
                Some(terms) => (event.model, event.key) = model_and_key(terms, KeyOperation::Rotate),
                None => event.key = named(&key.to_string(), KeyOperation::Rotate),
            }
            if let Some(key) = event.key.as_mut() {
                key.kek = KeyId::new(kek.as_str()).ok();
            }
            self.broker.journal().append(event)?;
        }
        Ok(())
    }

    fn retire(&self, id: &KekId, fate: Fate) -> Result<KekReply, KekAdminError> {
        let (state, settings) = (self.broker.state(), Settings::read(&self.folder)?);
        if settings.primary() == id {
            return Err(KekAdminError::Primary);
        }
        let settings = settings.without(id)?;
        // One whose files are gone is not in the ring.
        let member = state.keyring().retire(id);
        let back = |error: KekAdminError| {
            if let Some(member) = member.clone() {
                state.keyring().reinstate(member);
            }
            error
        };
        match state.retire_kek(id, None) {
            Ok(Ok(())) => {}
            Ok(Err(secrets)) => return Err(back(KekAdminError::InUse { secrets })),
            Err(error) => return Err(back(error.into())),
        }
        let destroyed = match (&member, fate) {
            (Some(member), Fate::Destroyed) => {
                member.call(|backend| backend.destroy(Destroy::Key)).map_err(|error| back(error.into()))?;
                true
            }
            _ => false,
        };
        settings.write(&self.folder)?;
        let kind = if destroyed { EventType::KeyDestroy } else { EventType::ConfigChange };
        self.log(kind, id, KeyOperation::Destroy)?;
        Ok(KekReply::Retire { id: id.clone() })
    }

    fn retire_versions(&self, id: &KekId, below: u32, fate: Fate) -> Result<KekReply, KekAdminError> {
        let state = self.broker.state();
        let member = state.keyring().member(id)?;
        let newest = member.call(|backend| backend.version())?;
        if below > newest {
            return Err(KekAdminError::Primary);
        }
        if let Err(secrets) = state.retire_kek(id, Some(below))? {
            return Err(KekAdminError::InUse { secrets });
        }
        if fate == Fate::Destroyed {
            member.call(move |backend| backend.destroy(Destroy::VersionsBelow(below)))?;
            self.log(EventType::KeyDestroy, id, KeyOperation::Destroy)?;
        }
        Ok(KekReply::Retire { id: id.clone() })
    }

    fn log(&self, kind: EventType, id: &KekId, operation: KeyOperation) -> Result<(), JournalError> {
        let mut event = self.broker.operator_event(kind, Outcome::Success, Code::OK);
        event.key = named(id.as_str(), operation);
        self.broker.journal().append(event)
    }
}

fn named(id: &str, op: KeyOperation) -> Option<Key> {
    KeyId::new(id).ok().map(|kid| Key { kek: None, kid, op })
}

impl fmt::Display for StoredKey {
    /// The name of a secret in messages and entries: `broker/signing-seed`, or `acme/chat/7` for a weights key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(kind) => write!(f, "broker/{}", kind.replace(' ', "-")),
            Self::WeightsKey(model, version) => write!(f, "{model}/{version}"),
        }
    }
}

/// Reads the shares in these files.
///
/// # Errors
/// [`SettingsError`] with the first that is none.
pub fn read_shares(paths: &[PathBuf]) -> Result<Vec<Share>, SettingsError> {
    let read = |path: &PathBuf| {
        let bytes = crate::kek::file::read(path, crate::kek::share::MAX_SHARE_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| crate::kek::share::ShareError::Text)?;
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
