//! A worker that was taken over, tries everything that it must not be able to do, and refuses to load: a guest that has only this one ends,
//! and its log with it. See `main.rs` for what it says.
//!
//! Never part of an image that is for use.

mod attempts;
mod system;

use anchorhold_confine::{Role, enter};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Limits, LoadFailure, Sockets, quiet_panics, run};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_panics();
    match work() {
        Ok(code) => code,
        Err(error) => {
            // Without a place to write to, the status still tells.
            let _ = writeln!(io::stderr(), "anchorhold-hostile-quitter: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> anyhow::Result<ExitCode> {
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let targets = attempts::Targets::new();
    let starting = enter(&Role::Worker)?;
    attempts::all(&targets, &mut io::stderr());
    let layers = starting.layers();
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing.clone() };
    let held = (confinement.clone(), || Ok(confinement));
    let exit = run(sockets, held, Limits::default(), |_, _| {
        // As if it served, which it never does.
        match starting.serve() {
            Ok(_) => attempts::serving(&targets, &mut io::stderr()),
            Err(error) => drop(writeln!(io::stderr(), "anchorhold-hostile-quitter: error: {error}")),
        }
        Err(LoadFailure { code: "hostile".to_owned(), detail: "it has done what it came for".to_owned() })
    });
    Ok(ExitCode::from(exit.context("no thread could be started")?.status()))
}
