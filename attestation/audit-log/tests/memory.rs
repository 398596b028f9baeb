//! Exporting a log and checking what comes out take the same memory for a short log and for a long one.
//!
//! `ENTRIES=10000000 cargo test --release -p anchorhold-audit-log --test memory -- --nocapture` takes that many. The log is one that is
//! made while it is read, so that nothing but export and check is measured, and needs no disk.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at a surprise"
)]
#![cfg(target_os = "linux")]

mod fixture;

use anchorhold_audit_log::merkle::{Frontier, leaf_hash};
use anchorhold_audit_log::{
    BindingInputs, BootId, Checkpoint, Entry, Expectations, ExportError, ExportOptions, Hash, LogSource,
    Ulid, VerifierKey, VisitLeaf, export_from, verify,
};
use fixture::{End, boot, signer, write_log};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

/// By how much more memory the long log may take: what an allocator's habits explain.
const MAX_GROWTH_KIB: u64 = 3 * 1024;

/// A log of any length: `log.open`, then requests that differ in index and id.
struct Endless {
    open: Vec<u8>,
    request: Entry,
    checkpoint: Checkpoint,
    note: Vec<u8>,
    key: VerifierKey,
}

impl Endless {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        write_log(&path, 1, End::Closed);
        let mut leaves = Vec::new();
        anchorhold_audit_log::export_jsonl(&path, &mut leaves).unwrap();
        let leaves: Vec<&[u8]> = leaves.split(|byte| *byte == b'\n').collect();
        let signer = signer();
        let mut log = Self {
            open: leaves[0].to_vec(),
            request: Entry::from_bytes(leaves[2]).unwrap(),
            checkpoint: Checkpoint::new(signer.origin().as_str(), Frontier::new().head()),
            note: Vec::new(),
            key: signer.key().clone(),
        };
        let mut tree = Frontier::new();
        log.visit_leaves(size, &mut |_, leaf| {
            tree.push(leaf_hash(leaf));
            Ok(())
        })
        .unwrap();
        log.checkpoint = Checkpoint::new(signer.origin().as_str(), tree.head());
        log.note = log.checkpoint.sign(&signer).unwrap();
        log
    }
}

impl LogSource for Endless {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn boot(&self) -> BootId {
        boot()
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        Some((&self.checkpoint, &self.note))
    }

    fn size(&self) -> u64 {
        self.checkpoint.head.size
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> Result<(), ExportError> {
        let mut entry = self.request.clone();
        visit(0, &self.open)?;
        for index in 1..count {
            entry.seq = index;
            entry.id = Ulid::from_parts(index, [7; 10]);
            visit(index, &entry.to_bytes().unwrap())?;
        }
        Ok(())
    }

    fn evidence(&self, _: Hash) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
        Ok((None, None))
    }
}

/// What one thread writes and another reads.
struct WriteEnd(SyncSender<Vec<u8>>);
struct ReadEnd(Receiver<Vec<u8>>, Vec<u8>);

impl Write for WriteEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ReadEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().unwrap_or_default();
        }
        let count = self.1.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn export_and_verify(size: u64) {
    let log = Endless::new(size);
    let (write, read) = sync_channel(4);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| export_from(&log, WriteEnd(write), &ExportOptions::default()).unwrap());
        let report = verify(ReadEnd(read, Vec::new()), &Expectations::default()).unwrap();
        assert!(report.is_accepted(), "{:?}", report.verdicts);
        assert_eq!(report.checkpoint.as_ref(), Some(&log.checkpoint));
    });
    eprintln!("{size} entries exported and verified in {:?}, at most {} KiB", started.elapsed(), peak_kib());
}

#[test]
fn case_35_export_and_verify_take_no_more_memory_for_a_longer_log() {
    let size = std::env::var("ENTRIES").map_or(400_000, |text| text.parse().unwrap());
    // More than one part, so that all that a part costs is there.
    export_and_verify(100_000);
    let short = peak_kib();
    export_and_verify(size);
    let long = peak_kib();
    assert!(long <= short + MAX_GROWTH_KIB, "{short} KiB for 100000 entries, {long} KiB for {size}");
}
