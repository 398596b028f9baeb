//! Every way in which a fetch ends early.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anchorhold_sealed_weights as sealed;

use crate::cache::hex;

/// Why a store did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection: the name is not known, or nobody listens.
    #[error("no connection: {0}")]
    Connect(String),
    /// The TLS handshake was refused by us: the certificate is for another name, by an unknown authority, or not valid.
    #[error("TLS refused: {0}")]
    Tls(String),
    /// The store refers elsewhere, which is not followed.
    #[error("redirected (status {status}), which is not followed")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// The store has no such object.
    #[error("no such object (status {status})")]
    Absent {
        /// 404 or 410; 0 for a folder.
        status: u16,
    },
    /// The store does not let us read it.
    #[error("not allowed (status {status}{})", named(code.as_ref()))]
    Denied {
        /// 401 or 403; 0 for a folder.
        status: u16,
        /// The S3 error code.
        code: Option<String>,
    },
    /// The store is overloaded or out of order.
    #[error("unavailable (status {status}{})", named(code.as_ref()))]
    Unavailable {
        /// 408, 429 or 500 to 599.
        status: u16,
        /// The S3 error code.
        code: Option<String>,
        /// What the store asked to wait, in seconds.
        retry_after_s: Option<u64>,
    },
    /// Another status than those that are understood.
    #[error("status {status}{}", named(code.as_ref()))]
    Status {
        /// The status.
        status: u16,
        /// The S3 error code.
        code: Option<String>,
    },
    /// The object is not the one that the fetch began with.
    #[error("object changed while it was fetched")]
    Changed,
    /// A range was asked for and the whole object was answered.
    #[error("a range was asked for and the whole was answered")]
    NotPartial,
    /// Another range than the one asked for.
    #[error("wanted {wanted}, observed {observed}")]
    Range {
        /// The range that was asked for.
        wanted: String,
        /// The range that the store says it sends.
        observed: String,
    },
    /// The content is compressed or otherwise not as stored.
    #[error("content is encoded, wanted it as stored")]
    Encoding,
    /// The answer is longer than what was asked for; reading stopped there.
    #[error("answer over {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: u64,
    },
    /// The answer ended early.
    #[error("answer ended after {observed} of {wanted} bytes")]
    Short {
        /// The length that was asked for.
        wanted: u64,
        /// What came.
        observed: u64,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("exchange broken: {0}")]
    Broken(String),
    /// Something did not come at all.
    #[error("no {what} within {} ms", within.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// Bytes came, but fewer than the least rate.
    #[error("{observed} bytes within {} ms, wanted {wanted}", within.as_millis())]
    Slow {
        /// What came.
        observed: u64,
        /// The least that had to come.
        wanted: u64,
        /// In which time.
        within: Duration,
    },
    /// The object's length is not the signed one, or its bytes are not the signed ones.
    #[error(transparent)]
    Content(sealed::Error),
}

fn named(code: Option<&String>) -> String {
    code.map(|code| format!(", {code}")).unwrap_or_default()
}

impl Fault {
    /// The fault as one stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Redirect { .. } => "redirect",
            Self::Absent { .. } => "absent",
            Self::Denied { .. } => "denied",
            Self::Unavailable { .. } => "unavailable",
            Self::Status { .. } => "status",
            Self::Changed => "changed",
            Self::NotPartial => "not_partial",
            Self::Range { .. } => "range",
            Self::Encoding => "encoding",
            Self::TooLong { .. } => "too_long",
            Self::Short { .. } => "short",
            Self::Broken(_) => "broken",
            Self::Timeout { .. } => "timeout",
            Self::Slow { .. } => "slow",
            Self::Content(error) => error.stage(),
        }
    }

    /// Whether the same request may have another outcome soon. Wrong bytes may: a proxy on the way may have damaged them.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::Unavailable { .. }
                | Self::Short { .. }
                | Self::Broken(_)
                | Self::Timeout { .. }
                | Self::Slow { .. }
                | Self::Content(_)
        )
    }
}

/// Why a package was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is not of the form that is understood.
    #[error("store address: {0}")]
    Address(&'static str),
    /// The store's settings do not fit together.
    #[error("store settings: {0}")]
    Settings(String),
    /// The store did not give a file of the package, after all attempts.
    #[error("{file}: {fault}, after {attempts} attempts")]
    Store {
        /// The file, relative to the package.
        file: String,
        /// What went wrong last.
        fault: Fault,
        /// How often it was asked for without any progress.
        attempts: u32,
    },
    /// The manifest is not the owner's or not the one that was asked for.
    #[error(transparent)]
    Package(#[from] sealed::Error),
    /// The fetch did not end in its time. What was verified stays in the cache.
    #[error("not fetched within {} s", within.as_secs())]
    Budget {
        /// The time it had.
        within: Duration,
    },
    /// The disk is full. What was verified stays.
    #[error("cache: no space left while {doing}")]
    CacheFull {
        /// What was being done.
        doing: &'static str,
    },
    /// The disk does not work. Nothing more is written to the file in question.
    #[error("cache: {doing}: {kind}")]
    CacheIo {
        /// What was being done.
        doing: &'static str,
        /// The kind of error.
        kind: io::ErrorKind,
    },
    /// The package is larger than the cache, or than the memory that may be used instead, may be.
    #[error("package of {needed} bytes, the limit is {limit}")]
    CacheLimit {
        /// Bytes of the package.
        needed: u64,
        /// The most that may be used.
        limit: u64,
    },
    /// The folder may be read or changed by others, or is not one of ours.
    #[error("cache folder: {0}")]
    CacheFolder(String),
    /// The folder to fetch into holds something, and no package of this owner. Nothing in it was changed.
    #[error("{}: neither empty nor a package of this owner", folder.display())]
    FolderForeign {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder to fetch into holds another package of this owner. Nothing in it was changed.
    #[error(
        "{}: holds {model_id} version {version}, manifest {}, wanted manifest {}",
        folder.display(), hex(held), hex(wanted)
    )]
    FolderHolds {
        /// The folder.
        folder: PathBuf,
        /// The model that is there.
        model_id: String,
        /// Its version.
        version: u64,
        /// The digest of its manifest.
        held: [u8; 32],
        /// The digest of the manifest that was to come there.
        wanted: [u8; 32],
    },
    /// Another process is at work on the same package and did not end.
    #[error("cache: another process holds the package, waited {} s", within.as_secs())]
    CacheBusy {
        /// How long we waited.
        within: Duration,
    },
}

impl Error {
    /// The reason as one stable word, for logs, metrics and tests.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Settings(_) => "settings",
            Self::Store { fault, .. } => fault.code(),
            Self::Package(error) => error.stage(),
            Self::Budget { .. } => "budget",
            Self::CacheFull { .. } => "cache_full",
            Self::CacheIo { .. } => "cache_io",
            Self::CacheLimit { .. } => "cache_limit",
            Self::CacheFolder(_) => "cache_folder",
            Self::FolderForeign { .. } => "folder_foreign",
            Self::FolderHolds { .. } => "folder_holds_another",
            Self::CacheBusy { .. } => "cache_busy",
        }
    }

    /// Whether the disk is to blame, so that the package may still be fetched into memory.
    #[must_use]
    pub const fn is_of_the_cache(&self) -> bool {
        matches!(
            self,
            Self::CacheFull { .. }
                | Self::CacheIo { .. }
                | Self::CacheLimit { .. }
                | Self::CacheFolder(_)
                | Self::CacheBusy { .. }
        )
    }

    /// For `map_err`: the disk's answer, told apart by whether room would help.
    pub(crate) fn disk(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::CacheFull { doing }
            }
            kind => Self::CacheIo { doing, kind },
        }
    }
}
