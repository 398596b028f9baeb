//! What a running TD measured into RTMR3, as records behind its firmware's event log.
//!
//! The firmware's log ends where the operating system begins; whoever extends a register after that has to keep the events, or nobody can
//! say what its value is of. Format: *TCG PC Client Platform Firmware Profile* 1.06, section 10.2 (TCG_PCR_EVENT2), with the number of
//! the measurement register in the place of the PCR (UEFI 2.10, section 38.4.1).

use super::Error;
use anchorhold_rats::{RUNTIME_EVENT_TYPE, RuntimeEvent};
use std::path::Path;

/// The most events of one boot: verifiers read 2048 of a whole log.
pub const MAX_RUNTIME_EVENTS: usize = 1024;
/// The longest log with these records, in bytes: what evidence may carry.
const MAX_LOG_BYTES: usize = 256 * 1024;
/// RTMR3 in an event log.
const RTMR3: u32 = 4;
const SHA384: u16 = 0x000c;
const SHA384_BYTES: usize = 48;
/// Register, type and a digest of 20 bytes in the first record, which has the old form (TCG_PCR_EVENT).
const OLD_FORM_BYTES: usize = 4 + 4 + 20;
/// Signature, platform class, version and size of UINTN in the data of the first record (TCG_EfiSpecIDEvent).
const SPEC_ID_BYTES: usize = 16 + 4 + 4;
/// The most algorithms of a log.
const MAX_ALGORITHMS: u32 = 16;

/// The events so far, in the order in which they were extended.
#[derive(Debug, Clone, Default)]
pub struct RuntimeLog {
    records: Vec<u8>,
    events: Vec<RuntimeEvent>,
}

impl RuntimeLog {
    /// Whether this event was extended already.
    #[must_use]
    pub fn holds(&self, event: &RuntimeEvent) -> bool {
        self.events.contains(event)
    }

    /// Whether another event has room.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.events.len() < MAX_RUNTIME_EVENTS
    }

    /// Adds an event that the register was extended with.
    pub fn push(&mut self, event: RuntimeEvent) {
        let data = event.data();
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        for part in [&RTMR3.to_le_bytes()[..], &RUNTIME_EVENT_TYPE.to_le_bytes(), &1_u32.to_le_bytes()] {
            self.records.extend(part);
        }
        self.records.extend(SHA384.to_le_bytes());
        self.records.extend(event.digest());
        self.records.extend(length.to_le_bytes());
        self.records.extend(data);
        self.events.push(event);
    }

    /// The firmware's log with these records behind its last one, and without its padding.
    ///
    /// # Errors
    /// [`Error::Malformed`] where the firmware's log has no end that can be found, and [`Error::TooLong`].
    pub fn behind(&self, firmware: Vec<u8>, path: &Path) -> Result<Vec<u8>, Error> {
        if self.records.is_empty() {
            return Ok(firmware);
        }
        let end = end_of_records(&firmware).ok_or_else(|| Error::malformed(path, "an event log"))?;
        let mut log = firmware;
        log.truncate(end);
        log.extend(&self.records);
        if log.len() > MAX_LOG_BYTES {
            return Err(Error::TooLong { path: path.to_owned(), limit: MAX_LOG_BYTES });
        }
        Ok(log)
    }
}

/// Where the last record ends: at the end of the bytes, or where padding of 0xff or zeroes begins.
fn end_of_records(log: &[u8]) -> Option<usize> {
    let mut rest = log.get(OLD_FORM_BYTES..)?;
    let length = usize::try_from(word(&mut rest)?).ok()?;
    let (identity, records) = rest.split_at_checked(length)?;
    let sizes = digest_sizes(identity)?;
    let mut rest = records;
    while !rest.first_chunk::<8>().is_none_or(|mark| *mark == [0xff; 8] || *mark == [0; 8]) {
        let (_register, _kind, digests) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
        for _ in 0..digests.min(MAX_ALGORITHMS) {
            let algorithm = half(&mut rest)?;
            let (_, size) = sizes.iter().find(|(known, _)| *known == algorithm)?;
            rest = rest.get(*size..)?;
        }
        let length = usize::try_from(word(&mut rest)?).ok()?;
        rest = rest.get(length..)?;
    }
    let is_padding = |byte: u8| rest.iter().all(|b| *b == byte);
    (is_padding(0xff) || is_padding(0)).then(|| log.len().checked_sub(rest.len())).flatten()
}

/// The algorithms that the log's first record names, with the lengths of their digests.
fn digest_sizes(identity: &[u8]) -> Option<Vec<(u16, usize)>> {
    let mut rest = identity.get(SPEC_ID_BYTES..)?;
    let count = word(&mut rest).filter(|count| *count <= MAX_ALGORITHMS)?;
    let sizes: Option<Vec<_>> =
        (0..count).map(|_| Some((half(&mut rest)?, usize::from(half(&mut rest)?)))).collect();
    sizes.filter(|sizes| sizes.contains(&(SHA384, SHA384_BYTES)))
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*word))
}

fn half(rest: &mut &[u8]) -> Option<u16> {
    let (half, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(u16::from_le_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::software::tdx::{Boot, EventLog, replay};
    use anchorhold_rats::Sha256Digest;
    use proptest::prelude::*;

    fn event(version: u64) -> RuntimeEvent {
        RuntimeEvent::model("acme/chat", version, &Sha256Digest::new([7; 32]))
    }

    #[test]
    fn records_stand_behind_the_last_one_of_the_firmware() {
        let boot = EventLog::boot(&Boot::default());
        let mut log = RuntimeLog::default();
        let path = Path::new("/ccel");
        assert_eq!(log.behind(boot.encode(), path).unwrap(), boot.encode(), "nothing was extended");
        log.push(event(1));
        log.push(event(2));
        assert!(log.holds(&event(2)) && !log.holds(&event(3)));
        let mut wanted = boot.clone();
        wanted.padding.clear();
        wanted.events.extend([event(1), event(2)].map(|event| {
            let digest = event.digest().to_vec();
            crate::software::tdx::Event::with_digest(RTMR3, RUNTIME_EVENT_TYPE, digest, &event.data())
        }));
        assert_eq!(log.behind(boot.encode(), path).unwrap(), wanted.encode());
        let zeroes = EventLog { padding: vec![0; 40], ..boot.clone() };
        assert_eq!(log.behind(zeroes.encode(), path).unwrap(), wanted.encode());
        let bare = EventLog { padding: Vec::new(), ..boot };
        assert_eq!(log.behind(bare.encode(), path).unwrap(), wanted.encode());
        assert_ne!(replay(&wanted.events)[3], [0; 48]);
    }

    #[test]
    fn refuses_a_firmware_log_without_an_end() {
        let mut log = RuntimeLog::default();
        log.push(event(1));
        let whole = EventLog { padding: Vec::new(), ..EventLog::boot(&Boot::default()) }.encode();
        let path = Path::new("/ccel");
        for cut in [0, 20, 40, whole.len() - 1, whole.len() - 30] {
            assert!(matches!(log.behind(whole[..cut].to_vec(), path), Err(Error::Malformed { .. })), "{cut}");
        }
        let behind_padding = [&whole[..], &[0xff; 16], &[1]].concat();
        assert!(matches!(log.behind(behind_padding, path), Err(Error::Malformed { .. })));
        let long = [&whole[..], &[0xff; 8]].concat();
        for _ in 0..MAX_RUNTIME_EVENTS {
            log.push(RuntimeEvent::model(&"m".repeat(256), 1, &Sha256Digest::new([7; 32])));
        }
        assert!(!log.has_room());
        assert!(matches!(log.behind(long, path), Err(Error::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn an_end_lies_inside_whatever_the_firmware_left(log in proptest::collection::vec(any::<u8>(), 0..400), head in any::<bool>()) {
            let boot = EventLog { events: Vec::new(), padding: Vec::new(), ..EventLog::boot(&Boot::default()) };
            let log = if head { [boot.encode(), log].concat() } else { log };
            if let Some(end) = end_of_records(&log) {
                prop_assert!(end <= log.len());
            }
        }
    }
}
