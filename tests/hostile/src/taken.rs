//! A worker that was taken over before it loads: held as every worker is, it does something else when it is told to load.

use anchorhold_confine::{Role, enter};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Limits, LoadFailure, Sockets, quiet_panics, run};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Lives as the worker of this name, does the deed in place of a load, and then refuses the load with this detail.
pub(crate) fn worker(name: &str, deed: fn(), detail: &'static str) -> ExitCode {
    quiet_panics();
    match live(deed, detail) {
        Ok(code) => code,
        Err(error) => {
            // Without a place to write to, the status still tells.
            let _ = writeln!(io::stderr(), "{name}: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live(deed: fn(), detail: &'static str) -> anyhow::Result<ExitCode> {
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let starting = enter(&Role::Worker)?;
    let layers = starting.layers();
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing.clone() };
    let held = (confinement.clone(), || Ok(confinement));
    let exit = run(sockets, held, Limits::default(), |_, _| {
        deed();
        Err(LoadFailure { code: "hostile".to_owned(), detail: detail.to_owned() })
    });
    Ok(ExitCode::from(exit.context("no thread could be started")?.status()))
}
