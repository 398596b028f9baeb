//! `anchorhold policy`: release policies, appraisal profiles and machine lists.

mod check;
mod explain;
mod sign;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::Format;
use anchorhold_key_release::MAX_POLICY_BYTES;
use anchorhold_rats::{Ed25519PublicKey, Timestamp};
use std::path::{Path, PathBuf};

/// What to do with a policy.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Read a policy as a key broker or verifier would, and say what it holds
    ///
    /// Takes a release policy, an appraisal profile or a machine list, and tells them apart.
    #[command(after_help = "Example:\n  anchorhold policy check release.toml")]
    Check {
        /// The policy, TOML
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// List every rule of an appraisal profile or machine list with the value in force
    ///
    /// Defaults are listed too. A rule that deserves a second look is marked with the reason.
    #[command(after_help = "Example:\n  anchorhold policy explain policies/appraisal/snp-bare-metal.toml")]
    Explain {
        /// The profile or list, TOML
        file: PathBuf,
        /// Print the profile with every rule spelled out, as TOML
        #[arg(long, conflicts_with = "json")]
        toml: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Sign an appraisal profile or machine list, or add a signature to a signed one
    #[command(
        after_help = "Example:\n  anchorhold policy sign --key owner.key --out profile.dsse profile.toml"
    )]
    Sign {
        /// The profile or list, TOML or already signed
        file: PathBuf,
        /// The key that `owner new` made
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify who signed an appraisal profile or machine list, and that it is in force
    #[command(
        after_help = "Example:\n  anchorhold policy verify-signature --signer $ALICE --signer $BOB --threshold 2 profile.dsse"
    )]
    VerifySignature(SignatureArgs),
}

/// A signed file and who must have signed it.
#[derive(clap::Args)]
pub(crate) struct SignatureArgs {
    /// The signed file
    file: PathBuf,
    /// A key that is trusted, in hex as `owner show` prints it; may be repeated
    #[arg(long, value_name = "HEX", required = true)]
    signer: Vec<Ed25519PublicKey>,
    /// How many of them must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Check { file, format } => check::run(file, *format),
        Command::Explain { file, toml, format } => explain::run(file, *toml, *format),
        Command::Sign { file, key, out } => sign::sign(file, key, out),
        Command::VerifySignature(args) => sign::verify(args),
    }
}

/// The text of a policy. A signed file is told from a text, because what it holds is not believed unverified.
fn read_text(path: &Path) -> Result<String, Failure> {
    let text = files::read_text(path, MAX_POLICY_BYTES)?;
    if text.starts_with('{') {
        let text = format!("{} is a signed file, not TOML", path.display());
        return Err(Failure::other(text).hint("`anchorhold policy verify-signature` reads signed files"));
    }
    Ok(text)
}

/// A failure about a file, by its name.
fn about(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::other(format!("{}: {error}", path.display()))
}
