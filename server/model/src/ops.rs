//! Our kernels as operations on candle's tensors.

use crate::kernel::Isa;
use crate::math::{self, Activation, Norm};
use crate::packed::{Epilogue, Packed};
use anchorhold_engine::BackendError;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Rows of one task of a row-wise operation.
const ROWS: usize = 64;

/// `x * weights + bias`, then an activation.
pub(crate) struct Linear {
    isa: Isa,
    weights: Packed,
    epilogue: Epilogue,
}

impl Linear {
    pub(crate) fn new(isa: Isa, weights: Packed, bias: Vec<f32>, activation: Activation) -> Self {
        Self { isa, weights, epilogue: Epilogue { bias, activation } }
    }

    /// The weights, row by row, for a table that is also an output layer.
    pub(crate) fn weights(&self) -> &Packed {
        &self.weights
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rowwise("linear", x, self.weights.columns(), |x, out| {
            self.weights.multiply(self.isa, x, &self.epilogue, out);
        })
    }
}

/// Layer norm or RMS norm of each row.
pub(crate) fn normalise(isa: Isa, x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let width = norm.weight.len();
    rowwise("norm", x, width, |x, out| {
        let x = x.par_chunks((ROWS * width).max(1));
        x.zip(out.par_chunks_mut((ROWS * width).max(1)))
            .for_each(|(x, out)| math::normalise(isa, x, norm, out));
    })
}

/// `silu(gate) * up` of each row, which holds the gate, then the up.
pub(crate) fn silu_multiply(isa: Isa, x: &Tensor, width: usize) -> Result<Tensor> {
    rowwise("silu_multiply", x, width, |x, out| {
        let x = x.par_chunks((ROWS * width * 2).max(1));
        let out = out.par_chunks_mut((ROWS * width).max(1));
        x.zip(out).for_each(|(x, out)| math::silu_multiply(isa, x, width, out));
    })
}

/// A tensor of `rows x columns`, made from `x` of `rows x anything` by `work`, which gets both as plain slices.
pub(crate) fn rowwise(
    name: &'static str,
    x: &Tensor,
    columns: usize,
    work: impl Fn(&[f32], &mut [f32]),
) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Rowwise { name, columns, work })
}

struct Rowwise<F> {
    name: &'static str,
    columns: usize,
    work: F,
}

impl<F: Fn(&[f32], &mut [f32])> CustomOp1 for Rowwise<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("rows are not side by side")
        };
        let Some(x) = storage.as_slice::<f32>()?.get(start..end) else {
            candle_core::bail!("rows are missing")
        };
        let mut out = vec![0.0; rows * self.columns];
        (self.work)(x, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((rows, self.columns))))
    }
}

/// candle's error as the engine's: candle's text may name shapes, which tell the length of a prompt.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn failed(_: candle_core::Error) -> BackendError {
    BackendError::new("a tensor operation was refused")
}
