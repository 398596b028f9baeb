//! A log in a small world that a seed decides, encrypted in every second one: a disk that tears, loses, reorders and misdirects writes or fails a call, clocks that jump,
//! crashes at any moment, and a host that puts back what it kept.
//!
//! `SEEDS=10000 cargo test --release -p anchorhold-audit-log --test simulation` runs that many; a failure names its seed, and `SEED=…`
//! runs it alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "tests stop at a surprise"
)]

mod fixture;

use anchorhold_audit_log::merkle::{Frontier, TreeHead, leaf_hash};
use anchorhold_audit_log::{
    Beginning, Check, CheckpointSlot, Entry, Event, Expectations, ExportOptions, Finding, Log, LogError,
    LogPlace, LogReader, ReadError, ReadingKey, Stamp, Status, Storage, StorageKey, export, verify,
};
use fixture::{boot, refusal_event, request_event, signer};
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::rc::Rc;

const SEEDS: u64 = 400;
const STEPS: usize = 24;
/// What a disk writes whole.
const SECTOR: usize = 512;
/// What it writes whole of a slot: less, so that a checkpoint is torn too.
const GRAIN: usize = 64;
const SLOTS: &str = "checkpoint.slots";
const SLOT_BYTES: usize = 4096;
/// The most bytes of a segment in histories with many of them.
const MAX_SMALL_SEGMENT: usize = 4096;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a write meets that the writer is not told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Entries go to another place of the segment.
    Misdirected,
    /// Entries are said to be durable and lost.
    Lost,
    /// A checkpoint goes over the one before it.
    OtherSlot,
    /// A checkpoint is said to be durable and lost.
    LostSlot,
}

/// Sectors of a file that were written and not made durable.
type Pending = Vec<(usize, Vec<u8>)>;

/// The medium. Files as they are after a power cut now, and what may or may not be added to them.
struct Disk {
    random: Random,
    files: BTreeMap<String, Vec<u8>>,
    segment: String,
    /// The current segment as the process sees it.
    seen: Vec<u8>,
    pending: Pending,
    /// The same of the slots.
    pending_slots: Pending,
    /// Which call fails, counted from now.
    fails_in: Option<usize>,
    /// Which call is never finished, counted from now.
    crashes_in: Option<usize>,
    lie: Option<Lie>,
    has_crashed: bool,
    /// Writes that go on beside the writer, in order, and what each still lacks or came to.
    begun: VecDeque<(Vec<u8>, Begun)>,
}

/// How far a write is that goes on beside the writer.
enum Begun {
    Waiting,
    Appended,
    Ended(io::Result<()>),
}

impl Disk {
    /// Whether this call works, fails, or is the last.
    fn step(&mut self) -> io::Result<()> {
        assert!(!self.has_crashed, "the process is gone");
        for (counter, kind) in
            [(&mut self.crashes_in, io::ErrorKind::Interrupted), (&mut self.fails_in, io::ErrorKind::Other)]
        {
            match counter {
                Some(0) => {
                    *counter = None;
                    self.has_crashed = kind == io::ErrorKind::Interrupted;
                    return Err(kind.into());
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.seen.resize(self.seen.len().max(at + bytes.len()), 0);
        self.seen[at..at + bytes.len()].copy_from_slice(bytes);
        for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
            let end = ((sector + 1) * SECTOR).min(self.seen.len());
            self.pending.push((sector, self.seen[sector * SECTOR..end].to_vec()));
        }
    }

    /// A power cut: of the sectors under way, any subset arrives, in any order; a file that has grown over one that did not arrive holds
    /// zeros or what lay there before.
    fn cut_power(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut content = self.files.get(&self.segment).cloned().unwrap_or_default();
        let durable = content.len();
        let garbage = self.random.one_in(2);
        for (sector, bytes) in pending {
            if self.random.one_in(2) {
                continue;
            }
            let at = sector * SECTOR;
            let length = content.len().max(at + bytes.len());
            while content.len() < length {
                let byte = if garbage { self.random.next() as u8 } else { 0 };
                content.push(byte);
            }
            // The part of the sector that was durable is what it was.
            let from = at.max(durable) - at;
            if from < bytes.len() {
                content[at + from..at + bytes.len()].copy_from_slice(&bytes[from..]);
            }
        }
        if !self.segment.is_empty() {
            self.files.insert(self.segment.clone(), content);
        }
        let mut grains = std::mem::take(&mut self.pending_slots);
        grains.retain(|_| self.random.one_in(2));
        self.write_slots(grains);
    }

    fn write_slots(&mut self, grains: Pending) {
        let slots = self.files.get_mut(SLOTS).unwrap();
        for (grain, bytes) in grains {
            slots[grain * GRAIN..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.step();
        let end = self.seen.len();
        let written = if result.is_ok() { bytes.len() } else { self.random.below(bytes.len() + 1) };
        if self.lie == Some(Lie::Misdirected) && end > 0 {
            self.lie = None;
            let at = self.random.below(end);
            self.write(at, &bytes[..written]);
            // The writer's own place goes on as if it had been right.
            self.seen.resize(end + written, 0);
        } else {
            self.write(end, &bytes[..written]);
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        if self.lie == Some(Lie::Lost) {
            self.lie = None;
            self.pending.clear();
            let durable = self.files.get(&self.segment).map_or(0, Vec::len);
            self.seen[durable..].fill(0);
            return Ok(());
        }
        self.pending.clear();
        let (name, content) = (self.segment.clone(), self.seen.clone());
        self.files.insert(name, content);
        Ok(())
    }

    /// Takes the earliest write that has not ended one step further; false when there is none, or one failed.
    fn go_on(&mut self) -> bool {
        let mut begun = std::mem::take(&mut self.begun);
        let next = begun.iter_mut().find(|(_, state)| !matches!(state, Begun::Ended(Ok(()))));
        let went = next.is_some_and(|(bytes, state)| {
            *state = match state {
                Begun::Waiting => match self.append(bytes) {
                    Ok(()) => Begun::Appended,
                    Err(error) => Begun::Ended(Err(error)),
                },
                Begun::Appended => Begun::Ended(self.sync()),
                Begun::Ended(_) => return false,
            };
            true
        });
        self.begun = begun;
        went
    }

    fn write_to(&self, path: &Path) {
        std::fs::create_dir_all(path.join("entries")).unwrap();
        for (name, content) in &self.files {
            std::fs::write(path.join(name), content).unwrap();
        }
    }
}

#[derive(Clone)]
struct Handle(Rc<RefCell<Disk>>);

/// A world before its log begins.
struct World {
    disk: Handle,
    key: Option<StorageKey>,
    reading: Option<ReadingKey>,
}

impl World {
    fn begin(&mut self, at: Stamp) -> Result<Log<Handle>, LogError> {
        let beginning = Beginning::new(signer(), boot(), at);
        let beginning = match self.key.take() {
            Some(key) => beginning.encrypted(key, b"copies".to_vec()),
            None => beginning,
        };
        Log::begin_in(self.disk.clone(), beginning)
    }

    fn place<'a>(&'a self, path: &'a Path) -> LogPlace<'a> {
        match &self.reading {
            Some(key) => LogPlace::encrypted(path, key),
            None => path.into(),
        }
    }

    fn disk(&self) -> RefMut<'_, Disk> {
        self.disk.0.borrow_mut()
    }
}

impl Storage for Handle {
    fn begin_segment(&mut self, number: u32) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let name = format!("entries/{number:08}.seg");
        let result = disk.step();
        if result.is_ok() || disk.random.one_in(2) {
            disk.files.insert(name.clone(), Vec::new());
            (disk.segment, disk.seen) = (name, Vec::new());
        }
        result
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.borrow_mut().sync()
    }

    fn begin_write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.begun.push_back((bytes, Begun::Waiting));
        let mut steps = disk.random.below(3);
        while steps > 0 && disk.go_on() {
            steps -= 1;
        }
        if disk.has_crashed { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn end_write(&mut self) -> io::Result<Vec<u8>> {
        let mut disk = self.0.borrow_mut();
        while matches!(disk.begun[0].1, Begun::Waiting | Begun::Appended) {
            disk.go_on();
        }
        match disk.begun.pop_front() {
            Some((bytes, Begun::Ended(result))) => result.map(|()| bytes),
            _ => panic!("nothing was begun"),
        }
    }

    fn write_has_ended(&mut self) -> bool {
        let mut disk = self.0.borrow_mut();
        let has_ended = |disk: &Disk| matches!(disk.begun.front(), Some((_, Begun::Ended(_))));
        if !has_ended(&disk) && disk.random.one_in(2) {
            disk.go_on();
        }
        has_ended(&disk)
    }

    fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let result = disk.step();
        let written = if result.is_ok() { bytes.len() } else { disk.random.below(bytes.len() + 1) };
        let mut second = slot == CheckpointSlot::Second;
        if disk.lie == Some(Lie::OtherSlot) {
            disk.lie = None;
            second = !second;
        }
        let first_grain = usize::from(second) * (SLOT_BYTES / GRAIN);
        for (grain, bytes) in bytes[..written].chunks(GRAIN).enumerate() {
            disk.pending_slots.push((first_grain + grain, bytes.to_vec()));
        }
        result
    }

    fn sync_slots(&mut self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.step()?;
        let grains = std::mem::take(&mut disk.pending_slots);
        if disk.lie == Some(Lie::LostSlot) {
            disk.lie = None;
            return Ok(());
        }
        disk.write_slots(grains);
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        let result = disk.step();
        if result.is_err() {
            let whole = disk.random.one_in(2);
            let written = if whole { bytes.len() } else { disk.random.below(bytes.len()) };
            disk.files.insert(format!("{name}.new"), bytes[..written].to_vec());
            if !whole || disk.random.one_in(2) {
                return result;
            }
        }
        disk.files.insert(name.to_owned(), bytes.to_vec());
        result
    }
}

/// What the writer was told, and what it tried.
#[derive(Default)]
struct Known {
    acknowledged: u64,
    /// The largest checkpoint that it handed out, for example to a witness.
    checkpoint: Option<Vec<u8>>,
    failed: bool,
}

/// What a run was to prove, and what came of it.
#[derive(Default)]
struct Count {
    crashes: u64,
    failures: u64,
    torn: u64,
    /// Histories that ended while a checkpoint was written.
    torn_checkpoints: u64,
    /// Histories that ended while one write waited for another.
    waiting_writes: u64,
    lies: u64,
    lies_found: u64,
    segments: u64,
    put_back: u64,
    verified: u64,
}

fn some_event(random: &mut Random, at: Stamp) -> Event {
    let event = if random.one_in(5) { refusal_event(0) } else { request_event(0) };
    Event { at, ..event }
}

/// The clocks: the host sets one of them as it likes.
fn tick(random: &mut Random, at: &mut Stamp) -> Stamp {
    const YEAR_S: i64 = 365 * 24 * 60 * 60;
    at.mono_ns += random.next() % 20_000_000_000;
    at.wall_ns += match random.below(12) {
        0 => -YEAR_S * 1_000_000_000,
        1 => 24 * 60 * 60 * 1_000_000_000,
        _ => (random.next() % 20_000_000_000) as i64,
    };
    *at
}

/// Runs the writer until it ends, fails or crashes.
fn write(random: &mut Random, world: &mut World) -> Known {
    let mut known = Known::default();
    let mut at = Stamp { wall_ns: 1_790_000_000_000_000_000, mono_ns: 0 };
    let mut log = match world.begin(at) {
        Ok(log) => log,
        Err(error) => {
            assert!(matches!(error, LogError::Storage { .. }));
            return Known { failed: true, ..known };
        }
    };
    (known.acknowledged, known.checkpoint) = (log.size(), Some(log.latest_checkpoint().1.to_vec()));
    if random.one_in(2) {
        log.keep_growth();
    }
    if random.one_in(2) {
        log.set_segment_limit(1 + random.below(MAX_SMALL_SEGMENT));
    }
    for _ in 0..STEPS {
        if world.disk().has_crashed {
            return known;
        }
        let now = tick(random, &mut at);
        let outcome = match random.below(8) {
            0 if random.one_in(2) => log.begin_checkpoint(),
            0 => log.checkpoint().map(drop),
            1 => {
                let (head, note) = log.latest_checkpoint();
                let note = note.to_vec();
                log.store_cosigned(&note, head.size, now)
            }
            2 => match log.beat(now, random.one_in(2).then(|| log.size())) {
                // It was not time.
                Ok(false) => continue,
                other => other.map(drop),
            },
            3 if random.one_in(6) => log.end(now).map(drop),
            3 if random.one_in(2) => log.settle(),
            3 => log.collect().map(drop),
            4 => log.commit(),
            // What is submitted may be written over the edge of a segment, and is acknowledged by a later call.
            5 | 6 => (0..=random.below(4)).try_for_each(|_| {
                (0..=random.below(6)).try_for_each(|_| log.stage(some_event(random, now)).map(drop))?;
                if random.one_in(4) { Ok(()) } else { log.submit() }
            }),
            _ => {
                let events: Vec<_> = (0..=random.below(6)).map(|_| some_event(random, now)).collect();
                log.append(&events).map(drop)
            }
        };
        match outcome {
            Ok(()) => {
                assert!(!known.failed, "acknowledged after a failure");
                known.acknowledged = log.size();
                known.checkpoint = Some(log.latest_checkpoint().1.to_vec());
            }
            Err(LogError::Storage { .. }) => {
                known.failed = true;
                // What an earlier call submitted may have been found durable before the failure.
                known.acknowledged = log.size();
            }
            Err(LogError::Poisoned) => assert!(known.failed && log.is_poisoned()),
            Err(LogError::Ended) => assert!(!known.failed),
            Err(error) => panic!("{error}"),
        }
    }
    known
}

/// What the entries on the disk lead to, read by this test alone.
fn heads_of(leaves: &[Vec<u8>]) -> Vec<TreeHead> {
    let mut frontier = Frontier::new();
    let mut heads = vec![frontier.head()];
    for leaf in leaves {
        frontier.push(leaf_hash(leaf));
        heads.push(frontier.head());
    }
    heads
}

fn leaves_of(reader: &LogReader) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    let read = reader.for_each_leaf::<ReadError>(reader.head().size, |index, leaf| {
        assert_eq!(Entry::from_bytes(leaf).unwrap().seq, index);
        leaves.push(leaf.to_vec());
        Ok(())
    });
    read.unwrap();
    leaves
}

/// The bundle of the log verifies, and follows from the checkpoint that was handed out.
fn bundle_is_accepted(log: LogPlace<'_>, seen: &[u8]) -> Result<(), Finding> {
    let mut bundle = Vec::new();
    export(log, &mut bundle, &ExportOptions::default()).unwrap();
    let expectations = Expectations {
        audit_key: Some(signer().key().public_key()),
        earlier: vec![seen.to_vec()],
        ..Expectations::default()
    };
    let report = verify(bundle.as_slice(), &expectations).unwrap();
    match report.verdicts.iter().find(|verdict| verdict.status == Status::Failed) {
        None => Ok(()),
        Some(verdict) => {
            assert_eq!(verdict.check, Check::Earlier, "{:?}", report.verdicts);
            Err(verdict.finding)
        }
    }
}

/// After a crash or a failed call of a disk that does not lie: everything acknowledged is there, and a tail is cut at an entry.
fn recovers(log: LogPlace<'_>, known: &Known, count: &mut Count, thorough: bool) {
    let reader = match LogReader::recover(log) {
        Ok(reader) => reader,
        Err(ReadError::Empty | ReadError::Io { .. }) if known.acknowledged == 0 => return,
        Err(error) => panic!("{error}"),
    };
    assert!(reader.head().size >= known.acknowledged, "{} < {}", reader.head().size, known.acknowledged);
    count.torn += u64::from(reader.torn_tail().is_some());
    let again = LogReader::open(log).unwrap();
    assert_eq!((again.head(), again.torn_tail()), (reader.head(), None));
    let leaves = leaves_of(&again);
    assert_eq!(heads_of(&leaves).last(), Some(&again.head()));
    if thorough && let Some(seen) = &known.checkpoint {
        assert_eq!(bundle_is_accepted(log, seen), Ok(()));
        count.verified += 1;
    }
}

/// Whether entries lie in more than one segment.
fn has_changed_over(disk: &Handle) -> bool {
    disk.0.borrow().files.keys().filter(|name| name.starts_with("entries/")).count() > 1
}

fn run(seed: u64, count: &mut Count) {
    let mut random = Random(seed);
    let scenario = random.below(4);
    let disk = Disk {
        random: Random(!seed),
        files: BTreeMap::from([(SLOTS.to_owned(), vec![0; 2 * SLOT_BYTES])]),
        segment: String::new(),
        seen: Vec::new(),
        pending: Vec::new(),
        pending_slots: Vec::new(),
        fails_in: None,
        crashes_in: None,
        lie: None,
        has_crashed: false,
        begun: VecDeque::new(),
    };
    let (key, reading) = match seed % 2 {
        0 => (None, None),
        _ => {
            let (key, bytes) = StorageKey::generate().unwrap();
            (Some(key), Some(ReadingKey::new(&bytes)))
        }
    };
    let mut world = World { disk: Handle(Rc::new(RefCell::new(disk))), key, reading };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    // Of both forms.
    let thorough = (seed / 2).is_multiple_of(4);
    match scenario {
        // A crash at any call; sometimes after a call that failed.
        0 | 1 => {
            let at = random.below(60);
            world.disk().crashes_in = Some(at);
            if random.one_in(4) {
                world.disk().fails_in = Some(random.below(at + 1));
            }
            let known = write(&mut random, &mut world);
            count.crashes += u64::from(world.disk().has_crashed);
            count.failures += u64::from(known.failed && !world.disk().has_crashed);
            count.torn_checkpoints += u64::from(!world.disk().pending_slots.is_empty());
            count.waiting_writes += u64::from(world.disk().begun.len() > 1);
            world.disk().cut_power();
            world.disk().write_to(&path);
            recovers(world.place(&path), &known, count, thorough);
        }
        // A disk that lies once.
        2 => lies(&mut random, &mut world, &path, count),
        // A host that puts back the disk of an earlier moment.
        _ => is_put_back(&mut random, &mut world, &path, count),
    }
    count.segments += u64::from(has_changed_over(&world.disk));
}

/// Writes entries that are known by their bytes, with one lie among them.
fn lies(random: &mut Random, world: &mut World, path: &Path, count: &mut Count) {
    let mut at = Stamp { wall_ns: 0, mono_ns: 0 };
    let mut log = world.begin(at).unwrap();
    if random.one_in(2) {
        log.set_segment_limit(1 + random.below(MAX_SMALL_SEGMENT));
    }
    let batches = 2 + random.below(8);
    let lie_at = random.below(batches);
    let mut written = Vec::new();
    for batch in 0..batches {
        if batch == lie_at {
            let lies = [Lie::Misdirected, Lie::Lost, Lie::OtherSlot, Lie::LostSlot];
            world.disk().lie = Some(lies[random.below(lies.len())]);
        }
        let now = tick(random, &mut at);
        let events: Vec<_> = (0..=random.below(4)).map(|_| some_event(random, now)).collect();
        log.append(&events).unwrap();
        written.push(log.head());
        if random.one_in(3) {
            log.checkpoint().unwrap();
        }
    }
    let covered = log.size() - log.uncovered();
    world.disk().cut_power();
    world.disk().write_to(path);
    count.lies += 1;
    count.lies_found += u64::from(finds(world.place(path), &written, covered));
}

/// The entries are a beginning of what was written, whole batches or not, or the log is refused.
fn finds(log: LogPlace<'_>, heads: &[TreeHead], covered: u64) -> bool {
    match LogReader::open(log) {
        Ok(reader) => {
            assert!(reader.head().size >= covered, "what a checkpoint covers is missing");
            let read = heads_of(&leaves_of(&reader));
            for head in heads {
                let at = usize::try_from(head.size).unwrap();
                assert!(read.get(at).is_none_or(|read| read == head), "another history");
            }
            read.last() != heads.last()
        }
        Err(error) => {
            assert!(
                matches!(
                    error,
                    ReadError::Damaged { .. }
                        | ReadError::Missing { .. }
                        | ReadError::Misplaced { .. }
                        | ReadError::NotOpened { .. }
                        | ReadError::Root { .. }
                ),
                "{error}"
            );
            true
        }
    }
}

/// The directory of an earlier moment is sound by itself; the checkpoint that a witness has seen shows what is missing.
fn is_put_back(random: &mut Random, world: &mut World, path: &Path, count: &mut Count) {
    let mut at = Stamp { wall_ns: 0, mono_ns: 0 };
    let mut log = world.begin(at).unwrap();
    let earlier = random.below(6);
    let mut kept = world.disk().files.clone();
    for batch in 0..6 + random.below(6) {
        let now = tick(random, &mut at);
        log.append(&[some_event(random, now)]).unwrap();
        log.checkpoint().unwrap();
        if batch == earlier {
            kept = world.disk().files.clone();
        }
    }
    let seen = log.latest_checkpoint().1.to_vec();
    world.disk().files = kept;
    world.disk().write_to(path);
    let size = LogReader::open(world.place(path)).unwrap().head().size;
    let gone = bundle_is_accepted(world.place(path), &seen);
    match size == log.size() {
        true => assert_eq!(gone, Ok(())),
        false => assert_eq!(gone, Err(Finding::Outdated { seen: log.size() })),
    }
    count.put_back += u64::from(size < log.size());
}

#[test]
fn case_28_a_log_outlives_its_disk_and_its_clock_in_every_history() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let mut count = Count::default();
    let asked = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut count)));
        assert!(outcome.is_ok(), "SEED={seed}");
    }
    eprintln!(
        "{asked} histories ({} of several segments): {} crashes ({} torn tails cut, {} while a checkpoint was written, {} while one write waited for another), {} failed calls, {} lies of the disk ({} found at opening), {} put back and found \
         by the checkpoint that was seen, {} bundles verified",
        count.segments,
        count.crashes,
        count.torn,
        count.torn_checkpoints,
        count.waiting_writes,
        count.failures,
        count.lies,
        count.lies_found,
        count.put_back,
        count.verified
    );
    if asked >= SEEDS {
        assert!(
            [count.segments, count.crashes, count.torn, count.failures, count.lies_found, count.put_back]
                .iter()
                .all(|n| *n > 0)
        );
        assert!(count.torn_checkpoints > asked / 100);
        assert!(count.waiting_writes > asked / 50);
        assert!(count.put_back > asked / 16);
    }
}
