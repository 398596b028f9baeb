//! A panic says where, never with what, and ends a worker that serves.

use std::io::Write as _;

/// Makes a panic of this process print its place in the source and nothing else: its message may quote what it was
/// computing with.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Without a place to write to, the end of the process still tells the keeper.
        let _ = writeln!(std::io::stderr(), "anchorhold-worker: error: panic at {place}");
    }));
}

/// Aborts the process when the thread that holds this panics: the other threads would wait for it for ever, and the
/// keeper starts a new worker only when this one ends.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
