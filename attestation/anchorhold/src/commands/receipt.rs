//! `anchorhold receipt`: what a server says about one request, held against what the caller has.

use crate::commands::presented::SavedArgs;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line};
use crate::trust::TrustArgs;
use anchorhold_audit_log::{MAX_RECEIPT_BYTES, RECEIPT_KEY_BYTES, SignedReceipt, split_stream};
use anchorhold_channel::AttestedServer;
use anchorhold_rats::{Checks, Ed25519PublicKey, Secret, Sha256Digest};
use anchorhold_relying_party::{Exchange, ReceiptVerification, Wanted, verify_receipt};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Examples:
  anchorhold receipt verify receipt.txt --document document.json --nonce $NONCE --tls-key $TLS_KEY \\
      --measurement $MEASUREMENT --at 2026-01-31T12:00:00Z \\
      --request request.json --response answer.json --receipt-key receipt-key.txt
  anchorhold receipt verify --audit-key $AUDIT_KEY --request request.json --response stream.txt \\
      --receipt-key receipt-key.txt --json";

/// The longest request or response that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What to do with a receipt.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check a receipt offline: who signed it, and whether it is about these bytes
    ///
    /// Every answer carries a receipt in `x-anchorhold-receipt`, a stream in its last comment, and a key of this one request in
    /// `x-anchorhold-receipt-key`. The receipt is signed by the guest's audit key, which the attestation document vouches for.
    #[command(after_help = EXAMPLE)]
    Verify(Box<Args>),
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The receipt; without it, the one at the end of the stream in --response is taken
    #[arg(value_name = "FILE", required_unless_present = "response")]
    receipt: Option<PathBuf>,
    /// The audit key of the guest, where it is known without a document, in hex
    #[arg(long, value_name = "HEX", conflicts_with_all = ["document", "bundle"],
        required_unless_present_any = ["document", "bundle"])]
    audit_key: Option<Ed25519PublicKey>,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// The body that was sent, byte for byte; an empty file for a request without one
    #[arg(long, value_name = "FILE", requires = "response", requires = "receipt_key")]
    request: Option<PathBuf>,
    /// The body that came back, byte for byte
    #[arg(long, value_name = "FILE")]
    response: Option<PathBuf>,
    /// A file with the value of x-anchorhold-receipt-key
    #[arg(long, value_name = "FILE", requires = "request")]
    receipt_key: Option<PathBuf>,
    /// The SELinux policy that the receipt has to name: the SHA-256 digest of what the guest's kernel gives back of it, in hex, which the
    /// attestation document of a guest of the same image says too
    #[arg(long, value_name = "HEX")]
    selinux_policy: Option<Sha256Digest>,
    /// The release policy that the receipt has to name, by its SHA-256 digest, in hex
    #[arg(long, value_name = "HEX")]
    release_policy: Option<Sha256Digest>,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let Command::Verify(args) = command;
    let report = verify(args)?;
    if args.format.json {
        output::json(&report)?;
    } else {
        output::text(&text(&report))?;
    }
    Ok(report.verdict.into())
}

fn verify(args: &Args) -> Result<ReceiptVerification, Failure> {
    let mut checks = Checks::new();
    let receipt = judge(args, &mut checks)?;
    Ok(ReceiptVerification::of(receipt, checks))
}

/// The receipt, when its signature was found good; what else is wrong shows in the checks.
fn judge(args: &Args, checks: &mut Checks) -> Result<Option<SignedReceipt>, Failure> {
    let server = attested(args, checks)?;
    let attested_key = server.as_ref().map(|server| server.keys().audit_key);
    let Some(key) = attested_key.or(args.audit_key) else { return Ok(None) };
    let response = args.response.as_deref().map(|path| files::read(path, MAX_BODY_BYTES)).transpose()?;
    let split = response.as_deref().and_then(split_stream);
    let text = match (&args.receipt, &split) {
        (Some(path), _) => files::read_text(path, MAX_RECEIPT_BYTES)?,
        (None, Some((receipt, _))) => (*receipt).to_owned(),
        (None, None) => {
            return Err(Failure::usage("the response carries no receipt; name the file that holds it"));
        }
    };
    let request = args.request.as_deref().map(|path| files::read(path, MAX_BODY_BYTES)).transpose()?;
    let receipt_key = args.receipt_key.as_deref().map(receipt_key).transpose()?;
    let exchange = match (&request, &response, &receipt_key) {
        (Some(request), Some(response), Some(key)) => Some(Exchange { request, response, key }),
        _ => None,
    };
    let receipt = verify_receipt(&text, (&key, server.as_deref()), exchange.as_ref(), checks);
    if let Some(receipt) = &receipt {
        let wanted = Wanted { selinux_policy: args.selinux_policy, release_policy: args.release_policy };
        wanted.of(receipt, checks);
    }
    Ok(receipt)
}

/// The guest of the saved document, if one is named and accepted.
fn attested(args: &Args, checks: &mut Checks) -> Result<Option<Box<AttestedServer>>, Failure> {
    let Some(obtained) = args.saved.open()? else { return Ok(None) };
    let trust = args.trust.read()?;
    let endorsements = obtained.kept.as_ref().map(|(_, kept)| kept.clone()).unwrap_or_default();
    match obtained.judge(&endorsements, &trust) {
        Ok(server) => {
            checks.append(server.checks().clone());
            Ok(Some(server))
        }
        Err(refusal) => {
            checks.append(refusal.checks().clone());
            Ok(None)
        }
    }
}

/// The key is the caller's secret: it comes from a file and not from the command line, which others can read.
fn receipt_key(path: &Path) -> Result<Secret<RECEIPT_KEY_BYTES>, Failure> {
    let unread = || Failure::usage("the receipt key is not 64 lower-case hex digits");
    let text = files::read_text(path, 2 * RECEIPT_KEY_BYTES + 2)?;
    anchorhold_client::receipts::receipt_key(text.trim()).ok_or_else(unread)
}

fn text(report: &ReceiptVerification) -> String {
    let mut out = output::table(&report.checks);
    out.push('\n');
    if let Some(receipt) = &report.receipt {
        line(&mut out, "log", &format!("{}, entry {}", receipt.origin.as_str(), receipt.index));
        line(&mut out, "request", &format!("{}, status {}", receipt.rid.as_str(), receipt.status));
        line(&mut out, "tokens", &format!("{} in, {} out", receipt.tokens_in, receipt.tokens_out));
        line(&mut out, "measurement", &receipt.measurement.to_string());
        let selinux = receipt.selinux_policy.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        line(&mut out, "SELinux policy", &selinux);
        if !receipt.gpus.is_empty() {
            let gpus: Vec<_> = receipt.gpus.iter().map(ToString::to_string).collect();
            line(&mut out, "GPUs", &gpus.join(", "));
        }
        if let Some(model) = &receipt.model {
            let served = format!(
                "{} version {}, manifest {}",
                model.id.as_str(),
                model.version,
                model.manifest_digest
            );
            line(&mut out, "model", &served);
            let policy = model.policy_digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            line(&mut out, "release policy", &policy);
        }
    }
    line(&mut out, "verdict", &report.verdict.to_string());
    out
}
