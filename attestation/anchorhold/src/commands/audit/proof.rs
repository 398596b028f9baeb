//! `anchorhold audit prove` and `check-proof`: one file for each entry that shows, without the log, that the entry stands in it.

use super::AuditKey;
use super::entries::{Bundle, Span, not_proven, require_whole};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line, remark};
use anchorhold_audit_log::merkle::{InclusionProver, MAX_PROVEN, leaf_hash};
use anchorhold_audit_log::tlog::policy::{Accepted, MAX_POLICY_BYTES, Policy};
use anchorhold_audit_log::tlog::proof::{MAX_PROOF_BYTES, TlogProof};
use anchorhold_audit_log::{Entry, EventType, Hash, MAX_ENTRY_BYTES, VerifierKey};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const FORMAT: &str = "urn:anchorhold:audit-proof:v1";

/// Write a proof for one entry or several, in files that others can check without the log
///
/// The bundle is verified first, and has to be of a whole log. For each entry the folder gets `INDEX.tlog-proof`
/// (c2sp.org/tlog-proof) and `INDEX.json`, the entry byte for byte as it was hashed. `audit check-proof` and other people's tools check the
/// two; nothing of any other entry is in them.
#[derive(clap::Args)]
pub(crate) struct ProveArgs {
    /// The bundle
    file: PathBuf,
    #[command(flatten)]
    span: Span,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Proven {
    format: &'static str,
    origin: String,
    from: u64,
    to: u64,
    size: u64,
    root_hash: Hash,
}

pub(super) fn prove(args: &ProveArgs) -> Result<Exit, Failure> {
    let wanted =
        args.span.range().ok_or_else(|| Failure::usage("which entry? --index, or --from and --to"))?;
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let bundle = Bundle { path: &args.file, expectations: &expectations };
    let report = bundle.verify_each(|_| ())?;
    let (Some(manifest), Some(checkpoint), true) =
        (&report.manifest, &report.checkpoint, report.is_accepted())
    else {
        return Ok(not_proven(&report));
    };
    require_whole(manifest, "a proof is")?;
    let head = checkpoint.head;
    let mut prover = InclusionProver::new(wanted.clone(), head.size).ok_or_else(|| outside(head.size))?;
    let mut entries = BTreeMap::new();
    bundle.verify_each(|entry| {
        // An entry that was read has no more than its one spelling.
        let bytes = entry.to_bytes().unwrap_or_default();
        prover.push(leaf_hash(&bytes));
        if wanted.contains(&entry.seq) {
            entries.insert(entry.seq, bytes);
        }
    })?;
    let proofs = Some(prover).filter(|prover| prover.head() == head).and_then(InclusionProver::finish);
    let proofs = proofs.ok_or_else(|| Failure::other("the bundle was changed while it was read"))?;
    let mut folder = DirBuilder::new();
    folder.mode(0o700).create(&args.out).map_err(|e| files::failed("create", &args.out, &e))?;
    for (index, hashes) in proofs {
        let proof = TlogProof::new(index, hashes, report.checkpoint_note.clone()).map_err(Failure::other)?;
        let entry = entries.get(&index).map(Vec::as_slice).unwrap_or_default();
        write_new(&args.out.join(format!("{index}.tlog-proof")), &proof.to_bytes())?;
        write_new(&args.out.join(format!("{index}.json")), entry)?;
    }
    tell_proven(args, manifest.origin.to_string(), &wanted, (head.size, head.root))
}

fn outside(size: u64) -> Failure {
    Failure::other(format!(
        "these are not 1 to {MAX_PROVEN} of the {size} entries that the checkpoint covers"
    ))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = files::create_private(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| files::failed("write", path, &e))
}

fn tell_proven(
    args: &ProveArgs,
    origin: String,
    wanted: &Range<u64>,
    (size, root_hash): (u64, Hash),
) -> Result<Exit, Failure> {
    let proven = Proven { format: FORMAT, origin, from: wanted.start, to: wanted.end, size, root_hash };
    if args.format.json {
        output::json(&proven)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "log", &proven.origin);
    line(&mut out, "proven", &format!("{} from {} of {size}", proven.to - proven.from, proven.from));
    line(&mut out, "root", &root_hash.to_string());
    output::text(&out)?;
    Ok(Exit::Ok)
}

/// Check offline that an entry stands in a log, by a proof file
///
/// Says that a log which the policy names signed a tree with this entry at this place, and that enough of the policy's witnesses saw that
/// tree. Whose log it is, is the policy's word.
#[derive(clap::Args)]
pub(crate) struct CheckProofArgs {
    /// The proof (c2sp.org/tlog-proof)
    proof: PathBuf,
    /// The entry, byte for byte; a line feed at its end does not count
    entry: PathBuf,
    /// The logs and witnesses that count (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE", required_unless_present = "audit_key")]
    log_policy: Option<PathBuf>,
    /// The log's key as a note key; with a policy, instead of the logs that it names
    #[arg(long, value_name = "KEY", value_parser = super::tail::note_key)]
    audit_key: Option<VerifierKey>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Checked {
    format: &'static str,
    verdict: &'static str,
    index: u64,
    #[serde(flatten)]
    shown: Option<Shown>,
    /// Why nothing is shown.
    reason: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    origin: String,
    size: u64,
    root_hash: Hash,
    /// The entry's kind, where it is one of ours.
    kind: Option<EventType>,
    cosigned: Vec<Cosigned>,
}

#[derive(Serialize)]
struct Cosigned {
    witness: String,
    time_s: u64,
}

/// Reads a policy of logs and witnesses, for the log with this key where there is one.
pub(super) fn policy(path: Option<&Path>, key: Option<&VerifierKey>) -> Result<Policy, Failure> {
    let (bytes, name) = match path {
        Some(path) => (files::read(path, MAX_POLICY_BYTES)?, path.display().to_string()),
        None => (b"quorum none\n".to_vec(), String::new()),
    };
    let policy = Policy::parse(&bytes).map_err(|e| Failure::other(format!("{name}: {e}")))?;
    Ok(match key {
        Some(key) => policy.for_logs(vec![key.clone()]),
        None => policy,
    })
}

pub(super) fn check(args: &CheckProofArgs) -> Result<Exit, Failure> {
    let policy = policy(args.log_policy.as_deref(), args.audit_key.as_ref())?;
    let entry = files::read(&args.entry, MAX_ENTRY_BYTES + 1)?;
    let entry = entry.strip_suffix(b"\n").unwrap_or(&entry);
    let proof = TlogProof::from_bytes(&files::read(&args.proof, MAX_PROOF_BYTES)?)
        .map_err(|e| Failure::new(Exit::NotProven, format!("{}: {e}", args.proof.display())))?;
    let (exit, verdict, shown, reason) = match proof.verify(entry, &policy) {
        Ok(accepted) => (Exit::Ok, "accepted", Some(shown(&accepted, entry)), None),
        Err(error) => (Exit::NotProven, "not_proven", None, Some(error.to_string())),
    };
    let checked = Checked { format: FORMAT, verdict, index: proof.index(), shown, reason };
    if args.format.json {
        output::json(&checked)?;
    } else {
        output::text(&text(&checked))?;
    }
    if proof.unverified_extra().is_some() {
        remark("the proof carries extra data, which nothing shows to be anybody's word");
    }
    Ok(exit)
}

fn shown(accepted: &Accepted, entry: &[u8]) -> Shown {
    let checkpoint = accepted.checkpoint();
    let cosigned = accepted.cosignatures().iter();
    Shown {
        origin: checkpoint.origin.clone(),
        size: checkpoint.head.size,
        root_hash: checkpoint.head.root,
        kind: Entry::from_bytes(entry).ok().map(|entry| entry.kind),
        cosigned: cosigned
            .map(|by| Cosigned { witness: by.witness.name().to_owned(), time_s: by.time_s })
            .collect(),
    }
}

fn text(checked: &Checked) -> String {
    let mut out = String::new();
    line(&mut out, "index", &checked.index.to_string());
    if let Some(shown) = &checked.shown {
        line(&mut out, "log", &output::plain(&shown.origin));
        line(&mut out, "entry", shown.kind.map_or("of another schema", EventType::name));
        line(&mut out, "tree", &format!("{} entries, root {}", shown.size, shown.root_hash));
        for by in &shown.cosigned {
            line(
                &mut out,
                "cosigned",
                &format!("{} at {} s since 1970", output::plain(&by.witness), by.time_s),
            );
        }
    }
    if let Some(reason) = &checked.reason {
        line(&mut out, "reason", reason);
    }
    line(&mut out, "verdict", &checked.verdict.replace('_', " "));
    out
}
