//! `anchorhold evidence`: evidence in files, judged offline.

mod bundle;
mod endorse;
mod input;
mod judge;
mod save;
mod show;
mod token;

use crate::endorse::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use anchorhold_channel::client::Target;
use anchorhold_rats::Timestamp;
use input::InputArgs;
pub(crate) use input::{read_bundle, stated};
use judge::JudgeArgs;
use std::path::PathBuf;

const SHOW_EXAMPLE: &str = "\
Examples:
  anchorhold evidence show report.bin
  anchorhold evidence show bundle.json --json";
const VERIFY_EXAMPLE: &str = "\
Examples:
  anchorhold evidence verify bundle.json --measurement $MEASUREMENT --report-data $REPORT_DATA
  anchorhold evidence verify document.json --policy release.toml --any-report-data --json
  anchorhold evidence verify bundle.json --measurement $MEASUREMENT --any-report-data --ear key.pk8 > result.jwt";
const EXPLAIN_EXAMPLE: &str = "\
Example:
  anchorhold evidence explain bundle.json --measurement $MEASUREMENT --report-data $REPORT_DATA";
const BUNDLE_EXAMPLE: &str = "\
Examples:
  anchorhold evidence bundle quote.bin --event-log ccel.bin --collateral collateral.json --out bundle.json
  anchorhold evidence bundle report.bin --certificates vcek.pem --gpus gpus.json --rim driver.xml --rim vbios.xml \\
      --out bundle.json";
const SAVE_EXAMPLE: &str = "\
Examples:
  anchorhold evidence save https://models.example --out bundle.json
  anchorhold verify --bundle bundle.json --profile profile.toml --at 2026-01-31T12:00:00Z";
const ENDORSE_EXAMPLE: &str = "\
Examples:
  anchorhold evidence endorse quote.bin --out bundle.json
  anchorhold evidence endorse document.json --out bundle.json --pccs https://pccs.example:8081
  anchorhold evidence endorse report.bin --out bundle.json --offline --cache endorsements";

/// What to do with evidence in a file.
///
/// A file is an evidence bundle, an evidence object, an attestation document or the evidence that Trustee's attesters
/// write on Azure (JSON), or a bare SNP report or TDX quote. Nothing is fetched, except by `endorse`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show what evidence says, judging nothing
    #[command(after_help = SHOW_EXAMPLE)]
    Show {
        #[command(flatten)]
        input: InputArgs,
        #[command(flatten)]
        format: Format,
    },
    /// Judge evidence offline: the verdict, and every rule that failed
    #[command(after_help = VERIFY_EXAMPLE)]
    Verify {
        #[command(flatten)]
        judge: JudgeArgs,
        /// Print an EAT Attestation Result instead, signed with this private key (PKCS#8 DER, P-256 or Ed25519)
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        ear: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Judge evidence offline, and show for every rule what it demands, what was wanted, and the bytes it judged
    #[command(after_help = EXPLAIN_EXAMPLE)]
    Explain {
        #[command(flatten)]
        judge: JudgeArgs,
        #[command(flatten)]
        format: Format,
    },
    /// Write evidence and everything beside it into one file, from which it can be judged later and elsewhere
    #[command(after_help = BUNDLE_EXAMPLE)]
    Bundle {
        #[command(flatten)]
        input: InputArgs,
        /// The file to make
        #[arg(short, long, alias = "output", value_name = "BUNDLE")]
        out: PathBuf,
    },
    /// Fetch what AMD, Intel and NVIDIA say about the parts in evidence, and write all of it into one file
    ///
    /// Nothing is judged. What has been fetched once is kept in a folder and not asked for again before it is due.
    #[command(after_help = ENDORSE_EXAMPLE)]
    Endorse {
        #[command(flatten)]
        input: InputArgs,
        /// The file to make
        #[arg(short, long, alias = "output", value_name = "BUNDLE")]
        out: PathBuf,
        /// Take what is good at this time instead of now, such as 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Ask a running server for its attestation document, and write it with everything that judging it takes into one file
    ///
    /// Nothing is judged. `anchorhold verify --bundle` does that, offline and years later, for any time and policy. That the
    /// connection ended in the guest cannot be shown again; verify the server itself for that.
    #[command(after_help = SAVE_EXAMPLE)]
    Save {
        /// The server: https://host[:port]
        #[arg(value_name = "URL")]
        target: Target,
        /// The file to make
        #[arg(short, long, alias = "output", value_name = "BUNDLE")]
        out: PathBuf,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Judge attestation results that others signed
    #[command(subcommand)]
    Token(token::Command),
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Show { input, format } => show::run(input, *format),
        Command::Verify { judge, ear, format } => judge::verify(judge, ear.as_ref(), *format),
        Command::Explain { judge, format } => judge::explained(judge, *format),
        Command::Bundle { input, out } => bundle::run(input, out),
        Command::Endorse { input, out, at, store } => endorse::run(input, out, *at, store),
        Command::Save { target, out, store } => save::run(target, out, store),
        Command::Token(command) => token::run(command),
    }
}
