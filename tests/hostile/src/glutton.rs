//! A worker that was taken over before it loads and takes all it can: threads until none is given, then memory until it is ended. In a guest
//! its control group ends it, and nobody else.
//!
//! Never part of an image that is for use.

mod taken;

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
    let take = || {
        take_threads();
        take_memory();
    };
    taken::worker("anchorhold-hostile-glutton", take, "it was given all that it asked for")
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
