//! Linear layers.

use crate::kernel::{Isa, Pages};
use crate::packed::{Epilogue, Packed, Then};
use crate::rows::{Input, Sheet};
use crate::threads::Team;

/// `x * weights + bias`, and what becomes of it.
pub(crate) struct Linear {
    isa: Isa,
    weights: Packed,
    epilogue: Epilogue,
}

impl Linear {
    pub(crate) fn new(isa: Isa, weights: Packed, bias: Pages<f32>, then: Then) -> Self {
        Self { isa, weights, epilogue: Epilogue { bias, then } }
    }

    /// The weights, row by row, for a table that is also an output layer.
    pub(crate) fn weights(&self) -> &Packed {
        &self.weights
    }

    /// Makes `count` rows of `input`, each by a call of `line`, which finds in its slice what any call left there.
    pub(crate) fn fill(
        &self,
        input: &mut Input,
        team: Team<'_>,
        count: usize,
        line: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        input.fill((self.isa, self.weights.form()), team, (count, self.weights.depth()), line);
    }

    /// The same row by row on this thread, for a `line` that changes something.
    pub(crate) fn fill_here(&self, input: &mut Input, count: usize, line: impl FnMut(usize, &mut [f32])) {
        input.fill_here((self.isa, self.weights.form()), (count, self.weights.depth()), line);
    }

    /// Makes `out` of the rows that [`Linear::fill`] has made.
    pub(crate) fn forward(&self, team: Team<'_>, input: &Input, out: &mut Sheet) {
        self.weights.multiply(self.isa, team, input, &self.epilogue, out);
    }
}
