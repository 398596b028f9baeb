//! The event log of dstack: JSON with boot events and runtime events (dstack, `cc-eventlog`).

use super::log::Fault;
use super::{Event, EventKind, MAX_EVENTS, Replayed, Rtmr, codes, proof};
use crate::Refusal;
use anchorhold_rats::Checks;
use serde::Deserialize;

/// The longest JSON that is read, in bytes: hex is twice as long as a binary log.
pub const MAX_JSON_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonEvent {
    imr: u8,
    event_type: u32,
    digest: String,
    event: String,
    event_payload: String,
}

/// Reads a log and replays it.
///
/// Establishes what [`read`](super::read) does, and that the digest of each runtime event is that of its
/// type, name and payload. A name holds no colon, so a log cannot move the border between name and payload.
/// [`EventData::Proved`](super::EventData::Proved) of a runtime event is [`runtime_data`].
///
/// # Errors
/// [`Refusal`] with the first broken rule; nothing is read past it. No refusal quotes the input.
pub fn read(json: &[u8]) -> Result<Replayed, Refusal> {
    let mut checks = Checks::new();
    match events(json) {
        Ok(events) => Ok(Replayed::of(events)),
        Err(fault) => {
            fault.record(&mut checks);
            Err(Refusal::new(checks))
        }
    }
}

/// What dstack measures of a runtime event: type (4 bytes, little-endian), colon, name, colon, payload.
#[must_use]
pub fn runtime_data(name: &str, payload: &[u8]) -> Vec<u8> {
    let kind = EventKind::DstackRuntime.code().to_le_bytes();
    [&kind, &b":"[..], name.as_bytes(), b":", payload].concat()
}

fn events(json: &[u8]) -> Result<Vec<Event>, Fault> {
    const WANTED: &str = "a list of dstack events";
    let wrong = |what: String| Fault::new(codes::DSTACK_JSON, WANTED, what);
    if json.len() > MAX_JSON_BYTES {
        return Err(wrong(format!("{} bytes, over the limit of {MAX_JSON_BYTES}", json.len())));
    }
    let list: Vec<JsonEvent> = serde_json::from_slice(json)
        .map_err(|e| wrong(format!("other JSON at line {}, column {}", e.line(), e.column())))?;
    if list.len() > MAX_EVENTS {
        return Err(wrong(format!("{} events, over the limit of {MAX_EVENTS}", list.len())));
    }
    list.iter().enumerate().map(|(index, event)| read_event(index, event)).collect()
}

fn read_event(index: usize, event: &JsonEvent) -> Result<Event, Fault> {
    let wrong = |what: &str| {
        Fault::new(
            codes::DSTACK_JSON,
            "register 0 to 3, digest and payload in hex",
            format!("event {index}: {what}"),
        )
    };
    let register = Rtmr::ALL.get(usize::from(event.imr)).ok_or_else(|| wrong("another register"))?;
    let digest = hex(&event.digest).and_then(|bytes| bytes.try_into().ok());
    let digest: [u8; 48] = digest.ok_or_else(|| wrong("another digest"))?;
    let payload = hex(&event.event_payload).ok_or_else(|| wrong("another payload"))?;
    let kind = EventKind::from_code(event.event_type);
    if kind != EventKind::DstackRuntime {
        return Ok(Event::new(*register, kind, digest, &payload, None));
    }
    let data = runtime_data(&event.event, &payload);
    if event.event.contains(':') || proof::sha384(&[&data]) != digest {
        let wanted = "the digest of type, name without a colon, and payload";
        return Err(Fault::new(codes::DSTACK_DIGEST, wanted, format!("another in event {index}")));
    }
    Ok(Event::new(*register, kind, digest, &data, None))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}
