//! One draw of a token: all that it depends on besides the logits, and how it is made. The same steps as in `draw.cuh` of the CUDA decoder,
//! whose tests hold them against these.

use crate::{BackendError, TokenId};
use std::cmp::Ordering;

/// How many of the likeliest tokens top-p sorts at first; more by this factor until they suffice.
const NUCLEUS_FIRST: usize = 64;
const NUCLEUS_GROWTH: usize = 8;

/// A draw whose logits are the model's own, so that it can be made where they are. Its random number is in it: who makes the draw keeps no
/// state.
///
/// Steps in this order: temperature, top-k, top-p, min-p, and of what is left, in the order of the ids, the first token whose running sum of
/// weights is above the random number's share of all. Where rounding left none, the likeliest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Divides the logits; 0 takes the likeliest token, the lowest id on a tie. Finite.
    pub temperature: f32,
    /// Keeps so many of the likeliest tokens, the lowest ids on a tie; 0 keeps all.
    pub top_k: u32,
    /// Keeps as few of the likeliest as reach this share of what top-k left; from 0, which keeps one, to 1, which keeps all.
    pub top_p: f32,
    /// Keeps what has at least this share of the likeliest token's probability; from 0, which keeps all, to 1.
    pub min_p: f32,
    /// The random number, in `0.0..1.0`.
    pub uniform: f64,
}

impl Draw {
    /// The token that is drawn out of these logits.
    ///
    /// # Errors
    /// There are no logits, or one is not a finite number.
    pub fn token(&self, logits: &[f32]) -> Result<TokenId, BackendError> {
        check_finite(logits)?;
        self.choose(logits).ok_or(BackendError::new("no logits"))
    }

    /// The same; a logit may be minus infinity, whose token never comes. `None` when none may come.
    pub(crate) fn choose(&self, logits: &[f32]) -> Option<TokenId> {
        let (likeliest, top) = likeliest(logits)?;
        let by_weight = if self.temperature > 0.0 { self.choose_by_weight(logits, top) } else { None };
        Some(by_weight.unwrap_or(likeliest))
    }

    /// A token by its probability, or `None` when rounding left none.
    fn choose_by_weight(&self, logits: &[f32], top: f32) -> Option<TokenId> {
        let mut candidates: Vec<Candidate> = (0..)
            .zip(logits)
            .map(|(token, logit)| Candidate { token, weight: ((logit - top) / self.temperature).exp() })
            .collect();
        let keep = usize::try_from(self.top_k).unwrap_or(usize::MAX);
        if keep > 0 && keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, Candidate::order);
            candidates.truncate(keep);
        }
        if self.top_p < 1.0 {
            keep_nucleus(&mut candidates, f64::from(self.top_p));
        }
        if self.min_p > 0.0 {
            candidates.retain(|candidate| candidate.weight >= self.min_p);
        }
        candidates.sort_unstable_by_key(|candidate| candidate.token);
        let point = self.uniform * sum(&candidates);
        let mut reached = 0.0;
        candidates
            .iter()
            .find(|candidate| {
                reached += f64::from(candidate.weight);
                reached > point
            })
            .map(|candidate| candidate.token)
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: TokenId,
    /// Proportional to the probability; 1 for the likeliest token.
    weight: f32,
}

impl Candidate {
    /// Likeliest first; of two alike, the lower id first.
    fn order(&self, other: &Self) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.token.cmp(&other.token))
    }
}

pub(crate) fn check_finite(logits: &[f32]) -> Result<(), BackendError> {
    match logits.iter().all(|logit| logit.is_finite()) {
        _ if logits.is_empty() => Err(BackendError::new("no logits")),
        true => Ok(()),
        false => Err(BackendError::NOT_FINITE),
    }
}

/// The token with the highest logit, the lowest id on a tie, and that logit; `None` when no token may come.
pub(crate) fn likeliest(logits: &[f32]) -> Option<(TokenId, f32)> {
    let mut best = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit > f32::NEG_INFINITY && best.is_none_or(|(_, top)| logit > top) {
            best = Some((token, logit));
        }
    }
    best
}

/// Keeps the likeliest candidates, as few as reach `share` of the whole weight, and at least one.
fn keep_nucleus(candidates: &mut Vec<Candidate>, share: f64) {
    let wanted = share * sum(candidates);
    let mut sorted = NUCLEUS_FIRST;
    loop {
        if sorted < candidates.len() {
            candidates.select_nth_unstable_by(sorted - 1, Candidate::order);
        }
        let end = sorted.min(candidates.len());
        let head = candidates.get_mut(..end).unwrap_or_default();
        head.sort_unstable_by(Candidate::order);
        let mut reached = 0.0;
        let last = head.iter().position(|candidate| {
            reached += f64::from(candidate.weight);
            reached >= wanted
        });
        if let Some(last) = last {
            return candidates.truncate(last + 1);
        }
        if end == candidates.len() {
            return;
        }
        sorted = sorted.saturating_mul(NUCLEUS_GROWTH);
    }
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}
