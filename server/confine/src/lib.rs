//! Takes away from a process of the guest everything that it does not need.
//!
//! Call [`enter`] once, before the first thread is made: namespaces and Landlock hold only the calling thread and
//! what it starts. Call [`Starting::serve`] when everything is there and before anybody is answered: it takes the system calls that only the
//! start needed, from every thread. Layers that every supported kernel has (no new privileges, resource limits, capabilities, seccomp)
//! must hold, or `enter` fails and the process must not go on. Layers that a kernel may lack (namespaces, Landlock, SELinux)
//! are reported in [`Layers::missing`]; whoever starts the process decides whether it may serve.
//!
//! | layer | worker | worker with a device | gateway | fetcher | collector | keeper |
//! |---|---|---|---|---|---|---|
//! | no new privileges, not dumpable, no core file | yes | yes | yes | yes | yes | yes |
//! | dies with the keeper | yes | yes | yes | yes | yes | |
//! | own network, IPC and UTS namespace | yes | yes | IPC, UTS | IPC, UTS | IPC, UTS | |
//! | root directory is the empty one it was started in | yes | | yes | | yes | |
//! | no capabilities | yes | yes | yes | yes | `CAP_AUDIT_CONTROL` alone | keeps those its children need to drop |
//! | Landlock | nothing at all | device nodes and named directories | nothing at all | named directories, no port to listen on | nothing at all | named directories |
//! | a domain of SELinux or a profile of AppArmor | yes | yes | yes | yes | yes | yes |
//! | a control group of its own, made by the keeper ([`Group`]) | yes | yes | | | | |
//! | seccomp, to start and to serve | allow-lists | the worker's, with `ioctl` and `openat` | allow-lists | allow-lists | allow-lists | refuse-lists |
//!
//! What a filter or the mandatory policy refuses, the kernel makes an audit record of.
//!
//! Who has GPUs report is held as a worker with a device is. So is who lets them take work, but keeps `CAP_SYS_ADMIN` alone, and ends when
//! that is done.
//!
//! A worker with a device confines itself in two steps, [`begin_with_device`] and [`WithDevice::finish`]: between them it loads the device's
//! libraries, whose threads begin below everything but seccomp, which then takes hold of all threads.
//!
//! This crate is *not* a boundary against the kernel, and holds no policy of its own: the system calls stand in
//! `policies/seccomp`.

mod attributes;
mod filesystem;
mod groups;
mod limits;
mod mandatory;
mod namespaces;
mod required;
mod seccomp;

pub use filesystem::{Reach, nvidia_nodes};
pub use groups::{GROUP, Group, Met, Share};
pub use mandatory::{Beginning, ENFORCE};
pub use required::{Phase, lacking};

use mandatory::Domain;
use seccomp::Process;

/// Which of the processes to hold.
#[derive(Debug, Clone)]
pub enum Role {
    /// A worker: descriptors it was given, memory and threads; nothing else.
    Worker,
    /// A worker with a device: those, and the named device nodes and directories.
    DeviceWorker(Reach),
    /// Who has GPUs report: as a worker with a device, and nobody's work is done in it.
    GpuAttester(Reach),
    /// Who lets GPUs take work, and ends: as a worker with a device, and with the one capability that NVIDIA's driver wants for it.
    GpuAcceptor(Reach),
    /// The gateway: the same, and connections of the listener that it already opened.
    Gateway,
    /// A fetcher: connections to stores, and files below the named paths.
    Fetcher(Reach),
    /// The collector of the kernel's audit records: the socket and the line that it already has.
    Collector,
    /// The keeper: files below the named paths.
    Keeper(Reach),
}

impl Role {
    /// As the domains of `policies/selinux` and the profiles of `policies/apparmor` spell it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::DeviceWorker(_) => "device_worker",
            Self::GpuAttester(_) => "gpu_attester",
            Self::GpuAcceptor(_) => "gpu_acceptor",
            Self::Gateway => "gateway",
            Self::Fetcher(_) => "fetcher",
            Self::Collector => "collector",
            Self::Keeper(_) => "keeper",
        }
    }
}

/// What holds the process now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// Layers in force.
    pub active: Vec<&'static str>,
    /// Layers that this kernel, or the rights of this user, did not allow, with the system's answer.
    pub missing: Vec<String>,
}

impl Layers {
    fn note<E: std::fmt::Display>(&mut self, layer: &'static str, result: Result<(), E>) {
        match result {
            Ok(()) => self.active.push(layer),
            Err(error) => self.missing.push(format!("{layer}: {error}")),
        }
    }
}

/// A layer that must hold could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("{layer}: {reason}")]
pub struct ConfineError {
    /// Which layer.
    pub layer: &'static str,
    /// The system's answer.
    pub reason: String,
}

impl ConfineError {
    fn new(layer: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { layer, reason: reason.to_string() }
    }
}

/// All layers of a process with a device but the last.
fn begin(role: &Role, reach: &Reach, layers: &mut Layers) -> Result<(), ConfineError> {
    let domain = Domain::look();
    limits::die_with_parent(layers)?;
    limits::lockable_memory();
    namespaces::leave(role, layers);
    filesystem::only_without_network(reach, layers)?;
    match role {
        Role::GpuAcceptor(_) => limits::only_administration(layers)?,
        _ => limits::no_capabilities(layers)?,
    }
    limits::small(role, layers)?;
    // Here and not at the end: the libraries' threads begin after this, and a domain is each thread's own.
    domain.settle(role.name(), layers)
}

/// The layer that [`Starting::serve`] adds.
pub const SERVING: &str = "seccomp serving";

/// A process that is held, and may still make the system calls that only its start needs.
#[derive(Debug)]
#[must_use]
pub struct Starting {
    layers: Layers,
    filters: &'static Process,
}

impl Starting {
    fn new(role: &Role, mut layers: Layers) -> Result<Self, ConfineError> {
        let filters = Process::of(role);
        filters.start()?;
        layers.active.push("seccomp");
        Ok(Self { layers, filters })
    }

    /// What holds the process.
    #[must_use]
    pub const fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Takes the system calls that only the start needed, from every thread. Some of them end the process from here on.
    ///
    /// # Errors
    /// [`ConfineError`] when the filter cannot be added; the process must exit.
    pub fn serve(self) -> Result<Layers, ConfineError> {
        let Self { mut layers, filters } = self;
        filters.serve()?;
        layers.active.push(SERVING);
        Ok(layers)
    }
}

/// A process with a device between the two steps of its confinement: it may still load libraries and start what it likes below `reach`.
#[derive(Debug)]
pub struct WithDevice(Role, Layers);

/// Takes from the calling process all but the system calls that opening a device takes.
///
/// # Errors
/// As for [`enter`].
pub fn begin_with_device(reach: Reach) -> Result<WithDevice, ConfineError> {
    begin_as(Role::DeviceWorker(reach.clone()), &reach)
}

/// The same for who has GPUs report.
///
/// # Errors
/// As for [`enter`].
pub fn begin_gpu_attester(reach: Reach) -> Result<WithDevice, ConfineError> {
    begin_as(Role::GpuAttester(reach.clone()), &reach)
}

/// The same for who lets GPUs take work: `CAP_SYS_ADMIN` stays, where the process has it.
///
/// # Errors
/// As for [`enter`].
pub fn begin_gpu_acceptor(reach: Reach) -> Result<WithDevice, ConfineError> {
    begin_as(Role::GpuAcceptor(reach.clone()), &reach)
}

fn begin_as(role: Role, reach: &Reach) -> Result<WithDevice, ConfineError> {
    let mut layers = Layers::default();
    limits::no_new_privileges(&mut layers)?;
    limits::no_dumps(&mut layers)?;
    begin(&role, reach, &mut layers)?;
    Ok(WithDevice(role, layers))
}

impl WithDevice {
    /// Takes the system calls too, from every thread.
    ///
    /// # Errors
    /// As for [`enter`].
    pub fn finish(self) -> Result<Starting, ConfineError> {
        let Self(role, layers) = self;
        Starting::new(&role, layers)
    }
}

/// Holds the calling process for the rest of its life.
///
/// # Errors
/// [`ConfineError`] when a layer that must hold does not; the process is then half confined and must exit.
pub fn enter(role: &Role) -> Result<Starting, ConfineError> {
    let mut layers = Layers::default();
    let domain = Domain::look();
    limits::no_new_privileges(&mut layers)?;
    limits::no_dumps(&mut layers)?;
    match role {
        Role::Worker | Role::Gateway => {
            limits::die_with_parent(&mut layers)?;
            if matches!(role, Role::Worker) {
                // While the capabilities for it may still be there.
                limits::lockable_memory();
            }
            namespaces::leave(role, &mut layers);
            filesystem::empty_root(&mut layers);
            filesystem::nothing(&mut layers);
            limits::no_capabilities(&mut layers)?;
            limits::small(role, &mut layers)?;
        }
        Role::DeviceWorker(reach) | Role::GpuAttester(reach) | Role::GpuAcceptor(reach) => {
            begin(role, reach, &mut layers)?
        }
        Role::Fetcher(reach) => {
            limits::die_with_parent(&mut layers)?;
            namespaces::leave(role, &mut layers);
            filesystem::only_as_client(reach, &mut layers)?;
            limits::no_capabilities(&mut layers)?;
            limits::small(role, &mut layers)?;
        }
        Role::Collector => {
            limits::die_with_parent(&mut layers)?;
            namespaces::leave(role, &mut layers);
            filesystem::empty_root(&mut layers);
            filesystem::nothing(&mut layers);
            limits::only_audit_control(&mut layers)?;
            limits::small(role, &mut layers)?;
        }
        Role::Keeper(reach) => filesystem::only(reach, &mut layers)?,
    }
    if !matches!(role, Role::DeviceWorker(_) | Role::GpuAttester(_) | Role::GpuAcceptor(_)) {
        domain.settle(role.name(), &mut layers)?;
    }
    Starting::new(role, layers)
}
