//! A panic ends the process and says where, never with what.

use std::io::Write as _;

/// Makes every panic of this process print its place in the source and abort. The message of a panic may quote what
/// it was computing with, so it is not printed. A panic in one thread ends all: a worker with a missing thread would
/// be silent for ever, and the keeper starts a new one.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Without a place to write to, the abort still tells the keeper.
        let _ = writeln!(std::io::stderr(), "anchorhold-worker: error: panic at {place}");
        std::process::abort();
    }));
}
