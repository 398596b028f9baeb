//! Why the devices of this machine gave no evidence.

use super::tpm::TpmError;
use anchorhold_rats::TableError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a device gave no evidence, or not all of it.
#[derive(Debug)]
pub enum Error {
    /// This machine has nothing that attests.
    NoDevice,
    /// The system refused an operation.
    Io {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A file holds more than is read of it.
    TooLong {
        /// Which one.
        path: PathBuf,
        /// The most bytes that are read.
        limit: usize,
    },
    /// The kernel took only the beginning of a value.
    PartialWrite {
        /// Which file.
        path: PathBuf,
        /// How many bytes it took.
        written: usize,
    },
    /// A file does not say what it is documented to say.
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is documented.
        wanted: &'static str,
    },
    /// Another provider of reports than the wanted one, or one that is not known here.
    Provider {
        /// The provider that is known or wanted.
        wanted: &'static str,
        /// What the kernel names.
        observed: String,
    },
    /// Others used the device at the same time, as often as it was tried.
    Contended {
        /// How often it was tried.
        attempts: u32,
        /// What stood in the way last.
        last: Box<Error>,
    },
    /// Somebody else wrote to this reader's entry.
    Interference {
        /// By how much the generation should have advanced.
        wanted: u64,
        /// By how much it did.
        observed: u64,
    },
    /// The report is for other report data than was asked for.
    OtherReportData,
    /// The firmware or the host answered with an error of its own.
    Firmware {
        /// The upper word is the host's, the lower one the firmware's.
        code: u64,
    },
    /// The certificates that came with the report are not a table of certificates.
    Certificates(TableError),
    /// The TPM gave no quote.
    Tpm(TpmError),
    /// As many events as evidence may carry were measured already.
    Full {
        /// How many that is.
        limit: usize,
    },
    /// The system's random generator gave nothing.
    Random,
}

impl From<TpmError> for Error {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

impl Error {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }

    pub(super) fn malformed(path: &Path, wanted: &'static str) -> Self {
        Self::Malformed { path: path.to_owned(), wanted }
    }

    /// Whether the same may succeed a moment later: another user has the device, or a signal came in between.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Interference { .. } | Self::OtherReportData => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::ResourceBusy
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
            ),
            _ => false,
        }
    }

    /// Whether the file or device is not there at all.
    pub(super) fn is_absence(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let without_driver = [rustix::io::Errno::NXIO, rustix::io::Errno::NODEV].map(|e| e.raw_os_error());
        source.kind() == io::ErrorKind::NotFound
            || source.raw_os_error().is_some_and(|number| without_driver.contains(&number))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("this machine has no device that attests"),
            Self::Io { operation, path, source } => write!(f, "{operation} {}: {source}", path.display()),
            Self::TooLong { path, limit } => {
                write!(f, "{} holds more than {limit} bytes", path.display())
            }
            Self::PartialWrite { path, written } => {
                write!(f, "{} took only the first {written} bytes", path.display())
            }
            Self::Malformed { path, wanted } => write!(f, "{} is not {wanted}", path.display()),
            Self::Provider { wanted, observed } => {
                write!(f, "reports are of the provider {observed:?}, wanted {wanted}")
            }
            Self::Contended { attempts, last } => write!(f, "tried {attempts} times: {last}"),
            Self::Interference { wanted, observed } => {
                write!(f, "the generation of the report advanced by {observed}, wanted {wanted}")
            }
            Self::OtherReportData => f.write_str("the report is for other report data than was asked for"),
            Self::Firmware { code } => write!(f, "the firmware or the host answered with error {code:#x}"),
            Self::Certificates(error) => write!(f, "{error}"),
            Self::Tpm(error) => write!(f, "{error}"),
            Self::Full { limit } => write!(f, "{limit} events were measured, which is the limit"),
            Self::Random => f.write_str("the system's random generator gave nothing"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Contended { last, .. } => Some(last),
            _ => None,
        }
    }
}
