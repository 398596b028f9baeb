//! The start, in order. Nothing is served before the last step; when a step fails, everything ends.
//!
//! 1. Confine the keeper; begin the boot's log.
//! 2. Start the gateway, which makes the TLS key and confines itself. It does not listen yet.
//! 3. Start the collector of the kernel's audit records, and who asks the GPUs. Make the boot's keys and evidence; obtain each model's key from the broker.
//! 4. For each model: fetch its package if it is not a directory, start a worker, wait until the model is in memory.
//! 5. Let the gateway listen.

use crate::anchor::{self, Told};
use crate::audit::{Witnessing, Writer};
use crate::children::{self, Handed};
use crate::clock::Clock;
use crate::cpus;
use crate::evidence::{Boot, GatewayKeys, Identity};
use crate::gateway::Gateway;
use crate::gpus::Gpus;
use crate::kernel::{self, Workers};
use crate::log_key::LogKey;
use crate::personal::Personal;
use crate::release::{ATTEMPTS_AT_START, Exchange, Releaser};
use crate::reload::GatewayFiles;
use crate::required::require;
use crate::run::{Happening, KEEPER, Keeper, Slot};
use crate::runtime;
use crate::settings::{self, Audit, Device, Package, Settings};
use crate::share;
use crate::stages::{Stage, Stages};
use crate::store;
use anchorhold_attester::device::Device as AttestingDevice;
use anchorhold_audit_log::{
    Beginning as LogBeginning, BootId, Code, Event, EventType, Hash, Log, Outcome, ReadingKey, Setting,
};
use anchorhold_channel::document::RuntimeClaims;
use anchorhold_confine::{Beginning, Phase, Reach, Role, Starting, nvidia_nodes};
use anchorhold_ipc::{Confinement, FromGateway, HeldProcess};
use anchorhold_rats::{RuntimeEvent, Sha256Digest};
use anyhow::{Context as _, bail};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Starts everything and serves until told to stop.
///
/// # Errors
/// The step that failed and why.
pub(crate) fn serve(settings: Settings, handed: &Handed) -> anyhow::Result<()> {
    let clock = Clock::start();
    let mut stages = Stages::new(clock);
    let empty = empty_directory(&settings.audit.directory)?;
    let releaser = Releaser::new(&settings)?;
    let cpus = worker_cpus(&settings);
    let files = GatewayFiles::of(&settings.gateway.config)?;
    let endorsements = settings.endorsements.read()?;
    let witnesses = settings.audit.witnesses.as_ref();
    let witnesses = witnesses.map(|witnesses| witnesses.clients(clock.seconds())).transpose()?;
    let beginning = Beginning::here();
    let groups = share::prepare(&settings);
    let (starting, own, runtime) = confined(&settings, &files)?;

    let boot = Boot::new(&settings.deployment)?;
    let log_directory = settings.audit.directory.join(boot.signer.origin().as_str().replace('/', "-"));
    let (gateway, keys, confinement) = begin_gateway(&settings, handed, &empty)?;
    stages.tell(&Stage::Gateway {
        pid: gateway.child.id(),
        layers: &confinement.active,
        missing: &confinement.missing,
    });

    let mut held = vec![HeldProcess::new(KEEPER, &own), HeldProcess::new("gateway", &confinement)];
    let gpus = Gpus::open(&settings, &empty, clock, |pid, layers| {
        stages.tell(&Stage::GpuAttester { pid, layers: &layers.active, missing: &layers.missing });
        held.push(HeldProcess::new("gpu attester", layers));
    })?;
    let keys = (&keys, endorsements);
    let boot_names = (boot.id, boot.voice);
    let identity = Identity::launch(&settings, boot_names, keys, gpus, clock, runtime.selinux_policy)?;
    let setting = Some(measure_settings(&identity, &settings, handed)?);
    let beginning_log = LogBeginning::new(boot.signer, BootId::new(boot.id), clock.stamp());
    let beginning_log = LogBeginning { opening: identity.opening(), setting, ..beginning_log };
    let (writer, reading) = begin_log(&settings.audit, beginning_log, &log_directory, clock)?;
    let personal = begin_personal(&settings.audit, BootId::new(boot.id))?;

    let (happenings, inbox) = channel();
    let keeper = Keeper {
        settings,
        files,
        clock,
        stages,
        identity,
        runtime,
        releaser,
        writer,
        anchor: None,
        told: Told::default(),
        witnesses,
        personal,
        happenings,
        empty,
        beginning,
        groups,
        starting: Some(starting),
        slots: Vec::new(),
        held,
        workers: Workers::default(),
        collecting: None,
        cpus,
        evidence_recorded: false,
        predecessor_recorded: false,
        drain_within: Duration::ZERO,
    };
    open_and_run(keeper, (gateway, &log_directory, reading), &inbox)
}

/// Obtains keys, loads models, opens the port and serves; a start that fails gives back what there is.
fn open_and_run(
    mut keeper: Keeper,
    (gateway, log_directory, reading): (Gateway, &Path, ReadingKey),
    inbox: &Receiver<Happening>,
) -> anyhow::Result<()> {
    let outcome = collect(&mut keeper)
        .and_then(|()| obtain_and_load(&mut keeper))
        .and_then(|()| keeper.open(gateway, log_directory, reading));
    match outcome {
        Ok((child, voice)) => keeper.run(child, &voice, inbox),
        Err(error) => Err(end_start(keeper, error)),
    }
}

/// Ends a start that failed, and gives back why it did.
fn end_start(mut keeper: Keeper, error: anyhow::Error) -> anyhow::Error {
    // Slots are dropped first: a worker that was loaded must not outlive a start that failed.
    keeper.give_back();
    keeper.collect_rest();
    match keeper.writer.close() {
        Ok(()) => error,
        Err(log) => log.context(error),
    }
}

/// Begins to keep whom entries are about, where the settings name somebody who may know.
fn begin_personal(settings: &Audit, boot: BootId) -> anyhow::Result<Option<Personal>> {
    let personal = settings.personal.as_ref();
    personal.map(|terms| Personal::begin(&settings.directory, &terms.recipient, boot)).transpose()
}

/// Begins the boot's log, encrypted, and gives back its writer and what opens its entries.
fn begin_log(
    settings: &Audit,
    beginning: LogBeginning,
    directory: &Path,
    clock: Clock,
) -> anyhow::Result<(Writer, ReadingKey)> {
    let LogKey { storage, reading, copies } = LogKey::new(settings, beginning.signer.origin())?;
    if copies.is_empty() {
        warn("audit.readers names nobody: nobody can read the log when this guest is gone");
    }
    let log =
        Log::begin(directory, beginning.encrypted(storage, copies)).context("beginning the audit log")?;
    let witnessing = if settings.witnesses.is_some() { Witnessing::Some } else { Witnessing::None };
    let writer = Writer::start(log, clock, witnessing)?;
    writer.recorder().record(Event::new(EventType::BootStart, Outcome::Success, clock.stamp()))?;
    Ok((writer, reading))
}

/// Measures what this guest was told to do, before it says anything of itself: the keeper's settings, and the gateway's with whatever
/// was handed over beside its file. Gives back what entry 0 says of them: SHA-256 of the event's line.
fn measure_settings(identity: &Identity, settings: &Settings, handed: &Handed) -> anyhow::Result<Setting> {
    let config = &settings.gateway.config;
    let mut gateway = std::fs::read(config).with_context(|| config.display().to_string())?;
    for (name, value) in &handed.environment {
        gateway.extend([b"\n", name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    for set in &handed.sets {
        gateway.extend([b"\n", set.as_bytes()].concat());
    }
    let event = RuntimeEvent::settings(&settings.digest, &Sha256Digest::of(&gateway));
    let digest = Hash::of(event.to_string().as_bytes());
    identity.attester.measure(event).context("measuring the settings")?;
    Ok(Setting { approved_by: Vec::new(), name: Code::from_static("settings"), new: Some(digest), old: None })
}

/// Starts the gateway, which confines itself and says which keys it holds before anything else.
fn begin_gateway(
    settings: &Settings,
    handed: &Handed,
    empty: &Path,
) -> anyhow::Result<(Gateway, GatewayKeys, Confinement)> {
    let (child, line) =
        children::gateway(&settings.gateway.program, &settings.gateway.config, handed, empty)?;
    let mut gateway = Gateway::new(child, line);
    let first = gateway.receive().context("the gateway ended before it said which key it holds")?;
    let FromGateway::Hello { tls_key, body_keys, confinement } = first else {
        bail!("the gateway did not begin with its key")
    };
    require(settings, ("gateway", &Role::Gateway), Phase::Start, &confinement)?;
    Ok((gateway, GatewayKeys { tls_key, body_keys }, confinement))
}

/// Gives up what the keeper does not need, and says what holds it from then on: for the status, and for the document.
fn confined(
    settings: &Settings,
    files: &GatewayFiles,
) -> anyhow::Result<(Starting, Confinement, RuntimeClaims)> {
    let policy = runtime::selinux_policy();
    let role = Role::Keeper(reach(settings, files)?);
    let starting = anchorhold_confine::enter(&role).context("confining the keeper")?;
    let layers = starting.layers();
    for missing in &layers.missing {
        warn(&format!("the keeper runs without {missing}"));
    }
    let claims = runtime::claims(policy, layers);
    let active = layers.active.iter().map(ToString::to_string).collect();
    let own = Confinement { active, missing: layers.missing.clone() };
    require(settings, (KEEPER, &role), Phase::Start, &own)?;
    Ok((starting, own, claims))
}

/// Has the kernel's audit records collected from here on, if that is asked for.
fn collect(keeper: &mut Keeper) -> anyhow::Result<()> {
    let Some(collector) = &keeper.settings.collector else { return Ok(()) };
    let log = (keeper.writer.recorder().clone(), keeper.clock);
    let (stages, held) = (&mut keeper.stages, &mut keeper.held);
    let tell = |(pid, layers): (u32, &Confinement)| {
        stages.tell(&Stage::Collector { pid, layers: &layers.active, missing: &layers.missing });
        held.push(HeldProcess::new("collector", layers));
    };
    let (workers, happenings) = (keeper.workers.clone(), keeper.happenings.clone());
    let all = (&keeper.settings, collector);
    keeper.collecting = kernel::collect(all, &keeper.empty, log, workers, tell, happenings)?;
    Ok(())
}

/// What workers' threads are bound to: nothing unless that is asked for and no two of them need the same CPU. Read before the keeper gives
/// up the files that tell of the machine.
fn worker_cpus(settings: &Settings) -> Vec<u16> {
    if !settings.worker.pin_threads {
        return Vec::new();
    }
    let cpus = cpus::for_workers(settings.models.len(), settings.worker.threads);
    if cpus.is_none() {
        warn("worker.pin_threads: there are fewer CPUs than threads of workers, so none is bound");
    }
    cpus.unwrap_or_default()
}

fn obtain_and_load(keeper: &mut Keeper) -> anyhow::Result<()> {
    for model in keeper.settings.models.clone() {
        let mut exchange = Exchange {
            identity: &keeper.identity,
            recorder: keeper.writer.recorder(),
            stages: &mut keeper.stages,
            clock: keeper.clock,
            audit: anchor::terms(keeper.settings.audit.witnesses.as_ref()),
            evidence_recorded: &mut keeper.evidence_recorded,
            predecessor_recorded: &mut keeper.predecessor_recorded,
        };
        let key = keeper.releaser.obtain(&mut exchange, &model, ATTEMPTS_AT_START);
        let key = key.map_err(crate::release::NoKey::into_error)?;
        keeper.slots.push(Slot::new(model, key));
    }
    // Whoever released the keys has judged the GPUs' reports; in confidential mode they have taken no work so far.
    keeper.identity.gpus.accept_work(&keeper.settings, &keeper.empty)?;
    (0..keeper.slots.len()).try_for_each(|at| keeper.load(at))
}

/// Tells whoever reads the guest's standard error.
pub(crate) fn warn(text: &str) {
    use std::io::Write as _;
    // Without standard error there is nobody to warn.
    let _ = writeln!(std::io::stderr(), "anchorhold-keeper: warning: {text}");
}

/// The directory that children are started in, and out of which they make their root.
fn empty_directory(audit: &Path) -> anyhow::Result<PathBuf> {
    let empty = audit.join("empty");
    std::fs::create_dir_all(&empty).with_context(|| empty.display().to_string())?;
    Ok(empty)
}

/// What the keeper and its children still reach: the packages, the programs, the log, and what name resolution reads.
fn reach(settings: &Settings, files: &GatewayFiles) -> anyhow::Result<Reach> {
    let present =
        |paths: &[&str]| paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect::<Vec<_>>();
    let mut read = present(&[
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/ld.so.cache",
        "/dev/null",
        "/dev/urandom",
        anchorhold_confine::ENFORCE,
    ]);
    read.extend(files.folders());
    for model in &settings.models {
        match &model.package {
            Package::Directory(directory) => read.push(directory.clone()),
            Package::Address(address) => read.extend(store::folder_of(address).map(Path::to_owned)),
        }
    }
    let mut execute = present(&["/lib", "/lib64", "/usr/lib", "/usr/lib64"]);
    execute.push(std::env::current_exe()?);
    execute.extend([settings.gateway.program.clone(), settings.worker.program()]);
    let mut write = settings.gateway.writes.clone();
    write.push(settings.audit.directory.clone());
    write.push(PathBuf::from("/dev/null"));
    if !settings.attester.is_simulated() {
        let (reads, writes) = AttestingDevice::paths();
        read.extend(reads.into_iter().filter(|path| path.exists()).map(Path::to_owned));
        write.extend(writes.into_iter().filter(|path| path.exists()).map(Path::to_owned));
    }
    read.extend(settings.attester.launch_digest_file().map(Path::to_owned));
    if let Some(tpm) = &settings.tpm {
        read.push(tpm.event_log.clone());
        read.extend(tpm.certificates.iter().cloned());
        write.push(tpm.device.clone());
    }
    let asks_gpus = match &settings.gpus {
        Some(settings::Gpus::Nvidia { program, acceptor }) => {
            execute.extend([program.clone(), acceptor.clone()]);
            true
        }
        Some(settings::Gpus::Software { .. }) | None => false,
    };
    if asks_gpus || settings.worker.device == Device::Cuda {
        // What holds the keeper holds its children; the worker gives up again what it does not need.
        write.extend(nvidia_nodes());
        read.extend(present(&["/proc", "/sys", "/usr/local/cuda"]));
    }
    execute.extend(settings.collector.iter().map(|collector| collector.program.clone()));
    if let Some(store) = &settings.store {
        store.make_cache()?;
        execute.push(store.program.clone());
        write.push(store.cache.clone());
        read.extend(store.reads());
    }
    Ok(Reach { read, execute, write })
}
