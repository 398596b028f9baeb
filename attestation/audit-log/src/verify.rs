//! Checking an evidence bundle offline. The bundle is hostile: its shape is fixed, every size is bounded,
//! nothing is written anywhere, and memory does not grow with it.

mod brackets;
mod pass;
mod time;

use self::pass::Pass;
use crate::anchors::MAX_ANCHOR_BYTES;
use crate::bundle::{
    ANCHORS, CHECKPOINT, EVIDENCE, LEAF_HASHES_1, MANIFEST, MAX_LOCATED_ENTRIES, MAX_MANIFEST_BYTES,
    MAX_PROOF_BYTES, MAX_README_BYTES, Manifest, PROOF, README, RangeProof, anchor_member,
};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Quorum, WitnessKey};
use crate::entry::Entry;
use crate::event::EventType;
use crate::merkle::Range;
use crate::note::{MAX_NOTE_BYTES, Note, VerifierKey};
use crate::report::{Check, Finding, Report, Status, Verdict};
use crate::tar::{self, TarError};
use crate::{Hash, MAX_EVIDENCE_BYTES, Origin, PublicKey};
use std::io::{self, BufReader, Read};

/// The most earlier checkpoints that one call compares.
pub const MAX_EARLIER: usize = 256;

/// What the caller knows already.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// The audit key, if the caller knows it. Without it the bundle's own is used, and only the evidence can
    /// show whose it is.
    pub audit_key: Option<PublicKey>,
    /// The log's name.
    pub origin: Option<Origin>,
    /// Who must have cosigned the checkpoint. Without it cosignatures are not looked at.
    pub witnesses: Option<Quorum>,
    /// Checkpoints of this log that were seen earlier, as notes; at most [`MAX_EARLIER`].
    pub earlier: Vec<Vec<u8>>,
    /// Sizes at which others saw the log; [`Report::heads`] has the roots that its entries lead to there. At most [`MAX_EARLIER`].
    pub sizes: Vec<u64>,
    /// Witnesses whose times are believed. Without any, entries are not held to times.
    pub clocks: Vec<WitnessKey>,
}

/// Checks a bundle; see [`verify_each`].
///
/// # Errors
/// Only when `bundle` cannot be read; whatever is wrong with its content is in the report.
pub fn verify(bundle: impl Read, expectations: &Expectations) -> io::Result<Report> {
    verify_each(bundle, expectations, |_| ())
}

/// Checks a bundle and calls `visit` with each well-formed entry as it comes by. Whether the entries are
/// authentic is known only from the report.
///
/// Establishes, when [`Report::is_accepted`], that the holder of the audit key signed a log of which these
/// are the entries, complete for the range, in order, byte for byte. Presumes nothing of the bundle; that
/// the audit key is a guest's is not established here.
///
/// # Errors
/// Only when `bundle` cannot be read; whatever is wrong with its content is in the report.
pub fn verify_each(
    bundle: impl Read,
    expectations: &Expectations,
    visit: impl FnMut(&Entry),
) -> io::Result<Report> {
    let mut reader = tar::Reader::new(BufReader::with_capacity(256 * 1024, bundle));
    let parts = match read_parts(&mut reader) {
        Ok(parts) => parts,
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Broken(finding)) => return Ok(broken(finding)),
    };
    let mut pass = Pass::new(&parts, expectations);
    let structure = match pass.run(&parts, reader, visit) {
        Ok(()) => Finding::AsExpected,
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Broken(finding)) => finding,
    };
    Ok(judge(parts, pass, structure, expectations))
}

/// Why reading stopped.
enum Stop {
    Io(io::Error),
    Broken(Finding),
}

fn stop(name: &'static str) -> impl FnOnce(TarError) -> Stop {
    move |error| match error {
        TarError::Io(error) => Stop::Io(error),
        TarError::Shape => Stop::Broken(Finding::Member { name }),
        TarError::TooLong => Stop::Broken(Finding::TooLong { name }),
    }
}

const fn malformed(name: &'static str) -> Stop {
    Stop::Broken(Finding::Member { name })
}

/// Everything before the entries.
struct Parts {
    manifest: Manifest,
    checkpoint: Vec<u8>,
    anchors: Vec<Vec<u8>>,
    evidence: Option<Vec<u8>>,
    proof: Vec<Hash>,
    /// In format 1, the hashes of all leaves.
    leaf_hashes: Option<Vec<Hash>>,
}

impl Parts {
    const fn range(&self) -> Range {
        let Manifest { first, count, size, .. } = self.manifest;
        Range { first, end: first + count, size }
    }
}

fn read_parts<R: Read>(reader: &mut tar::Reader<R>) -> Result<Parts, Stop> {
    let manifest = reader.member(MANIFEST, MAX_MANIFEST_BYTES).map_err(stop(MANIFEST))?;
    let manifest = Manifest::from_bytes(&manifest).ok_or(malformed(MANIFEST))?;
    reader.member(README, MAX_README_BYTES).map_err(stop(README))?;
    let checkpoint = reader.member(CHECKPOINT, MAX_NOTE_BYTES as u64).map_err(stop(CHECKPOINT))?;
    let mut anchors = Vec::new();
    for at in 0..manifest.anchors {
        anchors.push(reader.member(&anchor_member(at), MAX_ANCHOR_BYTES as u64).map_err(stop(ANCHORS))?);
    }
    let evidence = match manifest.evidence {
        Some(_) => Some(reader.member(EVIDENCE, MAX_EVIDENCE_BYTES as u64).map_err(stop(EVIDENCE))?),
        None => None,
    };
    let proof = if manifest.is_whole() {
        Vec::new()
    } else {
        let proof = reader.member(PROOF, MAX_PROOF_BYTES).map_err(stop(PROOF))?;
        serde_json::from_slice::<RangeProof>(&proof).map_err(|_| malformed(PROOF))?.hashes
    };
    let leaf_hashes = if manifest.is_format_1() && manifest.leaf_hashes {
        let bytes = reader.member(LEAF_HASHES_1, MAX_LOCATED_ENTRIES * 32).map_err(stop(LEAF_HASHES_1))?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() as u64 != manifest.count {
            return Err(malformed(LEAF_HASHES_1));
        }
        Some(hashes.iter().map(|hash| Hash::new(*hash)).collect())
    } else {
        None
    };
    Ok(Parts { manifest, checkpoint, anchors, evidence, proof, leaf_hashes })
}

fn unverified(note: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_text(Note::parse(note)?.unverified_text())
}

fn broken(finding: Finding) -> Report {
    let rest = [
        Check::Order,
        Check::Leaves,
        Check::Root,
        Check::Signature,
        Check::Witnessed,
        Check::Anchors,
        Check::Expected,
        Check::Evidence,
        Check::Closure,
        Check::Silence,
        Check::Clock,
        Check::Brackets,
        Check::Earlier,
    ];
    let mut verdicts = vec![Verdict { check: Check::Structure, status: Status::Failed, finding }];
    verdicts.extend(rest.map(|check| Verdict {
        check,
        status: Status::NotApplicable,
        finding: Finding::NotReached,
    }));
    Report {
        verdicts,
        manifest: None,
        checkpoint: None,
        checkpoint_note: Vec::new(),
        anchors: Vec::new(),
        evidence: None,
        follows: None,
        heads: Vec::new(),
        evidence_by_s: None,
    }
}

fn judge(parts: Parts, pass: Pass, structure: Finding, expectations: &Expectations) -> Report {
    let key = expectations.audit_key.unwrap_or(parts.manifest.audit_key);
    let key = VerifierKey::new(parts.manifest.origin.as_str(), key);
    let signed = key
        .map_err(CheckpointError::Note)
        .and_then(|key| Checkpoint::verify(&parts.checkpoint, &key).map(|checkpoint| (checkpoint, key)));
    let other_root = root(&parts, &pass);
    // Of a changed entry, the roots that it leads to say nothing of the log.
    let are_own = structure == Finding::AsExpected && other_root.is_none() && pass.leaves.is_none();
    let mut verdicts = vec![
        passed_unless(Check::Structure, (structure != Finding::AsExpected).then_some(structure)),
        passed_unless(Check::Order, pass.order),
        leaves(&parts, &pass),
        passed_unless(Check::Root, other_root),
        passed_unless(Check::Signature, signed.as_ref().err().map(|error| Finding::Checkpoint(*error))),
        witnessed(&parts.checkpoint, expectations.witnesses.as_ref()),
        pass.brackets.anchors(are_own.then_some(&pass.heads)),
        expected(&parts.manifest, expectations),
        evidence(&parts, &pass),
        closure(&parts.manifest, &pass),
        pass.times.silence(),
        pass.times.clock(),
        pass.brackets.verdict(),
    ];
    if expectations.earlier.is_empty() {
        verdicts.push(verdict(Check::Earlier, Status::NotApplicable, Finding::NotAsked));
    }
    for note in &expectations.earlier {
        verdicts.push(match &signed {
            Ok((latest, key)) => earlier(note, key, latest, &pass),
            Err(_) => verdict(Check::Earlier, Status::NotApplicable, Finding::NotReached),
        });
    }
    if structure != Finding::AsExpected {
        not_reached(&mut verdicts, &pass);
    }
    Report {
        verdicts,
        checkpoint: signed.ok().map(|(checkpoint, _)| checkpoint),
        manifest: Some(parts.manifest),
        checkpoint_note: parts.checkpoint,
        anchors: parts.anchors,
        evidence: parts.evidence,
        evidence_by_s: pass.evidence.and_then(|(index, _)| pass.brackets.there_by(index)),
        follows: pass.follows,
        heads: pass.heads,
    }
}

/// After a bundle broke off, nothing good is known of what rests on all of its entries.
fn not_reached(verdicts: &mut [Verdict], pass: &Pass) {
    for verdict in verdicts {
        let rests_on_entries = (verdict.check == Check::Root && pass.listed_root.is_none())
            || matches!(
                verdict.check,
                Check::Order
                    | Check::Anchors
                    | Check::Brackets
                    | Check::Leaves
                    | Check::Evidence
                    | Check::Closure
                    | Check::Silence
                    | Check::Clock
                    | Check::Earlier
            );
        if rests_on_entries && verdict.status != Status::Failed {
            (verdict.status, verdict.finding) = (Status::NotApplicable, Finding::NotReached);
        }
    }
}

const fn verdict(check: Check, status: Status, finding: Finding) -> Verdict {
    Verdict { check, status, finding }
}

fn passed_unless(check: Check, wrong: Option<Finding>) -> Verdict {
    match wrong {
        Some(finding) => verdict(check, Status::Failed, finding),
        None => verdict(check, Status::Passed, Finding::AsExpected),
    }
}

fn leaves(parts: &Parts, pass: &Pass) -> Verdict {
    if !parts.manifest.leaf_hashes {
        return verdict(Check::Leaves, Status::NotApplicable, Finding::NotLocated);
    }
    passed_unless(Check::Leaves, pass.leaves)
}

/// The root over the listed leaf hashes where there are some: they are then shown to be the log's, and the
/// entry that differs from its own is the one that was changed. Nothing is found where the bundle broke off before their end.
fn root(parts: &Parts, pass: &Pass) -> Option<Finding> {
    let checkpoint = match unverified(&parts.checkpoint) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Some(Finding::Checkpoint(error)),
    };
    let manifest = &parts.manifest;
    if checkpoint.head.size != manifest.size {
        return Some(Finding::Size { announced: manifest.size, observed: checkpoint.head.size });
    }
    let root = match pass.listed_root {
        Some(Ok(root)) => root,
        Some(Err(error)) => return Some(Finding::Proof(error)),
        None if manifest.leaf_hashes => return None,
        None => pass.frontier.root(),
    };
    (root != checkpoint.head.root).then_some(Finding::RootMismatch)
}

fn witnessed(note: &[u8], quorum: Option<&Quorum>) -> Verdict {
    let Some(quorum) = quorum else {
        return verdict(Check::Witnessed, Status::NotApplicable, Finding::NotAsked);
    };
    let met = Note::parse(note).and_then(|note| quorum.is_met_by(&note));
    passed_unless(
        Check::Witnessed,
        match met {
            Ok(true) => None,
            Ok(false) => Some(Finding::TooFewWitnesses { needed: quorum.needed() }),
            Err(error) => Some(Finding::Checkpoint(CheckpointError::Note(error))),
        },
    )
}

fn expected(manifest: &Manifest, expectations: &Expectations) -> Verdict {
    if expectations.audit_key.is_none() && expectations.origin.is_none() {
        return verdict(Check::Expected, Status::NotApplicable, Finding::NotAsked);
    }
    let other_key = expectations.audit_key.is_some_and(|key| key != manifest.audit_key);
    let other_log = expectations.origin.as_ref().is_some_and(|origin| *origin != manifest.origin);
    let wrong = other_key.then_some(Finding::OtherKey).or(other_log.then_some(Finding::OtherLog));
    passed_unless(Check::Expected, wrong)
}

fn evidence(parts: &Parts, pass: &Pass) -> Verdict {
    let present = parts.evidence.as_deref().map(Hash::of);
    if present != parts.manifest.evidence {
        return verdict(Check::Evidence, Status::Failed, Finding::OtherEvidence);
    }
    let (status, finding) = match (present, pass.evidence.map(|(_, named)| named)) {
        (Some(present), Some(named)) if present == named => (Status::Passed, Finding::AsExpected),
        (Some(_), Some(_)) => (Status::Failed, Finding::OtherEvidence),
        (Some(_), None) if parts.manifest.is_whole() => (Status::Failed, Finding::OtherEvidence),
        (Some(_), None) => (Status::NotApplicable, Finding::NotInRange),
        (None, Some(_)) => (Status::Failed, Finding::EvidenceMissing),
        (None, None) => (Status::NotApplicable, Finding::NoEvidence),
    };
    verdict(Check::Evidence, status, finding)
}

fn closure(manifest: &Manifest, pass: &Pass) -> Verdict {
    if manifest.first + manifest.count < manifest.size {
        return verdict(Check::Closure, Status::NotApplicable, Finding::NotInRange);
    }
    if pass.last == Some(EventType::LogClose) {
        return verdict(Check::Closure, Status::Passed, Finding::Closed);
    }
    let finding = Finding::NotClosed { lost_max: pass.lost_max, uncovered: manifest.uncovered };
    verdict(Check::Closure, Status::Noted, finding)
}

fn earlier(note: &[u8], key: &VerifierKey, latest: &Checkpoint, pass: &Pass) -> Verdict {
    let seen = match Checkpoint::verify(note, key) {
        Ok(checkpoint) => checkpoint.head,
        Err(error) => return verdict(Check::Earlier, Status::Failed, Finding::Checkpoint(error)),
    };
    if seen.size > latest.head.size {
        return verdict(Check::Earlier, Status::Failed, Finding::Outdated { seen: seen.size });
    }
    let heads = pass.heads.iter().chain([&latest.head]);
    let mut same_size = heads.filter(|head| head.size == seen.size).peekable();
    if same_size.peek().is_none() {
        return verdict(Check::Earlier, Status::NotApplicable, Finding::NotInRange);
    }
    let parted = same_size.any(|head| head.root != seen.root);
    passed_unless(Check::Earlier, parted.then_some(Finding::Equivocation { size: seen.size }))
}
