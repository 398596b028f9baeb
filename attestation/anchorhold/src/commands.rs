//! The commands, one file each.

mod audit;
mod caller;
mod evidence;
mod image;
mod key;
mod owner;
mod package;
mod policy;
mod presented;
mod proxy;
mod receipt;
mod seal;
mod simulated_root;
mod top;
mod vectors;
mod verify;

use crate::exit::{Exit, Failure};

/// A command.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make or show the key with which a model's owner signs
    #[command(subcommand)]
    Owner(owner::Command),
    #[command(after_help = seal::EXAMPLE)]
    Seal(seal::Args),
    /// Fetch, verify and show sealed packages
    #[command(subcommand)]
    Package(package::Command),
    #[command(after_help = verify::EXAMPLE)]
    Verify(verify::Args),
    #[command(after_help = proxy::EXAMPLE)]
    Proxy(Box<proxy::Args>),
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Follow, export, verify and read audit logs
    #[command(subcommand)]
    Audit(audit::Command),
    /// Make, list and revoke the API keys of a gateway
    #[command(subcommand)]
    Key(key::Command),
    /// Check what a server says about one request
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Check, explain, compare, approve and sign release policies and what belongs to them
    #[command(subcommand)]
    Policy(policy::Command),
    /// Compute measurements
    #[command(subcommand)]
    Image(image::Command),
    /// Hold the verifier to a folder of cases
    #[command(subcommand)]
    Vectors(vectors::Command),
    #[command(after_help = simulated_root::EXAMPLE)]
    SimulatedRoot(simulated_root::Args),
    #[command(after_help = top::EXAMPLE)]
    Top(top::Args),
}

/// Runs a command; the exit says how a verification ended.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Owner(command) => owner::run(&command),
        Command::Seal(args) => seal::run(&args),
        Command::Package(command) => package::run(&command),
        Command::Verify(args) => verify::run(&args),
        Command::Proxy(args) => proxy::run(*args),
        Command::Evidence(command) => evidence::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Receipt(command) => receipt::run(&command),
        Command::Policy(command) => policy::run(&command),
        Command::Image(command) => image::run(&command),
        Command::Vectors(command) => vectors::run(&command),
        Command::SimulatedRoot(args) => simulated_root::run(&args),
        Command::Top(args) => top::run(&args),
    }
}
