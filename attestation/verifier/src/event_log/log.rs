//! The records of a binary log (TCG PC Client Platform Firmware Profile, section 10.2: TCG_PCR_EVENT2).

use super::spec_id::{self, Algorithms};
use super::{Event, EventKind, Replayed, Rtmr, codes};
use crate::Refusal;
use anchorhold_rats::{Checks, Code};

/// The longest log that is read, in bytes.
pub const MAX_LOG_BYTES: usize = 256 * 1024;
/// The most records after the header.
pub const MAX_EVENTS: usize = 2048;
/// The longest data of one event, in bytes.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// What every log that was read has passed, with what was wanted.
const RULES: [(Code, &str); 10] = [
    (codes::LENGTH, "a log within 256 KiB"),
    (codes::HEADER, "a Spec ID Event03 record"),
    (codes::ALGORITHMS, "SHA-384 with 48 bytes"),
    (codes::TRUNCATED, "every record inside the log"),
    (codes::EVENT_COUNT, "at most 2048 records"),
    (codes::EVENT_LENGTH, "events of at most 65536 bytes"),
    (codes::REGISTER, "registers 1 to 4"),
    (codes::DIGESTS, "a SHA-384 digest in each record"),
    (codes::SECOND_HEADER, "no second header"),
    (codes::PADDING, "nothing but padding after the last record"),
];

/// Reads a log and replays it.
///
/// Establishes the shape of the log, and that its SHA-384 digests add up to [`Replayed::rtmrs`]. Proves nothing until these
/// registers are compared with those of an authentic quote: [`appraise`](super::appraise).
///
/// # Errors
/// [`Refusal`] with the first broken rule; nothing is read past it.
pub fn read(log: &[u8]) -> Result<Replayed, Refusal> {
    let mut checks = Checks::new();
    replay(log, &mut checks).ok_or_else(|| Refusal::new(checks))
}

/// Reads a log, replays it and records the rules about its shape; `None` when one failed.
pub(crate) fn replay(log: &[u8], checks: &mut Checks) -> Option<Replayed> {
    match events(log) {
        Ok(events) => {
            let observed = format!("{} bytes, {} events", log.len(), events.len());
            for (code, wanted) in RULES {
                checks.record(code, true, wanted, observed.clone());
            }
            Some(Replayed::of(events))
        }
        Err(fault) => {
            fault.record(checks);
            None
        }
    }
}

fn events(log: &[u8]) -> Result<Vec<Event>, Fault> {
    if log.len() > MAX_LOG_BYTES {
        let observed = format!("{} bytes", log.len());
        return Err(Fault::new(codes::LENGTH, "at most 262144 bytes", observed));
    }
    let mut cursor = Cursor::new(log);
    let algorithms = Algorithms::read(&mut cursor)?;
    let (mut events, mut records) = (Vec::new(), 0_usize);
    while !is_at_end(&cursor)? {
        records += 1;
        if records > MAX_EVENTS {
            let code = codes::EVENT_COUNT.at("event log", cursor.offset(), cursor.rest().len());
            return Err(Fault::new(code, "at most 2048 records", "more".into()));
        }
        events.extend(record(&mut cursor, &algorithms)?);
    }
    Ok(events)
}

/// Whether only padding is left. 0xff is what firmware fills the log area with; a driver may cut it with zeros.
fn is_at_end(cursor: &Cursor<'_>) -> Result<bool, Fault> {
    /// A register and a type that no record has: as long as the padding in its place.
    const MARK: usize = 8;
    let rest = cursor.rest();
    let is_padding = |bytes: &[u8]| bytes.iter().all(|b| *b == 0xff) || bytes.iter().all(|b| *b == 0);
    if is_padding(rest) {
        return Ok(true);
    }
    if rest.first_chunk::<MARK>().is_some_and(|mark| is_padding(mark)) {
        let code = codes::PADDING.at("event log", cursor.offset(), rest.len());
        return Err(Fault::new(code, "all 0xff or all zero", "other bytes".into()));
    }
    Ok(false)
}

/// One record; `None` for one that is not extended.
fn record(cursor: &mut Cursor<'_>, algorithms: &Algorithms) -> Result<Option<Event>, Fault> {
    let start = cursor.offset();
    let short = || Fault::truncated(start);
    let index = cursor.u32().ok_or_else(short)?;
    let kind = EventKind::from_code(cursor.u32().ok_or_else(short)?);
    let register = register(index, kind, start)?;
    let digest = algorithms.digest(cursor, start)?;
    let length = usize::try_from(cursor.u32().ok_or_else(short)?).unwrap_or(usize::MAX);
    if length > MAX_EVENT_BYTES {
        let code = codes::EVENT_LENGTH.at("event log", start, cursor.offset().saturating_sub(start));
        return Err(Fault::new(code, "at most 65536 bytes", format!("{length} bytes")));
    }
    let data = cursor.take(length).ok_or_else(short)?;
    let place = (start, cursor.offset().saturating_sub(start));
    if kind == EventKind::NoAction {
        if data.starts_with(spec_id::ANY_VERSION) {
            let code = codes::SECOND_HEADER.at("event log", place.0, place.1);
            return Err(Fault::new(code, "one header", "another".into()));
        }
        return Ok(None);
    }
    Ok(register.map(|register| Event::new(register, kind, digest, data, Some(place))))
}

/// Register 0 is MRTD, which no log extends; `None` for it, and only where nothing is extended.
fn register(index: u32, kind: EventKind, start: usize) -> Result<Option<Rtmr>, Fault> {
    match index {
        0 if kind == EventKind::NoAction => Ok(None),
        1 => Ok(Some(Rtmr::Rtmr0)),
        2 => Ok(Some(Rtmr::Rtmr1)),
        3 => Ok(Some(Rtmr::Rtmr2)),
        4 => Ok(Some(Rtmr::Rtmr3)),
        other => {
            let code = codes::REGISTER.at("event log", start, 4);
            Err(Fault::new(code, "register 1 to 4", format!("{other} in an event of type {kind}")))
        }
    }
}

/// A broken rule.
pub(super) struct Fault {
    code: Code,
    wanted: &'static str,
    observed: String,
}

impl Fault {
    pub(super) const fn new(code: Code, wanted: &'static str, observed: String) -> Self {
        Self { code, wanted, observed }
    }

    /// The record that starts at `start` is cut short.
    pub(super) fn truncated(start: usize) -> Self {
        let code = codes::TRUNCATED.at("event log", start, 0);
        Self::new(code, "every record inside the log", format!("a record cut short at {start}"))
    }

    pub(super) fn record(self, checks: &mut Checks) {
        checks.record(self.code, false, self.wanted, self.observed);
    }
}

/// Reads from the front; knows how far it is.
pub(super) struct Cursor<'a> {
    all: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes.len(), rest: bytes }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn offset(&self) -> usize {
        self.all.saturating_sub(self.rest.len())
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
}
