//! `anchorhold image`: what an image measures, who says so, and whether these are its files.

mod inputs;
mod measure;
mod reference;
mod verify;

use crate::exit::{Exit, Failure};

const REFERENCE_EXAMPLE: &str = "\
Example:
  anchorhold image reference-values --id anchorhold-cpu --version 1 --description 'CPU image' --days 365 \\
    --snp-firmware OVMF.amdsev.fd --vcpus 1,2,4 --vcpu-type EPYC-Genoa,EPYC-Turin \\
    --kernel vmlinuz --initrd initrd.zst --command-line-file cmdline --sign builder.key --out image.dsse";
const VERIFY_EXAMPLE: &str = "\
Examples:
  anchorhold image verify image.dsse --signer $BUILDER --file kernel=vmlinuz --file initrd=initrd.zst
  anchorhold image verify image.dsse --signer $BUILDER --lines grant";

/// What to do with an image.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Compute, from the files of an image, what hardware will say of a guest that boots it
    #[command(subcommand)]
    Measure(measure::Command),
    /// Write what an image measures into a file, signed if a key is named
    ///
    /// Measures for SEV-SNP when --snp-firmware is named, for TDX when --tdx-firmware is, and for a TPM when a unified kernel
    /// image is.
    #[command(after_help = REFERENCE_EXAMPLE)]
    ReferenceValues(Box<reference::Args>),
    /// Verify who signed reference values, hold files against them, and print them as lines for a policy
    ///
    /// Exits with 3 when the signatures are not those of the named signers, and with 4 when a file is another one.
    #[command(after_help = VERIFY_EXAMPLE)]
    Verify(verify::Args),
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Measure(command) => measure::run(command),
        Command::ReferenceValues(args) => reference::run(args),
        Command::Verify(args) => verify::run(args),
    }
}
