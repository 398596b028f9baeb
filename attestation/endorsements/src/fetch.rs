//! Asks a service until it answers or the time is up, and asks one question only once at a time.

use crate::config::Limits;
use crate::error::Cause;
use crate::retry::judge_status;
use crate::transport::{Answer, Request, Transport};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

/// Sends `request` until `take` is content with an answer, within the limits and before `deadline`. A permit is held while a
/// request is under way, not between two attempts.
pub(crate) async fn fetch<T: Transport, V>(
    (transport, permits): (&T, &Semaphore),
    request: &Request,
    limits: &Limits,
    deadline: Instant,
    take: impl Fn(&Answer) -> Result<V, Cause>,
) -> Result<V, Cause> {
    let mut attempt = 1;
    loop {
        let cause = match attempt_once((transport, permits), request, limits, deadline).await {
            Ok(answer) => match judge_status(&answer).and_then(|()| take(&answer)) {
                Ok(value) => return Ok(value),
                Err(cause) => cause,
            },
            Err(cause) => cause,
        };
        let Some(wait) = limits.retry.wait(attempt, &cause, random()) else { return Err(cause) };
        if wait >= deadline.saturating_duration_since(Instant::now()) {
            return Err(cause);
        }
        sleep(wait).await;
        attempt += 1;
    }
}

async fn attempt_once<T: Transport>(
    (transport, permits): (&T, &Semaphore),
    request: &Request,
    limits: &Limits,
    deadline: Instant,
) -> Result<Answer, Cause> {
    let waited = timeout_at(deadline, permits.acquire()).await;
    let within = limits.total_timeout;
    // The semaphore is never closed.
    let Ok(Ok(_permit)) = waited else { return Err(Cause::Timeout { within }) };
    let started = Instant::now();
    let until = deadline.min(after(started, limits.request_timeout));
    let answered = timeout_at(until, transport.send(request)).await;
    Ok(answered.map_err(|_| Cause::Timeout { within: until - started })??)
}

/// The moment `wait` after `start`; a wait of over a day counts as a day, so that no setting overflows the clock.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    start + wait.min(DAY)
}

/// Without randomness all waits are the shortest, which is no harm.
fn random() -> u16 {
    let mut bytes = [0; 2];
    let _ = SystemRandom::new().fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

type Shared<V> = Arc<OnceCell<V>>;

/// Questions that are under way, by key. Whoever comes while one is waits for its answer, good or bad. When the one who asks
/// goes away, the next who waits asks again.
pub(crate) struct Flights<V> {
    under_way: Mutex<HashMap<String, Shared<V>>>,
}

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<V: Clone> Flights<V> {
    /// The answer of `ask`, or of the one who is asking already.
    pub(crate) async fn once(&self, key: &str, ask: impl Future<Output = V>) -> V {
        let flight = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Flight { flights: self, key, cell: Arc::clone(under_way.entry(key.to_owned()).or_default()) }
        };
        flight.cell.get_or_init(|| ask).await.clone()
    }
}

/// One who asks or waits. The last to leave, or the first after the answer, clears the place, so the next question is a new
/// one.
struct Flight<'a, V> {
    flights: &'a Flights<V>,
    key: &'a str,
    cell: Shared<V>,
}

impl<V> Drop for Flight<'_, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = under_way.get(self.key).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // One reference is the map's and one is ours.
        let last = Arc::strong_count(&self.cell) <= 2;
        if ours && (last || self.cell.initialized()) {
            under_way.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join;
    use std::cell::Cell;

    #[tokio::test]
    async fn one_asks_and_the_others_wait_for_its_answer() {
        let flights = Flights::default();
        let asked = Cell::new(0);
        let ask = || async {
            asked.set(asked.get() + 1);
            sleep(Duration::from_millis(20)).await;
            asked.get()
        };
        assert_eq!(join(flights.once("a", ask()), flights.once("a", ask())).await, (1, 1));
        assert_eq!(flights.once("a", ask()).await, 2, "an answered question is asked anew");
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn when_the_asker_goes_away_the_next_asks() {
        let flights = Flights::default();
        let first = flights.once("a", std::future::pending());
        let second = async {
            sleep(Duration::from_millis(20)).await;
            flights.once("a", async { 7 }).await
        };
        let impatient = tokio::time::timeout(Duration::from_millis(60), first);
        let (first, second) = join(impatient, second).await;
        assert!(first.is_err());
        assert_eq!(second, 7);
        assert!(flights.under_way.lock().unwrap().is_empty());
    }
}
