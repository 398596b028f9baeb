//! `anchorhold owner`: the key with which a model's owner signs manifests.

use crate::exit::{Exit, Failure};
use crate::{files, output};
use anchorhold_rats::Ed25519PublicKey;
use anchorhold_sealed_weights::OwnerKey;
use std::path::{Path, PathBuf};

const MAX_KEY_BYTES: usize = 1024;

/// What to do with an owner key.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new key (Ed25519, PKCS #8 in DER, mode 600) and print its public half
    #[command(after_help = "Example:\n  anchorhold owner new owner.key")]
    New {
        /// The file to make
        file: PathBuf,
    },
    /// Print the public half of a key
    #[command(after_help = "Example:\n  anchorhold owner show owner.key")]
    Show {
        /// The file that `owner new` made
        file: PathBuf,
    },
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let key = match command {
        Command::New { file } => {
            let (key, document) = OwnerKey::generate().map_err(Failure::other)?;
            files::write(&files::create_private(file)?, file, &document)?;
            key
        }
        Command::Show { file } => read(file)?,
    };
    output::text(&format!("{}\n", Ed25519PublicKey::new(key.public_key())))?;
    Ok(Exit::Ok)
}

/// Reads a key that nobody else may read.
pub(crate) fn read(path: &Path) -> Result<OwnerKey, Failure> {
    let document = files::read_private(path, MAX_KEY_BYTES)?;
    OwnerKey::from_pkcs8(&document).map_err(|e| Failure::other(format!("{}: {e}", path.display())))
}
