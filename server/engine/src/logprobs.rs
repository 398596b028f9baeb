//! How likely the model found a token, and which others it found likely.

use crate::TokenId;
use std::cmp::Ordering;

/// A token and the natural logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: TokenId,
    /// At most 0, and finite.
    pub logprob: f32,
}

/// The model's own probabilities at one place: of its logits as they are, before penalties, bias, temperature and any constraint.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Of the token that was drawn.
    pub drawn: f32,
    /// The likeliest tokens, likeliest first, of two alike the lower id first; as many as were asked for, or all there are.
    pub top: Vec<TokenLogprob>,
}

/// The logarithm of the sum of the exponentials, and the likeliest tokens with their logits; taken before the logits are changed.
#[derive(Debug)]
pub(crate) struct Distribution {
    whole: f64,
    top: Vec<TokenLogprob>,
}

impl Distribution {
    /// Of finite logits, with the `count` likeliest tokens.
    pub(crate) fn of(logits: &[f32], count: usize) -> Self {
        let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
        let mut top: Vec<TokenLogprob> = if count == 0 {
            Vec::new()
        } else {
            (0..).zip(logits).map(|(token, logit)| TokenLogprob { token, logprob: *logit }).collect()
        };
        if count > 0 && count < top.len() {
            top.select_nth_unstable_by(count - 1, likelier);
            top.truncate(count);
        }
        top.sort_unstable_by(likelier);
        let mut distribution = Self { whole: highest + sum.ln(), top };
        let whole = distribution.whole;
        distribution.top.iter_mut().for_each(|of| of.logprob = normalized(of.logprob, whole));
        distribution
    }

    /// What is told of a drawn token with this logit.
    pub(crate) fn told(self, logit: f32) -> Logprobs {
        Logprobs { drawn: normalized(logit, self.whole), top: self.top }
    }
}

fn likelier(one: &TokenLogprob, other: &TokenLogprob) -> Ordering {
    other.logprob.total_cmp(&one.logprob).then(one.token.cmp(&other.token))
}

#[expect(clippy::cast_possible_truncation, reason = "logits are f32, and so is what is made of them")]
fn normalized(logit: f32, whole: f64) -> f32 {
    (f64::from(logit) - whole).clamp(f64::from(f32::MIN), 0.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_come_likeliest_first() {
        let logits: Vec<f32> = (0..300).map(|token| ((token * 37) % 101) as f32 / 9.0 - 4.0).collect();
        let all = Distribution::of(&logits, 300).top;
        let sum: f64 = all.iter().map(|of| f64::from(of.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let ordered = |pair: &[TokenLogprob]| {
            pair[0].logprob > pair[1].logprob
                || (pair[0].logprob == pair[1].logprob && pair[0].token < pair[1].token)
        };
        assert!(all.windows(2).all(ordered));
        assert_eq!(Distribution::of(&logits, 7).top, all[..7]);
        let told = Distribution::of(&logits, 1).told(logits[all[0].token as usize]);
        assert_eq!((told.drawn, told.top.len()), (all[0].logprob, 1));
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let told = Distribution::of(&[f32::MAX, f32::MIN], 2).told(f32::MIN);
        assert_eq!((told.drawn, told.top[0].logprob), (f32::MIN, 0.0));
        assert_eq!(Distribution::of(&[1.0], 0).told(1.0), Logprobs { drawn: 0.0, top: Vec::new() });
    }
}
