//! What the broker remembers: wrapped keys, the policy, used nonces, leases. One file, one writer.
//!
//! Every change is one transaction that is on disk before the function returns (redb's `Durability::Immediate`).
//! The disk is trusted to keep what it acknowledged, not to keep secrets: those are wrapped under the [`Kek`].
//! A disk that is set back forgets revocations and used nonces; see `SECURITY.md`.

use crate::kek::{Kek, KekError, Place};
use anchorhold_key_release::{Grant, InstanceId, ModelId, WeightsKeyTerms};
use anchorhold_rats::{Nonce, Secret, Timestamp};
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Wrapped secrets of the broker itself, by kind.
const SECRETS: TableDefinition<&str, &[u8]> = TableDefinition::new("secrets");
/// The policy file and its version.
const POLICY: TableDefinition<(), (u64, &str)> = TableDefinition::new("policy");
type ModelKey = (&'static str, u64);
type ModelRow = (&'static [u8], &'static [u8]);
/// Terms (JSON) and wrapped key of each model version.
const MODELS: TableDefinition<ModelKey, ModelRow> = TableDefinition::new("models");
/// Used nonces. A nonce begins with its expiry, so they lie in the order in which they expire.
const NONCES: TableDefinition<&[u8], ()> = TableDefinition::new("nonces");
/// Until which second nonces were forgotten. None that expired before is ever taken.
const FORGOTTEN: TableDefinition<(), i64> = TableDefinition::new("forgotten");
/// The end of each instance's lease, by grant.
const LEASES: TableDefinition<(&str, &[u8]), i64> = TableDefinition::new("leases");

/// The most used nonces that are remembered. Each belongs to evidence that passed, within two minutes.
const MAX_NONCES: u64 = 65_536;
/// How long after its expiry a used nonce is remembered, in seconds.
const NONCE_SLACK_S: i64 = 60;
/// The most versions that one model may have.
const MAX_VERSIONS: usize = 1024;
/// How many bytes of the store are kept in memory at most.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Why the state did not do what was asked.
#[derive(Debug)]
pub enum StateError {
    /// There is a state already.
    Exists,
    /// Another process has the state.
    Locked,
    /// The store.
    Store(Box<redb::Error>),
    /// The file system.
    Io(io::Error),
    /// A secret does not open.
    Kek(KekError),
    /// What is stored is not what this version writes.
    Corrupt(&'static str),
    /// A model's version is there already, with another key or manifest.
    VersionTaken {
        /// The version.
        version: u64,
    },
    /// A model has as many versions as may be.
    TooManyVersions,
    /// The policy in force is not older than the one that came.
    PolicyVersion {
        /// The version in force.
        current: u64,
        /// The version that came.
        observed: u64,
    },
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("the folder holds a broker's state already"),
            Self::Locked => f.write_str("another process has the broker's state"),
            Self::Store(error) => write!(f, "store: {error}"),
            Self::Io(error) => write!(f, "state folder: {error}"),
            Self::Kek(error) => error.fmt(f),
            Self::Corrupt(what) => write!(f, "the stored {what} is not what this version writes"),
            Self::VersionTaken { version } => {
                write!(f, "version {version} of the model is there already, with another key or manifest")
            }
            Self::TooManyVersions => {
                write!(f, "the model has {MAX_VERSIONS} versions, the most there may be")
            }
            Self::PolicyVersion { current, observed } => {
                write!(f, "policy version {observed} is not above {current}, the one in force")
            }
        }
    }
}

impl std::error::Error for StateError {}

impl From<KekError> for StateError {
    fn from(error: KekError) -> Self {
        Self::Kek(error)
    }
}

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

macro_rules! from_redb {
    ($($kind:ident),+) => {
        $(impl From<redb::$kind> for StateError {
            fn from(error: redb::$kind) -> Self {
                Self::Store(Box::new(error.into()))
            }
        })+
    };
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// How an attempt to use a nonce up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It was unused, and is used now.
    Fresh,
    /// It was used before, or expired so long ago that this is not known any more.
    Before,
    /// As many as may be are remembered already; it was not used up.
    Full,
    /// The grant has no room for another instance; the nonce is used up.
    NoRoom {
        /// How many other instances hold a lease.
        live: u64,
    },
}

/// The paths inside a state folder.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// The layout of the folder `state`.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self(state.to_owned())
    }

    /// The key-encryption key.
    #[must_use]
    pub fn kek(&self) -> PathBuf {
        self.0.join("kek")
    }

    /// The TLS certificate, public.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.join("tls-certificate.pem")
    }

    /// The audit logs, one folder for each start.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    fn database(&self) -> PathBuf {
        self.0.join("broker.redb")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
}

/// The broker's state, held by this process alone until drop.
#[derive(Debug)]
pub struct State {
    database: Database,
    kek: Kek,
    /// Holds the lock.
    _lock: File,
}

impl State {
    /// Makes a state in `layout`, with one wrapped secret of 32 bytes for each of `secrets`.
    ///
    /// # Errors
    /// [`StateError::Exists`] when there is one; otherwise the file system or the store.
    pub fn create(layout: &Layout, secrets: &[(&'static str, &[u8])]) -> Result<Self, StateError> {
        std::fs::create_dir_all(layout.logs())?;
        let lock = lock(&layout.lock())?;
        if layout.kek().exists() || layout.database().exists() {
            return Err(StateError::Exists);
        }
        let kek = Kek::create(&layout.kek())?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(layout.database())?;
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(SECRETS)?;
            for (kind, secret) in secrets {
                table.insert(*kind, kek.wrap(Place { kind, name: &[] }, secret)?.as_slice())?;
            }
            // Opened once, so that readers find every table.
            write.open_table(POLICY)?;
            write.open_table(MODELS)?;
            write.open_table(NONCES)?;
            write.open_table(FORGOTTEN)?;
            write.open_table(LEASES)?;
        }
        write.commit()?;
        File::open(&layout.0)?.sync_all()?;
        Ok(Self { database, kek, _lock: lock })
    }

    /// Opens the state in `layout`.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another process has it; otherwise the file system or the store.
    pub fn open(layout: &Layout) -> Result<Self, StateError> {
        let kek = Kek::open(&layout.kek())?;
        let lock = lock(&layout.lock())?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).open(layout.database())?;
        Ok(Self { database, kek, _lock: lock })
    }

    /// A secret of the broker itself.
    ///
    /// # Errors
    /// [`StateError::Kek`] when the key-encryption key is not the one it was wrapped under.
    pub fn secret(&self, kind: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, StateError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(SECRETS)?;
        let wrapped = table.get(kind)?.ok_or(StateError::Corrupt("secret"))?;
        Ok(self.kek.unwrap(Place { kind, name: &[] }, wrapped.value())?)
    }

    /// A secret of exactly 32 bytes.
    ///
    /// # Errors
    /// As [`secret`](Self::secret).
    pub fn secret_32(&self, kind: &'static str) -> Result<Secret<32>, StateError> {
        Secret::copy_from(&self.secret(kind)?).ok_or(StateError::Corrupt("secret"))
    }

    /// Stores a model version's key. The same file may come twice.
    ///
    /// # Errors
    /// [`StateError::VersionTaken`] when that version has another key or manifest.
    pub fn import(&self, terms: &WeightsKeyTerms, weights_key: &Secret<32>) -> Result<(), StateError> {
        let name = serde_json::to_vec(terms).map_err(|_| StateError::Corrupt("terms"))?;
        let key = (terms.model_id.as_str(), terms.version);
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(MODELS)?;
            if let Some(stored) = table.get(key)? {
                let (stored_name, wrapped) = stored.value();
                let same = stored_name == name.as_slice()
                    && self.kek.unwrap_secret::<32>(weights_key_place(&name), wrapped)? == *weights_key;
                return if same { Ok(()) } else { Err(StateError::VersionTaken { version: terms.version }) };
            }
            let range = (terms.model_id.as_str(), 0)..=(terms.model_id.as_str(), u64::MAX);
            if table.range(range)?.count() >= MAX_VERSIONS {
                return Err(StateError::TooManyVersions);
            }
            let wrapped = self.kek.wrap(weights_key_place(&name), weights_key.expose())?;
            table.insert(key, (name.as_slice(), wrapped.as_slice()))?;
        }
        Ok(write.commit()?)
    }

    /// The versions of a model that the broker has keys of; none for an id that is none.
    ///
    /// # Errors
    /// The store.
    pub fn versions(&self, model_id: &str) -> Result<Vec<WeightsKeyTerms>, StateError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(MODELS)?;
        let mut versions = Vec::new();
        for row in table.range((model_id, 0)..=(model_id, u64::MAX))? {
            let (_, value) = row?;
            let terms = serde_json::from_slice(value.value().0).map_err(|_| StateError::Corrupt("terms"))?;
            versions.push(terms);
        }
        Ok(versions)
    }

    /// The key of a model version. Establishes that it was stored for these very terms.
    ///
    /// # Errors
    /// [`StateError`] when it is gone or does not open.
    pub fn weights_key(&self, model_id: &ModelId, version: u64) -> Result<Secret<32>, StateError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(MODELS)?;
        let row = table.get((model_id.as_str(), version))?.ok_or(StateError::Corrupt("model"))?;
        let (name, wrapped) = row.value();
        Ok(self.kek.unwrap_secret(weights_key_place(name), wrapped)?)
    }

    /// The policy file in force, if there is one.
    ///
    /// # Errors
    /// The store.
    pub fn policy(&self) -> Result<Option<String>, StateError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(POLICY)?;
        Ok(table.get(())?.map(|row| row.value().1.to_owned()))
    }

    /// Puts a policy in force if its version is above the one in force, in one transaction.
    ///
    /// # Errors
    /// [`StateError::PolicyVersion`]; the policy in force stays.
    pub fn set_policy(&self, version: u64, file: &str) -> Result<(), StateError> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(POLICY)?;
            let current = table.get(())?.map(|row| row.value().0);
            if let Some(current) = current.filter(|current| version <= *current) {
                return Err(StateError::PolicyVersion { current, observed: version });
            }
            table.insert((), (version, file))?;
        }
        Ok(write.commit()?)
    }

    /// Whether a nonce was used. A cheap look before the dear verification; [`spend`](Self::spend) decides.
    ///
    /// # Errors
    /// The store.
    pub fn is_used(&self, nonce: &Nonce) -> Result<bool, StateError> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(NONCES)?.get(nonce.as_bytes().as_slice())?.is_some())
    }

    /// Uses `nonce` up, and for a `grant` takes a lease, in one transaction. Expired nonces and leases are
    /// forgotten on the way.
    ///
    /// # Errors
    /// The store; nothing has changed then.
    pub fn spend(
        &self,
        nonce: &Nonce,
        expires: Timestamp,
        grant: Option<&Grant>,
        at: Timestamp,
    ) -> Result<Spent, StateError> {
        let write = self.database.begin_write()?;
        let spent = {
            let mut forgotten = write.open_table(FORGOTTEN)?;
            let before = forgotten.get(())?.map_or(0, |row| row.value());
            let mut nonces = write.open_table(NONCES)?;
            if expires.unix_seconds() <= before || nonces.get(nonce.as_bytes().as_slice())?.is_some() {
                return Ok(Spent::Before);
            }
            let limit = at.plus_seconds(-NONCE_SLACK_S).unix_seconds();
            if limit > before {
                let end = limit.saturating_add(1).to_be_bytes();
                nonces.retain_in::<&[u8], _>(..end.as_slice(), |_, ()| false)?;
                forgotten.insert((), limit)?;
            }
            if nonces.len()? >= MAX_NONCES {
                return Ok(Spent::Full);
            }
            nonces.insert(nonce.as_bytes().as_slice(), ())?;
            match grant {
                Some(grant) => lease(&mut write.open_table(LEASES)?, grant, at)?,
                None => Spent::Fresh,
            }
        };
        write.commit()?;
        Ok(spent)
    }

    /// The instances that hold a lease of `grant` at `at`.
    ///
    /// # Errors
    /// The store.
    pub fn leases(&self, grant: &str, at: Timestamp) -> Result<u64, StateError> {
        let read = self.database.begin_read()?;
        count_leases(&read.open_table(LEASES)?, grant, None, at)
    }
}

fn weights_key_place(name: &[u8]) -> Place<'_> {
    Place { kind: "weights key", name }
}

const FIRST_INSTANCE: &[u8] = &[0; 16];
const LAST_INSTANCE: &[u8] = &[0xff; 16];

fn count_leases(
    table: &impl ReadableTable<(&'static str, &'static [u8]), i64>,
    grant: &str,
    except: Option<InstanceId>,
    at: Timestamp,
) -> Result<u64, StateError> {
    let mut live = 0;
    for row in table.range((grant, FIRST_INSTANCE)..=(grant, LAST_INSTANCE))? {
        let (key, end) = row?;
        let other = except.is_none_or(|id| id.as_bytes().as_slice() != key.value().1);
        live += u64::from(other && end.value() > at.unix_seconds());
    }
    Ok(live)
}

type LeaseTable<'txn> = redb::Table<'txn, (&'static str, &'static [u8]), i64>;

fn lease(table: &mut LeaseTable<'_>, grant: &Grant, at: Timestamp) -> Result<Spent, StateError> {
    table.retain(|_, end| end > at.unix_seconds())?;
    let live = count_leases(table, grant.name(), Some(grant.instance_id()), at)?;
    if live >= u64::from(grant.max_instances()) {
        return Ok(Spent::NoRoom { live });
    }
    let end = at.plus_seconds(i64::from(grant.terms().lease_s)).unix_seconds();
    table.insert((grant.name(), grant.instance_id().as_bytes().as_slice()), end)?;
    Ok(Spent::Fresh)
}

fn lock(path: &Path) -> Result<File, StateError> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::Locked),
        Err(TryLockError::Error(error)) => Err(StateError::Io(error)),
    }
}
