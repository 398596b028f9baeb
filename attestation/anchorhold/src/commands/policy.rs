//! `anchorhold policy`: release policies, signer sets, appraisal profiles, machine lists and reference values.

mod advice;
mod backtest;
mod check;
mod diff;
mod document;
mod explain;
mod sign;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Format, remark};
use anchorhold_appraisal_policy::SignedError;
use anchorhold_dsse::MAX_ENVELOPE_BYTES;
use anchorhold_key_release::MAX_POLICY_BYTES;
use anchorhold_rats::{Ed25519PublicKey, Timestamp};
use backtest::BacktestArgs;
use explain::ExplainArgs;
use std::path::{Path, PathBuf};

const EXPLAIN_EXAMPLE: &str = "\
Examples:
  anchorhold policy explain policies/appraisal/snp-bare-metal.toml
  anchorhold policy explain release.toml --evidence bundle.json --model acme/chat-70b";
const DIFF_EXAMPLE: &str = "\
Example:
  anchorhold policy diff release-41.toml release-42.toml --json";
const APPROVE_EXAMPLE: &str = "\
Example:
  anchorhold policy approve --key alice.key --out alice.approval release.toml";
const ASSEMBLE_EXAMPLE: &str = "\
Example:
  anchorhold policy assemble --out release.dsse release.toml alice.approval bob.approval";
const BACKTEST_EXAMPLE: &str = "\
Example:
  anchorhold policy backtest release-42.toml --log audit.bundle --audit-key $AUDIT_KEY";
const SIGNATURE_EXAMPLE: &str = "\
Examples:
  anchorhold policy verify-signature --signer $ALICE --signer $BOB --threshold 2 profile.dsse
  anchorhold policy verify-signature --signers owners.toml release.dsse";

/// What to do with a policy.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Read a policy as a key broker or verifier would, and say what it holds
    ///
    /// Takes a release policy, a signer set, an appraisal profile, a machine list or reference values, and tells them apart.
    /// What deserves a second look in one that is good is said with it.
    #[command(after_help = "Example:\n  anchorhold policy check --strict release.toml")]
    Check {
        /// The policy, TOML or signed
        file: PathBuf,
        /// Exit with 4 when a release policy has warnings
        #[arg(long)]
        strict: bool,
        /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
        #[command(flatten)]
        format: Format,
    },
    /// List every rule of a policy with the value in force, or judge evidence by a release policy
    ///
    /// Defaults are listed too. A rule that deserves a second look is marked with the reason. With evidence, every grant's
    /// verdict is listed, with what would have to change.
    #[command(after_help = EXPLAIN_EXAMPLE)]
    Explain(ExplainArgs),
    /// Say what a new release policy allows that an old one did not, and the reverse
    ///
    /// Grants are compared by name, and rules by what they let through. Exits with 7 when anything is allowed that was not.
    #[command(after_help = DIFF_EXAMPLE)]
    Diff {
        /// The policy in force, TOML or signed
        old: PathBuf,
        /// The policy that would take its place, TOML or signed
        new: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Ask a release policy about the decisions in a key broker's log
    ///
    /// Exits with 8 when a decision would have ended otherwise. Rules that the log cannot answer are named, not guessed.
    #[command(after_help = BACKTEST_EXAMPLE)]
    Backtest(BacktestArgs),
    /// Sign a file, or add a signature to a signed one, and print the signer's public key
    #[command(
        after_help = "Example:\n  anchorhold policy sign --key owner.key --out profile.dsse profile.toml"
    )]
    Sign {
        /// The file, TOML or already signed
        file: PathBuf,
        /// The key that `owner new` made
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Approve a file: sign it into a file of its own, to be put together with the approvals of others
    #[command(after_help = APPROVE_EXAMPLE)]
    Approve {
        /// The file that is approved, TOML
        file: PathBuf,
        /// The key that `owner new` made
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Put a file and approvals of it together into a signed file
    #[command(after_help = ASSEMBLE_EXAMPLE)]
    Assemble {
        /// The file that was approved, TOML
        file: PathBuf,
        /// What `policy approve` made
        #[arg(required = true)]
        approvals: Vec<PathBuf>,
        /// The file to make
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Verify who signed a file, and that it is in force
    #[command(after_help = SIGNATURE_EXAMPLE)]
    VerifySignature(SignatureArgs),
}

/// A signed file and who must have signed it.
#[derive(clap::Args)]
pub(crate) struct SignatureArgs {
    /// The signed file
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

/// Whose signatures count.
#[derive(clap::Args)]
pub(crate) struct Trust {
    /// A key that is trusted, in hex as `owner show` prints it; may be repeated
    #[arg(long, value_name = "HEX", required_unless_present = "signers")]
    signer: Vec<Ed25519PublicKey>,
    /// How many of them must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// A signer set, TOML, whose signers and threshold hold instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signer", "threshold"])]
    signers: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Check { file, strict, at, format } => check::run(file, *strict, *at, *format),
        Command::Explain(args) => explain::run(args),
        Command::Diff { old, new, format } => diff::run(old, new, *format),
        Command::Backtest(args) => backtest::run(args),
        Command::Sign { file, key, out, format } => sign::sign(file, key, out, *format),
        Command::Approve { file, key, out, format } => sign::approve(file, key, out, *format),
        Command::Assemble { file, approvals, out, format } => {
            sign::put_together(file, approvals, out, *format)
        }
        Command::VerifySignature(args) => sign::verify(args),
    }
}

/// The text of a policy, out of a signed file too. Whose signatures those are is not judged, and that is said.
fn read_any(path: &Path) -> Result<String, Failure> {
    let bytes = files::read(path, MAX_ENVELOPE_BYTES.max(MAX_POLICY_BYTES))?;
    if !bytes.starts_with(b"{") {
        return read_text(path);
    }
    let (stated, payload) = anchorhold_dsse::unverified(&bytes).map_err(|e| about(path, e))?;
    let text = String::from_utf8(payload).map_err(|_| about(path, SignedError::NotUtf8))?;
    let kind =
        document::of_payload_type(&stated).ok_or_else(|| about(path, "a signed file of another kind"))?;
    // A signature on one kind of file is none on another.
    document::require(kind, &text).map_err(|e| about(path, e))?;
    remark(
        "anchorhold: warning: the signatures were not judged; `anchorhold policy verify-signature` does that",
    );
    Ok(text)
}

/// The text of a policy that is to be signed. A signed file is told from a text: it would be signed twice over.
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
