//! What the broker remembers: wrapped keys, the policy, used nonces, leases. One file, one writer.
//!
//! Every change is one transaction that is on disk before the function returns (redb's `Durability::Immediate`).
//! The disk is trusted to keep what it acknowledged, not to keep secrets: those are wrapped under the keys of a [`Keyring`].
//! A disk that is set back forgets revocations and used nonces; see `SECURITY.md`.

mod rotation;

pub use rotation::{Census, Page, StoredKey};

use crate::kek::settings::{Origin, Settings, SettingsError, WrittenKek};
use crate::kek::share::{Scheme, Share};
use crate::kek::{KekError, Keyring, Place};
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
/// Key-encryption keys, each with the version below which nothing is stored any more, nor ever will be.
const RETIRED_KEKS: TableDefinition<&str, u32> = TableDefinition::new("retired keks");
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
    /// There are no key-encryption keys.
    Settings(SettingsError),
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
            Self::Settings(error) => error.fmt(f),
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

impl From<SettingsError> for StateError {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
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

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
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
    keyring: Keyring,
    /// Holds the lock.
    _lock: File,
}

impl State {
    /// Makes a state in `layout` with a key-encryption key in a file beside it, and one wrapped secret for each of
    /// `secrets`.
    ///
    /// # Errors
    /// As [`create_with`](Self::create_with).
    pub fn create(layout: &Layout, secrets: &[(&'static str, &[u8])]) -> Result<Self, StateError> {
        let settings = Settings::file_beside_state();
        let [kek] = settings.keks() else { return Err(StateError::Corrupt("kek.toml")) };
        Ok(Self::create_with(layout, kek, (Origin::Fresh, None), secrets)?.0)
    }

    /// Makes a state in `layout` under the key-encryption key `kek`, which is made or found, with one wrapped secret for
    /// each of `secrets`. Returns the key's shares, if any were asked for.
    ///
    /// # Errors
    /// [`StateError::Exists`] when there is one; otherwise the key, the file system or the store.
    pub fn create_with(
        layout: &Layout,
        kek: &WrittenKek,
        (origin, shares): (Origin, Option<Scheme>),
        secrets: &[(&'static str, &[u8])],
    ) -> Result<(Self, Vec<Share>), StateError> {
        std::fs::create_dir_all(layout.logs())?;
        let lock = lock(&layout.lock())?;
        if Settings::path(layout.folder()).exists() || layout.database().exists() {
            return Err(StateError::Exists);
        }
        let (member, shares) = kek.obtain(layout.folder(), origin, shares)?;
        Settings::of(kek.clone()).write(layout.folder())?;
        let keyring = Keyring::new(member);
        let wrapped = secrets
            .iter()
            .map(|(kind, secret)| Ok((*kind, keyring.wrap(Place { kind, name: &[] }, secret)?)))
            .collect::<Result<Vec<_>, KekError>>()?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(layout.database())?;
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(SECRETS)?;
            for (kind, wrapped) in &wrapped {
                table.insert(*kind, wrapped.as_slice())?;
            }
            // Opened once, so that readers find every table.
            write.open_table(POLICY)?;
            write.open_table(MODELS)?;
            write.open_table(NONCES)?;
            write.open_table(FORGOTTEN)?;
            write.open_table(LEASES)?;
            write.open_table(RETIRED_KEKS)?;
        }
        write.commit()?;
        File::open(&layout.0)?.sync_all()?;
        Ok((Self { database, keyring, _lock: lock }, shares))
    }

    /// Opens the state in `layout` with the key-encryption keys of its `kek.toml`.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with), and the keys.
    pub fn open(layout: &Layout) -> Result<Self, StateError> {
        let keyring = Settings::read(layout.folder())?.open(layout.folder(), &|_| {})?;
        Self::open_with(layout, keyring)
    }

    /// Opens the state in `layout` with these key-encryption keys.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another process has it; otherwise the file system or the store.
    pub fn open_with(layout: &Layout, keyring: Keyring) -> Result<Self, StateError> {
        let lock = lock(&layout.lock())?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).open(layout.database())?;
        Ok(Self { database, keyring, _lock: lock })
    }

    /// The key-encryption keys.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A secret of the broker itself.
    ///
    /// # Errors
    /// [`StateError::Kek`] when the key-encryption key is not the one it was wrapped under.
    pub fn secret(&self, kind: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, StateError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(SECRETS)?;
        let wrapped = table.get(kind)?.ok_or(StateError::Corrupt("secret"))?;
        Ok(self.keyring.unwrap(Place { kind, name: &[] }, wrapped.value())?)
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
    /// The key-encryption key is asked outside of any transaction, so one that is slow keeps nobody from the store.
    ///
    /// # Errors
    /// [`StateError::VersionTaken`] when that version has another key or manifest.
    pub fn import(&self, terms: &WeightsKeyTerms, weights_key: &Secret<32>) -> Result<(), StateError> {
        let name = serde_json::to_vec(terms).map_err(|_| StateError::Corrupt("terms"))?;
        let stored = {
            let read = self.database.begin_read()?;
            let row = read.open_table(MODELS)?.get((terms.model_id.as_str(), terms.version))?;
            row.map(|row| (row.value().0.to_vec(), row.value().1.to_vec()))
        };
        if let Some((stored_name, wrapped)) = stored {
            let same = stored_name == name
                && self.keyring.unwrap_secret::<32>(weights_key_place(&name), &wrapped)? == *weights_key;
            return if same { Ok(()) } else { Err(StateError::VersionTaken { version: terms.version }) };
        }
        let wrapped = self.keyring.wrap(weights_key_place(&name), weights_key.expose())?;
        self.insert_model(terms, &name, &wrapped)
    }

    fn insert_model(&self, terms: &WeightsKeyTerms, name: &[u8], wrapped: &[u8]) -> Result<(), StateError> {
        let key = (terms.model_id.as_str(), terms.version);
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(MODELS)?;
            if table.get(key)?.is_some() {
                // It came twice at one time; the other was first.
                return Err(StateError::VersionTaken { version: terms.version });
            }
            let range = (terms.model_id.as_str(), 0)..=(terms.model_id.as_str(), u64::MAX);
            if table.range(range)?.count() >= MAX_VERSIONS {
                return Err(StateError::TooManyVersions);
            }
            rotation::refuse_retired(&write.open_table(RETIRED_KEKS)?, wrapped)?;
            table.insert(key, (name, wrapped))?;
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
        Ok(self.keyring.unwrap_secret(weights_key_place(name), wrapped)?)
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
