//! A worker that was taken over before it loads and is refused the same as fast as it can, to drown what the log should tell; then it quits.
//!
//! Never part of an image that is for use.

use anchorhold_confine::{Role, enter};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Limits, LoadFailure, Sockets, quiet_panics, run};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

/// More than twice what the kernel keeps for a collector that is slow.
const REFUSALS: u32 = 20_000;

fn main() -> ExitCode {
    quiet_panics();
    match work() {
        Ok(code) => code,
        Err(error) => {
            // Without a place to write to, the status still tells.
            let _ = writeln!(io::stderr(), "anchorhold-hostile-flood: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> anyhow::Result<ExitCode> {
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let starting = enter(&Role::Worker)?;
    let layers = starting.layers();
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing.clone() };
    let held = (confinement.clone(), || Ok(confinement));
    let exit = run(sockets, held, Limits::default(), |_, _| {
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let refused =
            (0..REFUSALS).filter(|_| UnixDatagram::unbound().as_ref().is_err_and(is_refused)).count();
        // A reader that is gone has seen enough.
        let _ = writeln!(io::stderr(), "flood\t{refused}");
        Err(LoadFailure { code: "hostile".to_owned(), detail: "it has done what it came for".to_owned() })
    });
    Ok(ExitCode::from(exit.context("no thread could be started")?.status()))
}
