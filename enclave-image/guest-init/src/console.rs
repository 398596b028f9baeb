//! What leaves the guest before it serves: why it did not start, and in images that are not for production the stages of the start.
//!
//! The host reads all of it. Nothing here is ever given a request's text.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

const CONSOLE: &str = "/dev/console";
/// The second serial port: what `make boot` reads.
pub(crate) const STAGES: &str = "/dev/ttyS1";

/// Says on the console why the guest ends.
pub(crate) fn complain(text: &str) {
    let told = open(Path::new(CONSOLE)).and_then(|mut console| writeln!(console, "{text}"));
    if told.is_err() {
        // Before devtmpfs is mounted the kernel's own descriptor may be there; without it nobody can be told.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Write-only: every later domain of SELinux that inherits it would otherwise need to read the console too.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Where stages are told.
pub(crate) struct Stages(Option<File>);

impl Stages {
    /// To nobody.
    pub(crate) const fn silent() -> Self {
        Self(None)
    }

    /// To the second serial port, if the host has connected one.
    pub(crate) fn serial() -> Self {
        Self(open(Path::new(STAGES)).ok())
    }

    /// Tells that this stage was reached, with the time since the kernel started in milliseconds.
    pub(crate) fn tell(&mut self, stage: &str) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        if let Some(port) = &mut self.0 {
            let millis = now.tv_sec * 1000 + now.tv_nsec / 1_000_000;
            // A port that is gone tells nobody, which changes nothing for callers.
            let _ = writeln!(port, "{{\"stage\":\"{stage}\",\"boot_ms\":{millis}}}");
        }
    }

    /// Tells bytes of a file in hex.
    pub(crate) fn tell_file(&mut self, name: &str, hex: &str) {
        if let Some(port) = &mut self.0 {
            // As above.
            let _ = writeln!(port, "{{\"stage\":\"log\",\"file\":\"{name}\",\"hex\":\"{hex}\"}}");
        }
    }

    /// A second handle, for the keeper's standard output and error.
    pub(crate) fn share(&self) -> Option<File> {
        self.0.as_ref().and_then(|port| port.try_clone().ok())
    }
}
