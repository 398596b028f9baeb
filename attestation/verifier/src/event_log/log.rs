//! The records of a binary log (TCG PC Client Platform Firmware Profile, section 10.2: TCG_PCR_EVENT2).

use super::spec_id::{self, Algorithms, Bank};
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
const fn rules(bank: &Bank, registers: &'static str) -> [(Code, &'static str); 10] {
    [
        (codes::LENGTH, "a log within 256 KiB"),
        (codes::HEADER, "a Spec ID Event03 record"),
        (codes::ALGORITHMS, bank.wanted()),
        (codes::TRUNCATED, "every record inside the log"),
        (codes::EVENT_COUNT, "at most 2048 records"),
        (codes::EVENT_LENGTH, "events of at most 65536 bytes"),
        (codes::REGISTER, registers),
        (codes::DIGESTS, bank.each),
        (codes::SECOND_HEADER, "no second header"),
        (codes::PADDING, "nothing but padding after the last record"),
    ]
}

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
    let records = read_records(log, Bank::SHA384, "registers 1 to 4", rtmr, checks)?;
    let event = |record: &Record<'_, Option<Rtmr>>| {
        // The bank's digests have 48 bytes; a record of no register extends nothing.
        Some(Event::new(
            record.register?,
            record.kind,
            record.digest.try_into().ok()?,
            record.data,
            Some(record.place),
        ))
    };
    Some(Replayed::of(records.extended.iter().filter_map(event).collect()))
}

/// What a log holds.
#[derive(Debug)]
pub(crate) struct Records<'a, R> {
    /// The records that were extended, in order.
    pub(crate) extended: Vec<Record<'a, R>>,
    /// The data of those that were not.
    pub(crate) informative: Vec<&'a [u8]>,
}

/// One record that was extended.
#[derive(Debug)]
pub(crate) struct Record<'a, R> {
    /// The register that it extends.
    pub(crate) register: R,
    /// Its type.
    pub(crate) kind: EventKind,
    /// Its digest in the bank.
    pub(crate) digest: &'a [u8],
    /// Its data.
    pub(crate) data: &'a [u8],
    /// Offset and length in the log.
    pub(crate) place: (usize, usize),
}

/// Which register a record with this index and type extends, which starts at this offset.
type OfIndex<R> = fn(u32, EventKind, usize) -> Result<R, Fault>;

/// Reads a log and records the rules about its shape; `None` when one failed.
pub(crate) fn read_records<'a, R>(
    log: &'a [u8],
    bank: Bank,
    registers: &'static str,
    register: OfIndex<R>,
    checks: &mut Checks,
) -> Option<Records<'a, R>> {
    match records(log, bank, register) {
        Ok(records) => {
            let observed = format!("{} bytes, {} events", log.len(), records.extended.len());
            for (code, wanted) in rules(&bank, registers) {
                checks.record(code, true, wanted, observed.clone());
            }
            Some(records)
        }
        Err(fault) => {
            fault.record(checks);
            None
        }
    }
}

fn records<R>(log: &[u8], bank: Bank, register: OfIndex<R>) -> Result<Records<'_, R>, Fault> {
    if log.len() > MAX_LOG_BYTES {
        let observed = format!("{} bytes", log.len());
        return Err(Fault::new(codes::LENGTH, "at most 262144 bytes", observed));
    }
    let mut cursor = Cursor::new(log);
    let algorithms = Algorithms::read(&mut cursor, bank)?;
    let mut records = Records { extended: Vec::new(), informative: Vec::new() };
    let mut count = 0_usize;
    while !is_at_end(&cursor)? {
        count += 1;
        if count > MAX_EVENTS {
            let code = codes::EVENT_COUNT.at("event log", cursor.offset(), cursor.rest().len());
            return Err(Fault::new(code, "at most 2048 records", "more".into()));
        }
        let record = record(&mut cursor, &algorithms, register)?;
        if record.kind == EventKind::NoAction {
            records.informative.push(record.data);
        } else {
            records.extended.push(record);
        }
    }
    Ok(records)
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

/// One record.
fn record<'a, R>(
    cursor: &mut Cursor<'a>,
    algorithms: &Algorithms,
    register: OfIndex<R>,
) -> Result<Record<'a, R>, Fault> {
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
    if kind == EventKind::NoAction && data.starts_with(spec_id::ANY_VERSION) {
        let code = codes::SECOND_HEADER.at("event log", place.0, place.1);
        return Err(Fault::new(code, "one header", "another".into()));
    }
    Ok(Record { register, kind, digest, data, place })
}

/// Register 0 is MRTD, which no log extends; `None` for it, and only where nothing is extended.
fn rtmr(index: u32, kind: EventKind, start: usize) -> Result<Option<Rtmr>, Fault> {
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

/// The PCR that a record of a TPM's log extends.
pub(crate) fn pcr(index: u32, kind: EventKind, start: usize) -> Result<u8, Fault> {
    u8::try_from(index).ok().filter(|pcr| *pcr < crate::tpm::PCRS).ok_or_else(|| {
        let code = codes::REGISTER.at("event log", start, 4);
        Fault::new(code, "PCR 0 to 23", format!("{index} in an event of type {kind}"))
    })
}

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Fault {
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
