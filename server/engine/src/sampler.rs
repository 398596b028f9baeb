//! Draws the next token of one sequence out of the logits.

use crate::random::uniform;
use crate::{BackendError, Sampling, TokenId};
use std::cmp::Ordering;
use std::collections::HashMap;

/// How many of the likeliest tokens top-p sorts at first; more by this factor until they suffice.
const NUCLEUS_FIRST: usize = 64;
const NUCLEUS_GROWTH: usize = 8;

/// The sampler of one sequence: what was asked, what was generated so far, and how many tokens were drawn.
///
/// Steps in this order: penalties and bias, temperature, top-k, top-p, min-p. The random number of a draw depends on
/// the seed and on the number of draws before, and on nothing else: the same seed and the same logits give the same
/// tokens, whatever other sequences do.
///
/// Total: settings out of their range act like the nearest end of it, or like "off" where they are no number.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    generated: HashMap<TokenId, u32>,
    drawn: u64,
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

impl Sampler {
    /// A sampler before its first draw.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, generated: HashMap::new(), drawn: 0 }
    }

    /// Draws the next token.
    ///
    /// # Errors
    /// There are no logits, or one is not a finite number.
    pub fn draw(&mut self, mut logits: Vec<f32>) -> Result<TokenId, BackendError> {
        self.adjust(&mut logits);
        let (likeliest, top) = likeliest(&logits)?;
        let token = if self.sampling.temperature > 0.0 { self.choose(&logits, top) } else { None };
        let token = token.unwrap_or(likeliest);
        self.drawn += 1;
        let count = self.generated.entry(token).or_default();
        *count = count.saturating_add(1);
        Ok(token)
    }

    /// Penalties and bias. Tokens outside the vocabulary have no logit to change.
    fn adjust(&self, logits: &mut [f32]) {
        let Sampling { frequency_penalty, presence_penalty, .. } = self.sampling;
        if frequency_penalty != 0.0 || presence_penalty != 0.0 {
            for (&token, &count) in &self.generated {
                if let Some(logit) = logit_of(logits, token) {
                    *logit -= frequency_penalty * count as f32 + presence_penalty;
                }
            }
        }
        for &(token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logit_of(logits, token) {
                *logit += bias;
            }
        }
    }

    /// A token by its probability, or `None` when rounding left none.
    fn choose(&self, logits: &[f32], top: f32) -> Option<TokenId> {
        let Sampling { temperature, top_p, top_k, min_p, .. } = self.sampling;
        let mut candidates: Vec<Candidate> = (0..)
            .zip(logits)
            .map(|(token, logit)| Candidate { token, weight: ((logit - top) / temperature).exp() })
            .collect();
        let keep = usize::try_from(top_k).unwrap_or(usize::MAX);
        if keep > 0 && keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, Candidate::order);
            candidates.truncate(keep);
        }
        if top_p < 1.0 {
            keep_nucleus(&mut candidates, f64::from(top_p));
        }
        if min_p > 0.0 {
            let least = min_p.min(1.0);
            candidates.retain(|candidate| candidate.weight >= least);
        }
        candidates.sort_unstable_by_key(|candidate| candidate.token);
        let point = uniform(self.sampling.seed, self.drawn) * sum(&candidates);
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

fn logit_of(logits: &mut [f32], token: TokenId) -> Option<&mut f32> {
    logits.get_mut(usize::try_from(token).ok()?)
}

/// The token with the highest logit, the lowest id on a tie, and that logit.
fn likeliest(logits: &[f32]) -> Result<(TokenId, f32), BackendError> {
    let mut best = None;
    for (token, &logit) in (0..).zip(logits) {
        if !logit.is_finite() {
            return Err(BackendError::new("a logit is not finite"));
        }
        if best.is_none_or(|(_, top)| logit > top) {
            best = Some((token, logit));
        }
    }
    best.ok_or(BackendError::new("no logits"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(seed: u64) -> Sampling {
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed,
        }
    }

    /// Sixteen tokens whose probabilities at temperature 1 are proportional to 1, 2, .. 16.
    fn sixteen() -> Vec<f32> {
        (1..=16).map(|weight: u8| f32::from(weight).ln()).collect()
    }

    /// How often each of the sixteen tokens is drawn in `draws` first draws under different seeds.
    fn tally(sampling: &Sampling, draws: u64) -> [f64; 16] {
        let mut counts = [0.0; 16];
        for seed in 0..draws {
            let token = Sampler::new(Sampling { seed, ..sampling.clone() }).draw(sixteen()).unwrap();
            counts[token as usize] += 1.0;
        }
        counts
    }

    /// Checks counts against weights with Pearson's chi-square; tokens of weight 0 must not occur.
    fn assert_distributed(counts: &[f64; 16], weights: &[f64; 16]) {
        let draws: f64 = counts.iter().sum();
        let whole: f64 = weights.iter().sum();
        let mut chi_square = 0.0;
        for (token, (count, weight)) in counts.iter().zip(weights).enumerate() {
            if *weight == 0.0 {
                assert_eq!(*count, 0.0, "token {token} was cut off");
            } else {
                let wanted = draws * weight / whole;
                chi_square += (count - wanted).powi(2) / wanted;
            }
        }
        // The 99.9th percentile for 15 degrees of freedom; with fewer the bound is only looser.
        assert!(chi_square < 37.7, "chi-square {chi_square}, {counts:?}");
    }

    fn weights(of: impl Fn(usize) -> f64) -> [f64; 16] {
        std::array::from_fn(of)
    }

    #[test]
    fn draws_by_probability() {
        assert_distributed(&tally(&plain(0), 20_000), &weights(|token| token as f64 + 1.0));
        let warm = Sampling { temperature: 2.0, ..plain(0) };
        assert_distributed(&tally(&warm, 20_000), &weights(|token| (token as f64 + 1.0).sqrt()));
    }

    #[test]
    fn positions_of_one_seed_draw_by_probability_too() {
        let mut sampler = Sampler::new(plain(11));
        let mut counts = [0.0; 16];
        for _ in 0..20_000 {
            counts[sampler.draw(sixteen()).unwrap() as usize] += 1.0;
        }
        assert_distributed(&counts, &weights(|token| token as f64 + 1.0));
    }

    #[test]
    fn top_k_keeps_the_likeliest_and_the_lowest_ids_on_a_tie() {
        let sampling = Sampling { top_k: 3, ..plain(0) };
        let kept = weights(|token| if token >= 13 { token as f64 + 1.0 } else { 0.0 });
        assert_distributed(&tally(&sampling, 5_000), &kept);
        for seed in 0..200 {
            let token = Sampler::new(Sampling { seed, ..sampling.clone() }).draw(vec![1.0; 16]).unwrap();
            assert!(token < 3);
        }
    }

    #[test]
    fn top_p_keeps_as_few_as_reach_the_share() {
        // 16 + 15 + 14 = 45 of 136 is 0.33; 0.34 needs one more.
        for (top_p, kept) in [(0.33, 3), (0.34, 4), (0.0, 1), (-1.0, 1), (0.999, 16)] {
            let sampling = Sampling { top_p, ..plain(0) };
            let wanted = weights(|token| if token >= 16 - kept { token as f64 + 1.0 } else { 0.0 });
            assert_distributed(&tally(&sampling, 5_000), &wanted);
        }
    }

    #[test]
    fn top_p_looks_beyond_the_first_candidates() {
        let flat = vec![0.0; 2_000];
        let seen: std::collections::BTreeSet<_> = (0..4_000)
            .map(|seed| Sampler::new(Sampling { top_p: 0.5, ..plain(seed) }).draw(flat.clone()).unwrap())
            .collect();
        assert!(seen.iter().all(|token| *token < 1_000));
        assert!(seen.len() > 900, "{}", seen.len());
    }

    #[test]
    fn min_p_drops_below_the_share_of_the_likeliest() {
        let sampling = Sampling { min_p: 0.5, ..plain(0) };
        // Token 7 has weight 8 of 16, which rounding may put on either side; 8 and above are kept.
        let counts = tally(&sampling, 5_000);
        assert!(counts[..7].iter().all(|count| *count == 0.0), "{counts:?}");
        assert!(counts[8..].iter().all(|count| *count > 0.0), "{counts:?}");
    }

    #[test]
    fn top_p_counts_what_top_k_left() {
        // Of 16 + 15 the first is 0.516: enough for a half, but not half of all sixteen.
        let sampling = Sampling { top_k: 2, top_p: 0.5, ..plain(0) };
        assert_distributed(&tally(&sampling, 500), &weights(|token| f64::from(u8::from(token == 15))));
    }

    /// The documented order of steps, written down as plainly as it can be.
    fn reference(logits: &[f32], sampling: &Sampling) -> TokenId {
        let top = logits.iter().copied().fold(f32::MIN, f32::max);
        let weight = |logit: &f32| ((logit - top) / sampling.temperature).exp();
        let mut kept: Vec<(usize, f32)> = logits.iter().map(weight).enumerate().collect();
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
        kept.truncate(sampling.top_k as usize);
        let whole: f64 = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut before = 0.0;
        kept.retain(|(_, weight)| {
            let keep = before < f64::from(sampling.top_p) * whole;
            before += f64::from(*weight);
            keep
        });
        kept.retain(|(_, weight)| *weight >= sampling.min_p);
        kept.sort_by_key(|(token, _)| *token);
        let whole: f64 = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut point = uniform(sampling.seed, 0) * whole;
        let chosen = kept.iter().find(|(_, weight)| {
            point -= f64::from(*weight);
            point < 0.0
        });
        TokenId::try_from(chosen.expect("a candidate").0).expect("a small vocabulary")
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "any logit will do")]
    fn agrees_with_the_plain_reference() {
        for seed in 0..2_000 {
            let logits: Vec<f32> = (0..300).map(|token| uniform(seed, 1_000 + token) as f32 * 8.0).collect();
            let sampling = Sampling { temperature: 1.3, top_k: 150, top_p: 0.9, min_p: 0.02, ..plain(seed) };
            let drawn = Sampler::new(sampling.clone()).draw(logits.clone()).unwrap();
            assert_eq!(drawn, reference(&logits, &sampling), "seed {seed}");
        }
    }

    #[test]
    fn greedy_takes_the_lowest_id_on_a_tie() {
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..plain(3) });
        assert_eq!(sampler.draw(vec![0.0, 2.0, 1.0, 2.0]).unwrap(), 1);
        let mut sampler = Sampler::new(Sampling { temperature: f32::NAN, ..plain(3) });
        assert_eq!(sampler.draw(vec![5.0, 2.0]).unwrap(), 0);
    }

    #[test]
    fn penalties_count_generated_tokens() {
        let greedy = Sampling { temperature: 0.0, ..plain(0) };
        let logits = || vec![1.0, 0.75, 0.0];
        let mut presence = Sampler::new(Sampling { presence_penalty: 0.5, ..greedy.clone() });
        let drawn: Vec<_> = (0..4).map(|_| presence.draw(logits()).unwrap()).collect();
        assert_eq!(drawn, [0, 1, 0, 0], "once for each token that was generated at all");
        let mut frequency = Sampler::new(Sampling { frequency_penalty: 0.5, ..greedy });
        let drawn: Vec<_> = (0..5).map(|_| frequency.draw(logits()).unwrap()).collect();
        assert_eq!(drawn, [0, 1, 0, 1, 0], "more each time");
    }

    #[test]
    fn bias_forbids_and_forces() {
        let biased = |bias| Sampling { logit_bias: vec![(3, bias), (900, 5.0)], ..plain(0) };
        assert_eq!(tally(&biased(-100.0), 2_000)[3], 0.0);
        assert_eq!(tally(&biased(100.0), 2_000)[3], 2_000.0);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let run = |seed| {
            let mut sampler = Sampler::new(plain(seed));
            (0..40).map(|_| sampler.draw(sixteen()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn refuses_logits_that_are_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for temperature in [0.0, 1.0] {
                let mut sampler = Sampler::new(Sampling { temperature, ..plain(0) });
                let error = sampler.draw(vec![0.0, bad, 1.0]).unwrap_err();
                assert_eq!(error.code(), "a logit is not finite");
            }
        }
        assert_eq!(Sampler::new(plain(0)).draw(Vec::new()).unwrap_err().code(), "no logits");
    }
}
