//! The store: what the cache has, and the network for the rest.

use crate::bundle;
use crate::cache::{Cache, Entry};
use crate::config::{Config, Mode};
use crate::endorsement::Endorsement;
use crate::error::{Cause, Error, Failure};
use crate::fetch::{Flights, after, fetch};
use crate::item::Item;
use crate::plan::{Wanted, follow_up, plan};
use crate::rim_ids::rim_ids;
use crate::transport::Transport;
use crate::{answer, request};
use anchorhold_rats::{Endorsements, Evidence, EvidenceBundle, EvidenceError, Timestamp};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The most absences that are remembered.
const MAX_ABSENT: usize = 1024;

/// Evidence with what vendors say about it; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// The evidence, with the certificates that it lacked.
    pub evidence: Evidence,
    /// What vendors say.
    pub endorsements: Endorsements,
    /// Why something that was fetched is not in the cache, where the disk refused it. The endorsements are whole all the
    /// same.
    pub not_kept: Option<io::ErrorKind>,
}

impl Endorsed {
    /// Evidence and endorsements as a file from which they can be judged offline.
    ///
    /// # Errors
    /// [`EvidenceError`] when they are over the limits with which bundles are read.
    pub fn into_bundle(self, taken: Timestamp) -> Result<EvidenceBundle, EvidenceError> {
        self.evidence.check_limits()?;
        self.endorsements.check_limits()?;
        let mut bundle = EvidenceBundle::new(self.evidence, self.endorsements);
        bundle.taken = Some(taken);
        Ok(bundle)
    }
}

/// What could be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// The evidence, with everything that was found.
    pub endorsed: Endorsed,
    /// What was not.
    pub missing: Vec<Failure>,
}

/// What one question brought, or why it brought nothing.
type Outcome = Result<(Endorsement, Option<io::ErrorKind>), Cause>;

/// Fetches endorsements and keeps them. One store serves many calls at once.
pub struct EndorsementStore<T> {
    config: Config,
    transport: T,
    cache: Cache,
    permits: Semaphore,
    flights: Flights<Outcome>,
    /// Keys of what services did not have: the status, and until when it is believed. Held only to look or to note.
    absent: Mutex<HashMap<String, (u16, Timestamp)>>,
}

impl<T: Transport> EndorsementStore<T> {
    /// A store with these settings.
    pub fn new(config: Config, transport: T, cache: Cache) -> Self {
        let permits = Semaphore::new(config.limits.parallel.get().min(Semaphore::MAX_PERMITS));
        Self { config, transport, cache, permits, flights: Flights::default(), absent: Mutex::default() }
    }

    /// The endorsements that judging `evidence` at `at` needs.
    ///
    /// # Errors
    /// [`Error::Missing`] unless all of them were found; then nothing is returned, but what was found is in the cache. For
    /// what there is, see [`gather`](Self::gather).
    pub async fn endorse(&self, evidence: &Evidence, at: Timestamp) -> Result<Endorsed, Error> {
        let Gathered { endorsed, missing } = self.gather(evidence, at).await?;
        if missing.is_empty() { Ok(endorsed) } else { Err(Error::Missing(missing)) }
    }

    /// The same, but with what was found even when something is missing, so that a verifier can tell all that is wrong.
    ///
    /// # Errors
    /// [`Error::Evidence`] when the evidence does not say what to ask for, [`Error::Limits`] when it is over its own limits.
    pub async fn gather(&self, evidence: &Evidence, at: Timestamp) -> Result<Gathered, Error> {
        evidence.check_limits()?;
        let deadline = after(Instant::now(), self.config.limits.total_timeout);
        let mut found = Found::default();
        let first = plan(evidence, &rim_ids(evidence), &self.config)?;
        self.obtain_all(&first, (at, deadline), &mut found).await;
        let second = follow_up(&first, &found.items, &self.config)?;
        self.obtain_all(&second, (at, deadline), &mut found).await;
        let (evidence, endorsements) = bundle::assemble(evidence.clone(), &found.items);
        let endorsed = Endorsed { evidence, endorsements, not_kept: found.not_kept };
        Ok(Gathered { endorsed, missing: found.missing })
    }

    /// Fills the cache with the endorsements of a bundle, unverified as everything in it. What is not about its evidence or
    /// not readable is left out, and what the cache has for as long or longer stays. Returns what the cache has now.
    ///
    /// # Errors
    /// [`Error::Evidence`] and [`Error::Limits`] as [`gather`](Self::gather), [`Error::Cache`] when the disk refuses.
    pub async fn import(&self, bundle: &EvidenceBundle, at: Timestamp) -> Result<Vec<Item>, Error> {
        bundle.evidence.check_limits()?;
        bundle.endorsements.check_limits()?;
        let fetched = bundle.taken.unwrap_or(at).min(at);
        let mut kept = Vec::new();
        for (item, value) in bundle::entries(bundle, &rim_ids(&bundle.evidence), &self.config)? {
            let Ok(ends) = answer::judge(&item, &value) else { continue };
            let entry = self.entry(&item, value, fetched, ends);
            let known = self.cache.get(item.key()).await;
            if known.is_none_or(|known| known.expires < entry.expires) {
                self.cache.put(entry).await.map_err(|error| Error::Cache(error.kind()))?;
            }
            kept.push(item);
        }
        Ok(kept)
    }

    async fn obtain_all(&self, wanted: &[Wanted], (at, deadline): (Timestamp, Instant), found: &mut Found) {
        let outcomes = join_all(wanted.iter().map(|wanted| self.obtain(wanted, at, deadline))).await;
        for outcome in outcomes {
            match outcome {
                Ok((item, (value, not_kept))) => {
                    found.items.push((item, value));
                    found.not_kept = found.not_kept.or(not_kept);
                }
                Err(failure) => found.missing.push(failure),
            }
        }
    }

    async fn obtain(
        &self,
        wanted: &Wanted,
        at: Timestamp,
        deadline: Instant,
    ) -> Result<(Item, (Endorsement, Option<io::ErrorKind>)), Failure> {
        let mut others = wanted.otherwise.iter();
        let mut item = &wanted.item;
        loop {
            let cause = match self.obtain_item(item, at, deadline).await {
                Ok(found) => return Ok((item.clone(), found)),
                Err(cause) => cause,
            };
            let may_be_other =
                matches!(cause, Cause::Absent { .. } | Cause::NotCached | Cause::Expired { .. });
            match others.next() {
                Some(other) if may_be_other => item = other,
                _ => return Err(self.failure(item, cause)),
            }
        }
    }

    fn failure(&self, item: &Item, cause: Cause) -> Failure {
        let host = request::source(&self.config, item).base.host().to_owned();
        Failure { vendor: item.vendor(), item: Box::new(item.clone()), host, cause }
    }

    async fn obtain_item(&self, item: &Item, at: Timestamp, deadline: Instant) -> Outcome {
        let key = item.key();
        let mode = self.config.mode;
        let cached = if mode == Mode::Refresh { None } else { self.cache.get(key.clone()).await };
        let good = match (mode, cached) {
            (Mode::CacheFirst, Some(entry)) if entry.is_fresh_at(at) => return Ok((entry.value, None)),
            (Mode::Offline, Some(entry)) if entry.is_good_at(at) => return Ok((entry.value, None)),
            (Mode::Offline, Some(entry)) => return Err(Cause::Expired { expired: entry.expires }),
            (Mode::Offline, None) => return Err(Cause::NotCached),
            (_, cached) => cached.filter(|entry| entry.is_good_at(at)),
        };
        let asked = match self.known_absent(&key, at) {
            Some(status) => Err(Cause::Absent { status }),
            None => self.flights.once(&key, self.ask(item, at, deadline)).await,
        };
        // A vendor that is down takes nothing away: what it signed holds until the end that it stated.
        match (asked, good) {
            (Err(_), Some(entry)) => Ok((entry.value, None)),
            (asked, _) => asked,
        }
    }

    /// Asks the network and keeps the answer.
    async fn ask(&self, item: &Item, at: Timestamp, deadline: Instant) -> Outcome {
        let request = request::request(&self.config, item).ok_or(Cause::Url)?;
        let read = |received: &_| {
            let value = answer::take(item, received)?;
            let ends = answer::judge(item, &value)?;
            Ok((value, ends))
        };
        let through = (&self.transport, &self.permits);
        let (value, ends) = match fetch(through, &request, &self.config.limits, deadline, read).await {
            Ok(read) => read,
            Err(cause) => {
                if let Cause::Absent { status } = cause {
                    self.note_absent(item.key(), status, at);
                }
                return Err(cause);
            }
        };
        let kept = self.cache.put(self.entry(item, value.clone(), at, ends)).await;
        Ok((value, kept.err().map(|error| error.kind())))
    }

    fn entry(&self, item: &Item, value: Endorsement, fetched: Timestamp, ends: Option<Timestamp>) -> Entry {
        let ages = &self.config.ages;
        let age = match item {
            // The same for as long as it is valid.
            Item::Vcek { .. } => i64::MAX,
            Item::AmdChain { .. } => ages.certificates,
            Item::AmdCrl { .. } | Item::PckCrl { .. } | Item::IntelRootCrl => ages.revocation_lists,
            Item::TcbInfo { .. } | Item::QeIdentity { .. } => ages.statements,
            Item::Rim(_) => ages.manifests,
            Item::Ocsp(_) => ages.ocsp,
        };
        Entry::new(item.key(), value, (fetched, age), ends)
    }

    /// The status with which the service said lately that it has none.
    fn known_absent(&self, key: &str, at: Timestamp) -> Option<u16> {
        if self.config.mode == Mode::Refresh {
            return None;
        }
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = |until: Timestamp| at < until && until <= at.plus_seconds(self.config.ages.absent);
        absent.get(key).filter(|(_, until)| believed(*until)).map(|(status, _)| *status)
    }

    fn note_absent(&self, key: String, status: u16, at: Timestamp) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX_ABSENT {
            absent.retain(|_, (_, until)| at < *until);
        }
        if absent.len() < MAX_ABSENT {
            absent.insert(key, (status, at.plus_seconds(self.config.ages.absent)));
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    items: Vec<(Item, Endorsement)>,
    missing: Vec<Failure>,
    not_kept: Option<io::ErrorKind>,
}
