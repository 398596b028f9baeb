//! Resource limits, capabilities and process attributes.

use crate::{ConfineError, Layers, Role};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Descriptors that a worker or fetcher may hold: up to four for each of a package's 267 objects, its lines, and for the
/// runtime.
const WORKER_DESCRIPTORS: u64 = 2_048;
/// Descriptors that the collector may hold: its socket, its line and the three that every process has.
const COLLECTOR_DESCRIPTORS: u64 = 16;
/// Descriptors that the gateway may hold: one for each connection and a few for its lines.
const GATEWAY_DESCRIPTORS: u64 = 8_192;

pub(crate) fn no_new_privileges(layers: &mut Layers) -> Result<(), ConfineError> {
    rustix::thread::set_no_new_privs(true).map_err(|e| ConfineError::new("no new privileges", e))?;
    layers.active.push("no new privileges");
    Ok(())
}

/// No core file, and no other process of the same user may attach or read this one's memory.
pub(crate) fn no_dumps(layers: &mut Layers) -> Result<(), ConfineError> {
    set(Resource::Core, 0)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| ConfineError::new("not dumpable", e))?;
    layers.active.push("no core dump");
    Ok(())
}

/// A worker or gateway without its keeper has no evidence, no log and no reason to live.
pub(crate) fn die_with_parent(layers: &mut Layers) -> Result<(), ConfineError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| ConfineError::new("dies with the keeper", e))?;
    layers.active.push("dies with the keeper");
    Ok(())
}

/// Gives up every capability and the means to get one back.
pub(crate) fn no_capabilities(layers: &mut Layers) -> Result<(), ConfineError> {
    keep_capabilities(CapabilitySet::empty())?;
    layers.active.push("no capabilities");
    Ok(())
}

/// Gives up every capability but that to ask the kernel about its audit records, where the process has it.
pub(crate) fn only_audit_control(layers: &mut Layers) -> Result<(), ConfineError> {
    keep_capabilities(CapabilitySet::AUDIT_CONTROL)?;
    layers.active.push("few capabilities");
    Ok(())
}

/// Gives up every capability but that by which NVIDIA's driver knows an administrator, where the process has it.
pub(crate) fn only_administration(layers: &mut Layers) -> Result<(), ConfineError> {
    keep_capabilities(CapabilitySet::SYS_ADMIN)?;
    layers.active.push("few capabilities");
    Ok(())
}

fn keep_capabilities(kept: CapabilitySet) -> Result<(), ConfineError> {
    let failed = |e: rustix::io::Errno| ConfineError::new("no capabilities", e);
    let own = rustix::thread::capabilities(None).map_err(failed)?;
    if own.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - kept).iter() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // A capability that this kernel does not know cannot be in the set.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
    let kept = own.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed)
}

/// Raises the limit on locked memory as far as this process may, so that weights are kept out of swap. What is locked in the end is told
/// with the model; a machine where a worker may not lock all it likes takes `CAP_SYS_RESOURCE` away and sets a hard limit.
pub(crate) fn lockable_memory() {
    let hard = rustix::process::getrlimit(Resource::Memlock).maximum;
    let raised = Rlimit { current: None, maximum: None };
    if rustix::process::setrlimit(Resource::Memlock, raised).is_err() {
        // Up to the hard limit everyone may, and where not, the limit in force holds.
        let _ = rustix::process::setrlimit(Resource::Memlock, Rlimit { current: hard, maximum: hard });
    }
}

/// Descriptors are few. (File size needs no limit: no file can be opened, a log on an inherited descriptor may grow, and the
/// fetcher's cache has a limit of its own.)
pub(crate) fn small(role: &Role, layers: &mut Layers) -> Result<(), ConfineError> {
    let descriptors = match role {
        Role::Worker
        | Role::DeviceWorker(_)
        | Role::GpuAttester(_)
        | Role::GpuAcceptor(_)
        | Role::Fetcher(_) => WORKER_DESCRIPTORS,
        Role::Collector => COLLECTOR_DESCRIPTORS,
        Role::Gateway | Role::Keeper(_) => GATEWAY_DESCRIPTORS,
    };
    set(Resource::Nofile, descriptors)?;
    layers.active.push("resource limits");
    Ok(())
}

/// Sets both limits of `resource`, or the hard limit in force where that is lower already.
fn set(resource: Resource, wanted: u64) -> Result<(), ConfineError> {
    let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Some(wanted.min(hard));
    rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })
        .map_err(|e| ConfineError::new("resource limits", e))
}
