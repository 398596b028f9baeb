//! What the lengths and times of a token stream tell, and how to hide it. Every event of a stream (server-sent events, WHATWG HTML,
//! section 9.2) is about as long as its token, so whoever sees the sizes of encrypted frames can tell topics apart.
//!
//! * [`pad_event`] brings one event to a size out of a few; the times and the number of events still show.
//! * [`Cadence`] sends slots of one size at fixed times, filled or not; what shows is how long the stream is, and that coarsely.
//!
//! Filling is a comment line, which every reader of such streams skips. It is of one letter over and over, so nothing may compress the
//! stream after it.

use crate::Buckets;
use std::{collections::VecDeque, fmt, num::NonZeroU64};

/// The shortest comment line: a colon and a line feed.
const COMMENT_BYTES: usize = 2;
const FILLER: u8 = b'x';
/// The members `,"obfuscation":""`, by which OpenAI pads events, without their value.
const OBFUSCATION_BYTES: usize = 17;

/// Appends `event` to `out` so that it is of a size of `buckets`, by a comment line before it: after it, the comment would be a block of
/// its own. An event that has such a size already stays as it is.
pub fn pad_event(event: &[u8], buckets: &Buckets, out: &mut Vec<u8>) {
    if buckets.fit(event.len()) != event.len() {
        comment(buckets.fit(event.len() + COMMENT_BYTES) - event.len(), out);
    }
    out.extend_from_slice(event);
}

/// How many letters the value of a JSON member `obfuscation` has to have that is added to an event of `event_bytes`, so that its size is
/// one of `buckets`.
#[must_use]
pub fn obfuscation_letters(event_bytes: usize, buckets: &Buckets) -> usize {
    let least = event_bytes.saturating_add(OBFUSCATION_BYTES);
    buckets.fit(least) - least
}

/// Appends a comment line of `bytes` bytes, or, for one byte, an empty line, which ends no event where none has begun.
fn comment(bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + bytes;
    if bytes >= COMMENT_BYTES {
        out.push(b':');
        out.resize(end - 1, FILLER);
    }
    if bytes > 0 {
        out.push(b'\n');
    }
}

/// Why a [`Cadence`] was not made or took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CadenceError {
    /// Slots have from 16 to 65,536 bytes, and the queue holds at least one of them.
    Sizes,
    /// What was offered is no event of whole lines with an empty one at its end.
    NotAnEvent,
    /// The queue is full: events come faster than slots go. Wait for a slot and offer again.
    Full,
    /// The stream was ended.
    Ended,
}

impl fmt::Display for CadenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sizes => "slots have from 16 to 65536 bytes and the queue holds at least one",
            Self::NotAnEvent => "an event ends with an empty line",
            Self::Full => "events come faster than slots go",
            Self::Ended => "the stream was ended",
        })
    }
}

impl std::error::Error for CadenceError {}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// Nothing before this time.
    Wait {
        /// In the milliseconds of the caller's clock.
        until_ms: u64,
    },
    /// Send this now; it is of the size of a slot.
    Slot(Vec<u8>),
    /// The stream has ended: close it.
    End,
}

/// Sends a stream in slots of one size, at most one in every interval and none missing, whatever the tokens do. The clock is the caller's.
#[derive(Debug)]
pub struct Cadence {
    interval_ms: NonZeroU64,
    slot_bytes: usize,
    max_queued_bytes: usize,
    /// How many slots a stream may have: its length is rounded up to one of these.
    lengths: Option<Buckets>,
    queue: VecDeque<u8>,
    due_ms: Option<u64>,
    slots: usize,
    ended: bool,
}

impl Cadence {
    /// A stream of slots of `slot_bytes` bytes, one every `interval_ms`, that holds back at most `max_queued_bytes`.
    ///
    /// # Errors
    /// [`CadenceError::Sizes`].
    pub fn new(
        interval_ms: NonZeroU64,
        slot_bytes: usize,
        max_queued_bytes: usize,
    ) -> Result<Self, CadenceError> {
        if !(16..=65_536).contains(&slot_bytes) || max_queued_bytes < slot_bytes {
            return Err(CadenceError::Sizes);
        }
        Ok(Self {
            interval_ms,
            slot_bytes,
            max_queued_bytes,
            lengths: None,
            queue: VecDeque::new(),
            due_ms: None,
            slots: 0,
            ended: false,
        })
    }

    /// Lets the stream end only after a number of slots of `lengths`.
    #[must_use]
    pub fn rounded(self, lengths: Buckets) -> Self {
        Self { lengths: Some(lengths), ..self }
    }

    /// Queues one event.
    ///
    /// # Errors
    /// [`CadenceError::NotAnEvent`], [`CadenceError::Full`], [`CadenceError::Ended`]; nothing of the event is then queued.
    pub fn offer(&mut self, event: &[u8]) -> Result<(), CadenceError> {
        if self.ended {
            return Err(CadenceError::Ended);
        }
        if !event.ends_with(b"\n\n") {
            return Err(CadenceError::NotAnEvent);
        }
        if event.len() > self.max_queued_bytes.saturating_sub(self.queue.len()) {
            return Err(CadenceError::Full);
        }
        self.queue.extend(event);
        Ok(())
    }

    /// No event follows. What is queued still goes out at its pace.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// What to do at `now_ms`. A call that comes late gets one slot, and the next ones stay on the beat of the first, so that neither shows
    /// more than that this one was late.
    pub fn release(&mut self, now_ms: u64) -> Release {
        let due_ms = self.due_ms.unwrap_or(now_ms);
        if now_ms < due_ms {
            return Release::Wait { until_ms: due_ms };
        }
        let complete = self.lengths.as_ref().is_none_or(|lengths| lengths.fit(self.slots) == self.slots);
        if self.ended && self.queue.is_empty() && complete && self.slots > 0 {
            return Release::End;
        }
        let beats = (now_ms - due_ms) / self.interval_ms + 1;
        self.due_ms = Some(due_ms.saturating_add(beats.saturating_mul(self.interval_ms.get())));
        self.slots += 1;
        let taken = self.queue.len().min(self.slot_bytes);
        let mut slot: Vec<u8> = self.queue.drain(..taken).collect();
        // Room is left only when the queue is empty, which is between two events, at the beginning of a line.
        comment(self.slot_bytes - taken, &mut slot);
        Release::Slot(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data of the events of a stream, by the rules of the standard.
    fn read(stream: &[u8]) -> Vec<String> {
        let (mut events, mut data) = (Vec::new(), String::new());
        let text = std::str::from_utf8(stream).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a stream ends with a line");
        for line in text.lines() {
            if line.is_empty() && !data.is_empty() {
                events.push(std::mem::take(&mut data));
            } else if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
            } else {
                assert!(line.is_empty() || line.starts_with(':'), "{line}");
            }
        }
        events
    }

    fn event(text: &str) -> Vec<u8> {
        format!("data: {text}\n\n").into_bytes()
    }

    fn cadence(interval_ms: u64, slot_bytes: usize) -> Cadence {
        Cadence::new(NonZeroU64::new(interval_ms).unwrap(), slot_bytes, 1000).unwrap()
    }

    #[test]
    fn an_event_gets_a_size_of_the_list() {
        let buckets = Buckets::new(&[16, 32]).unwrap();
        for letters in 0..60 {
            let text = "t".repeat(letters);
            let mut out = Vec::new();
            pad_event(&event(&text), &buckets, &mut out);
            assert!(out.len() == 16 || out.len().is_multiple_of(32), "{letters} {}", out.len());
            assert_eq!(read(&out), if letters == 0 { vec![] } else { vec![text] });
        }
    }

    #[test]
    fn a_member_brings_an_event_to_a_size_of_the_list() {
        let buckets = Buckets::new(&[64, 128]).unwrap();
        let base = r#"{"a":1}"#;
        for more in 0..100 {
            let event_bytes = base.len() + more;
            let letters = obfuscation_letters(event_bytes, &buckets);
            let member = format!(r#","obfuscation":"{}""#, "x".repeat(letters));
            assert!([64, 128].contains(&(event_bytes + member.len())), "{more}");
        }
    }

    #[test]
    fn slots_come_on_the_beat_and_are_all_of_one_size() {
        let mut cadence = cadence(50, 16);
        cadence.offer(&event("a")).unwrap();
        let first = cadence.release(1000);
        assert_eq!(first, Release::Slot(b"data: a\n\n:xxxxx\n".to_vec()));
        assert_eq!(cadence.release(1049), Release::Wait { until_ms: 1050 });
        assert_eq!(cadence.release(1050), Release::Slot(b":xxxxxxxxxxxxxx\n".to_vec()));
        // Late by more than two beats: one slot, and the next on the old beat.
        assert!(matches!(cadence.release(1219), Release::Slot(_)));
        assert_eq!(cadence.release(1220), Release::Wait { until_ms: 1250 });
        cadence.end();
        assert_eq!(cadence.release(1249), Release::Wait { until_ms: 1250 });
        assert_eq!(cadence.release(1250), Release::End);
    }

    #[test]
    fn a_stream_ends_only_at_a_length_of_the_list() {
        let mut cadence = cadence(1, 16).rounded(Buckets::new(&[4]).unwrap());
        cadence.offer(&event("four")).unwrap();
        cadence.end();
        let released: Vec<_> = (0..5).map(|now| cadence.release(now)).collect();
        assert!(released[..4].iter().all(|release| matches!(release, Release::Slot(_))));
        assert_eq!(released[4], Release::End);
    }

    #[test]
    fn an_empty_stream_has_a_slot_too() {
        let mut cadence = cadence(1, 16);
        cadence.end();
        assert!(matches!(cadence.release(0), Release::Slot(_)));
        assert_eq!(cadence.release(1), Release::End);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let interval = NonZeroU64::MIN;
        for (slot, queue) in [(15, 100), (65_537, 100_000), (16, 15)] {
            assert!(matches!(Cadence::new(interval, slot, queue), Err(CadenceError::Sizes)));
        }
        let mut cadence = Cadence::new(interval, 16, 20).unwrap();
        assert_eq!(cadence.offer(b"data: half\n"), Err(CadenceError::NotAnEvent));
        cadence.offer(&event("0123456789")).unwrap();
        assert_eq!(cadence.offer(&event("")), Err(CadenceError::Full));
        cadence.end();
        assert_eq!(cadence.offer(&event("a")), Err(CadenceError::Ended));
    }

    proptest! {
        #[test]
        fn every_event_arrives_whole_and_in_order(
            texts in proptest::collection::vec("[a-z]{1,40}", 0..20),
            slot_bytes in 16_usize..80,
            step_ms in 1_u64..200,
        ) {
            let mut cadence = cadence(50, slot_bytes);
            let (mut stream, mut now_ms, mut left) = (Vec::new(), 0, texts.iter());
            loop {
                if let Some(text) = left.next() {
                    cadence.offer(&event(text)).unwrap();
                } else {
                    cadence.end();
                }
                match cadence.release(now_ms) {
                    Release::Slot(slot) => {
                        prop_assert_eq!(slot.len(), slot_bytes);
                        stream.extend(slot);
                    }
                    Release::Wait { until_ms } => prop_assert!(until_ms > now_ms),
                    Release::End => break,
                }
                now_ms += step_ms;
            }
            prop_assert_eq!(read(&stream), texts);
        }
    }
}
