//! `anchorhold audit reader`: the key of one who may read guests' logs on their disks, and reading by it.

use crate::exit::{Exit, Failure};
use crate::{files, output};
use anchorhold_audit_log::{LogPlace, LogReader, ReadError, ReadingKey, read_key_copies};
use anchorhold_log_key::{KeyCopies, READER_KEY_FILE_BYTES, ReaderKey};
use anchorhold_rats::Kem;
use std::path::{Path, PathBuf};

/// Make or show the key of one who may read the logs that guests leave
///
/// A guest encrypts its log on the disk and gives the key to those whose public keys its measured settings name, as `readers` of `[audit]`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new key (mode 600) and print its public half, for the settings of guests
    #[command(after_help = "Example:\n  anchorhold audit reader new reader.key")]
    New {
        /// The file to make
        file: PathBuf,
        /// Which kind: x25519, or x-wing, whose copies stay closed to quantum computers too and whose public half is 2,432 digits long
        #[arg(long, value_name = "KEM", default_value = "x25519", value_parser = kem)]
        kem: Kem,
    },
    /// Print the public half of a key
    #[command(after_help = "Example:\n  anchorhold audit reader show reader.key")]
    Show {
        /// The file that `audit reader new` made
        file: PathBuf,
    },
}

fn kem(text: &str) -> Result<Kem, String> {
    Kem::named(text).ok_or_else(|| "wanted x25519 or x-wing".to_owned())
}

pub(super) fn run(command: &Command) -> Result<Exit, Failure> {
    let key = match command {
        Command::New { file, kem } => {
            let key = ReaderKey::generate(*kem).map_err(Failure::other)?;
            files::write(&files::create_private(file)?, file, key.to_text().as_bytes())?;
            key
        }
        Command::Show { file } => read(file)?,
    };
    output::text(&format!("{}\n", key.public_key()))?;
    Ok(Exit::Ok)
}

/// Reads a key that nobody else may read.
fn read(path: &Path) -> Result<ReaderKey, Failure> {
    let text = files::read_private(path, READER_KEY_FILE_BYTES)?;
    let text = std::str::from_utf8(&text).unwrap_or_default();
    ReaderKey::from_text(text).map_err(|e| Failure::other(format!("{}: {e}", path.display())))
}

/// Reads the log in the folder `log` from end to end, by the reader's key in the file `key`.
pub(super) fn open(log: &Path, key: Option<&Path>) -> Result<LogReader, Failure> {
    let Some(key) = key else { return LogReader::open(log).map_err(unreadable) };
    let reader = read(key)?;
    let copies = read_key_copies(log).map_err(Failure::other)?.ok_or_else(|| {
        Failure::other(format!("{}: the log's key was given to no reader", log.display()))
            .hint("name readers under [audit] in the keeper's settings; an entry that is not encrypted needs no --reader-key")
    })?;
    let opened = KeyCopies::from_json(&copies).and_then(|copies| copies.open(&reader));
    let opened = opened.map_err(|e| Failure::other(format!("{}: {e}", log.display())))?;
    LogReader::open(LogPlace::encrypted(log, &ReadingKey::new(opened.expose()))).map_err(unreadable)
}

fn unreadable(error: ReadError) -> Failure {
    let wants_key = matches!(error, ReadError::KeyWanted);
    let failure = Failure::other(error);
    if wants_key {
        failure
            .hint("give --reader-key with the private key of one whom the guest's settings name as a reader")
    } else {
        failure
    }
}
