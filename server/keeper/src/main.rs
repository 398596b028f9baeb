//! `anchorhold-keeper`: the process of the guest that holds evidence, weights keys and the audit log.
//!
//! It parses nothing that a caller of the API sent. It starts the gateway, attests to the key broker, starts one worker
//! for each released model, and watches them. The port opens only after the first model is loaded; when any step
//! before that fails, the keeper says why and everything ends.
//!
//! Standard output: one JSON object a line for each stage ([`stages`]). Standard error: what a person reads.

mod anchor;
mod attester;
mod audit;
mod children;
mod clock;
mod cpus;
mod evidence;
mod fetch;
mod gateway;
mod gpus;
mod kernel;
mod key;
mod log_key;
mod personal;
mod receipts;
mod release;
mod reload;
mod required;
mod run;
mod runtime;
mod settings;
mod share;
mod shelf;
mod stages;
mod start;
mod store;
mod worker;

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The guest's keeper: proves what runs, obtains weights keys, keeps the audit log, starts gateway and workers.
#[derive(Debug, Parser)]
#[command(
    name = "anchorhold-keeper",
    version,
    after_help = "Example:\n  anchorhold-keeper --config keeper.toml"
)]
struct Arguments {
    /// The settings file (TOML; unknown keys are refused).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Set a key of the gateway's settings, such as limits.body_bytes=1048576; wins over `ANCHORHOLD_GATEWAY_*` variables, which
    /// win over the gateway's file.
    #[arg(long, value_name = "KEY=VALUE")]
    gateway_set: Vec<String>,
    /// Serve only if every layer of confinement holds that production needs, whatever the settings say; the image for production starts
    /// its keeper with this.
    #[arg(long)]
    production: bool,
    /// Check the settings file and exit.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = settings::Settings::read(&arguments.config, arguments.production).and_then(|settings| {
        if arguments.check_config {
            return Ok(());
        }
        start::serve(settings, &children::Handed::new(std::env::vars_os(), arguments.gateway_set))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell it to when standard error is gone too.
            let _ = writeln!(std::io::stderr(), "anchorhold-keeper: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
