//! `anchorhold simulated-root`: the root under which the software guest's evidence stands.

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::remark;
use anchorhold_attester::software::simulated_ark_der;
use std::path::PathBuf;

pub(crate) const EXAMPLE: &str = "\
Example:
  anchorhold simulated-root simulated-root.der
  anchorhold verify https://127.0.0.1:8443 --measurement $MEASUREMENT \\
      --dangerous-simulated-root simulated-root.der";

/// Write the root certificate of the software guest, which protects nothing
///
/// The software guest signs reports of the real format under a root of ours whose private key is public. With this file
/// and --dangerous-simulated-root the whole path of a verification can be tried on any machine. Never use it for
/// anything worth protecting.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to make, DER
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    files::write(&files::create_public(&args.file)?, &args.file, simulated_ark_der())?;
    remark("anchorhold: warning: this root is simulated; whoever trusts it trusts anybody");
    Ok(Exit::Ok)
}
