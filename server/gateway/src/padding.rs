//! Streams that say less by their lengths and times: the settings, and the bodies made by them.
//!
//! A stream that is silent for long says that it lives, because balancers close what is silent. Slots need no such word.
//!
//! Filling is comments, which the commitments of receipts leave out, so a padded stream has the receipt of the one without padding.

use crate::config::ConfigError;
use anchorhold_body_encryption::Buckets;
use anchorhold_body_encryption::sse::{Cadence, CadenceError, Release, pad_event};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What one stream may hold back for its slots; no event is longer.
const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;
/// After how long a silence a stream says that it lives. Balancers wait for 30 seconds and more.
const SILENCE: Duration = Duration::from_secs(15);
const ALIVE: &str = ": alive\n\n";
/// The longest time between two slots, in milliseconds.
const MAX_INTERVAL_MS: u64 = 10_000;

/// How streams are padded; by default not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Padding {
    /// Sizes of events, and of frames of encrypted answers.
    pub(crate) sizes: Option<Buckets>,
    pace: Option<Pace>,
}

/// Slots of one size at fixed times.
#[derive(Debug, Clone)]
struct Pace {
    every_ms: NonZeroU64,
    slot_bytes: usize,
    lengths: Option<Buckets>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenPadding {
    sizes: Option<Vec<usize>>,
    every_ms: Option<NonZeroU64>,
    slot_bytes: Option<usize>,
    lengths: Option<Vec<usize>>,
}

impl WrittenPadding {
    pub(crate) fn check(&self) -> Result<Padding, ConfigError> {
        let wrong = |key, reason: String| ConfigError::Value { key, reason };
        let buckets = |key, sizes: &Option<Vec<usize>>| {
            sizes.as_deref().map(Buckets::new).transpose().map_err(|error| wrong(key, error.to_string()))
        };
        let (sizes, lengths) =
            (buckets("padding.sizes", &self.sizes)?, buckets("padding.lengths", &self.lengths)?);
        let pace = match (self.every_ms, self.slot_bytes) {
            (Some(every_ms), Some(slot_bytes)) if every_ms.get() <= MAX_INTERVAL_MS && sizes.is_none() => {
                let pace = Pace { every_ms, slot_bytes, lengths };
                pace.begin().map_err(|error| wrong("padding.slot_bytes", error.to_string()))?;
                Some(pace)
            }
            (None, None) if lengths.is_none() => None,
            _ => {
                let reason = format!(
                    "'every_ms' (1 to {MAX_INTERVAL_MS}) and 'slot_bytes' go together, without 'sizes'; 'lengths' goes with them"
                );
                return Err(wrong("padding.every_ms", reason));
            }
        };
        Ok(Padding { sizes, pace })
    }
}

impl Pace {
    fn begin(&self) -> Result<Cadence, CadenceError> {
        let cadence = Cadence::new(self.every_ms, self.slot_bytes, MAX_QUEUED_BYTES)?;
        Ok(match &self.lengths {
            Some(lengths) => cadence.rounded(lengths.clone()),
            None => cadence,
        })
    }
}

/// Events, each with the empty line that ends it.
type Events = Pin<Box<dyn Stream<Item = String> + Send>>;
/// What leaves at one time.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

impl Padding {
    /// What carries `events`, piece by piece.
    pub(crate) fn pieces(&self, events: impl Stream<Item = String> + Send + 'static) -> Pieces {
        if let Some(cadence) = self.pace.as_ref().and_then(|pace| pace.begin().ok()) {
            return Box::pin(slots(Box::pin(events), cadence));
        }
        let events = alive(events, SILENCE);
        match self.sizes.clone() {
            Some(sizes) => Box::pin(events.map(move |event| {
                let mut out = Vec::new();
                pad_event(event.as_bytes(), &sizes, &mut out);
                Bytes::from(out)
            })),
            None => Box::pin(events.map(Bytes::from)),
        }
    }
}

/// The same events, and in every silence of this length a comment.
fn alive(
    events: impl Stream<Item = String> + Send + 'static,
    silence: Duration,
) -> impl Stream<Item = String> + Send {
    futures_util::stream::unfold(Box::pin(events), move |mut events| async move {
        // What `next` has begun is kept in the stream when the wait ends first.
        let event =
            tokio::time::timeout(silence, events.next()).await.unwrap_or_else(|_| Some(ALIVE.to_owned()))?;
        Some((event, events))
    })
}

/// A stream on its way into slots.
struct Paced {
    events: Events,
    cadence: Cadence,
    begun: Instant,
    /// An event that found no room yet.
    waiting: Option<String>,
    has_ended: bool,
}

impl Paced {
    /// Takes the next event, or notes that there is none.
    fn take(&mut self, event: Option<String>) {
        let Some(event) = event else {
            self.has_ended = true;
            return self.cadence.end();
        };
        match self.cadence.offer(event.as_bytes()) {
            Err(CadenceError::Full) if event.len() <= MAX_QUEUED_BYTES => self.waiting = Some(event),
            // An event that never fits, or is none: the stream ends before it, and shows by its missing end that it is cut.
            Err(_) => {
                self.has_ended = true;
                self.cadence.end();
            }
            Ok(()) => {}
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.take() {
                self.take(Some(event));
            }
            let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let until_ms = match self.cadence.release(now_ms) {
                Release::Slot(slot) => return Some(Bytes::from(slot)),
                Release::End => return None,
                Release::Wait { until_ms } => until_ms,
            };
            let due = tokio::time::sleep_until(self.begun + Duration::from_millis(until_ms));
            let takes = self.waiting.is_none() && !self.has_ended;
            tokio::select! {
                () = due => {}
                event = self.events.next(), if takes => self.take(event),
            }
        }
    }
}

fn slots(events: Events, cadence: Cadence) -> impl Stream<Item = Bytes> {
    let paced = Paced { events, cadence, begun: Instant::now(), waiting: None, has_ended: false };
    futures_util::stream::unfold(paced, |mut paced| async move {
        let slot = paced.next().await?;
        Some((slot, paced))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[tokio::test]
    async fn a_silent_stream_says_that_it_lives_and_loses_nothing() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<String>(2);
        let events =
            stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let mut pieces = Box::pin(alive(events, Duration::from_millis(1)));
        assert_eq!(pieces.next().await.as_deref(), Some(ALIVE));
        sender.send("data: a\n\n".to_owned()).await.unwrap();
        // Silences may come before it, and it comes.
        let mut piece = pieces.next().await.unwrap();
        while piece == ALIVE {
            piece = pieces.next().await.unwrap();
        }
        assert_eq!(piece, "data: a\n\n");
        drop(sender);
        while let Some(piece) = pieces.next().await {
            assert_eq!(piece, ALIVE);
        }
    }

    #[test]
    fn refuses_settings_that_do_not_go_together() {
        let check = |text: &str| toml::from_str::<WrittenPadding>(text).unwrap().check();
        for text in ["", "sizes = [256]", "every_ms = 50\nslot_bytes = 512\nlengths = [64]"] {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in [
            "sizes = []",
            "sizes = [2, 1]",
            "every_ms = 50",
            "slot_bytes = 512",
            "lengths = [64]",
            "every_ms = 10001\nslot_bytes = 512",
            "every_ms = 50\nslot_bytes = 15",
            "every_ms = 50\nslot_bytes = 512\nsizes = [256]",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(toml::from_str::<WrittenPadding>("size = [256]").is_err());
    }
}
