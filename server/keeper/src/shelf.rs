//! The audit log as auditors read it while it is written: on a thread of its own, out of the directory, so that reading holds up neither the
//! writer nor the line to the gateway.

use crate::gateway::Voice;
use anchorhold_audit_log::live::{LiveFile, LiveLog};
use anchorhold_audit_log::tlog::tiles::{Tile, TileKind};
use anchorhold_audit_log::{LogPlace, ReadingKey};
use anchorhold_ipc::{LogFile, LogPart, ToGateway};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Files that may wait to be read; who asks for more is told that the log is busy.
const MAX_WAITING: usize = 16;

/// Asks the thread that reads.
pub(crate) struct Shelf {
    orders: SyncSender<(u64, LogPart)>,
    voice: Voice,
}

impl Shelf {
    /// Begins to read the log in `directory`, whose entries open with `key`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(directory: PathBuf, key: ReadingKey, voice: Voice) -> std::io::Result<Self> {
        let (orders, waiting) = sync_channel(MAX_WAITING);
        let answers = voice.clone();
        std::thread::Builder::new()
            .name("auditors".to_owned())
            .spawn(move || serve(LogPlace::encrypted(&directory, &key), &waiting, &answers))?;
        Ok(Self { orders, voice })
    }

    /// Has a file read; the gateway is answered in any case.
    pub(crate) fn read(&self, ticket: u64, part: LogPart) {
        if self.orders.try_send((ticket, part)).is_err() {
            // A gateway that is gone needs no answer.
            let _ = self.voice.say(&ToGateway::LogFile { ticket, file: LogFile::Unavailable }, None);
        }
    }
}

fn serve(log: LogPlace<'_>, waiting: &Receiver<(u64, LogPart)>, voice: &Voice) {
    let mut live: Option<LiveLog> = None;
    while let Ok((ticket, part)) = waiting.recv() {
        let file = named(part).map_or(LogFile::Missing, |wanted| read(log, &mut live, wanted));
        // A gateway that is gone needs no answer.
        let _ = voice.say(&ToGateway::LogFile { ticket, file }, None);
    }
}

fn named(part: LogPart) -> Option<LiveFile> {
    let (kind, index, width) = match part {
        LogPart::Checkpoint => return Some(LiveFile::Checkpoint),
        LogPart::Hashes { level, index, width } => (TileKind::Hashes { level }, index, width),
        LogPart::Entries { index, width } => (TileKind::Entries, index, width),
    };
    Tile::new(kind, index, width).map(LiveFile::Tile)
}

/// Reads one file as of the latest checkpoint. After an error the next one begins anew: a log that was changed on its medium is refused each
/// time, and one that could not be read for a moment is not lost.
fn read(log: LogPlace<'_>, live: &mut Option<LiveLog>, wanted: LiveFile) -> LogFile {
    let mut log = match live.take().map_or_else(|| LiveLog::open(log), Ok) {
        Ok(log) => log,
        Err(_) => return LogFile::Unavailable,
    };
    match log.refresh().and_then(|()| log.read(wanted)) {
        Ok(content) => {
            *live = Some(log);
            content.map_or(LogFile::Missing, LogFile::Found)
        }
        Err(_) => LogFile::Unavailable,
    }
}
