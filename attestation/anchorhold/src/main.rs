//! `anchorhold`: seals models, verifies servers, checks audit bundles and release policies.
//!
//! Results go to stdout, everything else to stderr. The exit codes are in [`exit`]. The clock and the
//! environment are read here and in no library below.

mod commands;
mod endorse;
mod exit;
mod files;
mod output;
mod trust;

use clap::Parser;
use clap::error::ErrorKind;
use exit::{Exit, Failure};
use std::io::Write as _;
use std::process::ExitCode;

/// Serve AI models that nobody but their owner and their user can read
///
/// This tool is for those who stand outside the guest: the owner of a model (owner, seal, policy), its user (verify) and
/// an auditor (audit).
#[derive(Parser)]
#[command(name = "anchorhold", version, after_help = exit::HELP, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => commands::run(cli.command),
        Err(error) => parse_error(&error),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Nothing is left to do when stderr is gone.
            let _ = write!(std::io::stderr(), "{failure}");
            failure.exit().into()
        }
    }
}

/// Help and version are results; all else that clap says is a usage error.
fn parse_error(error: &clap::Error) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::text(&error.render().to_string())?;
            Ok(Exit::Ok)
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Err(Failure::usage(text))
        }
    }
}
