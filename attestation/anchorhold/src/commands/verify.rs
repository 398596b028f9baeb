//! `anchorhold verify`: is this server the guest it says it is?

use crate::commands::presented::{self, Obtained, SavedArgs};
use crate::endorse::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use crate::trust::{Trust, TrustArgs};
use anchorhold_channel::client::Target;
use anchorhold_channel::document::Document;
use anchorhold_channel::{AttestedServer, Subject, Verdict, VerificationDocument};
use anchorhold_rats::{
    Checks, Endorsements, Evidence, EvidenceBundle, MAX_BUNDLE_JSON_BYTES, Sha256Digest, Tee,
};
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::{nvidia, snp, tdx};
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold verify https://models.example --measurement $MEASUREMENT
  anchorhold verify https://models.example --policy release.toml --json --save document.json
  anchorhold verify --document document.json --nonce $NONCE --tls-key $TLS_KEY \\
      --measurement $MEASUREMENT --at 2026-01-31T12:00:00Z
  anchorhold verify --bundle bundle.json --profile profile.toml --at 2026-01-31T12:00:00Z
  anchorhold verify https://models.example --profile profile.toml --machines machines.toml";

/// The rules that a root which is not the vendor's breaks.
const OTHER_ROOT: [(&str, &str); 4] = [
    (snp::codes::NO_TRUST_ANCHOR.name, "AMD's root"),
    (tdx::codes::NO_TRUST_ANCHOR.name, "Intel's root"),
    (nvidia::codes::NO_TRUST_ANCHOR.name, "NVIDIA's root of devices"),
    (nvidia::rim::codes::NO_TRUST_ANCHOR.name, "NVIDIA's root of manifests"),
];

/// Verify a running server, or a saved attestation document
///
/// Asks the server for evidence over a fresh nonce, judges it under the vendors' roots, and shows every rule with what was
/// wanted and what was observed. The evidence must name the TLS key of the very connection, and the guest must sign for the
/// connection itself (RFC 9261). What vendors must say about it
/// is fetched where the evidence needs it: for TDX, for GPUs, and for SEV-SNP when the policy asks for revocation lists.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server: https://host[:port]
    #[arg(value_name = "URL", required_unless_present_any = ["document", "bundle"],
        conflicts_with_all = ["document", "bundle"])]
    target: Option<Target>,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Take endorsements from this evidence bundle; nothing is fetched
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cache", "bundle"])]
    endorsements: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Keep the document; the command to judge it again is printed to stderr
    #[arg(long, value_name = "FILE", conflicts_with_all = ["document", "bundle"])]
    save: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let trust = args.trust.read()?;
    let obtained = match (&args.target, args.saved.open()?) {
        (_, Some(obtained)) => obtained,
        (Some(target), None) => presented::fetch(target)?,
        (None, None) => return Err(Failure::usage("neither a server nor a document is given")),
    };
    if let Some(path) = &args.save {
        save(path, &obtained, &trust)?;
    }
    let subject = Subject {
        target: obtained.target.clone(),
        at: trust.at,
        simulated: trust.anchors.are_simulated(),
        document_digest: Sha256Digest::of(&obtained.bytes),
    };
    let endorsements = endorsements(args, &obtained, &trust)?;
    let taken = obtained.kept.clone();
    let document = match obtained.judge(&endorsements, &trust) {
        Ok(server) => {
            let certificate = obtained.certificate(&server, &endorsements, &trust);
            accepted(subject, &server, [certificate, obtained.authenticate(&server)?])
        }
        Err(refusal) => VerificationDocument::refused(subject, refusal.checks()),
    };
    if args.format.json {
        output::json(&document)?;
    } else {
        output::text(&report(&document))?;
    }
    if let (false, Some((taken, _))) = (document.verdict == Verdict::Accepted, taken) {
        remark(&format!("hint: the bundle was taken at {taken}; --at judges for that time"));
    }
    if !document.simulated {
        let failed = |code: &str| document.checks.failed().any(|check| check.code == code);
        for (_, root) in OTHER_ROOT.iter().filter(|(code, _)| failed(code)) {
            remark(&format!(
                "hint: the evidence does not lead to {root}; a software guest is judged only with \
                 --dangerous-simulated-root"
            ));
        }
    }
    Ok(document.verdict.into())
}

/// The document's evidence is accepted; where it came over a connection, that has to end in the guest too.
fn accepted(
    subject: Subject,
    server: &AttestedServer,
    connection: [Option<Checks>; 2],
) -> VerificationDocument {
    let mut checks = server.checks().clone();
    let connected = connection.iter().flatten().all(Checks::none_failed);
    connection.into_iter().flatten().for_each(|connection| checks.append(connection));
    if connected {
        VerificationDocument { checks, ..VerificationDocument::accepted(subject, server) }
    } else {
        VerificationDocument::refused(subject, &checks)
    }
}

fn save(path: &Path, obtained: &Obtained, trust: &Trust) -> Result<(), Failure> {
    files::write(&files::create_public(path)?, path, &obtained.bytes)?;
    remark(&format!(
        "saved; judge it again with:\n  anchorhold verify --document {} --nonce {} --tls-key {} --at {}",
        path.display(),
        obtained.nonce,
        obtained.tls_key,
        trust.at,
    ));
    Ok(())
}

/// What vendors say about the parts in the evidence, where judging it needs that. Of a document that cannot be read there is
/// nothing to ask; it is refused.
fn endorsements(args: &Args, obtained: &Obtained, trust: &Trust) -> Result<Endorsements, Failure> {
    let Ok(document) = Document::from_json(&obtained.bytes) else { return Ok(Endorsements::default()) };
    let evidence = document.evidence();
    args.trust.remark_on(evidence.tee);
    if let Some((_, kept)) = &obtained.kept {
        return Ok(kept.clone());
    }
    match &args.endorsements {
        Some(path) => {
            let bundle = EvidenceBundle::from_json(&files::read(path, MAX_BUNDLE_JSON_BYTES)?);
            Ok(bundle.map_err(|e| Failure::other(format!("{}: {e}", path.display())))?.endorsements)
        }
        None if needs_endorsements(evidence, &trust.policies) => args.store.gather(evidence, trust.at),
        None => Ok(Endorsements::default()),
    }
}

pub(super) fn needs_endorsements(evidence: &Evidence, policies: &[AppraisalPolicy]) -> bool {
    let asks_for_crl = |policy: &AppraisalPolicy| policy.snp.as_ref().is_some_and(|snp| snp.require_crl);
    evidence.tee == Tee::Tdx || !evidence.gpus.is_empty() || policies.iter().any(asks_for_crl)
}

fn report(document: &VerificationDocument) -> String {
    let mut out = String::new();
    line(&mut out, "server", &document.target);
    line(&mut out, "time", &document.at.to_string());
    line(&mut out, "document", &document.document_digest.to_string());
    out.push('\n');
    out.push_str(&output::table(&document.checks));
    out.push('\n');
    if let Some(measurement) = &document.measurement {
        line(&mut out, "measurement", &measurement.to_string());
    }
    if let (Some(product), Some(tcb)) = (&document.product, &document.tcb) {
        line(&mut out, "platform", &format!("{product}, TCB {tcb}"));
    }
    if let Some(keys) = &document.keys {
        line(&mut out, "TLS key", &keys.tls_key.to_string());
        line(&mut out, "release key", &keys.release_key.to_string());
        line(&mut out, "audit key", &keys.audit_key.to_string());
    }
    if let Some(state) = &document.state {
        for model in &state.models {
            let served =
                format!("{} version {}, manifest {}", model.id, model.version, model.manifest_digest);
            line(&mut out, "serves", &served);
        }
        let policy = state.policy_digest.map_or_else(|| "none yet".to_owned(), |digest| digest.to_string());
        line(&mut out, "policy", &policy);
        let audit = &state.audit;
        let head = format!("{}, {} entries, root {}", audit.origin, audit.tree_size, audit.root_hash);
        line(&mut out, "audit log", &head);
    }
    if let Some(expires) = document.expires {
        line(&mut out, "expires", &expires.to_string());
    }
    if document.simulated {
        line(&mut out, "simulated", "true: the roots are not the vendors', and nothing is protected");
    }
    line(&mut out, "verdict", verdict(document));
    out
}

fn verdict(document: &VerificationDocument) -> &'static str {
    match (document.verdict, document.simulated) {
        (Verdict::Accepted, false) => "accepted",
        (Verdict::Accepted, true) => "accepted (simulated)",
        (Verdict::NotAuthentic, _) => "NOT AUTHENTIC",
        (Verdict::NotAcceptable, _) => "NOT ACCEPTABLE",
        (Verdict::EndorsementsUnavailable, _) => "ENDORSEMENTS UNAVAILABLE",
    }
}
