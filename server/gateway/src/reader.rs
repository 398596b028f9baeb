//! The reader of a stream, who must go on reading.
//!
//! An answer that nobody takes holds a place, blocks of the model's cache, and memory. While its reader has something to take and
//! asks for nothing more, time runs; when it is up the answer is dropped, as if the caller had left, and what it held is free at
//! once, even if the connection is not. Whoever waits for the next event is not held to anything.

use bytes::Bytes;
use futures_util::Stream;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Since when an event lies with the reader's side and the next was not asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Owes(Option<Instant>);

impl Owes {
    /// When to look again, or `None` when the time is up.
    fn look_again(self, now: Instant, limit: Duration) -> Option<Instant> {
        let due = self.0.unwrap_or(now) + limit;
        (due > now).then_some(due)
    }
}

struct Shared {
    /// Absent once it was given up.
    events: Option<Events>,
    owes: Owes,
}

/// Events on their way to a reader.
pub(crate) struct Watched(Arc<Mutex<Shared>>);

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic while the lock is held is one of the stream, which is then polled no more.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// Gives `events` up when their reader takes nothing for `limit`. Starts a task of its own.
    pub(crate) fn new(events: impl Stream<Item = Bytes> + Send + 'static, limit: Duration) -> Self {
        let shared = Shared { events: Some(Box::pin(events)), owes: Owes::default() };
        let shared = Arc::new(Mutex::new(shared));
        let watched = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut next = Instant::now() + limit;
            loop {
                sleep_until(next).await;
                let Some(shared) = watched.upgrade() else { return };
                let mut held = lock(&shared);
                match held.owes.look_again(Instant::now(), limit) {
                    Some(due) => next = due,
                    None => {
                        let given_up = held.events.take();
                        drop(held);
                        drop(given_up);
                        return;
                    }
                }
            }
        });
        Self(shared)
    }
}

impl Stream for Watched {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut held = lock(&self.0);
        held.owes = Owes::default();
        let Some(events) = &mut held.events else {
            return Poll::Ready(Some(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the reader took nothing",
            ))));
        };
        let next = events.as_mut().poll_next(cx);
        if let Poll::Ready(Some(_)) = next {
            held.owes = Owes(Some(Instant::now()));
        }
        next.map(|event| event.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    #[test]
    fn time_runs_only_while_something_lies_there() {
        let (now, limit) = (Instant::now(), Duration::from_secs(60));
        assert_eq!(Owes(None).look_again(now, limit), Some(now + limit));
        let owes = Owes(Some(now));
        let almost = now + limit - Duration::from_nanos(1);
        assert_eq!(owes.look_again(almost, limit), Some(now + limit));
        assert_eq!(owes.look_again(now + limit, limit), None);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_dropped_and_its_reader_is_told() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let events = futures_util::stream::repeat_with(move || {
            let _held = &inside;
            Bytes::from_static(b"x")
        });
        let mut watched = Watched::new(events, Duration::from_millis(20));
        assert!(watched.next().await.unwrap().is_ok());
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(watched.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
