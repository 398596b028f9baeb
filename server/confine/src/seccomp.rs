//! The filters of system calls that `build.rs` compiled from `policies/seccomp/filters.toml`.

use crate::{ConfineError, Role};
use libc::sock_filter;

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// The filters of one process. Those of the second phase are added to those of the first: a call must pass all of them.
#[derive(Debug)]
pub(crate) struct Process {
    start: &'static [Program],
    serving: &'static [Program],
}

#[derive(Debug)]
struct Program {
    refusals: Refusals,
    code: &'static [sock_filter],
}

/// Whether the kernel makes an audit record of each call that a filter refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusals {
    Logged,
    /// For calls that the C library only tries, and does without.
    Silent,
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

impl Process {
    pub(crate) const fn of(role: &Role) -> &'static Self {
        match role {
            Role::Worker => &WORKER,
            Role::DeviceWorker(_) | Role::GpuAttester(_) | Role::GpuAcceptor(_) => &DEVICE_WORKER,
            Role::Gateway => &GATEWAY,
            Role::Fetcher(_) => &FETCHER,
            Role::Collector => &COLLECTOR,
            Role::Keeper(_) => &KEEPER,
        }
    }

    /// Holds every thread of the process to what it needs to start.
    pub(crate) fn start(&self) -> Result<(), ConfineError> {
        add(self.start)
    }

    /// Holds every thread of the process to what it needs to serve.
    pub(crate) fn serve(&self) -> Result<(), ConfineError> {
        add(self.serving)
    }
}

fn add(programs: &[Program]) -> Result<(), ConfineError> {
    programs.iter().try_for_each(install).map_err(|error| ConfineError::new("seccomp", error))
}

/// Adds a filter to every thread of the process.
#[expect(unsafe_code, reason = "seccomp(2) has no safe form, and takes the filter by its address")]
fn install(program: &Program) -> std::io::Result<()> {
    let len = u16::try_from(program.code.len()).map_err(std::io::Error::other)?;
    let fprog = libc::sock_fprog { len, filter: program.code.as_ptr().cast_mut() };
    let flags = match program.refusals {
        Refusals::Logged => libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_LOG,
        Refusals::Silent => libc::SECCOMP_FILTER_FLAG_TSYNC,
    };
    // SAFETY: `fprog` names `len` instructions that are there as long as the program is; the kernel copies them, checks them and writes
    // nothing.
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
