//! `anchorhold image verify`.

use super::inputs::Named;
use crate::commands::policy::Trust;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::{files, trust};
use anchorhold_appraisal_policy::{ReferenceValues, SignedError, verify_signed};
use anchorhold_dsse::MAX_ENVELOPE_BYTES;
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest, Timestamp};
use serde::Serialize;
use std::path::PathBuf;

/// The largest file that is held against reference values, in bytes.
const MAX_FILE_BYTES: usize = 4 << 30;

/// Signed reference values, and what to do with them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What `image reference-values --sign` made
    values: PathBuf,
    #[command(flatten)]
    trust: Trust,
    /// A file of the image by its name in the reference values, such as kernel=vmlinuz; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    file: Vec<Named>,
    /// Print only the lines that let this image in: of an appraisal profile, or of a grant of a release policy
    #[arg(long, value_name = "KIND", conflicts_with = "json")]
    lines: Option<Lines>,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

/// For which kind of policy.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lines {
    Profile,
    Grant,
}

#[derive(Serialize)]
struct Verified<'a> {
    id: &'a str,
    version: u64,
    expires: Timestamp,
    files: Vec<&'a str>,
    launches: usize,
    tdx_boots: usize,
    tpm: bool,
    signers: Vec<Ed25519PublicKey>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let at = args.at.map_or_else(trust::now, Ok)?;
    let bytes = files::read(&args.values, MAX_ENVELOPE_BYTES)?;
    let verified = verify_signed::<ReferenceValues>(&bytes, &args.trust.signers()?, at).map_err(|error| {
        let exit = if matches!(error, SignedError::Envelope(_)) { Exit::NotAuthentic } else { Exit::Other };
        Failure::new(exit, format!("{}: {error}", args.values.display()))
    })?;
    let values = verified.document();
    for named in &args.file {
        compare(values, named)?;
    }
    match args.lines {
        Some(Lines::Profile) => output::text(&values.profile_lines())?,
        Some(Lines::Grant) => output::text(&values.grant_lines())?,
        None => {
            let signers = verified.signers().iter().copied().map(Ed25519PublicKey::new).collect();
            print(args, values, signers)?;
        }
    }
    Ok(Exit::Ok)
}

/// Establishes that the file is the one that was measured.
fn compare(values: &ReferenceValues, named: &Named) -> Result<(), Failure> {
    let measured = values.files.iter().find(|file| file.name == named.name);
    let measured = measured.ok_or_else(|| {
        let known: Vec<&str> = values.files.iter().map(|file| file.name.as_str()).collect();
        Failure::usage(format!("no file {} was measured, only {}", named.name, known.join(", ")))
    })?;
    let observed = Sha256Digest::of(&files::read(&named.path, MAX_FILE_BYTES)?);
    if observed == measured.sha256 {
        return Ok(());
    }
    let text = format!("{}: sha256:{observed}, wanted sha256:{}", named.path.display(), measured.sha256);
    Err(Failure::new(Exit::NotAcceptable, text))
}

fn print(args: &Args, values: &ReferenceValues, signers: Vec<Ed25519PublicKey>) -> Result<(), Failure> {
    let verified = Verified {
        id: &values.header.id,
        version: values.header.version,
        expires: values.header.expires,
        files: args.file.iter().map(|named| named.name.as_str()).collect(),
        launches: values.snp.len(),
        tdx_boots: values.tdx.len(),
        tpm: values.tpm.is_some(),
        signers,
    };
    if args.format.json {
        return output::json(&verified);
    }
    let mut out = String::new();
    line(&mut out, "id", &format!("{} version {}", verified.id, verified.version));
    line(&mut out, "expires", &verified.expires.to_string());
    line(&mut out, "snp", &format!("{} launch(es)", verified.launches));
    line(&mut out, "tdx", &format!("{} boot(s)", verified.tdx_boots));
    line(&mut out, "tpm", if verified.tpm { "measured boot" } else { "none" });
    for name in &verified.files {
        line(&mut out, "file", &format!("{name}: is the one that was measured"));
    }
    for signer in &verified.signers {
        line(&mut out, "signed by", &signer.to_string());
    }
    output::text(&out)
}
