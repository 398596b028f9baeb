//! Feed-forward parts of several experts, of which a router picks some for each token: Mixtral (Jiang et al. 2024) and Qwen3-MoE, as
//! transformers computes them.
//!
//! The rows of a step are gathered by expert, so that an expert's weights pass through the processor once for all rows that it was picked
//! for. A row's part is summed in the order of the experts, whoever else is there, so its bits are the same in any company.

use super::feed_forward::Gated;
use crate::config::dimension;
use crate::error::LoadError;
use crate::kernel::{Isa, Pages};
use crate::math::Gate;
use crate::ops::Linear;
use crate::packed::Then;
use crate::rows::{Input, Sheet, grow};
use crate::threads::Team;
use crate::weights::{Need, Weights};
use zeroize::Zeroize as _;

/// The most experts of a layer.
const MAX_EXPERTS: usize = 1024;
/// The most experts of a model: what the names of their tensors may take.
const MAX_ALL_EXPERTS: usize = 1 << 16;

/// The experts of a model, checked.
#[derive(Debug)]
pub(crate) struct Shape {
    count: usize,
    /// How many are picked for a token.
    picked: usize,
    intermediate: usize,
    weighing: Weighing,
    names: &'static Names,
    /// For each layer whether it has experts; the others have one feed-forward part.
    sparse: Vec<bool>,
}

/// What an architecture's config says about experts, unchecked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) count: usize,
    pub(crate) picked: usize,
    pub(crate) intermediate: usize,
    pub(crate) weighing: Weighing,
    pub(crate) names: &'static Names,
    /// Every layer of this place, counted from one, has experts.
    pub(crate) every: usize,
    /// But not these, counted from zero.
    pub(crate) dense: Vec<usize>,
}

/// What the answer of a picked expert is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weighing {
    /// Its probability among all experts.
    Probability,
    /// Its probability among the picked ones.
    Share,
}

/// What an architecture calls the tensors, after the name of the layer.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) router: &'static str,
    /// What stands before the number of an expert.
    pub(crate) experts: &'static str,
    pub(crate) gate: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
}

impl Names {
    fn expert(&self, index: usize, part: &str) -> String {
        format!("{}.{index}.{part}.weight", self.experts)
    }
}

impl Settings {
    /// Checks everything, for a model of so many layers.
    ///
    /// # Errors
    /// A number is zero or beyond its limit, or more experts are picked than there are.
    pub(crate) fn check(&self, layers: usize, width: usize) -> Result<Shape, LoadError> {
        let count = dimension(self.count, MAX_EXPERTS)?;
        let every = dimension(self.every, usize::MAX)?;
        if self.dense.iter().any(|layer| *layer >= layers) {
            return Err(LoadError::Config("mlp_only_layers names a layer that is not there"));
        }
        let sparse = |layer: usize| (layer + 1).is_multiple_of(every) && !self.dense.contains(&layer);
        let sparse: Vec<bool> = (0..layers).map(sparse).collect();
        dimension(count * layers, MAX_ALL_EXPERTS)?;
        Ok(Shape {
            count,
            picked: dimension(self.picked, count)?,
            intermediate: dimension(self.intermediate, width)?,
            weighing: self.weighing,
            names: self.names,
            sparse,
        })
    }
}

impl Shape {
    /// Whether a layer has experts.
    pub(crate) fn has(&self, layer: usize) -> bool {
        self.sparse.get(layer).copied().unwrap_or_default()
    }

    /// The tensors of a layer, for tokens of `hidden` features; `name` gives a part's whole name.
    pub(crate) fn needs(&self, hidden: usize, name: impl Fn(&str) -> String) -> Vec<Need> {
        let router = format!("{}.weight", self.names.router);
        let mut needs = vec![Need::new(name(&router), &[self.count, hidden])];
        for index in 0..self.count {
            let part = |part| name(&self.names.expert(index, part));
            needs.push(Need::matrix(part(self.names.gate), &[self.intermediate, hidden]));
            needs.push(Need::below(part(self.names.up), &[self.intermediate, hidden]));
            needs.push(Need::matrix(part(self.names.down), &[hidden, self.intermediate]));
        }
        needs
    }
}

/// The experts of one layer and their router.
pub(crate) struct Experts {
    hidden: usize,
    picked: usize,
    weighing: Weighing,
    router: Linear,
    experts: Vec<Gated>,
}

/// What flows through experts. Keeps its memory for the next step.
#[derive(Default)]
pub(super) struct Routes {
    input: Input,
    wide_input: Input,
    scores: Sheet,
    wide: Sheet,
    answers: Sheet,
    /// By expert, the rows that it was picked for, in their order.
    picks: Vec<Vec<Pick>>,
    /// For each row the sum of what its experts answer.
    sums: Vec<f32>,
    line: Vec<f32>,
    /// Experts and probabilities of one row.
    shares: Vec<(usize, f32)>,
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.sums.zeroize();
        self.line.zeroize();
    }
}

/// A row that an expert was picked for.
#[derive(Clone, Copy)]
pub(super) struct Pick {
    row: usize,
    weight: f32,
}

impl Experts {
    /// Takes the tensors of the layer called `layer`, which are those of [`Shape::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        isa: Isa,
        shape: &Shape,
        (hidden, bend): (usize, Gate),
        weights: &mut Weights,
        layer: &str,
    ) -> Result<Self, LoadError> {
        let names = shape.names;
        let mut experts = Vec::with_capacity(shape.count);
        for index in 0..shape.count {
            let mut take = |part| weights.matrix(&format!("{layer}.{}", names.expert(index, part)));
            // The up lies below the gate.
            experts.push(Gated::new(isa, bend, (take(names.gate)?, take(names.down)?), Then::Store));
        }
        let router = weights.passing(&format!("{layer}.{}.weight", names.router))?;
        // Small, and decisive: a rounded score could pick another expert.
        let router = weights.pack_exact(&router, hidden);
        let router = Linear::new(isa, router, Pages::default(), Then::Store);
        Ok(Self { hidden, picked: shape.picked, weighing: shape.weighing, router, experts })
    }

    /// Makes `out` of what the picked experts make of each of `count` rows, which `line` writes.
    pub(super) fn forward(
        &self,
        team: Team<'_>,
        routes: &mut Routes,
        (count, line): (usize, impl Fn(usize, &mut [f32]) + Sync),
        out: &mut Sheet,
    ) {
        self.route(team, routes, (count, &line));
        let Routes { input, wide_input, wide, answers, picks, sums, line: answer, .. } = routes;
        grow(sums, count * self.hidden);
        sums.fill(0.0);
        grow(answer, self.hidden);
        let answer = answer.get_mut(..self.hidden).unwrap_or_default();
        for (expert, picks) in self.experts.iter().zip(picks.iter()).filter(|(_, picks)| !picks.is_empty()) {
            expert.fill(input, team, picks.len(), |at, numbers| {
                line(picks.get(at).map_or(0, |pick| pick.row), numbers);
            });
            expert.forward(team, input, (wide, wide_input), answers);
            for (at, pick) in picks.iter().enumerate() {
                answers.copy_row(at, answer);
                let first = pick.row * self.hidden;
                let sums = sums.get_mut(first..first + self.hidden).unwrap_or_default();
                for (sum, value) in sums.iter_mut().zip(answer.iter()) {
                    *sum += value * pick.weight;
                }
            }
        }
        out.resize(count, self.hidden);
        for (row, sums) in sums.chunks_exact(self.hidden).take(count).enumerate() {
            out.write_row(row, sums);
        }
    }

    /// Picks the experts of each row.
    fn route(
        &self,
        team: Team<'_>,
        routes: &mut Routes,
        (count, line): (usize, impl Fn(usize, &mut [f32]) + Sync),
    ) {
        let Routes { input, scores, picks, shares, line: numbers, .. } = routes;
        self.router.fill(input, team, count, line);
        self.router.forward(team, input, scores);
        picks.resize_with(self.experts.len(), Vec::new);
        picks.iter_mut().for_each(Vec::clear);
        grow(numbers, self.experts.len());
        let numbers = numbers.get_mut(..self.experts.len()).unwrap_or_default();
        for row in 0..count {
            scores.copy_row(row, numbers);
            pick(numbers, self.picked, self.weighing, shares);
            for &(expert, weight) in shares.iter() {
                if let Some(picks) = picks.get_mut(expert) {
                    picks.push(Pick { row, weight });
                }
            }
        }
    }
}

/// The `count` experts of the highest scores, and their weights. Of equal ones the first is picked.
fn pick(scores: &mut [f32], count: usize, weighing: Weighing, picked: &mut Vec<(usize, f32)>) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let total: f32 = scores.iter().sum();
    picked.clear();
    picked.extend(scores.iter().map(|score| score / total).enumerate());
    picked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    picked.truncate(count);
    if weighing == Weighing::Share {
        let total: f32 = picked.iter().map(|(_, weight)| weight).sum();
        picked.iter_mut().for_each(|(_, weight)| *weight /= total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names { router: "r", experts: "e", gate: "g", up: "u", down: "d" };

    fn settings() -> Settings {
        Settings {
            count: 4,
            picked: 2,
            intermediate: 8,
            weighing: Weighing::Share,
            names: &NAMES,
            every: 1,
            dense: Vec::new(),
        }
    }

    #[test]
    fn the_highest_scores_are_picked_and_of_equal_ones_the_first() {
        let scores = [0.0, 2.0, -1.0, 2.0, 0.0];
        let picked = |weighing| {
            let mut picked = Vec::new();
            pick(&mut scores.clone(), 3, weighing, &mut picked);
            picked
        };
        let share = picked(Weighing::Share);
        assert_eq!(share.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [1, 3, 0]);
        let total: f32 = share.iter().map(|(_, weight)| weight).sum();
        assert!((total - 1.0).abs() < 1e-6);
        let all = picked(Weighing::Probability);
        let sum: f32 = scores.iter().map(|score| score.exp()).sum();
        assert!((all[0].1 - 2.0_f32.exp() / sum).abs() < 1e-6);
    }

    #[test]
    fn layers_with_experts_are_those_that_transformers_builds() {
        let sparse = |every, dense: &[usize]| {
            Settings { every, dense: dense.to_vec(), ..settings() }.check(6, 8).unwrap().sparse
        };
        assert_eq!(sparse(1, &[]), [true; 6]);
        assert_eq!(sparse(2, &[]), [false, true, false, true, false, true]);
        assert_eq!(sparse(2, &[1, 2]), [false, false, false, true, false, true]);
    }

    #[test]
    fn case_22_refuses_experts_beyond_their_limits() {
        for settings in [
            Settings { count: 0, ..settings() },
            Settings { count: usize::MAX, ..settings() },
            Settings { picked: 0, ..settings() },
            Settings { picked: 5, ..settings() },
            Settings { intermediate: 9, ..settings() },
            Settings { every: 0, ..settings() },
            Settings { dense: vec![2], ..settings() },
        ] {
            assert!(matches!(settings.check(2, 8), Err(LoadError::Config(_))), "{settings:?}");
        }
        let many = Settings { count: MAX_EXPERTS, ..settings() };
        assert!(many.check(64, 8).is_ok() && many.check(65, 8).is_err());
    }
}
