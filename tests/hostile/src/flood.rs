//! A worker that was taken over before it loads and is refused the same as fast as it can, to drown what the log should tell; then it quits.
//!
//! Never part of an image that is for use.

mod taken;

use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

/// More than twice what the kernel keeps for a collector that is slow.
const REFUSALS: u32 = 20_000;

fn main() -> ExitCode {
    taken::worker("anchorhold-hostile-flood", flood, "it has done what it came for")
}

fn flood() {
    let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let refused = (0..REFUSALS).filter(|_| UnixDatagram::unbound().as_ref().is_err_and(is_refused)).count();
    // A reader that is gone has seen enough.
    let _ = writeln!(io::stderr(), "flood\t{refused}");
}
