//! The store in PostgreSQL, for several brokers at a time.
//!
//! Each table is a relation of two `bytea` columns. Every change takes one advisory lock first, so all changes of all brokers
//! are in one order, and a broker that is cut off is thrown out by the server's own timeouts. A commit whose answer was lost is
//! [`StoreError::Uncertain`].
//!
//! The database is trusted as the embedded file is: to keep what it acknowledged. It must not acknowledge early
//! (`fsync`, `full_page_writes`, `synchronous_commit`), which is looked at on every new connection.

use super::{Change, Keys, Look, Row, Store, StoreError, Table, View, Work};
use ::postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};
use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Config, IsolationLevel, NoTls, Transaction};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// The longest settings file, in bytes.
const MAX_SETTINGS_BYTES: u64 = 64 * 1024;
/// Connections that are kept for the next use.
const MAX_IDLE: usize = 8;
/// The lock that every change takes.
const LOCK: i64 = 0x616e_6368_6f72_6864;
const CONNECT: Duration = Duration::from_secs(3);
/// For a server that does not answer: how long data may stay without an acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);
/// What the server ends a session for. A broker that is cut off in the middle of a change must not keep the others out.
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '10s'; \
                       SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = 'warning'";

/// The settings file, TOML.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A host name, an address, or the absolute path of a socket's directory.
    host: String,
    port: u16,
    user: String,
    database: String,
    /// A file with the password and nothing else.
    password_file: Option<PathBuf>,
    /// The certificate authority of the server, PEM; its name must be `host`. Mandatory but for a socket.
    ca_file: Option<PathBuf>,
}

/// Why there is no connection to be made.
#[derive(Debug)]
pub enum SettingsError {
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not the TOML of the settings.
    Malformed(toml::de::Error),
    /// A host that is reached over a network has no `ca_file`.
    NoAuthority,
    /// `ca_file` holds no certificate that can be an authority.
    Authority,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Malformed(error) => error.fmt(f),
            Self::NoAuthority => {
                f.write_str("ca_file is missing: over a network the server must show a certificate")
            }
            Self::Authority => f.write_str("ca_file holds no certificate of an authority"),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Brokers' state in a database.
pub struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    idle: Mutex<Vec<Client>>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({:?}, {:?})", self.config.get_hosts(), self.config.get_dbname())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let file = |source| SettingsError::File { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(file)?.len();
    if length > MAX_SETTINGS_BYTES {
        return Err(file(std::io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read(path).map_err(file)
}

fn authority(pem: &[u8]) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'_>> = anchorhold_channel::tls::certificates_from_pem(pem).ok()?;
    certificates.into_iter().try_for_each(|certificate| roots.add(certificate)).ok()?;
    if roots.is_empty() {
        return None;
    }
    let config = ClientConfig::builder_with_provider(anchorhold_channel::tls::provider())
        .with_safe_default_protocol_versions()
        .ok()?;
    Some(config.with_root_certificates(roots).with_no_client_auth())
}

impl Postgres {
    /// Reads a settings file. Relative paths in it are taken from its own folder. Nothing is connected yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_file(path: &Path) -> Result<Self, SettingsError> {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let settings: Settings = toml::from_str(&text).map_err(SettingsError::Malformed)?;
        let base = path.parent().unwrap_or(Path::new("."));
        let mut config = Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .user(&settings.user)
            .dbname(&settings.database)
            .application_name("anchorhold-key-broker")
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT)
            .keepalives_idle(UNACKNOWLEDGED)
            .tcp_user_timeout(UNACKNOWLEDGED);
        if let Some(file) = &settings.password_file {
            let password = zeroize::Zeroizing::new(read(&base.join(file))?);
            config.password(password.trim_ascii_end());
        }
        let tls = match &settings.ca_file {
            Some(file) => {
                config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Prefer);
                let authority = authority(&read(&base.join(file))?).ok_or(SettingsError::Authority)?;
                Some(MakeRustlsConnect::new(authority))
            }
            None if settings.host.starts_with('/') => {
                config.ssl_mode(SslMode::Disable);
                None
            }
            None => return Err(SettingsError::NoAuthority),
        };
        Ok(Self { config, tls, idle: Mutex::default() })
    }

    /// Makes the tables where they are missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create_tables(&self) -> Result<(), StoreError> {
        let mut client = self.connect()?;
        let mut transaction = client.transaction().map_err(unreachable)?;
        // Two brokers that begin at the same time must not both make them.
        lock(&mut transaction)?;
        for table in Table::ALL {
            let make = format!(
                "CREATE TABLE IF NOT EXISTS {} (key bytea PRIMARY KEY, value bytea NOT NULL)",
                relation(table)
            );
            transaction.batch_execute(&make).map_err(unreachable)?;
        }
        transaction.commit().map_err(unreachable)
    }

    fn connect(&self) -> Result<Client, StoreError> {
        let client = match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        };
        let mut client = client.map_err(unreachable)?;
        client.batch_execute(SESSION).map_err(unreachable)?;
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            let row = client.query_typed_one(&format!("SHOW {setting}"), &[]).map_err(unreachable)?;
            if row.try_get::<_, String>(0).map_err(unreachable)? == "off" {
                let why = format!("{setting} is off: the database would acknowledge what it can lose");
                return Err(StoreError::Unreachable(why.into()));
            }
        }
        Ok(client)
    }

    /// A connection that answers. One from an earlier use may have died since.
    fn take(&self) -> Result<Client, StoreError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(client) if client.is_closed() => {}
                Some(mut client) => {
                    if client.check_connection().is_ok() {
                        return Ok(client);
                    }
                }
                None => return self.connect(),
            }
        }
    }

    fn give_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(client);
        }
    }
}

fn unreachable(error: ::postgres::Error) -> StoreError {
    StoreError::Unreachable(Box::new(error))
}

fn relation(table: Table) -> String {
    format!("anchorhold_broker_{}", table.name())
}

fn lock(transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&LOCK, Type::INT8)];
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &parameters).map(drop).map_err(unreachable)
}

impl Store for Postgres {
    fn read(&self, look: Look<'_>) -> Result<(), StoreError> {
        let mut client = self.take()?;
        read_on(&mut client, look)?;
        self.give_back(client);
        Ok(())
    }

    fn write(&self, work: Work<'_>) -> Result<(), StoreError> {
        let mut client = self.take()?;
        write_on(&mut client, work)?;
        self.give_back(client);
        Ok(())
    }
}

fn read_on(client: &mut Client, look: Look<'_>) -> Result<(), StoreError> {
    let transaction = client
        .build_transaction()
        .read_only(true)
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .map_err(unreachable)?;
    let session = Session(RefCell::new(transaction));
    look(&session)?;
    // Nothing was changed; a connection that cannot end a look is not kept.
    session.0.into_inner().rollback().map_err(unreachable)
}

fn write_on(client: &mut Client, work: Work<'_>) -> Result<(), StoreError> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .map_err(unreachable)?;
    // Every statement after this one sees what the holder of the lock before has committed.
    lock(&mut transaction)?;
    let mut session = Session(RefCell::new(transaction));
    // An error drops the transaction, and the server rolls it back.
    work(&mut session)?;
    session.0.into_inner().commit().map_err(|error| {
        if is_rolled_back(&error) { unreachable(error) } else { StoreError::Uncertain(Box::new(error)) }
    })
}

/// Whether the server said that it did not commit (appendix A of its manual: integrity, transaction state, rollback). A
/// server that is being shut down may say something else after it has committed.
fn is_rolled_back(error: &::postgres::Error) -> bool {
    error.code().is_some_and(|code| ["23", "25", "40"].iter().any(|class| code.code().starts_with(class)))
}

struct Session<'a>(RefCell<Transaction<'a>>);

impl Session<'_> {
    fn query(
        &self,
        text: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<::postgres::Row>, StoreError> {
        self.0.borrow_mut().query_typed(text, parameters).map_err(unreachable)
    }
}

impl View for Session<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let text = format!("SELECT value FROM {} WHERE key = $1", relation(table));
        let rows = self.query(&text, &[(&key, Type::BYTEA)])?;
        rows.first().map(|row| row.try_get(0).map_err(unreachable)).transpose()
    }

    fn scan(&self, table: Table, keys: Keys<'_>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let text = format!(
            "SELECT key, value FROM {} WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3",
            relation(table)
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&keys.start, Type::BYTEA), (&keys.end, Type::BYTEA), (&limit, Type::INT8)];
        let row = |row: &::postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        self.query(&text, &parameters)?.iter().map(row).collect::<Result<_, _>>().map_err(unreachable)
    }
}

impl Change for Session<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let text = format!(
            "INSERT INTO {} (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
            relation(table)
        );
        self.query(&text, &[(&key, Type::BYTEA), (&value, Type::BYTEA)]).map(drop)
    }

    fn delete(&mut self, table: Table, keys: Keys<'_>) -> Result<u64, StoreError> {
        let text = format!("DELETE FROM {} WHERE key >= $1 AND key < $2", relation(table));
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&keys.start, Type::BYTEA), (&keys.end, Type::BYTEA)];
        self.0.borrow_mut().execute_typed(&text, &parameters).map_err(unreachable)
    }
}
