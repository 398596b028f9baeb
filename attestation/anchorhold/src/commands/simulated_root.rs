//! `anchorhold simulated-root`: the root under which the software guest's evidence stands.

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::remark;
use anchorhold_attester::software::{simulated_ark_der, simulated_roots_pem};
use std::path::PathBuf;

pub(crate) const EXAMPLE: &str = "\
Example:
  anchorhold simulated-root simulated-root.der
  anchorhold verify https://127.0.0.1:8443 --measurement $MEASUREMENT \\
      --dangerous-simulated-root simulated-root.der
  anchorhold simulated-root roots.pem
  anchorhold evidence verify bundle.json --profile profile.toml --any-report-data \\
      --dangerous-simulated-root roots.pem";

/// Write the root certificates of the simulated guests and devices, which protect nothing
///
/// They sign reports of the real formats under roots of ours whose private keys are public. With this file and
/// --dangerous-simulated-root the whole path of a verification can be tried on any machine. Never use it for anything
/// worth protecting.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to make: PEM with the roots of SEV-SNP, TDX and NVIDIA when its name ends in .pem, else DER with that of
    /// SEV-SNP alone
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let pem = args.file.extension().is_some_and(|extension| extension == "pem");
    let bytes = if pem { simulated_roots_pem().into_bytes() } else { simulated_ark_der().to_vec() };
    files::write(&files::create_public(&args.file)?, &args.file, &bytes)?;
    remark("anchorhold: warning: this root is simulated; whoever trusts it trusts anybody");
    Ok(Exit::Ok)
}
