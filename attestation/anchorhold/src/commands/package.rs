//! `anchorhold package`: sealed packages.

mod fetch;

use crate::exit::{Exit, Failure};

/// What to do with a sealed package.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(after_help = fetch::EXAMPLE)]
    Fetch(Box<fetch::Args>),
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Fetch(args) => fetch::run(args),
    }
}
