//! What a check of a bundle found.

use crate::Follows;
use crate::bundle::Manifest;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::entry::EntryError;
use crate::merkle::{ProofError, TreeHead};
use std::fmt;

/// One question about a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The bundle has the documented shape.
    Structure,
    /// Every entry is well formed, of one boot, and carries the index at which it stands.
    Order,
    /// Every entry has the leaf hash that the bundle lists for it.
    Leaves,
    /// The leaf hashes lead to the checkpoint's root hash.
    Root,
    /// The audit key signed the checkpoint.
    Signature,
    /// Enough of the witnesses that the caller names cosigned the checkpoint.
    Witnessed,
    /// The checkpoints that were kept along the way are of the same history.
    Anchors,
    /// Key and log are those that the caller expects.
    Expected,
    /// The evidence is the one that the log names.
    Evidence,
    /// How the log ended.
    Closure,
    /// There was an entry as often as the log announced, so that nothing is hidden in silence.
    Silence,
    /// Its clocks agree.
    Clock,
    /// Entries say times that lie between the cosignatures around them.
    Brackets,
    /// Checkpoints that the caller saw earlier are of the same history.
    Earlier,
}

impl Check {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Order => "order",
            Self::Leaves => "leaves",
            Self::Root => "root",
            Self::Signature => "signature",
            Self::Witnessed => "witnessed",
            Self::Anchors => "anchors",
            Self::Expected => "expected",
            Self::Evidence => "evidence",
            Self::Closure => "closure",
            Self::Silence => "silence",
            Self::Clock => "clock",
            Self::Brackets => "brackets",
            Self::Earlier => "earlier",
        }
    }
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Yes.
    Passed,
    /// No; the bundle proves nothing.
    Failed,
    /// Nothing is wrong, and the finding has to be shown to whoever relies on the bundle.
    Noted,
    /// The question does not arise, or could not be reached.
    NotApplicable,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// What had to be there.
    AsExpected,
    /// The bundle broke off before.
    NotReached,
    /// The caller expects nothing in particular.
    NotAsked,
    /// What the question is about lies outside of the exported range.
    NotInRange,
    /// A member is missing, in the wrong place, malformed or has no plain header.
    Member {
        /// Its name.
        name: &'static str,
    },
    /// A member is over its limit.
    TooLong {
        /// Its name.
        name: &'static str,
    },
    /// There are bytes after the last member.
    TrailingBytes,
    /// More or fewer entries than the manifest says.
    Count {
        /// How many it says.
        announced: u64,
    },
    /// An entry is none.
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        error: EntryError,
    },
    /// An entry stands where another should be.
    Misplaced {
        /// The index at which it stands.
        index: u64,
        /// The index that it carries.
        observed: u64,
    },
    /// An entry of another boot.
    ForeignBoot {
        /// Its index.
        index: u64,
    },
    /// Entry 0 is not the `log.open` of this log.
    NotOpened,
    /// An entry after `log.close`.
    AfterClose {
        /// Its index.
        index: u64,
    },
    /// An entry's bytes are not those that were hashed.
    Changed {
        /// Its index.
        index: u64,
    },
    /// The bundle lists no leaf hashes; the root covers the entries, and a change is not located.
    NotLocated,
    /// The entries lead to another root hash than the checkpoint's.
    RootMismatch,
    /// The proof has the wrong shape.
    Proof(ProofError),
    /// Manifest and checkpoint name different sizes.
    Size {
        /// The manifest's.
        announced: u64,
        /// The checkpoint's.
        observed: u64,
    },
    /// The checkpoint was refused.
    Checkpoint(CheckpointError),
    /// Fewer of the named witnesses than needed cosigned the checkpoint.
    TooFewWitnesses {
        /// How many are needed.
        needed: usize,
    },
    /// The bundle's audit key is not the expected one.
    OtherKey,
    /// The bundle is of another log than the expected one.
    OtherLog,
    /// The bundle has evidence that its log does not name, or names another.
    OtherEvidence,
    /// The log names evidence that the bundle lacks.
    EvidenceMissing,
    /// The log has no evidence, as that of a key broker.
    NoEvidence,
    /// The log ended with `log.close`.
    Closed,
    /// The log did not end with `log.close`: it is in use, or its process was stopped.
    NotClosed {
        /// The most entries after the last one here that may be missing.
        lost_max: u64,
        /// How many of them lay on disk when the bundle was made, by its own account.
        uncovered: u64,
    },
    /// The log announces no heartbeat, as that of a key broker.
    NotAnnounced,
    /// There was no entry for longer than the log announced; the first time.
    Silent {
        /// The entry that ended the silence.
        index: u64,
        /// How long it was.
        seconds: u64,
    },
    /// The wall clock was set, or the time since boot ran back; the first time.
    ClockStepped {
        /// The entry after it.
        index: u64,
        /// By how much the wall clock went ahead of the time since boot.
        seconds: i64,
    },
    /// No checkpoints were kept along the way, or none has a time of these witnesses.
    NoAnchors,
    /// A checkpoint that was kept along the way does not lie behind the one before it, or not in the range.
    AnchorMisplaced {
        /// Its size.
        size: u64,
    },
    /// Entries say times between the cosignatures around them.
    Bracketed {
        /// How far apart those are at most, in seconds.
        widest_s: u64,
    },
    /// An entry says a time before the cosignature before it, or after the one after it; the first one.
    OutOfBracket {
        /// Its index.
        index: u64,
        /// By how many seconds: negative where it is too early.
        seconds: i64,
    },
    /// A witness says an earlier time of a larger tree: its clock was set back, or it signs what it should not.
    WitnessBackwards {
        /// The size of the larger tree.
        size: u64,
    },
    /// The log signed two histories. The two checkpoints are the proof.
    Equivocation {
        /// The size at which they part.
        size: u64,
    },
    /// The caller saw a checkpoint of more entries: the bundle leaves the latest out.
    Outdated {
        /// The size that the caller saw.
        seen: u64,
    },
}

impl Finding {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AsExpected => "as_expected",
            Self::NotReached => "not_reached",
            Self::NotAsked => "not_asked",
            Self::NotInRange => "not_in_range",
            Self::Member { .. } => "member",
            Self::TooLong { .. } => "too_long",
            Self::TrailingBytes => "trailing_bytes",
            Self::Count { .. } => "count",
            Self::Entry { .. } => "entry",
            Self::Misplaced { .. } => "misplaced",
            Self::ForeignBoot { .. } => "foreign_boot",
            Self::NotOpened => "not_opened",
            Self::AfterClose { .. } => "after_close",
            Self::Changed { .. } => "changed",
            Self::NotLocated => "not_located",
            Self::RootMismatch => "root_mismatch",
            Self::Proof(_) => "proof",
            Self::Size { .. } => "size",
            Self::Checkpoint(_) => "checkpoint",
            Self::TooFewWitnesses { .. } => "too_few_witnesses",
            Self::OtherKey => "other_key",
            Self::OtherLog => "other_log",
            Self::OtherEvidence => "other_evidence",
            Self::EvidenceMissing => "evidence_missing",
            Self::NoEvidence => "no_evidence",
            Self::Closed => "closed",
            Self::NotClosed { .. } => "not_closed",
            Self::NotAnnounced => "not_announced",
            Self::Silent { .. } => "silent",
            Self::ClockStepped { .. } => "clock_stepped",
            Self::NoAnchors => "no_anchors",
            Self::AnchorMisplaced { .. } => "anchor_misplaced",
            Self::Bracketed { .. } => "bracketed",
            Self::OutOfBracket { .. } => "out_of_bracket",
            Self::WitnessBackwards { .. } => "witness_backwards",
            Self::Equivocation { .. } => "equivocation",
            Self::Outdated { .. } => "outdated",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsExpected => f.write_str("as expected"),
            Self::NotReached => f.write_str("not reached"),
            Self::NotAsked => f.write_str("nothing in particular was expected"),
            Self::NotInRange => f.write_str("outside of the exported range"),
            Self::Member { name } => write!(f, "{name} is missing, misplaced or malformed"),
            Self::TooLong { name } => write!(f, "{name} is over its limit"),
            Self::TrailingBytes => f.write_str("bytes after the last member"),
            Self::Count { announced } => write!(f, "not the {announced} entries that the manifest announces"),
            Self::Entry { index, error } => write!(f, "entry {index}: {error}"),
            Self::Misplaced { index, observed } => write!(f, "entry {index} carries index {observed}"),
            Self::ForeignBoot { index } => write!(f, "entry {index} is of another boot"),
            Self::NotOpened => f.write_str("entry 0 is not the log.open of this log"),
            Self::AfterClose { index } => write!(f, "entry {index} comes after log.close"),
            Self::Changed { index } => write!(f, "entry {index} was changed"),
            Self::NotLocated => f.write_str("no leaf hashes, so a change would not be located"),
            Self::RootMismatch => f.write_str("entries lead to another root hash than the checkpoint's"),
            Self::Proof(error) => write!(f, "{error}"),
            Self::Size { announced, observed } => {
                write!(f, "the manifest says {announced} entries, the checkpoint {observed}")
            }
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::TooFewWitnesses { needed } => {
                write!(f, "fewer than {needed} of the named witnesses cosigned the checkpoint")
            }
            Self::OtherKey => f.write_str("audit key is not the expected one"),
            Self::OtherLog => f.write_str("log is not the expected one"),
            Self::OtherEvidence => f.write_str("evidence is not the one that the log names"),
            Self::EvidenceMissing => f.write_str("the log names evidence that the bundle lacks"),
            Self::NoEvidence => f.write_str("the log has no evidence"),
            Self::Closed => f.write_str("the log was closed"),
            Self::NotClosed { lost_max, uncovered } => write!(
                f,
                "the log was not closed: at most {lost_max} entries after the last are unaccounted for \
                 ({uncovered} lay on disk without proof)"
            ),
            Self::NotAnnounced => f.write_str("the log announces no heartbeat"),
            Self::Silent { index, seconds } => {
                write!(f, "no entry for {seconds} s before entry {index}, longer than the log announced")
            }
            Self::ClockStepped { index, seconds } => {
                write!(f, "the wall clock stepped by {seconds} s before entry {index}")
            }
            Self::NoAnchors => f.write_str("no checkpoint on the way says when a witness saw it"),
            Self::AnchorMisplaced { size } => {
                write!(f, "the kept checkpoint of {size} entries is out of order or out of range")
            }
            Self::Bracketed { widest_s } => {
                write!(f, "entries lie between cosignatures that are at most {widest_s} s apart")
            }
            Self::OutOfBracket { index, seconds: seconds @ ..0 } => {
                let seconds = seconds.unsigned_abs();
                write!(f, "entry {index} says a time {seconds} s before the cosignature before it")
            }
            Self::OutOfBracket { index, seconds } => {
                write!(f, "entry {index} says a time {seconds} s after the cosignature after it")
            }
            Self::WitnessBackwards { size } => {
                write!(f, "a witness says an earlier time of {size} entries than of fewer")
            }
            Self::Equivocation { size } => write!(f, "the log signed two histories of {size} entries"),
            Self::Outdated { seen } => write!(f, "a checkpoint of {seen} entries was seen earlier"),
        }
    }
}

/// One question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The question.
    pub check: Check,
    /// The answer.
    pub status: Status,
    /// What was found.
    pub finding: Finding,
}

/// All that a check of a bundle found.
///
/// An accepted report shows that the holder of the audit key wrote these entries in this order. That a
/// guest's evidence vouches for that key is for the caller to establish, from `evidence` and
/// `manifest.binding`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One verdict for each [`Check`], in order; [`Check::Earlier`] once for each earlier checkpoint.
    pub verdicts: Vec<Verdict>,
    /// What the bundle says of itself, if it could be read.
    pub manifest: Option<Manifest>,
    /// The checkpoint, if its signature was verified.
    pub checkpoint: Option<Checkpoint>,
    /// The checkpoint as it came: a note, with whatever cosignatures it has; empty when it was not reached.
    pub checkpoint_note: Vec<u8>,
    /// The checkpoints that were kept along the way, as notes.
    pub anchors: Vec<Vec<u8>>,
    /// The evidence JSON, if there is any.
    pub evidence: Option<Vec<u8>>,
    /// What the log says of the log before it; `None` where that was not exported, or the log is older than such entries.
    pub follows: Option<Follows>,
    /// Before when the entry that names the evidence was there, in seconds since 1970, as the witnesses say whose times are believed.
    pub evidence_by_s: Option<u64>,
    /// The roots that the entries lead to at the sizes that the caller asked for, as far as they lie in the range.
    pub heads: Vec<TreeHead>,
}

impl Report {
    /// Whether no verdict failed.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.status != Status::Failed)
    }

    /// Size and root hash of the log's first `size` entries, if they were asked for and lie in the range.
    #[must_use]
    pub fn head(&self, size: u64) -> Option<TreeHead> {
        let latest = self.checkpoint.as_ref().map(|checkpoint| checkpoint.head);
        self.heads.iter().copied().chain(latest).find(|head| head.size == size)
    }

    /// The first verdict on this question.
    #[must_use]
    pub fn verdict(&self, check: Check) -> Option<Verdict> {
        self.verdicts.iter().find(|verdict| verdict.check == check).copied()
    }
}
