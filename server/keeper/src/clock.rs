//! The only place of this program that reads a clock.
//!
//! The wall clock is the host's and a claim. Once the broker has released a key, the time is the broker's, which it signed, carried on
//! by the counter that the host cannot change in a confidential guest.

use anchorhold_audit_log::Stamp;
use anchorhold_rats::Timestamp;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The broker's time when its first answer came. Set once for the process, so that wall times of entries do not jump with each
/// renewal.
static BROKER: OnceLock<Anchor> = OnceLock::new();

/// A time that somebody said, and when he was heard.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    heard: Instant,
    wall_ns: i64,
}

impl Anchor {
    fn wall_ns(self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.heard).as_nanos();
        self.wall_ns.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

/// Time since the keeper started, and the wall clock: the host's until the broker's is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Goes by the broker's time from now on, which it signed in the answer that just came. Only the first one counts.
    pub(crate) fn follow(self, wall_ns: i64) {
        BROKER.get_or_init(|| Anchor { heard: Instant::now(), wall_ns });
    }

    /// Milliseconds since the keeper started.
    pub(crate) fn millis(self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    pub(crate) fn stamp(self) -> Stamp {
        let now = Instant::now();
        Stamp {
            wall_ns: BROKER.get().map_or_else(host_ns, |anchor| anchor.wall_ns(now)),
            mono_ns: u64::try_from(now.saturating_duration_since(self.started).as_nanos())
                .unwrap_or(u64::MAX),
        }
    }

    /// The wall clock in seconds, for those who hold the times of others against it.
    pub(crate) fn seconds(self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        Arc::new(move || u64::try_from(self.stamp().wall_ns / 1_000_000_000).unwrap_or(0))
    }

    /// Seconds of the wall clock: used only where the software attester dates its certificates and for tokens of other brokers.
    pub(crate) fn wall(self) -> Timestamp {
        Timestamp::from_unix_seconds(self.stamp().wall_ns / 1_000_000_000)
    }
}

/// What the host says.
fn host_ns() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn case_44_what_the_broker_signed_is_the_time_whatever_the_host_says() {
        let clock = Clock::start();
        let before = clock.stamp();
        let far = before.wall_ns + 1_000_000_000_000_000_000;
        clock.follow(far);
        let after = clock.stamp();
        assert!(after.wall_ns >= far && after.mono_ns >= before.mono_ns);
        // A later answer does not turn it back.
        clock.follow(0);
        assert!(clock.stamp().wall_ns >= after.wall_ns);
    }

    #[test]
    fn time_goes_on_from_when_the_broker_was_heard() {
        let heard = Instant::now();
        let anchor = Anchor { heard, wall_ns: 5 };
        assert_eq!(anchor.wall_ns(heard + Duration::from_nanos(7)), 12);
        assert_eq!(Anchor { heard: heard + Duration::from_secs(1), wall_ns: 5 }.wall_ns(heard), 5);
        assert_eq!(Anchor { heard, wall_ns: i64::MAX }.wall_ns(heard + Duration::from_secs(1)), i64::MAX);
    }
}
