//! The one pass over the entries of a bundle.

use super::brackets::Brackets;
use super::time::Times;
use super::{Expectations, MAX_EARLIER, Parts, Stop, malformed, stop, unverified};
use crate::bundle::{
    ENTRIES, ENTRIES_1, LEAF_HASHES, MAX_LINE_BYTES, Manifest, PART_ENTRIES, entries_member, hashes_member,
};
use crate::entry::Entry;
use crate::event::EventType;
use crate::merkle::{self, Frontier, ProofError, RangeVerifier, TreeHead};
use crate::note::VerifierKey;
use crate::report::Finding;
use crate::tar::{self, TarError};
use crate::{Follows, Hash, MAX_UNCOVERED};
use std::io::{BufRead, BufReader, Read};

/// What one pass over the entries finds; the first of each kind.
pub(super) struct Pass {
    pub(super) order: Option<Finding>,
    pub(super) leaves: Option<Finding>,
    /// What the listed leaf hashes lead to; `None` where none are listed, or not all were seen.
    pub(super) listed_root: Option<Result<Hash, ProofError>>,
    pub(super) frontier: Frontier,
    /// Earlier sizes with their roots, ascending, as far as the pass got.
    pub(super) heads: Vec<TreeHead>,
    wanted_sizes: Vec<u64>,
    /// The evidence that an entry names, and which entry.
    pub(super) evidence: Option<(u64, Hash)>,
    pub(super) follows: Option<Follows>,
    pub(super) last: Option<EventType>,
    pub(super) lost_max: u64,
    pub(super) times: Times,
    pub(super) brackets: Brackets,
}

impl Pass {
    pub(super) fn new(parts: &Parts, expectations: &Expectations) -> Self {
        let range = parts.range();
        let key = expectations.audit_key.unwrap_or(parts.manifest.audit_key);
        let brackets = VerifierKey::new(parts.manifest.origin.as_str(), key)
            .map(|key| Brackets::new(parts, &key, &expectations.clocks));
        let brackets = brackets.unwrap_or_default();
        let earlier = expectations.earlier.iter().take(MAX_EARLIER);
        let earlier = earlier.filter_map(|note| unverified(note).ok()).map(|checkpoint| checkpoint.head.size);
        let mut wanted_sizes: Vec<u64> =
            earlier.chain(expectations.sizes.iter().copied().take(MAX_EARLIER)).collect();
        wanted_sizes.extend(brackets.sizes());
        wanted_sizes.retain(|size| (range.first..=range.end).contains(size));
        wanted_sizes.sort_unstable_by(|a, b| b.cmp(a));
        wanted_sizes.dedup();
        // What lies before the range is whatever the proof says; the root shows whether it says so rightly.
        let begun = RangeVerifier::new(range, &parts.proof).map(|verifier| verifier.frontier().clone());
        let listed = parts.leaf_hashes.as_ref();
        let mut pass = Self {
            order: None,
            leaves: None,
            listed_root: listed.map(|listed| merkle::range_root(range, listed, &parts.proof)),
            frontier: begun.unwrap_or_default(),
            heads: Vec::new(),
            wanted_sizes,
            evidence: None,
            follows: None,
            last: None,
            lost_max: MAX_UNCOVERED,
            times: Times::default(),
            brackets,
        };
        pass.note_head();
        pass
    }

    pub(super) fn run(
        &mut self,
        parts: &Parts,
        mut reader: tar::Reader<BufReader<impl Read>>,
        mut visit: impl FnMut(&Entry),
    ) -> Result<(), Stop> {
        if parts.manifest.is_format_1() {
            self.read_format_1(parts, &mut reader, &mut visit)?;
        } else {
            self.read_parts(parts, &mut reader, &mut visit)?;
        }
        reader.finish().map_err(|error| match error {
            TarError::Io(error) => Stop::Io(error),
            TarError::Shape | TarError::TooLong => Stop::Broken(Finding::TrailingBytes),
        })
    }

    /// Parts of entries, each followed by the hashes of its leaves.
    fn read_parts<R: Read>(
        &mut self,
        parts: &Parts,
        reader: &mut tar::Reader<BufReader<R>>,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<(), Stop> {
        let range = parts.range();
        let mut root = RangeVerifier::new(range, &parts.proof);
        let mut hashes = Vec::new();
        let (mut first, mut part) = (range.first, 0);
        while first < range.end {
            let count = PART_ENTRIES.min(range.end - first);
            let (name, limit) = (entries_member(part), count * MAX_LINE_BYTES);
            let mut lines = Lines::begin(reader, (&name, ENTRIES), limit, &parts.manifest)?;
            for index in first..first + count {
                let leaf = lines.next()?;
                hashes.push(self.take_leaf(&parts.manifest, index, leaf, visit));
            }
            lines.end()?;
            let bytes = count * 32;
            if reader.begin(&hashes_member(part), bytes).map_err(stop(LEAF_HASHES))? != bytes {
                return Err(malformed(LEAF_HASHES));
            }
            for (index, hash) in (first..).zip(hashes.drain(..)) {
                let mut listed = [0; 32];
                reader
                    .content()
                    .read_exact(&mut listed)
                    .map_err(TarError::from)
                    .map_err(stop(LEAF_HASHES))?;
                self.compare(index, &Hash::new(listed), &hash);
                if let Ok(root) = &mut root {
                    root.push(Hash::new(listed));
                }
            }
            reader.end(bytes).map_err(stop(LEAF_HASHES))?;
            (first, part) = (first + count, part + 1);
        }
        self.listed_root = Some(root.and_then(RangeVerifier::finish));
        Ok(())
    }

    /// All entries, whose hashes were listed before, or not at all.
    fn read_format_1<R: Read>(
        &mut self,
        parts: &Parts,
        reader: &mut tar::Reader<BufReader<R>>,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<(), Stop> {
        let range = parts.range();
        let mut lines = Lines::begin(reader, (ENTRIES_1, ENTRIES_1), tar::MAX_MEMBER_BYTES, &parts.manifest)?;
        let mut listed = parts.leaf_hashes.iter().flatten();
        for index in range.first..range.end {
            let leaf = lines.next()?;
            let hash = self.take_leaf(&parts.manifest, index, leaf, visit);
            if let Some(listed) = listed.next() {
                self.compare(index, listed, &hash);
            }
        }
        lines.end()
    }

    /// Takes the bytes where an entry should be, and gives their hash.
    fn take_leaf(
        &mut self,
        manifest: &Manifest,
        index: u64,
        leaf: &[u8],
        visit: &mut dyn FnMut(&Entry),
    ) -> Hash {
        let hash = merkle::leaf_hash(leaf);
        self.frontier.push(hash);
        self.note_head();
        match Entry::from_bytes(leaf) {
            Ok(entry) => {
                self.take(manifest, index, &entry);
                visit(&entry);
            }
            Err(error) => {
                self.order.get_or_insert(Finding::Entry { index, error });
            }
        }
        hash
    }

    fn compare(&mut self, index: u64, listed: &Hash, hash: &Hash) {
        if listed != hash {
            self.leaves.get_or_insert(Finding::Changed { index });
        }
    }

    fn note_head(&mut self) {
        if self.wanted_sizes.last() == Some(&self.frontier.size()) {
            self.wanted_sizes.pop();
            self.heads.push(self.frontier.head());
        }
    }

    fn take(&mut self, manifest: &Manifest, index: u64, entry: &Entry) {
        if entry.seq != index {
            self.order.get_or_insert(Finding::Misplaced { index, observed: entry.seq });
        }
        if entry.boot != manifest.boot {
            self.order.get_or_insert(Finding::ForeignBoot { index });
        }
        let state = entry.log.as_ref();
        let opens =
            entry.kind == EventType::LogOpen && state.is_some_and(|state| state.origin == manifest.origin);
        if (index == 0) != opens {
            self.order.get_or_insert(Finding::NotOpened);
        }
        if self.last == Some(EventType::LogClose) {
            self.order.get_or_insert(Finding::AfterClose { index });
        }
        if index == 0
            && let Some(lost_max) = state.and_then(|state| state.lost_max)
        {
            self.lost_max = lost_max;
        }
        if self.evidence.is_none() {
            self.evidence = entry.evidence_of_log().map(|evidence| (index, evidence));
        }
        if self.follows.is_none() {
            self.follows = Follows::of_entry(entry);
        }
        self.times.take(index, entry);
        self.brackets.take(index, entry.t);
        self.last = Some(entry.kind);
    }
}

/// The lines of a member with entries.
struct Lines<'a, R: Read> {
    reader: &'a mut tar::Reader<BufReader<R>>,
    /// How findings name the member.
    name: &'static str,
    announced: u64,
    size: u64,
    rest: u64,
    line: Vec<u8>,
}

impl<'a, R: Read> Lines<'a, R> {
    fn begin(
        reader: &'a mut tar::Reader<BufReader<R>>,
        (member, name): (&str, &'static str),
        limit_bytes: u64,
        manifest: &Manifest,
    ) -> Result<Self, Stop> {
        let size = reader.begin(member, limit_bytes).map_err(stop(name))?;
        Ok(Self { reader, name, announced: manifest.count, size, rest: size, line: Vec::new() })
    }

    /// The next line, without its line feed.
    fn next(&mut self) -> Result<&[u8], Stop> {
        self.line.clear();
        let limit = self.rest.min(MAX_LINE_BYTES);
        let read = self.reader.content().take(limit).read_until(b'\n', &mut self.line).map_err(Stop::Io)?;
        self.rest -= read as u64;
        let finding = match self.rest {
            0 => Finding::Count { announced: self.announced },
            _ => Finding::TooLong { name: self.name },
        };
        self.line.strip_suffix(b"\n").ok_or(Stop::Broken(finding))
    }

    fn end(self) -> Result<(), Stop> {
        if self.rest != 0 {
            return Err(Stop::Broken(Finding::Count { announced: self.announced }));
        }
        self.reader.end(self.size).map_err(stop(self.name))
    }
}
