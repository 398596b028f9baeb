//! A worker that was taken over before it loads and takes all it can: threads until none is given, then memory until it is ended. In a guest
//! its control group ends it, and nobody else.
//!
//! Never part of an image that is for use.

use anchorhold_confine::{Role, enter};
use anchorhold_ipc::Confinement;
use anchorhold_worker::{Limits, LoadFailure, Sockets, quiet_panics, run};
use anyhow::Context as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

/// More than any control group of a test gives.
const MANY_THREADS: usize = 4096;
/// MiB, as above. With a limit, so that a machine without control groups does not suffer.
const MUCH_MEMORY: usize = 2048;
const MIB: usize = 1 << 20;
const STACK: usize = 64 * 1024;

fn main() -> ExitCode {
    quiet_panics();
    match work() {
        Ok(code) => code,
        Err(error) => {
            // Without a place to write to, the status still tells.
            let _ = writeln!(io::stderr(), "anchorhold-hostile-glutton: error: {error:#}");
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
        take_threads();
        take_memory();
        Err(LoadFailure {
            code: "hostile".to_owned(),
            detail: "it was given all that it asked for".to_owned(),
        })
    });
    Ok(ExitCode::from(exit.context("no thread could be started")?.status()))
}

/// Takes threads that wait for ever.
fn take_threads() {
    let refused = (0..MANY_THREADS).find_map(|_| {
        let spawned = thread::Builder::new().stack_size(STACK).spawn(|| {
            loop {
                thread::park();
            }
        });
        spawned.err()
    });
    let met = refused.map_or("ALLOWED".to_owned(), |error| error.kind().to_string());
    // A reader that is gone has seen enough.
    let _ = writeln!(io::stderr(), "attempt\thold many threads\t{met}");
}

/// Takes memory, a byte of each page written, and does not come back where a limit is.
fn take_memory() {
    let held: Vec<Vec<u8>> = (0..MUCH_MEMORY).map(|_| vec![1; MIB]).collect();
    let sum: usize = held.iter().map(|block| usize::from(*block.last().unwrap_or(&0))).sum();
    let _ = writeln!(io::stderr(), "attempt\thold {sum} MiB\tALLOWED");
}
