//! The files of one package while they come, on disk or in memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anchorhold_sealed_weights::{Leaves, PackageFiles, VerifiedManifest};

use crate::disk::{self, Dir};
use crate::error::Error;
use crate::fetch::Recheck;
use crate::segment_map::SegmentMap;

/// A package of which every byte was found under the owner's signature.
#[derive(Debug)]
pub struct FetchedPackage {
    pub(crate) manifest: VerifiedManifest,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) files: PackageFiles,
    /// While it is held, the cache does not remove the package.
    pub(crate) lock: Option<File>,
    pub(crate) summary: Summary,
}

/// What a fetch cost. Lengths are in bytes of ciphertext.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The package without the manifest and the headers that stand in it.
    pub total: u64,
    /// What came from the store and was verified.
    pub fetched: u64,
    /// What was there already.
    pub reused: u64,
    /// Requests to the store, those that failed included.
    pub requests: u64,
}

impl FetchedPackage {
    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// The exact bytes of the manifest, which its digest is of.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// What it cost.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// The open files, for reading only, and the lock that keeps the cache from removing the package.
    #[must_use]
    pub fn into_files(self) -> (PackageFiles, Option<File>) {
        (self.files, self.lock)
    }
}

/// Where one object's bytes go.
pub(crate) enum Home {
    /// A file below `objects`, with its note below `.fetch`.
    Disk {
        /// For the note.
        state: Arc<Dir>,
    },
    /// A file without a name.
    Memory,
}

/// One object with a tree while its segments come. Shared by the tasks that fetch.
pub(crate) struct ObjectSlot {
    pub(crate) leaves: Leaves,
    data: File,
    home: Home,
    /// Held for one insertion, and while the note is written.
    noted: Mutex<Noted>,
}

struct Noted {
    map: SegmentMap,
    /// Bytes that were verified since the map was last written.
    since: u64,
    /// A write or sync failed: the file is not written again, because a later sync would hide the loss.
    broken: bool,
}

impl ObjectSlot {
    /// An object whose file is open and may hold segments already; `kept` is false for a file that cannot.
    pub(crate) fn new(
        leaves: Leaves,
        (data, kept): (File, bool),
        home: Home,
        recheck: Recheck,
    ) -> Result<Self, Error> {
        let entry = leaves.entry();
        let empty = SegmentMap::new(*entry.root(), entry.segment_count());
        data.write_all_at(entry.header_bytes(), 0).map_err(Error::disk("writing an object"))?;
        let slot = Self {
            leaves,
            data,
            home,
            noted: Mutex::new(Noted { map: empty.clone(), since: 0, broken: false }),
        };
        let read = match recheck {
            Recheck::Nothing if kept => slot.read_note(&empty),
            Recheck::Nothing | Recheck::Everything => None,
        };
        match read {
            Some(map) => slot.lock().map = map,
            // Without a note that can be read, the bytes themselves say what they are.
            None => {
                let mut noted = slot.lock();
                noted.map = if kept { slot.checked(empty) } else { empty };
                slot.write_note(&mut noted)?;
            }
        }
        Ok(slot)
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_note(&self, empty: &SegmentMap) -> Option<SegmentMap> {
        let Home::Disk { state } = &self.home else { return None };
        let limit = empty.to_bytes().len() as u64;
        let bytes = state.read(&self.note_name(), limit).ok()?;
        SegmentMap::parse(&bytes, empty).ok()
    }

    /// What of the file is as signed. A segment that cannot be read is as one that is not there.
    fn checked(&self, mut map: SegmentMap) -> SegmentMap {
        let mut buffer = Vec::new();
        for index in 0..map.count() {
            let Some(range) = self.leaves.entry().segment_range(index) else { continue };
            let len = usize::try_from(range.end - range.start).unwrap_or_default();
            let read = disk::read_at(&self.data, range.start, len, &mut buffer);
            if read.is_ok() && self.leaves.check(index, &buffer).is_ok() {
                map.insert(index);
            }
        }
        map
    }

    fn note_name(&self) -> String {
        self.leaves.entry().id().to_string()
    }

    /// The segments that are still to come, as runs of at most `most` each.
    pub(crate) fn missing(&self, most: u64) -> Vec<Range<u64>> {
        let noted = self.lock();
        let mut runs: Vec<Range<u64>> = Vec::new();
        for index in (0..noted.map.count()).filter(|index| !noted.map.has(*index)) {
            match runs.last_mut() {
                Some(run) if run.end == index && run.end - run.start < most => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        runs
    }

    /// Bytes of the segments that were verified.
    pub(crate) fn verified_bytes(&self) -> u64 {
        let noted = self.lock();
        let len = |index| self.leaves.entry().segment_range(index).map_or(0, |range| range.end - range.start);
        (0..noted.map.count()).filter(|index| noted.map.has(*index)).map(len).sum()
    }

    /// Verifies a segment, writes it, and notes it. Blocks for the hash and the write.
    pub(crate) fn store(&self, index: u64, segment: &[u8], note_every: u64) -> Result<(), StoreError> {
        self.leaves.check(index, segment).map_err(StoreError::Content)?;
        let range = self.leaves.entry().segment_range(index).unwrap_or_default();
        let written = self.data.write_all_at(segment, range.start);
        let mut noted = self.lock();
        if let Err(error) = written {
            noted.broken = true;
            return Err(StoreError::Disk(Error::disk("writing an object")(error)));
        }
        noted.map.insert(index);
        noted.since = noted.since.saturating_add(segment.len() as u64);
        if noted.since >= note_every || noted.map.is_full() {
            self.write_note(&mut noted).map_err(StoreError::Disk)?;
        }
        Ok(())
    }

    /// Notes what was verified since the last note.
    pub(crate) fn note(&self) -> Result<(), Error> {
        let mut noted = self.lock();
        if noted.since == 0 { Ok(()) } else { self.write_note(&mut noted) }
    }

    /// The segments become durable before the note that says so.
    fn write_note(&self, noted: &mut Noted) -> Result<(), Error> {
        let Home::Disk { state } = &self.home else { return Ok(()) };
        if noted.broken {
            return Err(Error::CacheIo { doing: "syncing an object", kind: io::ErrorKind::Other });
        }
        if let Err(error) = self.data.sync_data() {
            noted.broken = true;
            return Err(Error::disk("syncing an object")(error));
        }
        state.write(&self.note_name(), &noted.map.to_bytes()).map_err(Error::disk("noting progress"))?;
        noted.since = 0;
        Ok(())
    }

    /// The object's file once more, for a package that has no name for it.
    pub(crate) fn duplicate(&self) -> io::Result<File> {
        self.data.try_clone()
    }
}

/// Why a segment that came was not kept.
pub(crate) enum StoreError {
    /// It is not the signed one.
    Content(anchorhold_sealed_weights::Error),
    /// The disk did not take it.
    Disk(Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_sealed_weights::{
        Effort, Manifest, OwnerKey, Role, SealOptions, SegmentSize, read_manifest, seal,
    };
    use std::fs::{self, OpenOptions};

    struct Fixture {
        dir: tempfile::TempDir,
        leaves: Leaves,
        bytes: Vec<u8>,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let model = dir.path().join("model");
            fs::create_dir(&model).unwrap();
            let count = (1 << 20) + 5;
            let mut weights =
                format!(r#"{{"w":{{"dtype":"U8","shape":[{count}],"data_offsets":[0,{count}]}}}}"#);
            weights.insert_str(0, std::str::from_utf8(&(weights.len() as u64).to_le_bytes()).unwrap());
            fs::write(model.join("model.safetensors"), [weights.into_bytes(), vec![7; count]].concat())
                .unwrap();
            fs::write(model.join("config.json"), "{}").unwrap();
            fs::write(model.join("tokenizer.json"), "{}").unwrap();
            let owner = OwnerKey::from_seed(&[1; 32]).unwrap();
            let options = SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("m", 1, 1..=2) };
            let package = dir.path().join("package");
            seal(&model, &package, &options, &owner, &[2; 32], &Effort::default()).unwrap();
            let manifest = Manifest::verify(&read_manifest(&package).unwrap(), &owner.public_key()).unwrap();
            let entry = manifest.object(Role::Weights).unwrap();
            let tree = fs::read(package.join(format!("{}.tree", entry.path()))).unwrap();
            let bytes = fs::read(package.join(entry.path())).unwrap();
            Self { leaves: Leaves::from_tree(entry, &tree).unwrap(), bytes, dir }
        }

        fn segment(&self, index: u64) -> &[u8] {
            let range = self.leaves.entry().segment_range(index).unwrap();
            let span = range.start.try_into().unwrap()..range.end.try_into().unwrap();
            &self.bytes[span]
        }

        fn state(&self) -> Home {
            Home::Disk { state: Arc::new(Dir::open(self.dir.path()).unwrap()) }
        }

        /// A slot over a file that holds the whole object, opened like this.
        fn slot(&self, options: &OpenOptions, recheck: Recheck) -> Result<ObjectSlot, Error> {
            let path = self.dir.path().join("object");
            if !path.exists() {
                fs::write(&path, &self.bytes).unwrap();
            }
            let file = options.open(path).unwrap();
            ObjectSlot::new(self.leaves.clone(), (file, true), self.state(), recheck)
        }
    }

    fn missing(slot: &ObjectSlot) -> Vec<u64> {
        slot.missing(9).into_iter().flatten().collect()
    }

    #[test]
    fn case_24_a_segment_that_cannot_be_read_is_fetched_again() {
        let fixture = Fixture::new();
        // A descriptor that may not be read stands for a disk that answers EIO: both are errors of the same read.
        let slot = fixture.slot(OpenOptions::new().write(true), Recheck::Everything).unwrap();
        assert_eq!(missing(&slot), [0, 1]);
        let readable = fixture.slot(OpenOptions::new().read(true).write(true), Recheck::Everything).unwrap();
        assert!(missing(&readable).is_empty());
    }

    #[test]
    fn case_24_a_file_that_takes_no_writes_is_given_up_and_never_noted() {
        let fixture = Fixture::new();
        let refused = fixture.slot(OpenOptions::new().read(true), Recheck::Nothing).err().unwrap();
        assert_eq!(refused.code(), "cache_io");
        let slot = fixture.slot(OpenOptions::new().write(true), Recheck::Everything).unwrap();
        let reader = fs::File::open(fixture.dir.path().join("object")).unwrap();
        let slot = ObjectSlot { data: reader, ..slot };
        let stored = slot.store(0, fixture.segment(0), 1);
        assert!(matches!(stored, Err(StoreError::Disk(Error::CacheIo { .. }))));
        assert_eq!(missing(&slot), [0, 1]);
        slot.lock().since = 1;
        assert_eq!(slot.note().unwrap_err().code(), "cache_io", "after a lost write no sync can be believed");
    }

    #[test]
    fn refuses_a_segment_that_is_not_the_signed_one() {
        let fixture = Fixture::new();
        let slot = fixture.slot(OpenOptions::new().write(true), Recheck::Everything).unwrap();
        assert!(matches!(slot.store(0, fixture.segment(1), 1), Err(StoreError::Content(_))));
        assert_eq!(slot.verified_bytes(), 0);
        assert!(slot.store(1, fixture.segment(1), 1).is_ok());
        assert_eq!(missing(&slot), [0]);
        assert_eq!(slot.verified_bytes(), fixture.segment(1).len() as u64);
    }

    #[test]
    fn what_is_missing_comes_in_runs_of_at_most_so_many() {
        let fixture = Fixture::new();
        let slot = fixture.slot(OpenOptions::new().write(true), Recheck::Everything).unwrap();
        assert_eq!(slot.missing(1), [0..1, 1..2]);
    }
}
