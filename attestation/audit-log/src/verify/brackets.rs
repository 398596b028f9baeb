//! Between which times of witnesses entries were written.
//!
//! A cosignature of a checkpoint says that its witness saw the tree at that time, so every entry in it was there. An entry after it was
//! written when that checkpoint was made or later, which is shortly before. So each entry lies between the cosignatures around it, whatever
//! its own clock said, but for [`TOLERANCE_S`].

use super::{Parts, verdict};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, WitnessKey, cosignatures};
use crate::merkle::TreeHead;
use crate::note::{Note, NoteError, VerifierKey};
use crate::report::{Check, Finding, Status, Verdict};

/// By how much an entry's time may lie outside of the cosignatures around it, in seconds. A guest counts no witness whose clock is 5 minutes
/// from its own, and a checkpoint that takes a minute to its witnesses is followed by another one.
const TOLERANCE_S: u64 = 360;
const NS_PER_S: i64 = 1_000_000_000;

/// A tree, and when witnesses saw it. Where several did, the earliest counts for what came after it and the latest for what was in it: a
/// witness whose clock is wrong makes a bracket wider and accuses nobody.
#[derive(Debug, Clone, Copy)]
struct Mark {
    size: u64,
    earliest_s: u64,
    latest_s: u64,
}

impl Mark {
    fn of(size: u64, cosignatures: &[Cosignature]) -> Option<Self> {
        let times = || cosignatures.iter().map(|cosignature| cosignature.time_s);
        Some(Self { size, earliest_s: times().min()?, latest_s: times().max()? })
    }
}

/// The anchors of a bundle, and the times of its entries held to them.
#[derive(Debug, Default)]
pub(super) struct Brackets {
    heads: Vec<TreeHead>,
    /// Why the anchors are none of this log.
    fault: Option<Finding>,
    has_witnesses: bool,
    marks: Vec<Mark>,
    /// The first mark behind the next entry.
    next: usize,
    /// The size at which a witness saw more than later.
    backwards: Option<u64>,
    outside: Option<Finding>,
}

impl Brackets {
    /// Reads the anchors of a bundle. Establishes of each that the log's key signed it, and of each time that one of `witnesses` did.
    pub(super) fn new(parts: &Parts, key: &VerifierKey, witnesses: &[WitnessKey]) -> Self {
        let mut brackets = Self { has_witnesses: !witnesses.is_empty(), ..Self::default() };
        let mut latest: Vec<Cosignature> = Vec::new();
        for note in &parts.anchors {
            if let Err(fault) = brackets.take_anchor(parts, note, (key, witnesses), &mut latest) {
                brackets.fault = Some(fault);
                return brackets;
            }
        }
        // The last checkpoint has verdicts of its own; here it is the end of the last bracket.
        if let Ok(times) = times(&parts.checkpoint, witnesses) {
            brackets.mark(parts.manifest.size, times, &mut latest);
        }
        brackets
    }

    fn take_anchor(
        &mut self,
        parts: &Parts,
        note: &[u8],
        (key, witnesses): (&VerifierKey, &[WitnessKey]),
        latest: &mut Vec<Cosignature>,
    ) -> Result<(), Finding> {
        let head = Checkpoint::verify(note, key).map_err(Finding::Checkpoint)?.head;
        let range = parts.range();
        let follows = self.heads.last().is_none_or(|last| last.size < head.size);
        if !follows || !(range.first..=range.end).contains(&head.size) || head.size >= range.size {
            return Err(Finding::AnchorMisplaced { size: head.size });
        }
        let times = times(note, witnesses).map_err(|e| Finding::Checkpoint(CheckpointError::Note(e)))?;
        self.heads.push(head);
        self.mark(head.size, times, latest);
        Ok(())
    }

    /// Takes what witnesses said of the tree of this size; `latest` is what each said last.
    fn mark(&mut self, size: u64, cosignatures: Vec<Cosignature>, latest: &mut Vec<Cosignature>) {
        self.marks.extend(Mark::of(size, &cosignatures));
        for cosignature in cosignatures {
            match latest.iter_mut().find(|before| before.witness == cosignature.witness) {
                Some(before) => {
                    if before.time_s > cosignature.time_s.saturating_add(TOLERANCE_S) {
                        self.backwards.get_or_insert(size);
                    }
                    *before = cosignature;
                }
                None => latest.push(cosignature),
            }
        }
    }

    /// The sizes whose roots the entries must lead to.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.heads.iter().map(|head| head.size)
    }

    /// Takes the claimed time of the next entry.
    pub(super) fn take(&mut self, index: u64, wall_ns: i64) {
        while self.marks.get(self.next).is_some_and(|mark| mark.size <= index) {
            self.next += 1;
        }
        let before = self.next.checked_sub(1).and_then(|at| self.marks.get(at));
        let claimed_s = i128::from(wall_ns.div_euclid(NS_PER_S));
        let early_s = before.map(|mark| claimed_s - i128::from(mark.earliest_s)).filter(|s| *s < 0);
        let late_s = self.marks.get(self.next).map(|mark| claimed_s - i128::from(mark.latest_s));
        let off_s = early_s.or(late_s.filter(|s| *s > 0)).unwrap_or(0);
        if off_s.unsigned_abs() > u128::from(TOLERANCE_S) {
            let seconds = i64::try_from(off_s).unwrap_or(if off_s < 0 { i64::MIN } else { i64::MAX });
            self.outside.get_or_insert(Finding::OutOfBracket { index, seconds });
        }
    }

    /// Before when this entry was there, in seconds since 1970, if witnesses that agree with themselves say so.
    pub(super) fn there_by(&self, index: u64) -> Option<u64> {
        let mark = self.marks.iter().find(|mark| mark.size > index);
        mark.filter(|_| self.backwards.is_none() && self.fault.is_none()).map(|mark| mark.latest_s)
    }

    /// Whether the anchors are of this log's history; `reached` are the roots that its entries lead to, where those were shown to be its own.
    pub(super) fn anchors(&self, reached: Option<&[TreeHead]>) -> Verdict {
        let found = |status, finding| verdict(Check::Anchors, status, finding);
        if let Some(fault) = self.fault {
            return found(Status::Failed, fault);
        }
        let Some(reached) = reached else { return found(Status::NotApplicable, Finding::NotReached) };
        match self.heads.iter().find(|head| !reached.contains(head)) {
            Some(head) => found(Status::Failed, Finding::Equivocation { size: head.size }),
            None if self.heads.is_empty() => found(Status::NotApplicable, Finding::NoAnchors),
            None => found(Status::Passed, Finding::AsExpected),
        }
    }

    /// Whether the entries' times lie between the cosignatures around them. What is found is for a person to weigh: until the broker's time is
    /// known, a guest's clock is its host's.
    pub(super) fn verdict(&self) -> Verdict {
        let found = |status, finding| verdict(Check::Brackets, status, finding);
        if !self.has_witnesses {
            return found(Status::NotApplicable, Finding::NotAsked);
        }
        let apart = self.marks.windows(2).filter_map(|pair| match pair {
            [before, after] => Some(after.latest_s.saturating_sub(before.earliest_s)),
            _ => None,
        });
        match (self.fault, self.backwards, self.outside) {
            (Some(_), ..) => found(Status::NotApplicable, Finding::NotReached),
            (_, Some(size), _) => found(Status::Noted, Finding::WitnessBackwards { size }),
            (_, _, Some(outside)) => found(Status::Noted, outside),
            _ if self.marks.is_empty() => found(Status::NotApplicable, Finding::NoAnchors),
            _ => found(Status::Passed, Finding::Bracketed { widest_s: apart.max().unwrap_or(0) }),
        }
    }
}

fn times(note: &[u8], witnesses: &[WitnessKey]) -> Result<Vec<Cosignature>, NoteError> {
    cosignatures(&Note::parse(note)?, witnesses)
}
