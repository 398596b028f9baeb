//! The files of a broker's state folder.

use crate::store::embedded::Files;
use std::path::{Path, PathBuf};

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

    /// The key-encryption key.
    #[must_use]
    pub fn kek(&self) -> PathBuf {
        self.folder.join("kek")
    }

    /// The TLS certificate, public.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("tls-certificate.pem")
    }

    /// The socket on which a serving broker takes commands of its operator.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// The embedded store.
    #[must_use]
    pub fn store(&self) -> Files<'_> {
        Files { database: &self.database, lock: &self.lock }
    }
}
