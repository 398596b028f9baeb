//! `anchorhold-collector`: reads the kernel's audit records and tells the keeper what was refused. The keeper starts it; standard input is
//! its line. It holds nothing but that line and the kernel's socket.
//!
//! Exit codes: 0 when the line ended, 1 when the records do not come to it.

use anchorhold_collector::fold::Folder;
use anchorhold_collector::record::{self, Record};
use anchorhold_collector::serials::Serials;
use anchorhold_collector::socket::{Heard, Hearing, Kernel};
use anchorhold_confine::{Role, Starting, enter};
use anchorhold_ipc::{
    Confinement, FromCollector, KEEPER_LINE, KernelEvent, KernelReport, Line, LineWriter, ToCollector,
    WhyLost, inherited,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long repeats are held back, and a number may be late.
const TICK: Duration = Duration::from_secs(1);

/// How many ticks may pass with more to read before a number is late all the same.
const MAX_BEHIND: u32 = 10;
/// Messages that are read after the keeper has ended the line: more than the kernel keeps for a daemon, in both of its queues.
const MAX_LAST: usize = 32_768;
/// Who has told nothing for so long has nothing to tell.
const LAST_PAUSE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let hearing = match std::env::args().nth(1).as_deref() {
        None => Hearing::Daemon,
        Some("--beside") => Hearing::Beside,
        Some(_) => return ExitCode::from(2),
    };
    let Ok(socket) = inherited(KEEPER_LINE) else { return ExitCode::FAILURE };
    let Ok(watched) = socket.try_clone() else { return ExitCode::FAILURE };
    let mut line = Line::<FromCollector, ToCollector>::new(socket).split().0;
    match start(hearing, &mut line).and_then(|kernel| Collector::new(hearing, kernel, line, watched).run()) {
        Ok(()) => ExitCode::SUCCESS,
        // The keeper was told, or is gone.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Opens the socket, gives up everything else, and says so.
fn start(hearing: Hearing, line: &mut LineWriter<FromCollector>) -> io::Result<Kernel> {
    let started = Kernel::open(hearing).and_then(|kernel| {
        // It has nothing left to do before it serves.
        let layers = enter(&Role::Collector).and_then(Starting::serve).map_err(io::Error::other)?;
        Ok((kernel, layers))
    });
    let said = match &started {
        Ok((_, layers)) => FromCollector::Confined(Confinement {
            active: layers.active.iter().map(ToString::to_string).collect(),
            missing: layers.missing.clone(),
        }),
        Err(error) => FromCollector::Failed { detail: error.to_string() },
    };
    line.send(&said, &[]).map_err(io::Error::other)?;
    started.map(|(kernel, _)| kernel)
}

struct Collector {
    hearing: Hearing,
    kernel: Kernel,
    line: LineWriter<FromCollector>,
    /// The line once more, to see its end.
    watched: OwnedFd,
    folder: Folder,
    serials: Serials,
    /// What the kernel said last of how many records it lost; `None` before it said anything.
    lost: Option<u32>,
    /// Whether there was nothing to read since the last look at numbers: only then is one that did not come late.
    has_caught_up: bool,
    /// For how many ticks there always was.
    behind: u32,
}

impl Collector {
    fn new(hearing: Hearing, kernel: Kernel, line: LineWriter<FromCollector>, watched: OwnedFd) -> Self {
        let (folder, serials) = (Folder::default(), Serials::default());
        Self { hearing, kernel, line, watched, folder, serials, lost: None, has_caught_up: false, behind: 0 }
    }

    /// Tells until the line ends.
    fn run(mut self) -> io::Result<()> {
        let mut due = Instant::now() + TICK;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.tick()?;
                due = Instant::now() + TICK;
                continue;
            }
            let timeout = if self.kernel.has_early() { Duration::ZERO } else { left };
            let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
            let mut waited =
                [self.kernel.poll_fd(), PollFd::from_borrowed_fd(self.watched.as_fd(), PollFlags::IN)];
            match poll(&mut waited, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [kernel, line] = waited.map(|fd| !fd.revents().is_empty());
            if line {
                // The keeper has nothing to say: whatever comes, it is the end.
                return self.finish();
            }
            self.has_caught_up |= !kernel;
            if kernel || self.kernel.has_early() {
                self.hear()?;
            }
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        let event = match self.kernel.receive()? {
            Heard::Record { kind, text } => match record::read(kind, &text) {
                Ok(Record { serial, event }) => {
                    self.serials.take(serial);
                    event
                }
                Err(record::Unreadable) => Some(KernelEvent::Lost(WhyLost::Unreadable)),
            },
            Heard::LostSoFar(total) => {
                let before = self.lost.replace(total).unwrap_or(0);
                return self.tell_lost(WhyLost::Kernel, total.wrapping_sub(before).into());
            }
            // The kernel tells so when it waited for us for a tenth of a second, and sends it again; what it gave up, it counts.
            Heard::Overrun if self.hearing == Hearing::Daemon => None,
            Heard::Overrun => Some(KernelEvent::Lost(WhyLost::Kernel)),
            Heard::Other => None,
        };
        match event.and_then(|event| self.folder.take(event)) {
            Some(report) => self.tell(report),
            None => Ok(()),
        }
    }

    fn tick(&mut self) -> io::Result<()> {
        for report in self.folder.tick() {
            self.tell(report)?;
        }
        // What the kernel sends again comes out of its order: as long as there is more to read, a number may be in it.
        if self.has_caught_up || self.behind >= MAX_BEHIND {
            let missing = self.serials.tick();
            self.tell_lost(WhyLost::Gap, missing)?;
            self.behind = 0;
        } else {
            self.behind += 1;
        }
        self.has_caught_up = false;
        if self.hearing == Hearing::Daemon { self.kernel.ask_lost() } else { Ok(()) }
    }

    /// Tells all that the kernel has before the end, so that whoever ends the keeper does not end what is told of it.
    fn finish(&mut self) -> io::Result<()> {
        let pause = Timespec::try_from(LAST_PAUSE).map_err(io::Error::other)?;
        if self.hearing == Hearing::Daemon {
            self.kernel.ask_lost()?;
        }
        for _ in 0..MAX_LAST {
            let idle = !self.kernel.has_early()
                && matches!(poll(&mut [self.kernel.poll_fd()], Some(&pause)), Ok(0) | Err(_));
            if idle {
                break;
            }
            self.hear()?;
        }
        for report in self.folder.tick() {
            self.tell(report)?;
        }
        let missing = self.serials.tick().saturating_add(self.serials.tick());
        self.tell_lost(WhyLost::Gap, missing)
    }

    fn tell_lost(&mut self, why: WhyLost, count: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.tell(KernelReport { what: KernelEvent::Lost(why), count })
    }

    fn tell(&mut self, report: KernelReport) -> io::Result<()> {
        self.line.send(&FromCollector::Told(report), &[]).map_err(io::Error::other)
    }
}
