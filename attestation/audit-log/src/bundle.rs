//! What an evidence bundle holds, and in which order.
//!
//! Entries stand in parts of [`PART_ENTRIES`], each followed by the hashes of its leaves. So whoever writes a bundle, and whoever checks
//! one, holds the hashes of one part, however long the log is, and a changed entry is found by its index all the same. In format 1 the
//! hashes of all entries stood before them: a checker had to hold them all, so long logs went without, and entries ended at the 8 GiB of a
//! member. It is still read, within the limits that it had.

use crate::anchors::MAX_ANCHORS;
use crate::binding::BindingInputs;
use crate::entry::MAX_ENTRY_BYTES;
use crate::{BootId, Hash, Origin, PublicKey};
use serde::{Deserialize, Serialize};

pub(crate) const FORMAT: &str = "anchorhold-audit-bundle-v2";
pub(crate) const FORMAT_1: &str = "anchorhold-audit-bundle-v1";

// In the order in which they stand in a bundle. Those that the manifest does not announce are left out.
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const README: &str = "README.txt";
pub(crate) const CHECKPOINT: &str = "checkpoint.note";
pub(crate) const EVIDENCE: &str = "evidence.json";
pub(crate) const PROOF: &str = "proof.json";
/// How findings name the members with entries and with their hashes.
pub(crate) const ENTRIES: &str = "entries-*.jsonl";
pub(crate) const LEAF_HASHES: &str = "leaf-hashes-*.bin";
pub(crate) const ENTRIES_1: &str = "entries.jsonl";
pub(crate) const LEAF_HASHES_1: &str = "leaf-hashes.bin";

/// How many entries a part has; the last may have fewer.
pub const PART_ENTRIES: u64 = 65_536;

/// How findings name the members with checkpoints that were kept along the way.
pub(crate) const ANCHORS: &str = "anchor-*.note";

/// The member with the anchor of this number.
pub(crate) fn anchor_member(at: u32) -> String {
    format!("anchor-{at:05}.note")
}

/// The member with the entries of this part.
pub(crate) fn entries_member(part: u64) -> String {
    format!("entries-{part:05}.jsonl")
}

/// The member with the hashes of their leaves, which follows it.
pub(crate) fn hashes_member(part: u64) -> String {
    format!("leaf-hashes-{part:05}.bin")
}

pub(crate) const MAX_MANIFEST_BYTES: u64 = 16 * 1024;
pub(crate) const MAX_README_BYTES: u64 = 64 * 1024;
pub(crate) const MAX_PROOF_BYTES: u64 = 16 * 1024;
/// The most entries whose hashes stand in a bundle of format 1, 64 MiB of them. One with more entries holds none,
/// and a change in it is found and not located.
pub(crate) const MAX_LOCATED_ENTRIES: u64 = 2 * 1024 * 1024;
/// The longest line of an entry with its line feed.
pub(crate) const MAX_LINE_BYTES: u64 = MAX_ENTRY_BYTES as u64 + 1;

/// What a bundle says of itself. Claims, until the verdicts bear them out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How many checkpoints that were kept along the way are in it; 0 in bundles of before there were any.
    #[serde(default, skip_serializing_if = "is_none")]
    pub anchors: u32,
    /// The key that signed the checkpoint; that it is the boot's is shown by the evidence.
    pub audit_key: PublicKey,
    /// What the evidence's report data was made of.
    pub binding: Option<BindingInputs>,
    /// The boot.
    pub boot: BootId,
    /// How many entries follow.
    pub count: u64,
    /// SHA-256 of `evidence.json`.
    pub evidence: Option<Hash>,
    /// The index of the first of them.
    pub first: u64,
    /// `anchorhold-audit-bundle-v2`, or `-v1`.
    pub format: String,
    /// Whether the bundle holds the leaf hashes, by which a changed entry is found; those of format 2 always do.
    pub leaf_hashes: bool,
    /// The log's name.
    pub origin: Origin,
    /// The checkpoint's size.
    pub size: u64,
    /// How many entries lay on disk beyond the checkpoint and were left out, because nothing proves them.
    pub uncovered: u64,
}

const fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Manifest {
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Reads a manifest in its one spelling, with numbers that fit together.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        let end = manifest.first.checked_add(manifest.count)?;
        let fits_format = match manifest.format.as_str() {
            FORMAT => manifest.leaf_hashes && manifest.anchors as usize <= MAX_ANCHORS,
            _ if manifest.anchors > 0 => false,
            FORMAT_1 if manifest.leaf_hashes => manifest.count <= MAX_LOCATED_ENTRIES,
            FORMAT_1 => manifest.is_whole(),
            _ => false,
        };
        let fits = fits_format
            && manifest.count > 0
            && end <= manifest.size
            && (manifest.binding.is_none() || manifest.evidence.is_some());
        (fits && manifest.to_bytes()? == bytes).then_some(manifest)
    }

    /// Whether the bundle is of format 1.
    pub(crate) fn is_format_1(&self) -> bool {
        self.format == FORMAT_1
    }

    /// Whether the bundle holds every entry that the checkpoint covers.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.first == 0 && self.count == self.size
    }
}

/// The hashes beside a range, left to right.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeProof {
    pub(crate) hashes: Vec<Hash>,
}

pub(crate) const README_TEXT: &str = "\
Anchorhold audit bundle, format 2

How to check it
    anchorhold audit verify <this file>

The check needs no network. It reports each of its verdicts by itself: the shape of the bundle, the order
of the entries, each entry's bytes, the root hash, the checkpoint's signature, the evidence, how the log
ended. That the evidence is that of a confidential guest, and that it vouches for the audit key, is part
of the same command.

What is in it
    manifest.json     what the other files claim to be; nothing in it is signed
    checkpoint.note   the log's name, size and root hash, signed by the boot's audit key
                      (c2sp.org/tlog-checkpoint, Ed25519)
    anchor-*.note     smaller checkpoints of the same log with the cosignatures of witnesses: each entry below
                      its size was there when they cosigned it
    evidence.json     the boot's attestation evidence; its report data is a digest over the audit key and
                      the values under `binding` in manifest.json
    proof.json        only when entries were left out: the hashes beside the range
    entries-*.jsonl   the entries, byte for byte as they were hashed, one to a line, 65536 to a file; each
                      file is followed by
    leaf-hashes-*.bin SHA-256(0x00 || entry) of each of its entries, 32 bytes each

By hand
    The root hash is that of RFC 6962, section 2.1, over the lines of all entries-*.jsonl in their order,
    without the line feeds. The field `seq` of each entry is its index. Times are what the guest's clock said; the
    times in the cosignatures (c2sp.org/tlog-cosignature) are the witnesses'.
    Prompts and answers are not in the log. `req.receipt` holds two HMAC-SHA-256 values, over the request
    and over the response, under a key that only the caller was given.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(format: &str) -> Manifest {
        Manifest {
            anchors: 0,
            audit_key: PublicKey::new([1; 32]),
            binding: None,
            boot: BootId::new([2; 16]),
            count: 3,
            evidence: None,
            first: 0,
            format: format.to_owned(),
            leaf_hashes: true,
            origin: Origin::new("acme/1").unwrap(),
            size: 3,
            uncovered: 0,
        }
    }

    fn is_read(manifest: &Manifest) -> bool {
        Manifest::from_bytes(&manifest.to_bytes().unwrap()).as_ref() == Some(manifest)
    }

    #[test]
    fn a_manifest_is_read_when_its_numbers_fit_together() {
        for format in [FORMAT, FORMAT_1] {
            let whole = manifest(format);
            assert!(is_read(&whole) && whole.is_whole());
            for (first, count, size, fits) in [
                (1, 2, 3, true),
                (0, 2, 3, true),
                (1, 3, 3, false),
                (0, 4, 3, false),
                (3, 0, 3, false),
                (0, 0, 0, false),
                (u64::MAX, 1, u64::MAX, false),
            ] {
                let part = Manifest { first, count, size, ..manifest(format) };
                assert_eq!(is_read(&part), fits, "{first}, {count} of {size}");
                assert!(!part.is_whole() || count == 0);
            }
            let hash = Some(Hash::new([3; 32]));
            let binding = Some(BindingInputs::of_log(&whole.origin, Hash::new([4; 32]), Hash::new([5; 32])));
            assert!(is_read(&Manifest { evidence: hash, ..whole.clone() }));
            assert!(is_read(&Manifest { evidence: hash, binding, ..whole.clone() }));
            assert!(!is_read(&Manifest { binding, ..whole.clone() }), "inputs of evidence that is not here");
            let spaced = [whole.to_bytes().unwrap(), b"\n".to_vec()].concat();
            assert!(Manifest::from_bytes(&spaced).is_none());
        }
        assert!(!is_read(&manifest("anchorhold-audit-bundle-v3")));
    }

    #[test]
    fn each_format_announces_what_it_can_hold() {
        let anchors = |format, anchors| is_read(&Manifest { anchors, ..manifest(format) });
        assert!(anchors(FORMAT, 1024) && !anchors(FORMAT, 1025));
        assert!(!anchors(FORMAT_1, 1), "there were none then");
        // Every bundle of format 2 lists hashes. One of format 1 lists so many, or is whole.
        let with = |format, leaf_hashes, count, size| {
            is_read(&Manifest { leaf_hashes, count, size, ..manifest(format) })
        };
        assert!(!with(FORMAT, false, 3, 3));
        assert!(with(FORMAT_1, false, 3, 3) && !with(FORMAT_1, false, 2, 3));
        let most = 2 * 1024 * 1024;
        assert!(with(FORMAT_1, true, most, most) && !with(FORMAT_1, true, most + 1, most + 1));
        assert!(with(FORMAT_1, false, most + 1, most + 1) && with(FORMAT, true, most + 1, most + 1));
    }
}
