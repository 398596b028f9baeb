//! Policies (c2sp.org/tlog-policy): which logs are known, and which of which witnesses must have cosigned a checkpoint.

use super::decimal;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, WitnessKey, cosignatures};
use crate::note::{Note, NoteError, VerifierKey};
use std::fmt;

/// The longest policy that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// The most logs, the most witnesses, and the most groups. The specification recommends to support 32.
pub const MAX_POLICY_ITEMS: usize = 64;

/// What is wrong with a line of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyFault {
    /// A control character other than tab and line feed, or a last line without its end.
    Encoding,
    /// Not one of the four kinds of line, or with too few or too many items.
    Line,
    /// A key that is malformed or of another signature type.
    Key,
    /// A key that an earlier line has.
    DuplicateKey,
    /// A name that an earlier line has, or `none`.
    DuplicateName,
    /// A name that no earlier line has.
    UnknownName,
    /// A member that is in a group already, so that its witness would count twice.
    SecondMembership,
    /// A threshold below one or above the number of members.
    Threshold,
    /// Over [`MAX_POLICY_BYTES`] or [`MAX_POLICY_ITEMS`].
    TooLong,
    /// A second quorum line, or none.
    Quorum,
}

/// A policy that was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyError {
    /// Which line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub fault: PolicyFault,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            PolicyFault::Encoding => "control character, or no line feed at the end",
            PolicyFault::Line => "not a line `log`, `witness`, `group` or `quorum` with its items",
            PolicyFault::Key => "key is malformed, or not of the type that logs or witnesses sign with",
            PolicyFault::DuplicateKey => "key stands on an earlier line",
            PolicyFault::DuplicateName => "name is taken",
            PolicyFault::UnknownName => "name is not defined on an earlier line",
            PolicyFault::SecondMembership => "member is in a group already",
            PolicyFault::Threshold => "threshold is below one or above the number of members",
            PolicyFault::TooLong => "over the limits on policies",
            PolicyFault::Quorum => "not exactly one quorum",
        };
        if self.line == 0 { f.write_str(fault) } else { write!(f, "line {}: {fault}", self.line) }
    }
}

impl std::error::Error for PolicyError {}

/// Why a policy does not accept a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// The checkpoint is malformed, a signature by a known key is bad, or no known log signed it.
    Checkpoint(CheckpointError),
    /// Not enough of the witnesses cosigned it.
    NoQuorum {
        /// How many witnesses of the policy did.
        cosigned: usize,
    },
}

impl fmt::Display for PolicyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::NoQuorum { cosigned } => write!(f, "the {cosigned} witnesses that cosigned are no quorum"),
        }
    }
}

impl std::error::Error for PolicyRefusal {}

/// A witness or a group, by its place in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    needed: usize,
    /// Witnesses, and groups with smaller places than this one's.
    members: Vec<Member>,
}

/// A policy that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<WitnessKey>,
    groups: Vec<Group>,
    /// `None` for `quorum none`.
    quorum: Option<Member>,
}

/// A checkpoint that a policy accepts. Only [`Policy::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    checkpoint: Checkpoint,
    cosignatures: Vec<Cosignature>,
}

impl Accepted {
    /// What the log signed.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Which of the policy's witnesses cosigned it, and when.
    #[must_use]
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`] naming the first line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(PolicyError { line: 0, fault: PolicyFault::TooLong });
        }
        let whole = bytes.strip_suffix(b"\n");
        let whole = whole.ok_or(PolicyError { line: 0, fault: PolicyFault::Encoding })?;
        let mut reading = Reading::default();
        for (line, number) in whole.split(|byte| *byte == b'\n').zip(1..) {
            reading.line(line).map_err(|fault| PolicyError { line: number, fault })?;
        }
        reading.finish().ok_or(PolicyError { line: 0, fault: PolicyFault::Quorum })
    }

    /// The logs that are known.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses that are known, whether or not the quorum needs them.
    #[must_use]
    pub fn witnesses(&self) -> &[WitnessKey] {
        &self.witnesses
    }

    /// The same policy for these logs: for one that leaves its logs to be known from elsewhere.
    #[must_use]
    pub fn for_logs(self, logs: Vec<VerifierKey>) -> Self {
        Self { logs, ..self }
    }

    /// Establishes that one of the policy's logs signed the checkpoint of `note`, and that its quorum cosigned it.
    ///
    /// # Errors
    /// [`PolicyRefusal`].
    pub fn judge(&self, note: &[u8]) -> Result<Accepted, PolicyRefusal> {
        let refused = |error: NoteError| PolicyRefusal::Checkpoint(CheckpointError::Note(error));
        let parsed = Note::parse(note).map_err(refused)?;
        let stated = Checkpoint::from_text(parsed.unverified_text()).map_err(PolicyRefusal::Checkpoint)?;
        let key = self.logs.iter().find(|key| key.name() == stated.origin && signed_by(&parsed, key));
        let key = key.ok_or_else(|| refused(NoteError::NotSigned))?;
        let checkpoint = Checkpoint::verify(note, key).map_err(PolicyRefusal::Checkpoint)?;
        let cosignatures = cosignatures(&parsed, &self.witnesses).map_err(refused)?;
        if self.is_quorum(&cosignatures) {
            Ok(Accepted { checkpoint, cosignatures })
        } else {
            Err(PolicyRefusal::NoQuorum { cosigned: cosignatures.len() })
        }
    }

    fn is_quorum(&self, cosignatures: &[Cosignature]) -> bool {
        let cosigned: Vec<bool> = self
            .witnesses
            .iter()
            .map(|witness| cosignatures.iter().any(|cosignature| cosignature.witness == *witness))
            .collect();
        // Groups name only groups before them, so one pass decides each.
        let mut witnessed: Vec<bool> = Vec::with_capacity(self.groups.len());
        let has = |witnessed: &[bool], member: &Member| match member {
            Member::Witness(at) => cosigned.get(*at) == Some(&true),
            Member::Group(at) => witnessed.get(*at) == Some(&true),
        };
        for group in &self.groups {
            let count = group.members.iter().filter(|member| has(&witnessed, member)).count();
            witnessed.push(count >= group.needed);
        }
        self.quorum.is_none_or(|member| has(&witnessed, &member))
    }
}

/// Whether a signature by this key stands in the note and is good. A bad one is found again when the checkpoint is verified.
fn signed_by(note: &Note, key: &VerifierKey) -> bool {
    !matches!(note.verify(std::slice::from_ref(key)), Err(NoteError::NotSigned))
}

/// A policy of which some lines were read.
#[derive(Default)]
struct Reading {
    logs: Vec<VerifierKey>,
    witnesses: Vec<WitnessKey>,
    groups: Vec<Group>,
    /// Names of witnesses and groups, and whether a group has them.
    names: Vec<(Vec<u8>, Member, Membership)>,
    quorum: Option<Option<Member>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Membership {
    Free,
    Taken,
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyFault> {
        if line.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
            return Err(PolicyFault::Encoding);
        }
        let items = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|item| !item.is_empty());
        let items: Vec<&[u8]> = items.collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] | [b"log", key, _] => self.log(key),
            [b"witness", name, key] | [b"witness", name, key, _] => self.witness(name, key),
            [b"group", name, needed, members @ ..] if !members.is_empty() => {
                self.group(name, needed, members)
            }
            [b"quorum", name] => self.set_quorum(name),
            _ => Err(PolicyFault::Line),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), PolicyFault> {
        let key = std::str::from_utf8(key).map_err(|_| PolicyFault::Key)?;
        let key = VerifierKey::parse(key).map_err(|_| PolicyFault::Key)?;
        if self.logs.iter().any(|other| other.public_key() == key.public_key()) {
            return Err(PolicyFault::DuplicateKey);
        }
        push(&mut self.logs, key).map(|_| ())
    }

    fn witness(&mut self, name: &[u8], key: &[u8]) -> Result<(), PolicyFault> {
        let key = std::str::from_utf8(key).map_err(|_| PolicyFault::Key)?;
        let key = WitnessKey::parse(key).map_err(|_| PolicyFault::Key)?;
        if self.witnesses.iter().any(|other| other.public_key() == key.public_key()) {
            return Err(PolicyFault::DuplicateKey);
        }
        let at = push(&mut self.witnesses, key)?;
        self.define(name, Member::Witness(at))
    }

    fn group(&mut self, name: &[u8], needed: &[u8], names: &[&[u8]]) -> Result<(), PolicyFault> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let known = self.names.iter_mut().find(|(other, ..)| other == name);
            let (_, member, membership) = known.ok_or(PolicyFault::UnknownName)?;
            if *membership == Membership::Taken {
                return Err(PolicyFault::SecondMembership);
            }
            *membership = Membership::Taken;
            members.push(*member);
        }
        let needed = match needed {
            b"any" => Some(1),
            b"all" => Some(members.len()),
            number => std::str::from_utf8(number)
                .ok()
                .and_then(decimal)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=members.len()).contains(number)),
        };
        let needed = needed.ok_or(PolicyFault::Threshold)?;
        let at = push(&mut self.groups, Group { needed, members })?;
        self.define(name, Member::Group(at))
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), PolicyFault> {
        if name == b"none" || self.names.iter().any(|(other, ..)| other == name) {
            return Err(PolicyFault::DuplicateName);
        }
        self.names.push((name.to_vec(), member, Membership::Free));
        Ok(())
    }

    fn set_quorum(&mut self, name: &[u8]) -> Result<(), PolicyFault> {
        if self.quorum.is_some() {
            return Err(PolicyFault::Quorum);
        }
        let known = self.names.iter().find(|(other, ..)| other == name).map(|(_, member, _)| *member);
        self.quorum = Some(match known {
            None if name == b"none" => None,
            None => return Err(PolicyFault::UnknownName),
            some => some,
        });
        Ok(())
    }

    fn finish(self) -> Option<Policy> {
        let Self { logs, witnesses, groups, quorum, .. } = self;
        Some(Policy { logs, witnesses, groups, quorum: quorum? })
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<usize, PolicyFault> {
    if list.len() == MAX_POLICY_ITEMS {
        return Err(PolicyFault::TooLong);
    }
    list.push(item);
    Ok(list.len() - 1)
}
