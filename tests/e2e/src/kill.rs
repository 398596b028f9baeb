//! A guest that is killed while it fetches and loads its model, again and again: case 23.
//!
//! The point of each kill is drawn by chance, from what the store has sent, from what happened to the files of the cache, from
//! what the keeper has told, or from the time. After each, everything on disk is searched for the plaintext of the weights and
//! for the weights key. Mostly the next guest goes on with the cache that the last one left; every so often one is left alone, and
//! must load the model and serve.

use crate::guest::{Guest, Settings, Start};
use crate::memory::files_with;
use crate::models::{self, CHAT};
use crate::owner::{Chosen, Sealed};
use crate::policy::Policy;
use crate::refusals::Stand;
use crate::store::PackageStore;
use anchorhold_sealed_weights::SegmentSize;
use anyhow::{Context as _, ensure};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One guest in so many is not killed.
const WHOLE_EVERY: u32 = 10;
/// One cache in so many is emptied, so that fetches begin anew.
const EMPTY_EVERY: u64 = 3;
const WEIGHTS_KEY: [u8; 32] = *b"kill-test-weights-key-0123456789";
/// Bytes of the weights that are looked for.
const CANARY_LEN: usize = 48;

/// What was done and found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Guests that were killed, by what drew the point.
    pub killed: BTreeMap<&'static str, u32>,
    /// Guests that were killed before their package was whole in the cache.
    pub killed_while_fetching: u32,
    /// Guests that were killed after that, before they served.
    pub killed_while_loading: u32,
    /// Guests that served before their point came, and were killed then.
    pub killed_while_serving: u32,
    /// Guests that were left alone, and served.
    pub served: u32,
    /// Bytes that the guests left alone found in the cache.
    pub reused: u64,
}

/// When a guest is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// When the store has sent so many bytes of bodies.
    Sent(u64),
    /// At this event of the cache's files.
    Event(u64),
    /// After this line of the keeper.
    Stage(u64),
    /// After this time.
    Time(Duration),
}

/// The guest of the moment, and when to kill it. The lock guards the point, for one comparison.
struct Killer {
    pid: AtomicI32,
    sent_before: AtomicU64,
    events: AtomicU64,
    point: Mutex<Option<Point>>,
}

impl Killer {
    fn fire(&self, reached: impl Fn(Point) -> bool) {
        let mut point = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        if point.is_some_and(&reached) {
            *point = None;
            if let Some(pid) = Pid::from_raw(self.pid.load(Ordering::SeqCst)) {
                // One that has ended cannot be killed; then it ended before its point.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    fn arm(&self, pid: u32, sent: u64, point: Option<Point>) {
        self.pid.store(i32::try_from(pid).unwrap_or_default(), Ordering::SeqCst);
        self.sent_before.store(sent, Ordering::SeqCst);
        self.events.store(0, Ordering::SeqCst);
        *self.point.lock().unwrap_or_else(PoisonError::into_inner) = point;
    }

    /// The guest is gone; its number may be somebody else's soon.
    fn disarm(&self) {
        self.arm(0, 0, None);
    }
}

/// Numbers that look like chance and can be had again (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1)
    }
}

/// The deployment that is killed.
struct Scene {
    stand: Stand,
    settings: Settings,
    store: PackageStore,
    killer: Arc<Killer>,
    cache: PathBuf,
    canary: Vec<u8>,
    start: Counted,
}

/// What happens in one start that nobody disturbs, with a fetch of everything: the points are drawn from it.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// Bytes of bodies.
    sent: u64,
    /// Events of the cache's files.
    events: u64,
    /// Lines that the keeper tells.
    stages: u64,
    time: Duration,
}

/// Kills `iterations` guests. `told` hears how far it is.
///
/// # Errors
/// Something secret was found on disk, or a guest that was left alone did not serve.
pub fn run(iterations: u32, seed: u64, mut told: impl FnMut(u32, &Outcome)) -> anyhow::Result<Outcome> {
    let scene = Scene::new()?;
    let mut chance = Chance(seed | 1);
    let mut outcome = Outcome::default();
    for iteration in 1..=iterations {
        let about = || format!("iteration {iteration} with seed {seed}");
        scene.killed(&mut chance, &mut outcome).with_context(about)?;
        scene.search().with_context(about)?;
        if iteration % WHOLE_EVERY == 0 || iteration == iterations {
            outcome.reused += scene.whole().with_context(about)?;
            outcome.served += 1;
            scene.search().with_context(about)?;
        }
        if chance.below(EMPTY_EVERY) == 0 {
            scene.empty()?;
        }
        told(iteration, &outcome);
    }
    Ok(outcome)
}

impl Scene {
    fn new() -> anyhow::Result<Self> {
        let mut stand = Stand::new()?;
        let chosen = Chosen { weights_key: WEIGHTS_KEY, segment: SegmentSize::Mib1 };
        let sealed: Sealed = stand.seal_with(&models::chat(), (CHAT, 1), &chosen)?;
        let measurement = crate::guest::measurement_with_fetcher(&stand.programs)?;
        let policy = Policy {
            version: 1,
            measurement: &measurement,
            models: &[(CHAT, 1)],
            lease: "1m",
            max_instances: 65_535,
        };
        stand.broker.set_policy(&policy.to_toml())?;
        stand.broker.serve()?;
        let killer = Arc::new(Killer {
            pid: AtomicI32::new(0),
            sent_before: AtomicU64::new(0),
            events: AtomicU64::new(0),
            point: Mutex::new(None),
        });
        let counting = Arc::clone(&killer);
        let name = sealed.package.file_name().context("no name")?.to_string_lossy().into_owned();
        let store = PackageStore::watched(sealed.package.parent().context("no parent")?, move |sent| {
            let sent = sent.saturating_sub(counting.sent_before.load(Ordering::SeqCst));
            counting.fire(|point| matches!(point, Point::Sent(at) if sent >= at));
        })?;
        let mut settings = Settings::new(&stand.broker, &stand.owner, &[sealed])?;
        let cache = stand.path().join("cache");
        settings.fetch_from(&stand.programs, &cache, &[store.url(&name)]);
        let weights = std::fs::read(models::chat().join("model.safetensors"))?;
        let canary =
            weights.get(weights.len() / 2..weights.len() / 2 + CANARY_LEN).context("no weights")?.to_vec();
        let start = Counted::default();
        let mut scene = Self { stand, settings, store, killer, cache, canary, start };
        scene.make_cache()?;
        let watch = Watch::begin(&scene.cache, &scene.killer)?;
        let (began, mut stages) = (Instant::now(), 0);
        let programs = &scene.stand.programs;
        let guest = Guest::start(programs, &scene.guest(), &scene.settings, |_| stages += 1)?.ready()?;
        let (time, sent) = (began.elapsed(), scene.store.bytes());
        guest.stop()?;
        drop(watch);
        let events = scene.killer.events.load(Ordering::SeqCst);
        ensure!(sent > 0 && events > 0 && stages > 0, "nothing was counted: {sent}, {events}, {stages}");
        scene.start = Counted { sent, events, stages, time };
        scene.search()?;
        let planted = scene.stand.path().join("planted");
        for secret in [scene.canary.as_slice(), &WEIGHTS_KEY] {
            std::fs::write(&planted, [b"...", secret].concat())?;
            ensure!(scene.search().is_err(), "the search does not find what is there");
        }
        std::fs::remove_file(planted)?;
        scene.empty()?;
        Ok(scene)
    }

    /// Starts a guest and kills it.
    fn killed(&self, chance: &mut Chance, outcome: &mut Outcome) -> anyhow::Result<()> {
        let Counted { sent, events, stages: lines, time } = self.start;
        let (kind, point) = match chance.below(4) {
            0 => ("sent", Point::Sent(chance.below(sent))),
            1 => ("event", Point::Event(chance.below(events))),
            2 => ("stage", Point::Stage(1 + chance.below(lines))),
            _ => {
                let micros = u64::try_from(time.as_micros())?;
                ("time", Point::Time(Duration::from_micros(chance.below(micros))))
            }
        };
        self.make_cache()?;
        let watch =
            matches!(point, Point::Event(_)).then(|| Watch::begin(&self.cache, &self.killer)).transpose()?;
        let mut stages = Vec::new();
        let started = |pid| {
            self.killer.arm(pid, self.store.bytes(), Some(point));
            if let Point::Time(after) = point {
                let killer = Arc::clone(&self.killer);
                std::thread::spawn(move || {
                    std::thread::sleep(after);
                    killer.fire(|point| matches!(point, Point::Time(at) if at == after));
                });
            }
        };
        let start =
            Guest::start_watched(&self.stand.programs, &self.guest(), &self.settings, started, |stage| {
                stages.push(stage["stage"].as_str().unwrap_or_default().to_owned());
                let told = stages.len() as u64;
                self.killer.fire(|point| matches!(point, Point::Stage(at) if told >= at));
            });
        let had = |stage: &str| stages.iter().any(|told| told == stage);
        *outcome.killed.entry(kind).or_default() += 1;
        match start? {
            Start::Ready(guest) => {
                outcome.killed_while_serving += 1;
                guest.kill();
            }
            Start::Refused(refusal) => {
                let said = std::fs::read_to_string(self.guest().join("guest.stderr"))?;
                let by_itself = said.contains("anchorhold-keeper: error: ");
                ensure!(!by_itself, "the guest ended by itself: {}: {said}", refusal.code);
                match had("fetched") {
                    true => outcome.killed_while_loading += 1,
                    false => outcome.killed_while_fetching += 1,
                }
            }
        }
        self.killer.disarm();
        drop(watch);
        Ok(())
    }

    /// A guest that is left alone must load the model and serve; gives back what it found in the cache.
    fn whole(&self) -> anyhow::Result<u64> {
        let start = Guest::start(&self.stand.programs, &self.guest(), &self.settings, |_| {})?;
        let guest = start.ready()?;
        let fetched = guest.stage("fetched", Some(CHAT)).context("nothing was fetched")?;
        let reused = fetched["reused"].as_u64().context("no count")?;
        ensure!(guest.stage("loaded", Some(CHAT)).is_some(), "the model was not loaded");
        guest.stop()?;
        Ok(reused)
    }

    fn guest(&self) -> PathBuf {
        self.stand.path().join("guest")
    }

    fn make_cache(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.cache)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        Ok(std::fs::set_permissions(&self.cache, private)?)
    }

    fn empty(&self) -> anyhow::Result<()> {
        if self.cache.exists() {
            std::fs::remove_dir_all(&self.cache)?;
        }
        // Logs of killed guests would be searched again and again.
        let audit = self.guest().join("audit");
        if audit.exists() {
            std::fs::remove_dir_all(audit)?;
        }
        Ok(())
    }

    /// Nothing secret lies below the deployment's directory: cache, logs, settings, whatever a killed process left half
    /// written, or a core file. (Elsewhere the guest's processes may not write.)
    fn search(&self) -> anyhow::Result<()> {
        let hex: String = WEIGHTS_KEY.iter().map(|byte| format!("{byte:02x}")).collect();
        for (what, needle) in [
            ("the weights", self.canary.as_slice()),
            ("the weights key", &WEIGHTS_KEY),
            ("the weights key in hex", hex.as_bytes()),
        ] {
            let found = files_with(self.stand.path(), needle)?;
            ensure!(found.is_empty(), "{what} lie in {found:?}");
        }
        Ok(())
    }
}

/// Counts what happens to the files below a folder, and has the killer look at the count.
struct Watch {
    over: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn begin(root: &Path, killer: &Arc<Killer>) -> anyhow::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let queue = inotify::init(flags)?;
        let mut folders = BTreeMap::new();
        add(&queue, &mut folders, root)?;
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (ended, killer) = (Arc::clone(&over), Arc::clone(killer));
        let thread = std::thread::spawn(move || {
            let mut space = [MaybeUninit::uninit(); 4096];
            while !ended.load(Ordering::SeqCst) {
                let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                let mut waiting = [rustix::event::PollFd::new(&queue, rustix::event::PollFlags::IN)];
                if !matches!(rustix::event::poll(&mut waiting, Some(&timeout)), Ok(1..)) {
                    continue;
                }
                let mut reader = inotify::Reader::new(&queue, &mut space);
                while let Ok(event) = reader.next() {
                    use inotify::ReadFlags as Seen;
                    let seen = event.events();
                    let is_folder = seen.contains(Seen::ISDIR);
                    if is_folder && seen.contains(Seen::ACCESS) {
                        continue; // Our own look into it, for one.
                    }
                    let count = killer.events.fetch_add(1, Ordering::SeqCst) + 1;
                    killer.fire(|point| matches!(point, Point::Event(at) if count >= at));
                    if is_folder
                        && seen.contains(Seen::CREATE)
                        && let (Some(folder), Some(name)) = (folders.get(&event.wd()), event.file_name())
                    {
                        let path = Path::join(folder, name.to_string_lossy().as_ref());
                        // A folder that is gone again has nothing to be watched.
                        let _ = add(&queue, &mut folders, &path);
                    }
                }
            }
        });
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A watch that panicked counted nothing more; the guest was then killed by nobody and served.
            let _ = thread.join();
        }
    }
}

/// Watches a folder and those in it.
fn add(
    queue: &rustix::fd::OwnedFd,
    folders: &mut BTreeMap<i32, PathBuf>,
    folder: &Path,
) -> anyhow::Result<()> {
    use inotify::WatchFlags as On;
    let on = On::CREATE | On::MODIFY | On::ACCESS | On::CLOSE_WRITE | On::MOVED_TO | On::DELETE | On::ONLYDIR;
    folders.insert(inotify::add_watch(queue, folder, on)?, folder.to_owned());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            add(queue, folders, &path)?;
        }
    }
    Ok(())
}
