//! How much one tenant may ask: requests and tokens in a minute, and requests at one time.
//!
//! [`Meter`] is a state machine with the time as an argument. A bucket holds what may be used now: a minute's worth at most, refilled
//! evenly. Nothing passes when it would take more than the bucket holds, so in any time `t` no more than a minute's worth and
//! `t` times the rate passes. What a request will use of tokens is not known before it ends: an estimate of its prompt is
//! taken at admission and settled at the end, and what it used beyond that is a debt that is paid off before anything else passes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one unit is divided into, so that a rate of one in a minute still adds whole parts in each nanosecond.
const PARTS: i128 = 60_000_000_000;

/// How much a tenant may ask. Absent means without such a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quotas {
    pub(crate) requests_per_minute: Option<u32>,
    pub(crate) tokens_per_minute: Option<u32>,
    /// Requests at one time.
    pub(crate) concurrency: usize,
}

/// Why a request does not pass now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// As many are running as may run.
    Concurrency,
    /// Too many requests; it would pass after this time if no other came.
    Requests(Duration),
    /// Too many tokens; the same.
    Tokens(Duration),
}

/// One kind of quota as callers are shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// In a minute.
    pub(crate) limit: u32,
    /// That may be used now.
    pub(crate) remaining: u64,
    /// Until all of it may be used again.
    pub(crate) reset: Duration,
}

/// What may be used of one kind.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_minute: u32,
    /// In [`PARTS`] of a unit; below zero when more was used than was reserved.
    level: i128,
    at: Instant,
}

impl Bucket {
    fn full(per_minute: u32, at: Instant) -> Self {
        Self { per_minute, level: i128::from(per_minute) * PARTS, at }
    }

    fn capacity(&self) -> i128 {
        i128::from(self.per_minute) * PARTS
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        let gained = i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(self.per_minute.into());
        self.level = self.level.saturating_add(gained).min(self.capacity());
        self.at = self.at.max(now);
    }

    /// How long it takes until it holds `parts`.
    fn until(&self, parts: i128) -> Duration {
        let missing = u128::try_from(parts.saturating_sub(self.level)).unwrap_or(0);
        let nanos = missing.div_ceil(u128::from(self.per_minute.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn shown(&self) -> Shown {
        let remaining = u64::try_from(self.level.max(0) / PARTS).unwrap_or(u64::MAX);
        Shown { limit: self.per_minute, remaining, reset: self.until(self.capacity()) }
    }
}

/// What was taken for one request that runs.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    tokens: u64,
}

impl Reserved {
    /// Of tokens.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// What one tenant uses.
#[derive(Debug)]
pub(crate) struct Meter {
    quotas: Quotas,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    running: usize,
}

impl Meter {
    pub(crate) fn new(quotas: Quotas, now: Instant) -> Self {
        let bucket = |per_minute: Option<u32>| per_minute.map(|per_minute| Bucket::full(per_minute, now));
        let (requests, tokens) = (bucket(quotas.requests_per_minute), bucket(quotas.tokens_per_minute));
        Self { quotas, requests, tokens, running: 0 }
    }

    /// Goes on with other quotas. What was used stays used, so that a change of settings gives nobody a second minute's worth.
    pub(crate) fn change(&mut self, quotas: Quotas, now: Instant) {
        let changed = |bucket: Option<Bucket>, per_minute: Option<u32>| {
            let fresh = Bucket::full(per_minute?, now);
            let used = bucket.map_or(0, |mut bucket| {
                bucket.refill(now);
                bucket.capacity().saturating_sub(bucket.level)
            });
            Some(Bucket { level: fresh.level.saturating_sub(used), ..fresh })
        };
        self.requests = changed(self.requests, quotas.requests_per_minute);
        self.tokens = changed(self.tokens, quotas.tokens_per_minute);
        self.quotas = quotas;
    }

    fn refill(&mut self, now: Instant) {
        self.requests.iter_mut().chain(&mut self.tokens).for_each(|bucket| bucket.refill(now));
    }

    /// Lets one request with a prompt of about so many tokens pass, or takes nothing.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn admit(&mut self, tokens: u64, now: Instant) -> Result<Reserved, Denied> {
        self.refill(now);
        if self.running >= self.quotas.concurrency {
            return Err(Denied::Concurrency);
        }
        let wait = self.requests.map(|bucket| bucket.until(PARTS));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Err(Denied::Requests(wait));
        }
        // A request has one token at least, so none passes while there is a debt.
        let mut reserved = Reserved::default();
        self.reserve(&mut reserved, tokens.max(1))?;
        if let Some(requests) = &mut self.requests {
            requests.level -= PARTS;
        }
        self.running += 1;
        Ok(reserved)
    }

    /// Takes so many tokens more for a request that was admitted, once its prompt is known better.
    ///
    /// # Errors
    /// [`Denied::Tokens`], and then nothing more was taken.
    pub(crate) fn reserve_more(
        &mut self,
        reserved: &mut Reserved,
        tokens: u64,
        now: Instant,
    ) -> Result<(), Denied> {
        self.refill(now);
        self.reserve(reserved, tokens)
    }

    fn reserve(&mut self, reserved: &mut Reserved, tokens: u64) -> Result<(), Denied> {
        let Some(bucket) = &mut self.tokens else { return Ok(()) };
        // An estimate of more than the bucket can ever hold passes when it is full.
        let tokens = tokens.min(u64::from(bucket.per_minute).saturating_sub(reserved.tokens));
        if tokens == 0 {
            return Ok(());
        }
        let parts = i128::from(tokens) * PARTS;
        let wait = bucket.until(parts);
        if !wait.is_zero() {
            return Err(Denied::Tokens(wait));
        }
        bucket.level -= parts;
        reserved.tokens += tokens;
        Ok(())
    }

    /// The request has ended, and used so many tokens.
    pub(crate) fn settle(&mut self, reserved: &Reserved, used: u64, now: Instant) {
        self.refill(now);
        self.running = self.running.saturating_sub(1);
        if let Some(bucket) = &mut self.tokens {
            let difference = i128::from(reserved.tokens).saturating_sub(used.into()).saturating_mul(PARTS);
            bucket.level = bucket.level.saturating_add(difference).min(bucket.capacity());
        }
    }

    /// Requests and tokens, as far as they are limited.
    pub(crate) fn shown(&mut self, now: Instant) -> (Option<Shown>, Option<Shown>) {
        self.refill(now);
        (self.requests.as_ref().map(Bucket::shown), self.tokens.as_ref().map(Bucket::shown))
    }
}

/// A tenant's meter, held for single operations.
#[derive(Debug)]
pub(crate) struct Quota(Mutex<Meter>);

impl Quota {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self(Mutex::new(Meter::new(quotas, Instant::now())))
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        // A panic while the lock is held leaves a whole meter behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Meter::change`], now.
    pub(crate) fn change(&self, quotas: Quotas) {
        self.lock().change(quotas, Instant::now());
    }

    /// As [`Meter::shown`], now.
    pub(crate) fn shown(&self) -> (Option<Shown>, Option<Shown>) {
        self.lock().shown(Instant::now())
    }

    /// As [`Meter::admit`], now.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn enter(self: &Arc<Self>, tokens: u64) -> Result<Turn, Denied> {
        let reserved = self.lock().admit(tokens, Instant::now())?;
        Ok(Turn { quota: Arc::clone(self), reserved, used: 0 })
    }
}

/// A request that was let pass; it is settled on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    quota: Arc<Quota>,
    reserved: Reserved,
    /// Tokens, as known when it ends.
    pub(crate) used: u64,
}

impl Turn {
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.tokens()
    }

    /// As [`Meter::reserve_more`], now, up to `tokens` altogether.
    ///
    /// # Errors
    /// [`Denied::Tokens`].
    pub(crate) fn reserve_up_to(&mut self, tokens: u64) -> Result<(), Denied> {
        let more = tokens.saturating_sub(self.reserved.tokens());
        self.quota.lock().reserve_more(&mut self.reserved, more, Instant::now())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.quota.lock().settle(&self.reserved, self.used, Instant::now());
    }
}

/// A time as OpenAI writes it in `x-ratelimit-reset-*`: `17ms`, `1s`, `6m0s`, rounded up.
pub(crate) fn written(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let seconds = millis.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quotas(requests: Option<u32>, tokens: Option<u32>, concurrency: usize) -> Quotas {
        Quotas { requests_per_minute: requests, tokens_per_minute: tokens, concurrency }
    }

    #[test]
    fn a_minute_has_its_requests_and_the_next_comes_when_it_says() {
        let begun = Instant::now();
        let mut meter = Meter::new(quotas(Some(6), None, 100), begun);
        for _ in 0..6 {
            meter.admit(1, begun).unwrap();
        }
        let wait = Duration::from_secs(10);
        assert_eq!(meter.admit(1, begun).unwrap_err(), Denied::Requests(wait));
        assert_eq!(
            meter.shown(begun).0,
            Some(Shown { limit: 6, remaining: 0, reset: Duration::from_secs(60) })
        );
        let almost = begun + wait - Duration::from_nanos(1);
        assert_eq!(meter.admit(1, almost).unwrap_err(), Denied::Requests(Duration::from_nanos(1)));
        meter.admit(1, begun + wait).unwrap();
        assert!(meter.admit(1, begun + wait).is_err());
        // A clock that goes back gives nothing.
        assert!(meter.admit(1, begun).is_err());
        assert_eq!(meter.shown(begun).1, None);
    }

    #[test]
    fn tokens_are_reserved_and_settled() {
        let now = Instant::now();
        let mut meter = Meter::new(quotas(None, Some(600), 100), now);
        let remaining = |meter: &mut Meter, at| meter.shown(at).1.unwrap().remaining;
        let one = meter.admit(100, now).unwrap();
        let two = meter.admit(500, now).unwrap();
        assert_eq!((one.tokens(), two.tokens(), remaining(&mut meter, now)), (100, 500, 0));
        meter.settle(&one, 40, now);
        assert_eq!(remaining(&mut meter, now), 60);
        // 200 more than were reserved: a debt of 140, which 14 s pay off, and a token after that.
        meter.settle(&two, 700, now);
        assert_eq!(remaining(&mut meter, now), 0);
        assert_eq!(meter.admit(0, now).unwrap_err(), Denied::Tokens(Duration::from_millis(14_100)));
        meter.admit(0, now + Duration::from_millis(14_100)).unwrap();
    }

    #[test]
    fn what_is_more_than_a_minute_has_passes_alone() {
        let now = Instant::now();
        let mut meter = Meter::new(quotas(None, Some(60), 100), now);
        let huge = meter.admit(1_000_000, now).unwrap();
        assert_eq!(huge.tokens(), 60);
        meter.settle(&huge, 120, now);
        assert_eq!(meter.admit(1_000_000, now).unwrap_err(), Denied::Tokens(Duration::from_secs(120)));
    }

    #[test]
    fn so_many_at_one_time() {
        let now = Instant::now();
        let mut meter = Meter::new(quotas(Some(100), None, 2), now);
        let one = meter.admit(1, now).unwrap();
        meter.admit(1, now).unwrap();
        assert_eq!(meter.admit(1, now).unwrap_err(), Denied::Concurrency);
        // Who is refused uses nothing.
        assert_eq!(meter.shown(now).0.unwrap().remaining, 98);
        meter.settle(&one, 0, now);
        meter.admit(1, now).unwrap();
    }

    #[test]
    fn other_quotas_begin_with_what_was_used() {
        let now = Instant::now();
        let mut meter = Meter::new(quotas(Some(10), None, 10), now);
        let turns: Vec<_> = (0..8).map(|_| meter.admit(1, now).unwrap()).collect();
        meter.change(quotas(Some(20), Some(60), 8), now);
        assert_eq!(meter.shown(now).0.unwrap().remaining, 12);
        assert_eq!(meter.admit(1, now).unwrap_err(), Denied::Concurrency);
        for turn in &turns {
            meter.settle(turn, 0, now);
        }
        assert_eq!(meter.shown(now).1.unwrap().remaining, 60);
        meter.change(quotas(Some(4), None, 8), now);
        assert!(matches!(meter.admit(1, now).unwrap_err(), Denied::Requests(_)));
        meter.change(quotas(None, None, 8), now);
        meter.admit(1, now).unwrap();
    }

    #[test]
    fn times_are_written_as_openai_does() {
        for (millis, text) in
            [(0, "0ms"), (17, "17ms"), (1000, "1s"), (1001, "2s"), (360_000, "6m0s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(written(Duration::from_millis(millis)), text);
        }
        assert_eq!(written(Duration::from_nanos(1)), "1ms");
    }

    /// What a hostile schedule does at one moment.
    #[derive(Debug, Clone)]
    enum Move {
        /// Time passes, in milliseconds.
        Wait(u32),
        /// Asks with an estimate.
        Ask(u64),
        /// One that runs ends with so many tokens.
        End(usize, u64),
        /// The settings are read again.
        Reload,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (0..5_000_u32).prop_map(Move::Wait),
            (0..400_u64).prop_map(Move::Ask),
            (any::<usize>(), 0..800_u64).prop_map(|(which, used)| Move::End(which, used)),
            Just(Move::Reload),
        ];
        prop::collection::vec(one, 0..400)
    }

    proptest! {
        /// No schedule passes more than a minute's worth and the rate times the time, in any window that begins anywhere;
        /// tokens beyond that are those that requests in flight used above their estimates, one request for each place.
        #[test]
        fn no_schedule_passes_more_than_burst_and_rate(
            schedule in moves(), requests in 1..50_u32, tokens in 1..2_000_u32, places in 1..6_usize,
        ) {
            let begun = Instant::now();
            let quotas = quotas(Some(requests), Some(tokens), places);
            let mut meter = Meter::new(quotas, begun);
            let mut now = begun;
            let mut running: Vec<Reserved> = Vec::new();
            // Moments at which requests passed, and at which tokens were settled.
            let (mut passed, mut settled): (Vec<Instant>, Vec<(Instant, u64)>) = (Vec::new(), Vec::new());
            let mut most_over = 0;
            for step in schedule {
                match step {
                    Move::Wait(millis) => now += Duration::from_millis(millis.into()),
                    Move::Ask(estimate) => if let Ok(reserved) = meter.admit(estimate, now) {
                        passed.push(now);
                        running.push(reserved);
                    },
                    Move::End(which, used) if !running.is_empty() => {
                        let reserved = running.swap_remove(which % running.len());
                        meter.settle(&reserved, used, now);
                        settled.push((now, used));
                        most_over = most_over.max(used.saturating_sub(reserved.tokens()));
                    }
                    Move::End(..) => {}
                    Move::Reload => meter.change(quotas, now),
                }
                prop_assert!(running.len() <= places);
            }
            let allowed = |rate: u32, from: Instant, to: Instant| {
                f64::from(rate) * (1.0 + (to - from).as_secs_f64() / 60.0)
            };
            for (at, from) in passed.iter().enumerate() {
                for (count, to) in passed.iter().skip(at).enumerate() {
                    prop_assert!((count + 1) as f64 <= allowed(requests, *from, *to) + 1e-6);
                }
            }
            let total: u64 = settled.iter().map(|(_, used)| used).sum();
            let over = most_over * places as u64;
            prop_assert!(total as f64 <= allowed(tokens, begun, now) + over as f64 + 1e-6);
        }
    }
}
