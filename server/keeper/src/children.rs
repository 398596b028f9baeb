//! Starting the other processes.
//!
//! A child's lines are its standard input and output, which are the only descriptors that a program inherits without
//! being told about numbers. Its standard error is ours.

use anchorhold_confine::{Beginning, Group, Role};
use anchorhold_ipc::pair;
use anyhow::Context as _;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the gateway is told beside its settings' file: variables and flags that set keys of it.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) sets: Vec<String>,
}

/// What variables for the gateway begin with. Of the keeper's environment it gets these and nothing else.
const FOR_GATEWAY: &[u8] = b"ANCHORHOLD_GATEWAY_";

impl Handed {
    /// Those of these variables that are for the gateway.
    pub(crate) fn new(environment: impl Iterator<Item = (OsString, OsString)>, sets: Vec<String>) -> Self {
        let ours = |(name, _): &(OsString, OsString)| name.as_bytes().starts_with(FOR_GATEWAY);
        Self { environment: environment.filter(ours).collect(), sets }
    }
}

/// Starts the gateway; the descriptor is our end of its line.
pub(crate) fn gateway(
    program: &Path,
    config: &Path,
    handed: &Handed,
    empty: &Path,
) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = command(program, empty);
    command.envs(handed.environment.iter().map(|(name, value)| (name, value)));
    for set in &handed.sets {
        command.arg("--set").arg(set);
    }
    command.arg("--config").arg(config).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    Ok((spawn(command, program)?, ours))
}

/// A worker that was started: our end of its control line, and the gateway's end of its data line.
pub(crate) struct StartedWorker {
    pub(crate) child: Child,
    pub(crate) control: OwnedFd,
    pub(crate) data: OwnedFd,
}

/// The worker of one model, as the mandatory policy tells it from others.
pub(crate) struct Apart<'a> {
    pub(crate) beginning: &'a Beginning,
    pub(crate) role: Role,
    /// The model's place in the settings.
    pub(crate) category: u16,
    /// Its control group, or why it has none.
    pub(crate) group: Result<&'a Group, &'a str>,
}

/// Starts a worker.
pub(crate) fn worker(program: &Path, empty: &Path, apart: &Apart<'_>) -> anyhow::Result<StartedWorker> {
    let (control, its_control) = pair()?;
    let (data, its_data) = pair()?;
    let mut command = command(program, empty);
    command.stdin(Stdio::from(its_control)).stdout(Stdio::from(its_data));
    let Apart { beginning, role, category, group } = apart;
    if let Ok(group) = group {
        group.place(&mut command)?;
    }
    let child = beginning.with_category(role, *category, || command.spawn());
    let child = child.with_context(|| format!("starting {}", program.display()))?;
    Ok(StartedWorker { child, control, data })
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

/// Starts the collector; the descriptor is our end of its line.
pub(crate) fn collector(program: &Path, beside: bool, empty: &Path) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = command(program, empty);
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    if beside {
        command.arg("--beside");
    }
    Ok((spawn(command, program)?, ours))
}

/// Starts the attester of GPUs; the descriptor is our end of its line.
pub(crate) fn gpu_attester(program: &Path, empty: &Path) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = pair()?;
    let mut command = command(program, empty);
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
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
