//! What the confinement costs the main job: sentences embedded by a worker that is held by nothing, by one that is held as workers are, by
//! that one without huge pages, and by that one in a control group of its own; each in turn, in rounds, so that a busy machine disturbs all
//! alike. The last is left out where no control group of version 2 was given to this process; `make bench-guest` measures it in the guest's kernel.
//!
//! usage: `cargo bench -p anchorhold-worker --bench confinement -- MODEL [ROUNDS [REQUESTS]] [JSON=PATH]`
//!
//! `MODEL` is a folder with an embedding model. Wall time of all rounds, and the processor time of the worker, which holds on a busy machine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends where it fails and prints what it found"
)]

use anchorhold_confine::{Group, Layers, Role, Share, enter};
use anchorhold_engine::{CacheDomain, Prompt, RequestId, Tenancy};
use anchorhold_ipc::{
    Confinement, Event, FromWorker, Line, LoadModel, ObjectDescriptors, Precision, ToWorker, WireSecret,
    Work, WorkKind, pair,
};
use anchorhold_sealed_weights::{Effort, OwnerKey, SealOptions, SegmentSize, seal};
use anchorhold_worker::{Limits, Sockets, load_sealed, run};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const WAYS: [&str; 3] = ["bare", "held", "small-pages"];
const GROUPED: &str = "grouped";
/// As much as the demonstration gives a worker.
const SHARE: Share = Share { memory_bytes: 2 << 30, pids: 64, cpu_percent: None, cpus: None, nodes: None };
const CHILD: &str = "--child";
const WEIGHTS_KEY: [u8; 32] = [9; 32];
const OWNER_SEED: [u8; 32] = [4; 32];
const VERSION: u64 = 1;
/// Texts of one request.
const BATCH: usize = 16;
/// Requests of one round, unless told.
const REQUESTS: u64 = 6;
const SENTENCE: &str = "The quick brown fox jumps over the lazy dog while the bank counts its money twice and the \
                        hospital keeps its records where nobody else can read them.";
/// `USER_HZ`: what `/proc/PID/stat` counts in is a hundredth of a second on every Linux.
const TICKS_PER_S: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, way] = arguments.as_slice()
        && word == CHILD
    {
        return child(way);
    }
    let json = arguments.iter().find_map(|word| word.strip_prefix("JSON="));
    let mut words = arguments.iter().filter(|word| !word.starts_with("JSON="));
    let Some(model) = words.next() else { return println!("no model was named: nothing is measured") };
    let rounds: usize = words.next().map_or(10, |rounds| rounds.parse().unwrap());
    let requests: u64 = words.next().map_or(REQUESTS, |requests| requests.parse().unwrap());
    let package = Package::seal(Path::new(model));
    // Before anybody is started: a group with processes in it gets no groups below it.
    let groups = Group::create(1, &SHARE);
    let mut workers: Vec<Worker> = WAYS.into_iter().map(|way| Worker::start(way, &package, None)).collect();
    match groups {
        Ok(groups) => workers.push(Worker::start(GROUPED, &package, groups.first())),
        Err(error) => println!("{GROUPED}: left out: {error}"),
    }
    for worker in &mut workers {
        // What is done once is done.
        let _ = worker.round(1);
    }
    let count = workers.len();
    for round in 0..rounds {
        for turn in 0..count {
            // Another one is first each time.
            let Some(worker) = workers.get_mut((turn + round) % count) else { continue };
            let (wall, cpu) = worker.round(requests);
            worker.took.0 += wall;
            worker.took.1 += cpu;
        }
    }
    let sentences = (rounds * BATCH) as f64 * requests as f64;
    let rates = workers
        .iter()
        .map(|Worker { way, took: (wall, cpu), .. }| (*way, (sentences / wall, sentences / cpu)));
    let rates: Vec<_> = rates.collect();
    let Some(&(_, bare)) = rates.first() else { return };
    let mut lines = Vec::new();
    for (way, (wall, cpu)) in rates {
        let (of_wall, of_cpu) = (wall / bare.0, cpu / bare.1);
        println!("{way:12} {wall:8.1} sentences/s ({of_wall:.3})  {cpu:8.1} per CPU second ({of_cpu:.3})");
        let name = way.replace('-', "_");
        lines.push(format!(
            "{{\"name\": \"embed_{name}\", \"value\": {wall:.2}, \"unit\": \"sentences/s\", \"peer\": \"bare\", \"ratio\": {of_wall:.4}}}"
        ));
        lines.push(format!(
            "{{\"name\": \"embed_{name}_cpu\", \"value\": {cpu:.2}, \"unit\": \"sentences/CPU s\", \"peer\": \"bare\", \"ratio\": {of_cpu:.4}}}"
        ));
    }
    if let Some(path) = json {
        fs::write(path, format!("[{}]\n", lines.join(", "))).unwrap();
    }
}

/// Lives as a worker that is held in this way.
fn child(way: &str) {
    let sockets = Sockets::take_inherited().unwrap();
    if way == "small-pages" {
        rustix::thread::disable_transparent_huge_pages(true).unwrap();
    }
    let told = |layers: &Layers| Confinement {
        active: layers.active.iter().map(ToString::to_string).collect(),
        missing: layers.missing.clone(),
    };
    let nothing = Confinement { active: Vec::new(), missing: Vec::new() };
    let exit = if way == "bare" {
        run(sockets, (nothing.clone(), || Ok(nothing)), Limits::default(), load_sealed)
    } else {
        let starting = enter(&Role::Worker).unwrap();
        let held = told(starting.layers());
        let settle = || starting.serve().map(|layers| told(&layers)).map_err(std::io::Error::other);
        run(sockets, (held, settle), Limits::default(), load_sealed)
    };
    exit.unwrap();
}

struct Worker {
    way: &'static str,
    /// Seconds of wall and of processors so far.
    took: (f64, f64),
    child: Child,
    gateway: Line<Work, Event>,
    // Its end would end the worker.
    _keeper: Line<ToWorker, FromWorker>,
    _empty: tempfile::TempDir,
    next: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start(way: &'static str, package: &Package, group: Option<&Group>) -> Self {
        let empty = tempfile::tempdir().unwrap();
        let ((control, keeper), (data, gateway)) = (pair().unwrap(), pair().unwrap());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([CHILD, way]).env_clear().current_dir(&empty);
        command.stdin(Stdio::from(control)).stdout(Stdio::from(data));
        if let Some(group) = group {
            group.place(&mut command).unwrap();
        }
        let child = command.spawn().unwrap();
        assert!(group.is_none_or(|group| group.holds(child.id()).unwrap()));
        let mut keeper: Line<ToWorker, FromWorker> = Line::new(keeper);
        assert!(matches!(keeper.receive().unwrap().0, FromWorker::Confined(_)));
        let (order, files) = package.order();
        let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        keeper.send(&ToWorker::Load(Box::new(order)), &descriptors).unwrap();
        let FromWorker::Loaded { .. } = keeper.receive().unwrap().0 else { panic!("{way}: not loaded") };
        let gateway = Line::new(gateway);
        Self { way, took: (0.0, 0.0), child, gateway, _keeper: keeper, _empty: empty, next: 1 }
    }

    /// Seconds of wall and of the worker's processors.
    fn round(&mut self, requests: u64) -> (f64, f64) {
        let (begun, before) = (Instant::now(), self.cpu_s());
        for _ in 0..requests {
            let id = RequestId(self.next);
            self.next += 1;
            let inputs = vec![Prompt::Text(SENTENCE.into()); BATCH];
            let tenancy = Tenancy { domain: CacheDomain([1; 16]), share: 1 };
            let kind = WorkKind::Embed { tenancy, inputs };
            self.gateway.send(&Work::Submit { id, within_ms: 600_000, kind: kind.into() }, &[]).unwrap();
            loop {
                match self.gateway.receive().unwrap().0 {
                    Event::Load(_) => {}
                    Event::Embedded { vectors, .. } if vectors.len() == BATCH => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        (begun.elapsed().as_secs_f64(), self.cpu_s() - before)
    }

    fn cpu_s(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // After the name in parentheses: the state is field 3, user and system time are 14 and 15.
        let fields = stat.rsplit_once(')').unwrap().1;
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_S
    }
}

struct Package {
    path: PathBuf,
    manifest_digest: [u8; 32],
    _folder: tempfile::TempDir,
}

impl Package {
    fn seal(model: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("package");
        let options = SealOptions {
            segment: SegmentSize::Mib1,
            ..SealOptions::new("bench", VERSION, 1_700_000_000..=4_000_000_000)
        };
        let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap();
        let summary = seal(model, &path, &options, &owner, &WEIGHTS_KEY, &Effort::default()).unwrap();
        Self { path, manifest_digest: summary.manifest_digest, _folder: folder }
    }

    fn order(&self) -> (LoadModel, Vec<File>) {
        let objects = self.path.join("objects");
        let names = fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let mut ids: Vec<String> = names.filter(|name| !name.ends_with(".tree")).collect();
        ids.sort();
        let mut files = vec![File::open(self.path.join("card.sealed")).unwrap()];
        for id in &ids {
            files.push(File::open(objects.join(id)).unwrap());
            files.push(File::open(objects.join(format!("{id}.tree"))).unwrap());
        }
        let order = LoadModel {
            manifest: fs::read(self.path.join("manifest.json")).unwrap(),
            manifest_digest: self.manifest_digest,
            version_min: VERSION,
            at_s: 0,
            owner_key: OwnerKey::from_seed(&OWNER_SEED).unwrap().public_key(),
            weights_key: WireSecret(Box::new(WEIGHTS_KEY)),
            objects: ids.into_iter().map(|id| ObjectDescriptors { id }).collect(),
            threads: 1,
            cpus: Vec::new(),
            keep_prefixes: true,
            precision: Precision::F32,
        };
        (order, files)
    }
}
