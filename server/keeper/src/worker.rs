//! One worker: starting it, giving it a released model, and noticing its end.

use crate::children::{self, Apart, StartedWorker};
use crate::fetch::Fetched;
use crate::key::HeldKey;
use crate::required::require;
use crate::run::Happening;
use crate::settings::{Model, Settings};
use anchorhold_confine::{GROUP, Phase};
use anchorhold_ipc::{
    Confinement, FromWorker, Line, LineReader, LineWriter, LoadModel, LoadReport, MAX_DESCRIPTORS,
    ObjectDescriptors, Precision, ToWorker, WireSecret,
};
use anchorhold_rats::Timestamp;
use anyhow::{Context as _, bail, ensure};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::Sender;

/// The longest manifest that is read, in bytes; the worker holds it to its own limit as well.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
pub(crate) const MAX_OBJECTS: usize = (MAX_DESCRIPTORS - 1) / 2;

/// A worker that answers. Dropping it ends the process.
pub(crate) struct Running {
    child: Child,
    control: LineWriter<ToWorker>,
}

impl Running {
    /// Ends the process at once; whoever watches it is told.
    pub(crate) fn kill(&mut self) {
        // One that has ended already is being told of.
        let _ = self.child.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A worker that has already ended cannot be told or killed, and that is as good.
        let _ = self.control.send(&ToWorker::Wipe, &[]);
        self.control.shut_down();
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A worker before it has its model.
pub(crate) struct Starting {
    running: Running,
    reader: LineReader<FromWorker>,
    data: OwnedFd,
}

/// Why a worker has no model.
pub(crate) enum LoadFailure {
    /// It refused the package, or the package's files cannot be read (`unreadable`).
    Refused { code: String, detail: String },
    /// It ended or said something else.
    Broken(anyhow::Error),
}

/// What a worker says of a package whose ciphertext is not, or cannot be read as, what the owner signed.
const ROT: [&str; 7] = ["segment", "tree", "header", "truncated", "trailing", "card", "io"];

impl LoadFailure {
    /// Whether the bytes on disk are to blame, so that fetching them again may help.
    pub(crate) fn may_be_rot(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if ROT.contains(&code.as_str()))
    }
}

impl Starting {
    /// Starts the process and waits until it has confined itself; `born` is told its process id as soon as there is one.
    pub(crate) fn start(
        settings: &Settings,
        empty: &Path,
        apart: &Apart<'_>,
        born: impl FnOnce(u32),
    ) -> anyhow::Result<(Self, Confinement)> {
        let group = apart.group;
        let StartedWorker { child, control, data } =
            children::worker(&settings.worker.program(), empty, apart)?;
        born(child.id());
        let (control, mut reader) = Line::<ToWorker, FromWorker>::new(control).split();
        let running = Running { child, control };
        let (message, _) = reader.receive().context("the worker ended before it had confined itself")?;
        let FromWorker::Confined(layers) = message else { bail!("the worker did not confine itself") };
        let layers = with_group(layers, group.map(|group| group.holds(running.child.id())));
        require(settings, ("worker", &apart.role), Phase::Start, &layers)?;
        Ok((Self { running, reader, data }, layers))
    }

    /// The process id, for whoever watches from outside.
    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// Hands over the package and the key, and waits until the model is in memory.
    pub(crate) fn load(
        mut self,
        order: &LoadOrder<'_>,
    ) -> Result<(Loaded, LoadReport, Confinement), LoadFailure> {
        let (load, files) = order.gather().map_err(|error| LoadFailure::Refused {
            code: "unreadable".to_owned(),
            detail: format!("{error:#}"),
        })?;
        let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        let sent = self.running.control.send(&ToWorker::Load(Box::new(load)), &descriptors);
        let outcome: anyhow::Result<_> = sent.map_err(Into::into).and_then(|()| Ok(self.reader.receive()?.0));
        match outcome {
            Ok(FromWorker::Loaded { report, serving }) => {
                Ok((Loaded { running: self.running, reader: self.reader, data: self.data }, report, serving))
            }
            Ok(FromWorker::LoadFailed { code, detail }) => Err(LoadFailure::Refused { code, detail }),
            Ok(FromWorker::Confined(_)) => {
                Err(LoadFailure::Broken(anyhow::anyhow!("the worker confined itself twice")))
            }
            Err(error) => Err(LoadFailure::Broken(error.context("the worker ended while it loaded"))),
        }
    }
}

/// What a worker says that holds it, and what the keeper knows of its control group.
pub(crate) fn with_group(
    mut layers: Confinement,
    is_inside: Result<std::io::Result<bool>, &str>,
) -> Confinement {
    match is_inside {
        Ok(Ok(true)) => layers.active.push(GROUP.to_owned()),
        Ok(Ok(false)) => layers.missing.push(format!("{GROUP}: the worker is not in it")),
        Ok(Err(error)) => layers.missing.push(format!("{GROUP}: {error}")),
        Err(why) => layers.missing.push(format!("{GROUP}: {why}")),
    }
    layers
}

/// A worker with its model.
pub(crate) struct Loaded {
    running: Running,
    reader: LineReader<FromWorker>,
    /// The gateway's end of its data line.
    pub(crate) data: OwnedFd,
}

impl Loaded {
    /// Watches the worker on a thread of its own and gives up the gateway's end of the data line.
    pub(crate) fn watch(
        self,
        happenings: Sender<Happening>,
        ended: Happening,
    ) -> anyhow::Result<(Running, OwnedFd)> {
        let mut reader = self.reader;
        std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            // A loaded worker has nothing more to say: whatever comes, it is over.
            let _ = reader.receive();
            let _ = happenings.send(ended);
        })?;
        Ok((self.running, self.data))
    }
}

/// The files of a package.
pub(crate) enum Source<'a> {
    /// As they lie in a directory now.
    Directory(&'a Path),
    /// As a fetcher handed them over.
    Fetched(&'a Fetched),
}

/// What a worker is given.
pub(crate) struct LoadOrder<'a> {
    pub(crate) model: &'a Model,
    pub(crate) source: Source<'a>,
    pub(crate) key: &'a HeldKey,
    pub(crate) threads: u16,
    pub(crate) cpus: Vec<u16>,
    pub(crate) keep_prefixes: bool,
    pub(crate) precision: Precision,
    pub(crate) at: Timestamp,
}

impl LoadOrder<'_> {
    /// The order as the worker gets it, and the open files that go with it.
    ///
    /// # Errors
    /// A file of the package is not there, cannot be read, or there are too many.
    fn gather(&self) -> anyhow::Result<(LoadModel, Vec<OwnedFd>)> {
        let (manifest, objects, files) = match &self.source {
            Source::Directory(package) => of_directory(package)?,
            Source::Fetched(package) => package.parts()?,
        };
        let load = LoadModel {
            manifest,
            manifest_digest: *self.key.manifest_digest.as_bytes(),
            version_min: self.key.version.max(self.model.version_min),
            at_s: u64::try_from(self.at.unix_seconds()).unwrap_or(u64::MAX),
            owner_key: *self.model.owner_key.as_bytes(),
            weights_key: WireSecret(Box::new(*self.key.weights_key.expose())),
            objects: objects.into_iter().map(|id| ObjectDescriptors { id }).collect(),
            threads: self.threads,
            cpus: self.cpus.clone(),
            keep_prefixes: self.keep_prefixes,
            precision: self.precision,
        };
        Ok((load, files))
    }
}

fn of_directory(package: &Path) -> anyhow::Result<(Vec<u8>, Vec<String>, Vec<OwnedFd>)> {
    let manifest = read_manifest(&package.join("manifest.json"))?;
    let objects = object_ids(&package.join("objects"))?;
    let mut files = vec![open(&package.join("card.sealed"))?.into()];
    for id in &objects {
        files.push(open(&package.join("objects").join(id))?.into());
        files.push(open(&package.join("objects").join(format!("{id}.tree")))?.into());
    }
    Ok((manifest, objects, files))
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}

fn read_manifest(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut manifest = Vec::new();
    open(path)?.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut manifest)?;
    ensure!(
        manifest.len() as u64 <= MAX_MANIFEST_BYTES,
        "{}: over {MAX_MANIFEST_BYTES} bytes",
        path.display()
    );
    Ok(manifest)
}

/// The ids of the objects that lie in a package, sorted. The directory is the host's: which of them belong to the model
/// is for the worker to judge by the signed manifest.
fn object_ids(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let name = entry?.file_name();
        let id = name.to_str().with_context(|| format!("{}: a name is not UTF-8", directory.display()))?;
        if !id.ends_with(".tree") {
            ids.push(id.to_owned());
        }
        ensure!(ids.len() <= MAX_OBJECTS, "{}: over {MAX_OBJECTS} objects", directory.display());
    }
    ids.sort();
    Ok(ids)
}
