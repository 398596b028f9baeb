//! The measured-boot event log.

use super::{Builder, Part, hex, text_or_hex};
use anchorhold_verifier::event_log::{EventData, read};

/// Each event with its register, type, digest, and its data as far as the digest vouches for it; then the registers that the
/// log adds up to.
pub(super) fn log(bytes: &[u8]) -> Part {
    let mut part = Builder::new("event log");
    let replayed = match read(bytes) {
        Ok(replayed) => replayed,
        Err(refusal) => {
            part.unreadable(refusal);
            return part.0;
        }
    };
    for (index, event) in replayed.events().iter().enumerate() {
        let data = match event.data() {
            EventData::Proved(bytes) => text_or_hex(bytes),
            EventData::Unproved { length } => format!("{length} bytes that the digest does not cover"),
        };
        let (register, kind, digest) = (event.register(), event.kind(), hex(event.digest()));
        part.field(&format!("event {index}"), format!("{register} {kind} {digest} {data}"));
    }
    for (index, register) in replayed.rtmrs().iter().enumerate() {
        part.bytes(&format!("RTMR{index} by this log"), register);
    }
    part.0
}
