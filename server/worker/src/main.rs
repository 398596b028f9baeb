//! The worker process: started by the keeper with two sockets and nothing else.

use anchorhold_confine::Role;
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Exit, Limits, Sockets, load_sealed, quiet_panics, run};
use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_panics();
    match live() {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(error) => {
            // Without a place to write to, the status still tells the keeper.
            let _ = writeln!(std::io::stderr(), "anchorhold-worker: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live() -> anyhow::Result<Exit> {
    // Finding the sockets takes system calls that the confinement refuses; nothing is read from them before it holds.
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let layers = anchorhold_confine::enter(&Role::Worker).context("the process could not be confined")?;
    let active = layers.active.into_iter().map(str::to_owned).collect();
    let confinement = Confinement { active, missing: layers.missing };
    run(sockets, confinement, Limits::default(), load_sealed).context("no thread could be started")
}
