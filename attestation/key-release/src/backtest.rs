//! A policy asked about every decision of a log: which of them would have ended otherwise.

use crate::{Machines, Recorded, ReleasePolicy, WeightsKeyTerms, replay};
use anchorhold_audit_log::claims::TeeClaims;
use anchorhold_audit_log::{Entry, EventType, Outcome, Route};
use anchorhold_rats::{Check, Ed25519PublicKey, Measurement, Sha256Digest, Timestamp};
use serde::Serialize;

/// The most decisions that are told one by one.
pub const MAX_TOLD: usize = 4096;
/// The most failed rules that are told of one decision.
const MAX_TOLD_RULES: usize = 16;

/// How a decision ended, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// A key was released under this grant.
    Released {
        /// Its name.
        grant: String,
    },
    /// It was refused with this code.
    Refused {
        /// The code.
        code: String,
    },
}

/// A decision that would have ended otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct ChangedDecision {
    /// The entry's place in the log.
    pub index: u64,
    /// When it was made, as the broker's clock said.
    pub at: Timestamp,
    /// What was launched.
    pub measurement: Measurement,
    /// The model that was asked for, where the log tells.
    pub model: Option<String>,
    /// How it ended.
    pub then: Ending,
    /// How it would have ended.
    pub now: Ending,
    /// The rules that fail now in the nearest grant.
    pub failed: Vec<Check>,
    /// The rules that were not asked; a release that depends on them may not be one.
    pub not_asked: Vec<&'static str>,
}

/// What a policy says of the decisions of a log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Backtest {
    /// Keys that were released.
    pub releases: u64,
    /// Requests that were refused by a policy.
    pub refusals: u64,
    /// Releases that would have been refused.
    pub releases_refused: u64,
    /// Refusals that would have been releases, as far as the log tells.
    pub refusals_released: u64,
    /// Decisions without claims: the evidence was not authentic, or the entry is of a version that kept none.
    pub without_claims: u64,
    /// Refusals that no policy decided, such as a full grant.
    pub of_no_policy: u64,
    /// Decisions whose claims this version does not read.
    pub unreadable: u64,
    /// Resources that were released or refused to guests of the KBS role; a policy's grants of those are not asked.
    pub of_resources: u64,
    /// Those that would have ended otherwise, in the order of the log; at most [`MAX_TOLD`].
    pub changed: Vec<ChangedDecision>,
}

/// Codes of refusals that say nothing about claims and policy.
const OF_NO_POLICY: [&str; 4] =
    ["instances_exceeded", "log_origin_taken", "stage_denied", "endorsements_unavailable"];

impl Backtest {
    /// Asks `policy` about the decision that `entry` tells of; an entry that tells of none is passed over.
    pub fn add(&mut self, policy: &ReleasePolicy, entry: &Entry, machines: Machines<'_>) {
        let decides =
            matches!(entry.kind, EventType::KeyRelease | EventType::KeyRenew | EventType::KeyRefuse);
        if decides && entry.req.as_ref().is_some_and(|request| request.route == Route::Kbs) {
            self.of_resources += 1;
            return;
        }
        let then = match (entry.kind, entry.out) {
            (EventType::KeyRelease | EventType::KeyRenew, Outcome::Success) => {
                self.releases += 1;
                let grant = entry.decision.as_ref().and_then(|decision| decision.grant.as_ref());
                Ending::Released { grant: grant.map_or_else(String::new, ToString::to_string) }
            }
            (EventType::KeyRefuse, Outcome::Denied) => {
                self.refusals += 1;
                Ending::Refused { code: entry.code.to_string() }
            }
            _ => return,
        };
        let Some(claims) = entry.decision.as_ref().and_then(|decision| decision.claims.as_ref()) else {
            self.without_claims += 1;
            return;
        };
        if matches!(&then, Ending::Refused { code } if OF_NO_POLICY.contains(&code.as_str())) {
            self.of_no_policy += 1;
            return;
        }
        let at = Timestamp::from_unix_seconds(entry.t.div_euclid(1_000_000_000));
        let terms = terms(entry);
        let released = terms.as_ref().filter(|_| matches!(then, Ending::Released { .. }));
        let Ok(replayed) = replay(policy, &Recorded { claims, at, released }, machines) else {
            self.unreadable += 1;
            return;
        };
        let nearest = replayed.trace.nearest().map(|grant| grant.checks().failed().take(MAX_TOLD_RULES));
        let failed = nearest.into_iter().flatten().cloned().collect();
        let now = match (replayed.grant, replayed.refused) {
            (Some(grant), _) => Ending::Released { grant },
            (None, code) => Ending::Refused { code: code.unwrap_or_default() },
        };
        match (&then, &now) {
            (Ending::Released { .. }, Ending::Refused { .. }) => self.releases_refused += 1,
            (Ending::Refused { .. }, Ending::Released { .. }) => self.refusals_released += 1,
            _ => return,
        }
        if self.changed.len() < MAX_TOLD {
            let measurement = match &claims.tee {
                TeeClaims::Snp(snp) => snp.measurement,
                TeeClaims::Tdx(tdx) => tdx.mrtd,
            };
            self.changed.push(ChangedDecision {
                index: entry.seq,
                at,
                measurement: Measurement::new(*measurement.as_bytes()),
                model: claims.asked.model.as_ref().map(ToString::to_string),
                then,
                now,
                failed,
                not_asked: replayed.not_asked,
            });
        }
    }

    /// Whether no decision would have ended otherwise.
    #[must_use]
    pub const fn is_unchanged(&self) -> bool {
        self.releases_refused == 0 && self.refusals_released == 0
    }
}

/// What was released, as far as rules are about it.
fn terms(entry: &Entry) -> Option<WeightsKeyTerms> {
    let (model, key) = (entry.model.as_ref()?, entry.key.as_ref()?);
    Some(WeightsKeyTerms {
        model_id: model.id.as_str().parse().ok()?,
        version: model.ver?,
        kid: key.kid.to_string(),
        manifest_digest: Sha256Digest::new(*model.manifest?.as_bytes()),
        owner_key: Ed25519PublicKey::new([0; 32]),
    })
}
