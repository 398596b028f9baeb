//! `anchorhold package`: sealed packages, as files and in stores.

mod fetch;
mod read;
mod show;
mod verify;

use crate::exit::{Exit, Failure};
pub(crate) use read::{read_previous, read_weights_key};

/// What to do with a sealed package.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(after_help = fetch::EXAMPLE)]
    Fetch(Box<fetch::Args>),
    /// Check every byte of a package against its owner's signature, offline
    ///
    /// Without the weights key the ciphertext is checked: these are the bytes that the owner signed. With it, everything is
    /// decrypted as well and held against the card: a load of the same bytes will succeed. Nothing is written.
    #[command(after_help = verify::EXAMPLE)]
    Verify(verify::Args),
    /// Print what a package's signed manifest says, and with the weights key what its card says
    #[command(after_help = show::EXAMPLE)]
    Show(show::Args),
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Fetch(args) => fetch::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Show(args) => show::run(args),
    }
}
