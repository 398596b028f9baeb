//! The store in one file, for one process: redb. Every change is on disk before it is acknowledged.

use super::{Change, Keys, Look, Row, Store, StoreError, Table, View, Work};
use redb::backends::FileBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction,
};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many bytes of the file are kept in memory at most.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// Why the file was not made or opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked,
    /// The file system.
    Io(io::Error),
    /// redb.
    Store(StoreError),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked => f.write_str("another process has the broker's state"),
            Self::Io(error) => write!(f, "state folder: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

macro_rules! from_redb {
    ($($kind:ident),+) => {
        $(impl From<redb::$kind> for StoreError {
            fn from(error: redb::$kind) -> Self {
                Self::Unreachable(Box::new(redb::Error::from(error)))
            }
        })+
    };
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError);

/// The file, held by this process alone until drop.
#[derive(Debug)]
pub struct Embedded {
    database: Database,
    /// Set when a commit failed. What later reads and commits would say cannot be relied on then.
    failed: AtomicBool,
    /// Holds the lock.
    _lock: File,
}

/// The files of a store: its database, and beside it the lock that says whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The database.
    pub database: &'a Path,
    /// The lock.
    pub lock: &'a Path,
}

impl Embedded {
    /// Opens a store, or makes one with every table empty; one that was made in part is made whole.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_or_create(files: Files<'_>) -> Result<Self, OpenError> {
        let lock = lock(files.lock)?;
        let file = private().read(true).open(files.database)?;
        let database = FileBackend::new(file)
            .and_then(|file| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(file));
        let database = database.map_err(|error| OpenError::Store(error.into()))?;
        let store = Self { database, failed: AtomicBool::new(false), _lock: lock };
        // Opened once, so that readers find every table.
        store.write(&mut |_| Ok(())).map_err(OpenError::Store)?;
        Ok(store)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(files: Files<'_>) -> Result<Self, OpenError> {
        let lock = lock(files.lock)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).open(files.database);
        let database = database.map_err(|error| OpenError::Store(error.into()))?;
        Ok(Self { database, failed: AtomicBool::new(false), _lock: lock })
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Unreachable("the disk failed earlier; only a restart goes on".into()));
        }
        Ok(())
    }
}

/// For files that only their owner may open: whoever opens one can lock it, and so keep the broker out.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = private().open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(TryLockError::Error(error)) => Err(OpenError::Io(error)),
    }
}

impl Store for Embedded {
    fn read(&self, look: Look<'_>) -> Result<(), StoreError> {
        self.check()?;
        look(&Reading(self.database.begin_read()?))
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.check()?;
        let transaction = self.database.begin_write()?;
        for table in Table::ALL {
            transaction.open_table(definition(table))?;
        }
        let mut writing = Writing(transaction);
        // An error drops the transaction, and all of its changes with it.
        work(&mut writing)?;
        writing.0.commit().map_err(|error| {
            self.failed.store(true, Ordering::Release);
            StoreError::Uncertain(Box::new(redb::Error::from(error)))
        })
    }
}

struct Reading(ReadTransaction);

impl View for Reading {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0.open_table(definition(table))?, key)
    }

    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError> {
        scan(&self.0.open_table(definition(table))?, keys, limit)
    }
}

struct Writing(WriteTransaction);

impl View for Writing {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0.open_table(definition(table))?, key)
    }

    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError> {
        scan(&self.0.open_table(definition(table))?, keys, limit)
    }
}

impl Change for Writing {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.open_table(definition(table))?.insert(key, value)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, keys: Keys<'_>) -> Result<u64, StoreError> {
        let mut table = self.0.open_table(definition(table))?;
        let mut deleted = 0;
        table.retain_in::<&[u8], _>(keys, |_, _| {
            deleted += 1;
            false
        })?;
        Ok(deleted)
    }
}

type Bytes = &'static [u8];

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<Bytes, Bytes>,
    keys: Keys<'_>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for row in table.range::<&[u8]>(keys)?.take(limit) {
        let (key, value) = row?;
        rows.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(rows)
}
