//! How far an export is.

use crate::output::Meter;
use anchorhold_audit_log::{
    BindingInputs, BootId, Checkpoint, ExportError, Hash, LogReader, LogSource, VerifierKey, VisitLeaf,
};
use std::cell::Cell;

/// From how many entries on progress is shown: fewer take no time to speak of.
const SHOWN_FROM: u64 = 200_000;
/// How often an export goes through the entries: it counts before it writes.
const PASSES: u64 = 2;
/// One in so many entries moves the meter.
const STEP: u64 = 1024;

/// A log that shows on a terminal how much of it was exported.
pub(super) struct Shown {
    log: LogReader,
    meter: Meter,
    /// Entries that went by in passes that ended.
    done: Cell<u64>,
}

impl Shown {
    pub(super) fn new(log: LogReader) -> Self {
        Self { log, meter: Meter::new("exported"), done: Cell::new(0) }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.meter.end();
    }
}

impl LogSource for Shown {
    fn key(&self) -> &VerifierKey {
        self.log.key()
    }

    fn boot(&self) -> BootId {
        self.log.boot()
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        LogSource::checkpoint(&self.log)
    }

    fn size(&self) -> u64 {
        LogSource::size(&self.log)
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> Result<(), ExportError> {
        let (before, total) = (self.done.get(), self.size().saturating_mul(PASSES));
        self.log.visit_leaves(count, &mut |index, leaf| {
            if total >= SHOWN_FROM && index.is_multiple_of(STEP) {
                self.meter.show_share(before.saturating_add(index), total);
            }
            visit(index, leaf)
        })?;
        self.done.set(before.saturating_add(count));
        Ok(())
    }

    fn anchors(&self) -> Result<Vec<Vec<u8>>, ExportError> {
        self.log.anchors()
    }

    fn evidence(&self, named: Hash) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
        self.log.evidence(named)
    }
}
