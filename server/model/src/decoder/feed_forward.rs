//! The second part of a layer.

use super::experts::Experts;
use crate::kernel::{Isa, Pages, WIDTH};
use crate::math::{self, Gate};
use crate::ops::Linear;
use crate::packed::{Packed, Then};
use crate::rows::{Input, Sheet};
use crate::threads::Team;

/// The second part of a layer.
pub(super) enum FeedForward {
    Dense(Gated),
    Experts(Experts),
}

/// `down(bend(gate x) * up x)`.
pub(super) struct Gated {
    isa: Isa,
    bend: Gate,
    gate_up: Linear,
    down: Linear,
    /// Features between the layers, where the gate does not follow the first product by itself.
    apart: Option<usize>,
}

impl Gated {
    /// `then` is what becomes of the answer; the up lies below the gate in `gate_up`.
    pub(super) fn new(isa: Isa, bend: Gate, (gate_up, down): (Packed, Packed), then: Then) -> Self {
        let apart = (!gate_up.halved()).then(|| gate_up.columns() / 2);
        let first = if apart.is_some() { Then::Store } else { Then::Gate(bend) };
        Self {
            isa,
            bend,
            gate_up: Linear::new(isa, gate_up, Pages::default(), first),
            down: Linear::new(isa, down, Pages::default(), then),
            apart,
        }
    }

    /// Makes `count` rows of `input`; see [`Linear::fill`].
    pub(super) fn fill(
        &self,
        input: &mut Input,
        team: Team<'_>,
        count: usize,
        line: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.gate_up.fill(input, team, count, line);
    }

    /// Makes `out` of the rows that [`Gated::fill`] has made. `wide` and `wide_input` are memory for what is between.
    pub(super) fn forward(
        &self,
        team: Team<'_>,
        input: &Input,
        (wide, wide_input): (&mut Sheet, &mut Input),
        out: &mut Sheet,
    ) {
        self.gate_up.forward(team, input, wide);
        self.down.fill(wide_input, team, input.count(), |row, line| match self.apart {
            Some(width) => self.open(wide, (row, width), line),
            None => wide.copy_row(row, line),
        });
        self.down.forward(team, wide_input, out);
    }

    /// What the gate of a row lets through.
    fn open(&self, wide: &Sheet, (row, width): (usize, usize), line: &mut [f32]) {
        let mut both = [[0.0; WIDTH]; 2];
        for (line, first) in line.chunks_mut(WIDTH).zip((0..width).step_by(WIDTH)) {
            let [gate, up] = both.each_mut().map(|part| part.get_mut(..line.len()).unwrap_or_default());
            wide.copy(row, first..first + line.len(), gate);
            wide.copy(row, width + first..width + first + line.len(), up);
            math::gate_multiply(self.isa, self.bend, gate, up, line);
        }
    }
}
