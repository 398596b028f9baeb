//! The plaintext of each object, and the first of the two times that it is read.

use std::ops::Range;

use super::{SealOptions, file_digest};
use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::layout::Layout;
use crate::memory::Region;
use crate::merkle::Hash;
use crate::role::Role;
use crate::rules::OptionRule;
use crate::source::{Source, SourceFile};
use crate::suite::Suite;
use crate::tensors::FileTable;

/// A file's place in an object.
pub(super) struct Part<'a> {
    pub(super) offset: u64,
    file: &'a SourceFile,
}

/// What an object encrypts: one file, or all of them with zeros between and after.
pub(super) struct Plaintext<'a> {
    role: Role,
    parts: Vec<Part<'a>>,
    len: u64,
}

impl<'a> Plaintext<'a> {
    /// The plaintexts of a package's objects, in order. Their parts, in order, are the files of the source.
    pub(super) fn of(source: &'a Source, options: &SealOptions<'_>) -> Result<Vec<Self>, Error> {
        if !options.padding.is_bundle() {
            let alone = |file: &'a SourceFile| Self {
                role: file.role,
                parts: vec![Part { offset: 0, file }],
                len: file.len,
            };
            return Ok(source.files.iter().map(alone).collect());
        }
        let placed = options.padding.bundle(source.files.iter().map(|file| file.len));
        let placed = placed.filter(|(_, len)| *len <= Role::Bundle.max_len());
        let (offsets, len) = placed.ok_or(OptionRule::TooLarge)?;
        let parts = source.files.iter().zip(offsets).map(|(file, offset)| Part { offset, file }).collect();
        Ok(vec![Self { role: Role::Bundle, parts, len }])
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    pub(super) fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` with the bytes at `offset`.
    pub(super) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0);
        let end = offset.saturating_add(out.len() as u64);
        for (part, from, to) in self.overlaps(offset..end) {
            let place = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let bytes = out.get_mut(place(from)..place(to)).unwrap_or_default();
            part.file.read_at(from - part.offset, bytes)?;
        }
        Ok(())
    }

    /// The refusal of the file whose bytes lie in this range.
    pub(super) fn changed(&self, range: Range<u64>) -> Error {
        let found = self.overlaps(range).next().map(|(part, ..)| part.file.changed());
        found.unwrap_or(OptionRule::TooLarge.into())
    }

    /// The parts that lie in a range, with the bounds of what of them does.
    fn overlaps(&self, range: Range<u64>) -> impl Iterator<Item = (&Part<'a>, u64, u64)> {
        self.parts.iter().filter_map(move |part| {
            let from = part.offset.max(range.start);
            let to = part.offset.saturating_add(part.file.len).min(range.end);
            (from < to).then_some((part, from, to))
        })
    }
}

/// What the files were when they were read for the first time.
pub(super) struct Survey {
    /// SHA-256 of each file.
    pub(super) files: Vec<Hash>,
    /// The leaf hash of each segment's plaintext, by object.
    pub(super) segments: Vec<Vec<Hash>>,
}

/// A part of the survey, each for one thread.
enum Look<'a> {
    File(&'a SourceFile, &'a mut Hash),
    Segment(&'a Plaintext<'a>, Range<u64>, &'a mut Hash),
}

impl Survey {
    /// Reads everything once. Files come before segments, because hashing one cannot be shared out.
    pub(super) fn take(
        source: &Source,
        plaintexts: &[Plaintext<'_>],
        options: &SealOptions<'_>,
        effort: &Effort<'_>,
        meter: &Meter<'_>,
    ) -> Result<Self, Error> {
        let mut files = vec![Hash::default(); source.files.len()];
        let mut segments = Vec::with_capacity(plaintexts.len());
        for plaintext in plaintexts {
            let count = layout(plaintext, options).segment_count();
            segments.push(vec![Hash::default(); usize::try_from(count).map_err(|_| OptionRule::TooLarge)?]);
        }
        let mut looks: Vec<Look<'_>> =
            source.files.iter().zip(&mut files).map(|(file, hash)| Look::File(file, hash)).collect();
        for (plaintext, hashes) in plaintexts.iter().zip(&mut segments) {
            let layout = layout(plaintext, options);
            for (index, hash) in (0..).zip(hashes) {
                let range = layout.payload_range(index).ok_or(OptionRule::TooLarge)?;
                looks.push(Look::Segment(plaintext, range, hash));
            }
        }
        let memory = || Region::new(options.segment.payload_len() as usize);
        effort.run(looks, memory, |memory, look| match look {
            Look::File(file, hash) => {
                *hash = file_digest(file.len, |at, bytes| {
                    meter.add(bytes.len() as u64);
                    file.read_at(at, bytes)
                })?;
                file.check_len()
            }
            Look::Segment(plaintext, range, hash) => {
                *hash = look_at(plaintext, range, options.suite, memory)?.0;
                Ok(())
            }
        })?;
        Ok(Self { files, segments })
    }

    /// The tables of tensors in the bytes that were surveyed, whatever the files hold by now.
    pub(super) fn tables(
        &self,
        source: &Source,
        plaintexts: &[Plaintext<'_>],
        options: &SealOptions<'_>,
    ) -> Result<Vec<FileTable>, Error> {
        let mut memory = Region::new(options.segment.payload_len() as usize)?;
        let mut heads = Vec::new();
        let mut starts = source.tables()?.into_iter().map(|table| table.data_start());
        for (plaintext, hashes) in plaintexts.iter().zip(&self.segments) {
            let layout = layout(plaintext, options);
            for part in plaintext.parts().iter().filter(|part| part.file.role == Role::Weights) {
                let len = starts.next().ok_or_else(|| part.file.changed())?.min(part.file.len);
                let mut head = Vec::new();
                for piece in layout.pieces(part.offset..part.offset.saturating_add(len)) {
                    let range = layout.payload_range(piece.segment).ok_or(OptionRule::TooLarge)?;
                    let (hash, bytes) = look_at(plaintext, range, options.suite, &mut memory)?;
                    let seen = usize::try_from(piece.segment).ok().and_then(|index| hashes.get(index));
                    if Some(&hash) != seen {
                        return Err(part.file.changed());
                    }
                    head.extend(bytes.iter().skip(piece.start).take(piece.len));
                }
                heads.push(head);
            }
        }
        source.tables_of(&heads)
    }
}

fn layout(plaintext: &Plaintext<'_>, options: &SealOptions<'_>) -> Layout {
    options.segment.layout(plaintext.len())
}

/// Reads one segment and returns its digest and its bytes.
fn look_at<'m>(
    plaintext: &Plaintext<'_>,
    range: Range<u64>,
    suite: Suite,
    memory: &'m mut Region,
) -> Result<(Hash, &'m [u8]), Error> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let bytes = memory.get_mut(..len).ok_or(OptionRule::TooLarge)?;
    plaintext.read_at(range.start, bytes)?;
    Ok((suite.leaf(bytes), bytes))
}
