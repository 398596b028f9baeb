//! Starting the other processes.
//!
//! A child's lines are its standard input and output, which are the only descriptors that a program inherits without
//! being told about numbers. Its standard error is ours.

use anchorhold_ipc::pair;
use anyhow::Context as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts the gateway; the descriptor is our end of its line.
pub(crate) fn gateway(program: &Path, config: &Path, empty: &Path) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = command(program, empty);
    command.arg("--config").arg(config).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    Ok((spawn(command, program)?, ours))
}

/// A worker that was started: our end of its control line, and the gateway's end of its data line.
pub(crate) struct StartedWorker {
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    pub(crate) data: OwnedFd,
}

/// Starts a worker.
pub(crate) fn worker(program: &Path, empty: &Path) -> anyhow::Result<StartedWorker> {
    let (control, its_control) = pair()?;
    let (data, its_data) = pair()?;
    let mut command = command(program, empty);
    command.stdin(Stdio::from(its_control)).stdout(Stdio::from(its_data));
    Ok(StartedWorker { child: spawn(command, program)?, control, data })
}

/// Starts a fetcher; the descriptor is our end of its line.
pub(crate) fn fetcher(
    program: &Path,
    (cache, store): (&Path, Option<&Path>),
    empty: &Path,
) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = command(program, empty);
    command.arg("--cache").arg(cache).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    if let Some(store) = store {
        command.arg("--store").arg(store);
    }
    Ok((spawn(command, program)?, ours))
}

/// An empty environment and an empty working directory, which becomes the child's root.
fn command(program: &Path, empty: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(empty);
    command
}

fn spawn(mut command: Command, program: &Path) -> anyhow::Result<Child> {
    command.spawn().with_context(|| format!("starting {}", program.display()))
}
