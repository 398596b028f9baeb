//! Draws the next token of one sequence out of the logits.

use crate::draw::{check_finite, likeliest};
use crate::logprobs::Distribution;
use crate::random::uniform;
use crate::{BackendError, Constraint, Draw, Logprobs, Sampling, TokenId, TooComplex};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The sampler of one sequence: what was asked, what was generated so far, and how many tokens were drawn.
///
/// Steps in this order: penalties and bias, what may not come, temperature, top-k, top-p, min-p. The random number of a draw depends on
/// the seed and on the number of draws before, and on nothing else: the same seed and the same logits give the same
/// tokens, whatever other sequences do.
///
/// Total: settings out of their range act like the nearest end of it, or like "off" where they are no number.
#[derive(Clone)]
pub struct Sampler {
    sampling: Sampling,
    /// The tokens of the prompt, where the sampling asks for them.
    prompt: HashSet<TokenId>,
    generated: HashMap<TokenId, u32>,
    drawn: u64,
}

impl fmt::Debug for Sampler {
    /// Without the caller's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("sampling", &self.sampling)
            .field("drawn", &self.drawn)
            .finish_non_exhaustive()
    }
}

/// What may not come next, and what is told of what comes.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// Tokens that may not come, unless nothing else may.
    pub forbidden: &'a [&'a [TokenId]],
    /// What the sequence must keep to; it wins over everything else.
    pub constraint: Option<&'a mut dyn Constraint>,
    /// How many of the likeliest tokens are told, with the drawn one's probability; `None` tells nothing.
    pub logprobs: Option<u8>,
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: TokenId,
    /// What the model thought of it, where that was asked.
    pub logprobs: Option<Logprobs>,
}

/// Why no token was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The logits are not those of a model that works.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The constraint gave up.
    #[error(transparent)]
    Constraint(#[from] TooComplex),
}

impl Sampler {
    /// A sampler before its first draw.
    #[must_use]
    pub fn new(sampling: Sampling, prompt: &[TokenId]) -> Self {
        let prompt = if sampling.repetition_penalty == 1.0 {
            HashSet::new()
        } else {
            prompt.iter().copied().collect()
        };
        Self { sampling, prompt, generated: HashMap::new(), drawn: 0 }
    }

    /// Draws the next token.
    ///
    /// # Errors
    /// [`DrawError::Backend`]: there are no logits, or one is not a finite number. [`DrawError::Constraint`]: the constraint gave up,
    /// or left no token.
    pub fn draw(&mut self, mut logits: Vec<f32>, terms: Terms<'_>) -> Result<Drawn, DrawError> {
        let told = match terms.logprobs {
            None => None,
            Some(count) => {
                check_finite(&logits)?;
                Some((Distribution::of(&logits, count.into()), logits.clone()))
            }
        };
        self.adjust(&mut logits);
        check_finite(&logits)?;
        let mut constraint = terms.constraint;
        if let Some(constraint) = &mut constraint {
            constraint.restrict(&mut logits)?;
        }
        forbid(&mut logits, terms.forbidden);
        let token = self.next_draw().choose(&logits).ok_or(TooComplex)?;
        if let Some(constraint) = &mut constraint {
            constraint.accept(token)?;
        }
        self.count(token);
        let logprobs = told.and_then(|(distribution, mut raw)| {
            let logit = logit_of(&mut raw, token)?;
            Some(distribution.told(*logit))
        });
        Ok(Drawn { token, logprobs })
    }

    /// The next draw, where the logits are taken as they are: no penalty and no bias changes them. Made elsewhere, and counted by
    /// [`Self::count`], it is what [`Self::draw`] without terms does.
    #[must_use]
    pub fn plain_draw(&self) -> Option<Draw> {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, logit_bias, .. } =
            &self.sampling;
        let repeats = *repetition_penalty != 1.0 && *repetition_penalty > 0.0;
        let adjusts =
            repeats || *frequency_penalty != 0.0 || *presence_penalty != 0.0 || !logit_bias.is_empty();
        (!adjusts).then(|| self.next_draw())
    }

    /// Counts a token that was drawn.
    pub fn count(&mut self, token: TokenId) {
        self.drawn += 1;
        let count = self.generated.entry(token).or_default();
        *count = count.saturating_add(1);
    }

    fn next_draw(&self) -> Draw {
        let Sampling { temperature, top_k, top_p, min_p, seed, .. } = self.sampling;
        Draw {
            // Written so that what is no number is off.
            temperature: if temperature > 0.0 { temperature.min(f32::MAX) } else { 0.0 },
            top_k,
            top_p: if top_p < 1.0 { top_p.max(0.0) } else { 1.0 },
            min_p: if min_p > 0.0 { min_p.min(1.0) } else { 0.0 },
            uniform: uniform(seed, self.drawn),
        }
    }

    /// Penalties and bias. Tokens outside the vocabulary have no logit to change.
    fn adjust(&self, logits: &mut [f32]) {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.sampling;
        if repetition_penalty != 1.0 && repetition_penalty > 0.0 {
            let again = self.generated.keys().filter(|token| !self.prompt.contains(token));
            for &token in self.prompt.iter().chain(again) {
                if let Some(logit) = logit_of(logits, token) {
                    *logit =
                        if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                }
            }
        }
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
}

fn logit_of(logits: &mut [f32], token: TokenId) -> Option<&mut f32> {
    logits.get_mut(usize::try_from(token).ok()?)
}

/// Takes tokens out, unless no other is left.
fn forbid(logits: &mut [f32], forbidden: &[&[TokenId]]) {
    let mut before = Vec::new();
    for &token in forbidden.iter().copied().flatten() {
        if let Some(logit) = logit_of(logits, token) {
            before.push((token, std::mem::replace(logit, f32::NEG_INFINITY)));
        }
    }
    if !before.is_empty() && likeliest(logits).is_none() {
        // In reverse, because a token may stand there twice.
        for (token, logit) in before.into_iter().rev() {
            if let Some(place) = logit_of(logits, token) {
                *place = logit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(seed: u64) -> Sampling {
        Sampling { seed, ..Sampling::default() }
    }

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(sampling, &[])
    }

    /// A draw without terms.
    fn draw(sampler: &mut Sampler, logits: Vec<f32>) -> TokenId {
        sampler.draw(logits, Terms::default()).unwrap().token
    }

    /// Sixteen tokens whose probabilities at temperature 1 are proportional to 1, 2, .. 16.
    fn sixteen() -> Vec<f32> {
        (1..=16).map(|weight: u8| f32::from(weight).ln()).collect()
    }

    /// How often each of the sixteen tokens is drawn in `draws` first draws under different seeds.
    fn tally(sampling: &Sampling, draws: u64) -> [f64; 16] {
        let mut counts = [0.0; 16];
        for seed in 0..draws {
            let token = draw(&mut sampler(Sampling { seed, ..sampling.clone() }), sixteen());
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
        let mut sampler = sampler(plain(11));
        let mut counts = [0.0; 16];
        for _ in 0..20_000 {
            counts[draw(&mut sampler, sixteen()) as usize] += 1.0;
        }
        assert_distributed(&counts, &weights(|token| token as f64 + 1.0));
    }

    #[test]
    fn top_k_keeps_the_likeliest_and_the_lowest_ids_on_a_tie() {
        let sampling = Sampling { top_k: 3, ..plain(0) };
        let kept = weights(|token| if token >= 13 { token as f64 + 1.0 } else { 0.0 });
        assert_distributed(&tally(&sampling, 5_000), &kept);
        for seed in 0..200 {
            let token = draw(&mut sampler(Sampling { seed, ..sampling.clone() }), vec![1.0; 16]);
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
            .map(|seed| draw(&mut sampler(Sampling { top_p: 0.5, ..plain(seed) }), flat.clone()))
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
            let drawn = draw(&mut sampler(sampling.clone()), logits.clone());
            assert_eq!(drawn, reference(&logits, &sampling), "seed {seed}");
        }
    }

    #[test]
    fn greedy_takes_the_lowest_id_on_a_tie() {
        let mut sampler = sampler(Sampling { temperature: 0.0, ..plain(3) });
        assert_eq!(draw(&mut sampler, vec![0.0, 2.0, 1.0, 2.0]), 1);
        let mut no_number = Sampler::new(Sampling { temperature: f32::NAN, ..plain(3) }, &[]);
        assert_eq!(draw(&mut no_number, vec![5.0, 2.0]), 0);
    }

    #[test]
    fn penalties_count_generated_tokens() {
        let greedy = Sampling { temperature: 0.0, ..plain(0) };
        let logits = || vec![1.0, 0.75, 0.0];
        let mut presence = sampler(Sampling { presence_penalty: 0.5, ..greedy.clone() });
        let drawn: Vec<_> = (0..4).map(|_| draw(&mut presence, logits())).collect();
        assert_eq!(drawn, [0, 1, 0, 0], "once for each token that was generated at all");
        let mut frequency = sampler(Sampling { frequency_penalty: 0.5, ..greedy });
        let drawn: Vec<_> = (0..5).map(|_| draw(&mut frequency, logits())).collect();
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
            let mut sampler = sampler(plain(seed));
            (0..40).map(|_| draw(&mut sampler, sixteen())).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn refuses_logits_that_are_not_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for temperature in [0.0, 1.0] {
                let mut sampler = sampler(Sampling { temperature, ..plain(0) });
                for logprobs in [None, Some(2)] {
                    let terms = Terms { logprobs, ..Terms::default() };
                    let error = sampler.draw(vec![0.0, bad, 1.0], terms).unwrap_err();
                    assert_eq!(error, BackendError::new("a logit is not finite").into());
                }
            }
        }
        let error = sampler(plain(0)).draw(Vec::new(), Terms::default()).unwrap_err();
        assert_eq!(error, BackendError::new("no logits").into());
    }

    #[test]
    fn repetition_penalty_counts_the_prompt_and_what_was_generated_once() {
        let sampling = Sampling { repetition_penalty: 2.0, temperature: 0.0, ..plain(0) };
        let logits = || vec![4.0, 3.0, 1.9, -1.0];
        let mut with_prompt = Sampler::new(sampling.clone(), &[0, 0, 3]);
        let drawn: Vec<_> = (0..3).map(|_| draw(&mut with_prompt, logits())).collect();
        assert_eq!(drawn, [1, 0, 0], "4 counts as 2 from the beginning, 3 as 1.5 once it was drawn");
        let below_zero = |sampling| draw(&mut Sampler::new(sampling, &[0]), vec![-1.0, -1.5]);
        let greedy = Sampling { temperature: 0.0, ..plain(0) };
        assert_eq!((below_zero(sampling), below_zero(greedy)), (1, 0));
    }

    /// Lets only even tokens come, and counts what came.
    #[derive(Debug, Clone, Default)]
    struct Even {
        came: Vec<TokenId>,
        gives_up: bool,
        leaves_none: bool,
    }

    impl Constraint for Even {
        fn restrict(&mut self, logits: &mut [f32]) -> Result<(), TooComplex> {
            for (at, logit) in logits.iter_mut().enumerate() {
                if at % 2 == 1 || self.leaves_none {
                    *logit = f32::NEG_INFINITY;
                }
            }
            if self.gives_up { Err(TooComplex) } else { Ok(()) }
        }

        fn accept(&mut self, token: TokenId) -> Result<(), TooComplex> {
            self.came.push(token);
            Ok(())
        }

        fn bytes(&self, _: usize) -> usize {
            size_of::<Self>()
        }

        fn fork(&self) -> Box<dyn Constraint> {
            Box::new(self.clone())
        }
    }

    #[test]
    fn a_constraint_wins_over_bias_and_keeps_the_proportions_of_what_is_left() {
        let mut counts = [0.0; 16];
        for seed in 0..5_000 {
            let mut even = Even::default();
            let terms = Terms { constraint: Some(&mut even), ..Terms::default() };
            let bias = Sampling { logit_bias: vec![(3, 100.0)], ..plain(seed) };
            let token = sampler(bias).draw(sixteen(), terms).unwrap().token;
            counts[token as usize] += 1.0;
            assert_eq!(even.came, [token]);
        }
        assert_distributed(&counts, &weights(|token| if token % 2 == 0 { token as f64 + 1.0 } else { 0.0 }));
        let greedy = Sampling { temperature: 0.0, logit_bias: vec![(3, 100.0)], ..plain(0) };
        let terms = Terms { constraint: Some(&mut Even::default()), ..Terms::default() };
        assert_eq!(sampler(greedy).draw(sixteen(), terms).unwrap().token, 14);
    }

    #[test]
    fn a_constraint_that_gives_up_or_leaves_nothing_is_an_error() {
        for (gives_up, leaves_none) in [(true, false), (false, true)] {
            let mut even = Even { gives_up, leaves_none, ..Even::default() };
            let terms = Terms { constraint: Some(&mut even), ..Terms::default() };
            assert_eq!(sampler(plain(1)).draw(sixteen(), terms), Err(DrawError::Constraint(TooComplex)));
        }
    }

    #[test]
    fn forbidden_tokens_do_not_come_unless_nothing_else_may() {
        let forbidden: &[&[TokenId]] = &[&[15, 14, 12, 10], &[8, 6, 4, 2, 15, 900]];
        for seed in 0..500 {
            let token =
                sampler(plain(seed)).draw(sixteen(), Terms { forbidden, ..Terms::default() }).unwrap().token;
            assert!(!forbidden.concat().contains(&token));
            let constraint = Some(&mut Even::default() as &mut dyn Constraint);
            let terms = Terms { forbidden, constraint, ..Terms::default() };
            assert_eq!(sampler(plain(seed)).draw(sixteen(), terms).unwrap().token, 0);
        }
        let all: Vec<TokenId> = (0..16).chain(0..16).collect();
        let terms = Terms { forbidden: &[&all], ..Terms::default() };
        let greedy = Sampling { temperature: 0.0, ..plain(0) };
        assert_eq!(sampler(greedy).draw(sixteen(), terms).unwrap().token, 15, "as if none were");
    }

    #[test]
    fn logprobs_are_those_of_the_model_whatever_the_sampling() {
        let sampling = Sampling {
            temperature: 0.3,
            logit_bias: vec![(0, 100.0)],
            repetition_penalty: 1.7,
            presence_penalty: 1.0,
            ..plain(1)
        };
        let mut sampler = Sampler::new(sampling, &[15]);
        for _ in 0..2 {
            let terms = Terms { logprobs: Some(2), ..Terms::default() };
            let drawn = sampler.draw(sixteen(), terms).unwrap();
            let told = drawn.logprobs.unwrap();
            let near = |logprob: f32, of: f32| (logprob.exp() - of / 136.0).abs() < 1e-6;
            assert!(drawn.token == 0 && near(told.drawn, 1.0), "{told:?}");
            let tokens: Vec<_> = told.top.iter().map(|of| of.token).collect();
            assert_eq!(tokens, [15, 14]);
            assert!(near(told.top[0].logprob, 16.0) && near(told.top[1].logprob, 15.0));
        }
    }
}
