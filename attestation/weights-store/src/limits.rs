//! What a fetch may take: time, attempts, memory.

use std::time::Duration;

/// The limits of a fetch. Lengths are in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Ciphertext that one request asks for; 16 to 64 MiB keep both the number of requests and what a broken one costs small.
    /// At least one segment is asked for.
    pub range_len: u64,
    /// Requests at one time, from 1 to 16. Each holds one segment in memory.
    pub in_flight: usize,
    /// So many failures in a row, with no segment verified in between, end the fetch.
    pub attempts: u32,
    /// The wait after the first failure; it doubles, and is spread by chance between half and the whole.
    pub first_wait: Duration,
    /// The longest wait between two attempts. A store that asks for a longer one is given up.
    pub longest_wait: Duration,
    /// How often an object may change in the store before it is given up.
    pub changes: u32,
    /// For the TCP connection and the TLS handshake together.
    pub connect_timeout: Duration,
    /// From the request to the end of the answer's head.
    pub head_timeout: Duration,
    /// The span over which the rate of an answer is taken. Time in which we are busy ourselves does not count.
    pub pace_window: Duration,
    /// The least that must come in each [`pace_window`](Self::pace_window).
    pub pace_least: u64,
    /// For another process to finish with the same package.
    pub lock_wait: Duration,
    /// The whole fetch, all waiting included.
    pub total: Duration,
    /// What is newly verified is noted on disk when this much came, and at every end.
    pub note_every: u64,
}

impl Limits {
    /// The most requests at one time.
    pub const MAX_IN_FLIGHT: usize = 16;
}

impl Default for Limits {
    /// 32 MiB a request, 8 at a time, 6 attempts with waits of 0.5 to 15 s, at least 640 KiB in 10 s, 1 hour for
    /// another process, 4 hours in all.
    fn default() -> Self {
        Self {
            range_len: 32 << 20,
            in_flight: 8,
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(15),
            changes: 3,
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            pace_window: Duration::from_secs(10),
            pace_least: 640 << 10,
            lock_wait: Duration::from_secs(3600),
            total: Duration::from_secs(4 * 3600),
            note_every: 256 << 20,
        }
    }
}
