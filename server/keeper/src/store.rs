//! How packages are fetched, as the settings file says it.

use anchorhold_channel::tls;
use anchorhold_ipc::{StoreAccess, StoreIdentity, WireText};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The most requests at one time.
const MAX_IN_FLIGHT: u16 = 16;
/// The longest file that may hold an access key.
const MAX_CREDENTIALS_BYTES: u64 = 64 * 1024;
/// The variables of an access key, as the AWS tools call them.
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// The store of packages at addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    /// The fetcher.
    pub(crate) program: PathBuf,
    /// Fetched packages, ciphertext alone; made if it is not there.
    pub(crate) cache: PathBuf,
    /// The most bytes of all packages in the cache; the longest unused go first.
    pub(crate) cache_max_bytes: u64,
    /// The most bytes of memory that may hold a package when the cache's disk does not work; 0 for none.
    #[serde(default)]
    pub(crate) memory_max_bytes: u64,
    /// PEM file of the authorities that may vouch for a store's name; Mozilla's when there is none.
    authorities: Option<PathBuf>,
    /// Whether stores may be spoken to without TLS.
    #[serde(default)]
    dangerous_plain_http: bool,
    #[serde(default)]
    credentials: Credentials,
    /// The region of S3 stores.
    #[serde(default = "default_region")]
    region: String,
    /// `https://host:port` of S3 stores that are not Amazon's.
    endpoint: Option<String>,
    #[serde(default)]
    addressing: Addressing,
    /// Requests at one time, 1 to 16.
    #[serde(default = "default_in_flight")]
    in_flight: u16,
    /// MiB of one request, 16 to 64.
    #[serde(default = "default_range_mib")]
    range_mib: u64,
    /// For the fetch of one package, in seconds.
    #[serde(default = "default_total_s")]
    total_s: u64,
}

/// Who we are to an S3 store. Never on a command line, where others could read it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Credentials {
    /// Nobody.
    #[default]
    None,
    /// The access key in the keeper's environment, see [`VARIABLES`].
    Environment,
    /// The access key in a file as the AWS tools write it; read anew for each fetch.
    File { path: PathBuf },
    /// The role that the cloud gives this machine.
    Machine,
}

/// Where the bucket's name stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Addressing {
    #[default]
    Path,
    VirtualHost,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

const fn default_in_flight() -> u16 {
    8
}

const fn default_range_mib() -> u64 {
    32
}

const fn default_total_s() -> u64 {
    4 * 3600
}

/// The folder that an address of this machine names.
pub(crate) fn folder_of(address: &str) -> Option<&Path> {
    address.strip_prefix("file://").map(Path::new)
}

impl Store {
    /// Every path, to be resolved.
    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let credentials = match &mut self.credentials {
            Credentials::File { path } => Some(path),
            _ => None,
        };
        [&mut self.program, &mut self.cache].into_iter().chain(&mut self.authorities).chain(credentials)
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (in_flight, range, total) = (self.in_flight, self.range_mib, self.total_s);
        ensure!(
            (1..=MAX_IN_FLIGHT).contains(&in_flight),
            "store.in_flight is {in_flight}, wanted 1 to {MAX_IN_FLIGHT}"
        );
        ensure!((16..=64).contains(&range), "store.range_mib is {range}, wanted 16 to 64");
        ensure!(total > 0, "store.total_s is 0");
        ensure!(self.cache_max_bytes > 0, "store.cache_max_bytes is 0");
        Ok(())
    }

    /// Makes the cache's folder, so that there is something to be allowed.
    pub(crate) fn make_cache(&self) -> anyhow::Result<()> {
        let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.cache);
        made.with_context(|| self.cache.display().to_string())
    }

    /// What is read for each fetch. A key that is renewed is a new file in the same folder.
    pub(crate) fn reads(&self) -> Vec<PathBuf> {
        let mut reads: Vec<PathBuf> = self.authorities.iter().cloned().collect();
        if let Credentials::File { path } = &self.credentials {
            reads.extend(path.parent().map(Path::to_owned));
        }
        reads
    }

    /// What the fetcher is told about the store.
    ///
    /// # Errors
    /// A file cannot be read, or a variable is missing.
    pub(crate) fn access(&self) -> anyhow::Result<StoreAccess> {
        let authorities = match &self.authorities {
            None => Vec::new(),
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
                tls::certificates_from_pem(&pem)?.iter().map(|certificate| certificate.to_vec()).collect()
            }
        };
        let identity = match &self.credentials {
            Credentials::None => StoreIdentity::Anonymous,
            Credentials::Machine => StoreIdentity::Machine,
            Credentials::Environment => StoreIdentity::Key(WireText(from_environment()?)),
            Credentials::File { path } => StoreIdentity::Key(WireText(read_private(path)?)),
        };
        Ok(StoreAccess {
            authorities,
            plain_http: self.dangerous_plain_http,
            identity,
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            virtual_host: self.addressing == Addressing::VirtualHost,
            in_flight: self.in_flight,
            range_len: self.range_mib << 20,
            total_s: self.total_s,
        })
    }
}

/// The variables in the text of a file, which the fetcher reads.
fn from_environment() -> anyhow::Result<String> {
    let mut text = String::new();
    for (variable, needed) in VARIABLES.into_iter().zip([true, true, false]) {
        match std::env::var(variable) {
            Ok(value) => text.push_str(&format!("{} = {value}\n", variable.to_ascii_lowercase())),
            Err(_) => ensure!(!needed, "store.credentials: {variable} is not set"),
        }
    }
    Ok(text)
}

fn read_private(path: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mode = file.metadata()?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} may be read by others (mode {:03o}, wanted 600)",
        path.display(),
        mode & 0o777
    );
    let mut text = String::new();
    file.take(MAX_CREDENTIALS_BYTES).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}
