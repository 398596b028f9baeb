//! In the place of the keeper: starts the programs of a guest one by one and says what they say.

use crate::contexts::{EXEC, set_context};
use anchorhold_ipc::{FromCollector, Line, ToCollector, pair};
use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const WORKER: &str = "/usr/bin/anchorhold-worker";
const COLLECTOR: &str = "/usr/bin/anchorhold-collector";
const EMPTY: &str = "/run/anchorhold/empty";

/// The collector first, somebody to reach, then the attempts under SELinux alone and under all layers.
pub(crate) fn all() -> anyhow::Result<()> {
    std::fs::create_dir(EMPTY).context(EMPTY)?;
    let (ours, theirs) = pair()?;
    let mut collector = Command::new(COLLECTOR);
    collector.env_clear().current_dir(EMPTY).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let mut collecting = collector.spawn().context(COLLECTOR)?;
    // It holds the other end of the line as long as it is there.
    drop(collector);
    let mut reader = Line::<ToCollector, FromCollector>::new(ours).split().1;
    let (first, _) = reader.receive().context("the collector said nothing")?;
    say(&format!("collector\t{first:?}"));
    let telling = std::thread::spawn(move || {
        while let Ok((FromCollector::Told(report), _)) = reader.receive() {
            say(&format!("kernel\t{report:?}"));
        }
    });

    let (held, theirs) = pair()?;
    let mut idle = worker("idle", 4)?.stdin(Stdio::from(theirs)).spawn().context(WORKER)?;
    for how in ["selinux", "attempts"] {
        say(&format!("under\t{how}"));
        let status = worker(how, 3)?.stdin(Stdio::null()).status().context(WORKER)?;
        say(&format!("ended\t{status}"));
    }
    drop(held);
    say(&format!("idle\t{}", idle.wait()?));
    // What was held back is told within a second; then the collector has nothing left that this test waits for.
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    collecting.kill()?;
    collecting.wait()?;
    // The thread ends with the line.
    let _ = telling.join();
    Ok(())
}

/// The category is this thread's word about the next program that it starts.
fn worker(how: &str, category: u16) -> anyhow::Result<Command> {
    let context = format!("system_u:system_r:worker_start_t:s0:c{category}");
    set_context(EXEC, &context).map_err(|error| anyhow::anyhow!("{context}: {error}"))?;
    let mut command = Command::new(WORKER);
    command.arg(how).env_clear().current_dir(Path::new(EMPTY));
    Ok(command)
}

fn say(line: &str) {
    // A reader that is gone has seen enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
