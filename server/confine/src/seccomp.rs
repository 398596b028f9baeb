//! The system-call filters of `policies/seccomp`, compiled when the process confines itself.

use crate::{ConfineError, Layers, Role};
use seccompiler::{BpfProgramRef, TargetArch};

const WORKER: &str = include_str!("../../../policies/seccomp/worker.json");
const DEVICE_WORKER: &str = include_str!("../../../policies/seccomp/worker-device.json");
const GATEWAY: &str = include_str!("../../../policies/seccomp/gateway.json");
const FETCHER: &str = include_str!("../../../policies/seccomp/fetcher.json");
const COLLECTOR: &str = include_str!("../../../policies/seccomp/collector.json");
const KEEPER: &str = include_str!("../../../policies/seccomp/keeper.json");

/// Whether the kernel makes an audit record of each call that a filter refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusals {
    Logged,
    /// For calls that the C library only tries, and does without.
    Silent,
}

pub(crate) fn filter(role: &Role, layers: &mut Layers) -> Result<(), ConfineError> {
    let failed = |reason: &dyn std::fmt::Display| ConfineError::new("seccomp", reason);
    let text = match role {
        Role::Worker => WORKER,
        Role::DeviceWorker(_) => DEVICE_WORKER,
        Role::Gateway => GATEWAY,
        Role::Fetcher(_) => FETCHER,
        Role::Collector => COLLECTOR,
        Role::Keeper(_) => KEEPER,
    };
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| failed(&e))?;
    let programs = seccompiler::compile_from_json(text.as_bytes(), arch).map_err(|e| failed(&e))?;
    // The allow-list comes last, because it does not let another filter be added.
    for (name, refusals) in
        [("clone3", Refusals::Silent), ("deny", Refusals::Logged), ("allow", Refusals::Logged)]
    {
        if let Some(program) = programs.get(name) {
            install(program, refusals).map_err(|e| failed(&e))?;
        }
    }
    layers.active.push("seccomp");
    Ok(())
}

/// Adds a filter to every thread of the process. `seccompiler` can install one too, but has no way to ask for records.
#[expect(unsafe_code, reason = "seccomp(2) has no safe form, and takes the filter by its address")]
fn install(program: BpfProgramRef<'_>, refusals: Refusals) -> std::io::Result<()> {
    let len = u16::try_from(program.len()).map_err(std::io::Error::other)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    let flags = match refusals {
        Refusals::Logged => libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_LOG,
        Refusals::Silent => libc::SECCOMP_FILTER_FLAG_TSYNC,
    };
    // SAFETY: `fprog` names `len` instructions that live until the call returns, in the layout of the kernel's `struct sock_filter`, which
    // `seccompiler` shares; the kernel copies them, checks them and writes nothing.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&fprog))
    };
    match answer {
        0 => Ok(()),
        // With TSYNC, the id of a thread that could not take the filter.
        thread if thread > 0 => Err(std::io::Error::other("a thread holds another filter")),
        _ => Err(std::io::Error::last_os_error()),
    }
}
