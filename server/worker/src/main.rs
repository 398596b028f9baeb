//! The worker process: started by the keeper with two sockets and nothing else.

use anchorhold_confine::{Layers, Role};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Exit, Limits, Sockets, load_sealed, quiet_panics, run};
use anyhow::Context as _;
use std::io::{self, Write as _};
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
    let starting = anchorhold_confine::enter(&Role::Worker).context("the process could not be confined")?;
    let held = told(starting.layers());
    let settle = || starting.serve().map(|layers| told(&layers)).map_err(io::Error::other);
    run(sockets, (held, settle), Limits::default(), load_sealed).context("the worker could not serve")
}

fn told(layers: &Layers) -> Confinement {
    let active = layers.active.iter().map(ToString::to_string).collect();
    Confinement { active, missing: layers.missing.clone() }
}
