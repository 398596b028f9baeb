//! Who changes an archive: the holder of its key, alone at a time.

use crate::acts::Acts;
use crate::archive::{ACTS, Archive, DESCRIPTION, Description, KEYRING, LOGS};
use crate::error::{Error, Result};
use crate::files::{self, failed};
use crate::prune::Plan;
use crate::retention::Selection;
use crate::shelf::{Incoming, folder_name};
use crate::state::{LogRecord, MAX_HOLDS, MAX_LOGS, Scope};
use crate::steps::Steps;
use anchorhold_audit_log::cosignature::{WitnessKey, cosignatures};
use anchorhold_audit_log::note::{Note, Signer};
use anchorhold_audit_log::{
    Actor, ActorKind, BootId, Code, Event, EventType, Expectations, HoldId, Keeping, Origin, Outcome,
    PublicKey, Report, Status, SubjectKeyId, verify_each,
};
use anchorhold_audit_personal::Keyring;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// An archive that may be changed, by one process at a time.
#[derive(Debug)]
pub struct Archivist {
    pub(crate) archive: Archive,
    signer: Signer,
    pub(crate) steps: Steps,
    _lock: File,
}

/// A log that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its name.
    pub origin: Origin,
    /// How many entries its checkpoint covers.
    pub size: u64,
    /// How many keys came with it.
    pub keys: usize,
    /// The act, by its index in the archive's log.
    pub act: u64,
}

/// Keys that were destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Which.
    pub kids: Vec<SubjectKeyId>,
    /// The first of the acts, by its index in the archive's log; `None` when all had been destroyed before.
    pub act: Option<u64>,
}

impl Archivist {
    /// Begins an archive in a folder that is not there. Its log is named by the signer.
    ///
    /// # Errors
    /// [`Error`].
    pub fn begin(path: &Path, signer: Signer, at_ns: i64) -> Result<Self> {
        let make = |path: &Path| match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path: path.to_owned() })
            }
            made => made.map_err(failed("make", path)),
        };
        make(path)?;
        [ACTS, LOGS, KEYRING].iter().try_for_each(|name| make(&path.join(name)))?;
        let mut boot = [0; 16];
        SystemRandom::new().fill(&mut boot).map_err(|_| Error::Random)?;
        let description = Description { boot: BootId::new(boot), key: signer.key().clone() };
        Acts::begin(&path.join(ACTS), &signer, description.boot, at_ns)?;
        // Last: a folder without it is no archive.
        files::replace(&path.join(DESCRIPTION), &description.to_bytes(), &Steps::default())?;
        Self::open(path, signer)
    }

    /// Opens an archive to change it, and finishes what a crash cut off.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: &Path, signer: Signer) -> Result<Self> {
        let lock = File::open(path).map_err(failed("open", path))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Error::Busy),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
            Ok(()) => {}
        }
        let archive = Archive::open(path)?;
        if archive.key() != signer.key() {
            return Err(Error::OtherKey);
        }
        let archivist = Self { archive, signer, steps: Steps::default(), _lock: lock };
        archivist.finish(&[])?;
        Ok(archivist)
    }

    /// What is there.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    fn event(&self, kind: EventType, at_ns: i64, reason: Option<Code>, keeping: Keeping) -> Event {
        let mut event = Event::new(kind, Outcome::Success, self.archive.acts.stamp(at_ns));
        event.actor = Some(Actor::new(ActorKind::Operator));
        event.code = reason.unwrap_or(Code::OK);
        event.keeping = Some(keeping);
        event
    }

    fn act(&mut self, events: &[Event]) -> Result<u64> {
        self.archive.acts.append(events, &self.signer, &self.steps)
    }

    /// Removes what acts say is gone, and what no act brought: it does nothing where nothing was cut off.
    fn finish(&self, keyrings: &[Keyring]) -> Result<()> {
        let archive = &self.archive;
        let state = &archive.acts.state;
        for record in state.logs.values().filter(|record| record.minimum() > 0) {
            archive.open_log(record)?.cut(&self.steps)?;
        }
        let own = archive.keyring()?;
        for keyring in keyrings.iter().chain([&own]) {
            for kid in keyring.kids()?.iter().filter(|kid| state.erased.contains_key(kid)) {
                self.steps.next().map_err(failed("destroy a key in", keyring.path()))?;
                keyring.destroy(*kid)?;
            }
        }
        self.remove_strays()
    }

    fn remove_strays(&self) -> Result<()> {
        let folder = self.archive.path.join(LOGS);
        let records = self.archive.acts.state.logs.values();
        let known: BTreeSet<String> = records.map(|log| folder_name(&log.origin, log.size)).collect();
        for entry in std::fs::read_dir(&folder).map_err(failed("open", &folder))? {
            let entry = entry.map_err(failed("read", &folder))?;
            if entry.file_name().to_str().is_none_or(|name| !known.contains(name)) {
                self.steps.next().map_err(failed("remove", &entry.path()))?;
                std::fs::remove_dir_all(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Takes the whole log in a bundle, and out of `keyring` the keys of its entries, which are then there no more. A log that grew since it
    /// came is replaced, when it is the same log.
    ///
    /// `key` is the key that must have signed it; without one, only its evidence can say whose it is. The time of the latest cosignature by one of
    /// `witnesses` bounds the times that its entries claim.
    ///
    /// # Errors
    /// [`Error`].
    pub fn add(
        &mut self,
        bundle: &Path,
        (key, witnesses): (Option<PublicKey>, &[WitnessKey]),
        keyring: Option<&Keyring>,
        at_ns: i64,
    ) -> Result<Added> {
        let mut expectations = Expectations { audit_key: key, ..Expectations::default() };
        let open = || File::open(bundle).map_err(failed("open", bundle));
        let mut kids = BTreeSet::new();
        let read = |expectations: &Expectations, visit: &mut dyn FnMut(&anchorhold_audit_log::Entry)| {
            verify_each(open()?, expectations, visit).map_err(failed("read", bundle))
        };
        let first = proven(read(&expectations, &mut |entry| {
            kids.extend(entry.sealed.as_ref().map(|sealed| sealed.kid));
        })?)?;
        let (Some(manifest), Some(checkpoint)) = (&first.manifest, &first.checkpoint) else {
            return Err(Error::Part);
        };
        if !manifest.is_whole() {
            return Err(Error::Part);
        }
        let (origin, head) = (manifest.origin.clone(), checkpoint.head);
        let before = self.archive.acts.state.logs.get(origin.as_str()).cloned();
        if let Some(before) = &before {
            if before.size >= head.size {
                return Err(Error::Known { origin, size: before.size });
            }
            let known = self.archive.open_log(before)?;
            expectations.audit_key = Some(known.manifest().audit_key);
            let note = anchorhold_audit_log::LogSource::checkpoint(&known).map(|(_, note)| note.to_vec());
            expectations.earlier.extend(note);
        } else if self.archive.acts.state.logs.len() >= MAX_LOGS {
            return Err(Error::TooMany { what: "logs", limit: MAX_LOGS });
        }
        let folder = self.archive.path.join(LOGS).join(folder_name(&origin, head.size));
        let mut incoming = Incoming::begin(&folder, before.as_ref().map_or(0, LogRecord::minimum))?;
        let report = proven(read(&expectations, &mut |entry| incoming.take(entry))?)?;
        if report.checkpoint != first.checkpoint {
            let finding = "the bundle was changed while it was read".to_owned();
            return Err(Error::NotProven { check: "root", finding });
        }
        incoming.end(&report, &self.steps)?;
        let moved = self.take_keys(keyring, &kids)?;
        let keeping = Keeping {
            origin: Some(origin.clone()),
            root: Some(head.root),
            size: Some(head.size),
            until: cosigned_ns(&report.checkpoint_note, witnesses),
            ..Keeping::default()
        };
        let event = self.event(EventType::LogArchive, at_ns, None, keeping);
        let act = self.act(&[event])?;
        if let Some(keyring) = keyring {
            for kid in &moved {
                self.steps.next().map_err(failed("destroy a key in", keyring.path()))?;
                keyring.destroy(*kid)?;
            }
        }
        self.finish(&[])?;
        Ok(Added { origin, size: head.size, keys: moved.len(), act })
    }

    /// Copies the keys of these entries into the archive's keyring; they are destroyed where they came from once the log is here.
    fn take_keys(&self, from: Option<&Keyring>, kids: &BTreeSet<SubjectKeyId>) -> Result<Vec<SubjectKeyId>> {
        let Some(from) = from else { return Ok(Vec::new()) };
        let own = self.archive.keyring()?;
        let mut moved = Vec::new();
        for kid in kids {
            if let Some(file) = from.get(*kid)? {
                // One that was destroyed here does not come back; it goes where it came from, too.
                if !self.archive.acts.state.erased.contains_key(kid) {
                    own.put(&file)?;
                }
                moved.push(*kid);
            }
        }
        Ok(moved)
    }

    /// Places a hold: what it covers is neither pruned nor erased until it is released.
    ///
    /// # Errors
    /// [`Error::HoldExists`], [`Error::EmptyTime`], or the act cannot be logged.
    pub fn place_hold(&mut self, id: HoldId, scope: Scope, reason: Code, at_ns: i64) -> Result<u64> {
        let holds = &self.archive.acts.state.holds;
        if holds.contains_key(&id) {
            return Err(Error::HoldExists { hold: id });
        }
        if holds.len() >= MAX_HOLDS {
            return Err(Error::TooMany { what: "holds", limit: MAX_HOLDS });
        }
        if scope.since_ns.zip(scope.until_ns).is_some_and(|(since, until)| since >= until) {
            return Err(Error::EmptyTime);
        }
        let keeping = Keeping {
            hold: Some(id),
            origin: scope.origin,
            since: scope.since_ns,
            tenant: scope.tenant,
            until: scope.until_ns,
            ..Keeping::default()
        };
        let event = self.event(EventType::HoldPlace, at_ns, Some(reason), keeping);
        self.act(&[event])
    }

    /// Releases a hold.
    ///
    /// # Errors
    /// [`Error::NoHold`], or the act cannot be logged.
    pub fn release_hold(&mut self, id: HoldId, reason: Code, at_ns: i64) -> Result<u64> {
        let stands = self.archive.acts.state.holds.get(&id).is_some_and(|hold| hold.released.is_none());
        if !stands {
            return Err(Error::NoHold { hold: id });
        }
        let keeping = Keeping { hold: Some(id), ..Keeping::default() };
        let event = self.event(EventType::HoldRelease, at_ns, Some(reason), keeping);
        self.act(&[event])
    }

    /// Removes the entries whose time has come at `now_ns`, and the keys that only they needed. The acts come first; then, what they say is
    /// gone goes.
    ///
    /// # Errors
    /// [`Error`]; what was begun is finished when the archive is next opened to be changed.
    pub fn prune(&mut self, selection: &Selection, now_ns: i64) -> Result<Vec<Plan>> {
        let plans = self.archive.plan(selection, now_ns)?;
        for plan in plans.iter().filter(|plan| !plan.is_empty()) {
            let keeping = Keeping {
                end: Some(plan.end),
                first: Some(plan.first),
                origin: Some(plan.origin.clone()),
                profiles: selection.names().cloned().collect(),
                root: Some(plan.root),
                size: Some(plan.size),
                ..Keeping::default()
            };
            let mut events = vec![self.event(EventType::LogPrune, now_ns, None, keeping)];
            events.extend(self.erasures(&plan.kids, &Code::from_static("retention"), now_ns));
            self.act(&events)?;
        }
        self.finish(&[])?;
        Ok(plans)
    }

    /// Destroys the keys of a subject, here and in `others`. What is sealed under them is unreadable from then on, in every copy of a log.
    ///
    /// # Errors
    /// [`Error::UnderHold`] and [`Error::NoKey`], and then nothing was destroyed; or an act cannot be logged, or the medium failed.
    pub fn erase(
        &mut self,
        kids: &[SubjectKeyId],
        others: &[Keyring],
        reason: &Code,
        at_ns: i64,
    ) -> Result<Erasure> {
        let own = self.archive.keyring()?;
        let erased = &self.archive.acts.state.erased;
        let is_there = |kid| others.iter().chain([&own]).any(|keyring| keyring.has(kid));
        if let Some(kid) = kids.iter().find(|kid| !is_there(**kid) && !erased.contains_key(kid)) {
            return Err(Error::NoKey { kid: *kid });
        }
        if let Some((kid, hold)) = self.archive.holds_over(kids)?.into_iter().next() {
            return Err(Error::UnderHold { hold, kid });
        }
        let events = self.erasures(kids, reason, at_ns);
        let act = if events.is_empty() { None } else { Some(self.act(&events)?) };
        self.finish(others)?;
        Ok(Erasure { kids: kids.to_vec(), act })
    }

    /// The acts that destroy these keys, those that were not destroyed before.
    fn erasures(&self, kids: &[SubjectKeyId], reason: &Code, at_ns: i64) -> Vec<Event> {
        let erased = &self.archive.acts.state.erased;
        let kids: BTreeSet<_> = kids.iter().copied().filter(|kid| !erased.contains_key(kid)).collect();
        let count = kids.len() as u64;
        let event = |kid| {
            let keeping = Keeping { count: Some(count), kid: Some(kid), ..Keeping::default() };
            self.event(EventType::Erasure, at_ns, Some(reason.clone()), keeping)
        };
        kids.into_iter().map(event).collect()
    }
}

/// The report on a bundle that was proven.
fn proven(report: Report) -> Result<Report> {
    if report.is_accepted() {
        return Ok(report);
    }
    let failed = report.verdicts.iter().find(|verdict| verdict.status == Status::Failed);
    Err(failed.map_or(Error::Part, |verdict| Error::NotProven {
        check: verdict.check.name(),
        finding: verdict.finding.to_string(),
    }))
}

/// The latest time of a cosignature by one of these witnesses.
fn cosigned_ns(note: &[u8], witnesses: &[WitnessKey]) -> Option<i64> {
    let note = Note::parse(note).ok()?;
    let latest = cosignatures(&note, witnesses).ok()?.iter().map(|cosignature| cosignature.time_s).max()?;
    i64::try_from(latest).ok()?.checked_mul(1_000_000_000)
}
