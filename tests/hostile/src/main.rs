//! A worker that was taken over: it confines itself as the real one does, tries everything that it must not be able to do, says how each
//! attempt ended, and then does a worker's work, so that the guest around it is seen to go on.
//!
//! ```text
//! anchorhold-hostile-worker             as the keeper's worker; the attempts go to standard error
//! anchorhold-hostile-worker attempts    by itself, for the layers of this machine; standard output
//! anchorhold-hostile-worker killed      serves, and runs a program: the kernel ends it
//! anchorhold-hostile-worker selinux     the same, held by the domain of SELinux and nothing else
//! anchorhold-hostile-worker apparmor    the same, held by its profile of AppArmor and nothing else
//! anchorhold-hostile-worker idle        goes into that domain and does nothing until standard input ends: somebody to reach
//! anchorhold-hostile-worker --config F  in the place of the keeper, in an image for tests: starts the collector and these, F unread
//! ```
//!
//! A line is `attempt`, or `serving` for what it tries when it serves, the attempt's name, the error it met and the number of the system call that met it, with tabs between; `ALLOWED` is an
//! attempt that succeeded. What each must meet is in `policies/cases/hostile.toml`.
//!
//! Never part of an image that is for use.

mod attempts;
mod contexts;
mod direct;
mod system;

use anchorhold_confine::{Layers, Role, enter};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Exit, Limits, Sockets, load_sealed, quiet_panics, run};
use anyhow::Context as _;
use contexts::{CURRENT, set_context};
use std::io::{self, Write};
use std::process::ExitCode;
use system::{address, call, text};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => work().map(|exit| ExitCode::from(exit.status())),
        ["attempts"] => confined().map(|()| ExitCode::SUCCESS),
        ["apparmor"] => under_apparmor().map(|()| ExitCode::SUCCESS),
        ["selinux"] => under_selinux().map(|()| ExitCode::SUCCESS),
        ["killed"] => killed().map(|()| ExitCode::SUCCESS),
        ["idle"] => idle().map(|()| ExitCode::SUCCESS),
        ["--config", _] => direct::all().map(|()| ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(2)),
    };
    outcome.unwrap_or_else(|error| {
        // Without a place to write to, the status still tells.
        let _ = writeln!(io::stderr(), "anchorhold-hostile-worker: error: {error:#}");
        ExitCode::FAILURE
    })
}

fn work() -> anyhow::Result<Exit> {
    quiet_panics();
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let targets = attempts::Targets::new();
    let starting = enter(&Role::Worker)?;
    attempts::all(&targets, &mut io::stderr());
    let held = told(starting.layers());
    let settle = || {
        let layers = starting.serve().map_err(io::Error::other)?;
        attempts::serving(&targets, &mut io::stderr());
        Ok(told(&layers))
    };
    run(sockets, (held, settle), Limits::default(), load_sealed).context("the worker could not serve")
}

fn told(layers: &Layers) -> Confinement {
    let active = layers.active.iter().map(ToString::to_string).collect();
    Confinement { active, missing: layers.missing.clone() }
}

fn confined() -> anyhow::Result<()> {
    let targets = attempts::Targets::new();
    let starting = enter(&Role::Worker)?;
    let mut out = io::stdout();
    for layer in &starting.layers().active {
        writeln!(out, "active\t{layer}")?;
    }
    for layer in &starting.layers().missing {
        writeln!(out, "missing\t{layer}")?;
    }
    attempts::all(&targets, &mut out);
    starting.serve()?;
    attempts::serving(&targets, &mut out);
    Ok(())
}

/// Serves, and then runs a program, which ends it.
fn killed() -> anyhow::Result<()> {
    let targets = attempts::Targets::new();
    enter(&Role::Worker)?.serve()?;
    let empty = [0_usize; 1];
    let (nothing, flags) = (address(empty.as_ptr()), libc::AT_EMPTY_PATH.into());
    // Whoever comes back was not ended, and the caller sees that.
    let _ = call(libc::SYS_execveat, [targets.file(), text(c""), nothing, nothing, flags, 0]);
    Ok(())
}

/// Keeps its capabilities, its root directory and all system calls: what is refused now, SELinux refuses.
fn under_selinux() -> anyhow::Result<()> {
    let targets = attempts::Targets::new();
    let serving = settle()?;
    let mut out = io::stdout();
    writeln!(out, "context\t{serving}")?;
    attempts::all(&targets, &mut out);
    Ok(())
}

/// As above, for a profile.
fn under_apparmor() -> anyhow::Result<()> {
    let targets = attempts::Targets::new();
    let context = std::fs::read_to_string("/proc/self/attr/current").context("no AppArmor here")?;
    let mut out = io::stdout();
    writeln!(out, "context\t{}", context.trim_end())?;
    attempts::all(&targets, &mut out);
    Ok(())
}

fn idle() -> anyhow::Result<()> {
    settle()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Goes into the domain that serves, and gives up nothing else.
fn settle() -> anyhow::Result<String> {
    let context = std::fs::read_to_string("/proc/self/attr/current").context("no SELinux here")?;
    let serving = context.trim_end_matches('\0').replace("_start_t:", "_t:");
    set_context(CURRENT, &serving).map_err(|error| anyhow::anyhow!("{serving}: {error}"))?;
    Ok(serving)
}
