//! The files of a broker's state folder, and which store keeps its state.

use crate::store::embedded::{Embedded, Files, OpenError};
use crate::store::postgres::{Postgres, SettingsError};
use crate::store::{Store, StoreError};
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no store.
#[derive(Debug)]
pub enum StoreOpenError {
    /// The embedded one.
    Embedded(OpenError),
    /// The settings of the database.
    Settings(SettingsError),
    /// The database.
    Database(StoreError),
}

impl fmt::Display for StoreOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(error) => error.fmt(f),
            Self::Settings(error) => write!(f, "store.toml: {error}"),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreOpenError {}

/// Makes a folder that only its owner may enter, and the folders above it. One that is there stays as it is: what the broker puts
/// into it is closed to others itself.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        outcome => outcome,
    }
}

/// The paths inside a state folder.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
    database: PathBuf,
    lock: PathBuf,
}

impl Layout {
    /// The layout of the folder `state`.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { folder: state.to_owned(), database: state.join("broker.redb"), lock: state.join("lock") }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A copy of the TLS certificate, for guests to pin.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("tls-certificate.pem")
    }

    /// The socket on which a serving broker takes commands of its operator.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// Where the state's database is described; without this file the state is in the folder itself.
    #[must_use]
    pub fn store_settings(&self) -> PathBuf {
        self.folder.join("store.toml")
    }

    /// The embedded store.
    #[must_use]
    pub fn embedded(&self) -> Files<'_> {
        Files { database: &self.database, lock: &self.lock }
    }

    fn database(&self) -> Result<Option<Postgres>, StoreOpenError> {
        let settings = self.store_settings();
        if !settings.exists() {
            return Ok(None);
        }
        Postgres::from_file(&settings).map(Some).map_err(StoreOpenError::Settings)
    }

    /// Opens the store, or makes an empty one, or the missing tables of a database.
    ///
    /// # Errors
    /// [`StoreOpenError`].
    pub fn create_store(&self) -> Result<Arc<dyn Store>, StoreOpenError> {
        match self.database()? {
            Some(database) => {
                database.create_tables().map_err(StoreOpenError::Database)?;
                Ok(Arc::new(database))
            }
            None => {
                Ok(Arc::new(Embedded::open_or_create(self.embedded()).map_err(StoreOpenError::Embedded)?))
            }
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`StoreOpenError`].
    pub fn open_store(&self) -> Result<Arc<dyn Store>, StoreOpenError> {
        match self.database()? {
            Some(database) => Ok(Arc::new(database)),
            None => Ok(Arc::new(Embedded::open(self.embedded()).map_err(StoreOpenError::Embedded)?)),
        }
    }
}
