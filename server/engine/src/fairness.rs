//! Whose turn it is: each domain gets work in proportion to its share, however many requests it has.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over tokens: a domain's time grows with the tokens that were
//! computed for it, divided by its share, and the domain whose time is least comes first. One that comes back after a pause
//! begins at the time of those who did not pause, so that nobody saves turns up.

use crate::{CacheDomain, Tenancy};
use std::collections::HashMap;

/// One token of a domain with a share of 1.
const UNIT: u64 = 1 << 20;

/// A share as it counts.
pub(crate) fn share(tenancy: Tenancy) -> u64 {
    u64::from(tenancy.share.max(1))
}

/// How much of a queue that holds `limit` one domain may fill, beside those who are `busy`. Room for one more of share 1 stays free for
/// who comes next, so that a domain alone does not fill the queue.
#[must_use]
pub fn part(limit: usize, of: Tenancy, busy: impl Iterator<Item = Tenancy>) -> usize {
    let mut shares: HashMap<CacheDomain, u64> = busy.map(|one| (one.domain, share(one))).collect();
    shares.insert(of.domain, share(of));
    let all = shares.values().map(|share| u128::from(*share)).sum::<u128>() + 1;
    let limit = u128::try_from(limit).unwrap_or(u128::MAX);
    usize::try_from(limit.saturating_mul(share(of).into()) / all).unwrap_or(usize::MAX)
}

#[derive(Debug, Default)]
pub(crate) struct Turns {
    times: HashMap<CacheDomain, u64>,
    /// The time of whoever was served last.
    now: u64,
}

impl Turns {
    /// Takes note of a domain that has something to do.
    pub(crate) fn arrive(&mut self, domain: CacheDomain) {
        let now = self.now;
        let time = self.times.entry(domain).or_insert(now);
        *time = now.max(*time);
    }

    /// When it is the domain's turn; the least is next.
    pub(crate) fn time(&self, domain: CacheDomain) -> u64 {
        self.times.get(&domain).copied().unwrap_or(self.now)
    }

    /// Counts tokens that a domain gets.
    pub(crate) fn charge(&mut self, domain: CacheDomain, tokens: usize, share: u32) {
        let begin = self.time(domain);
        self.now = self.now.max(begin);
        let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
        let time = begin.saturating_add(tokens.saturating_mul(UNIT) / u64::from(share.max(1)));
        self.times.insert(domain, time);
    }

    /// Forgets domains that have nothing to do and are owed nothing.
    pub(crate) fn forget(&mut self, busy: impl Fn(CacheDomain) -> bool) {
        let now = self.now;
        self.times.retain(|domain, time| *time > now || busy(*domain));
    }
}
