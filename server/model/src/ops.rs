//! Our kernels as operations on candle's tensors.
//!
//! candle holds the tensors and checks their shapes. Its own element-wise operations and products are not used: they run on a thread pool
//! of candle's, and their sums depend on the number of rows.

use crate::kernel::Isa;
use crate::math::{self, Activation, Gate, Norm};
use crate::packed::{Epilogue, Packed, copy_into};
use anchorhold_engine::BackendError;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
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
    let share = (ROWS * norm.weight.len()).max(1);
    rowwise("norm", x, norm.weight.len(), |x, out| {
        x.par_chunks(share).zip(out.par_chunks_mut(share)).for_each(|(x, out)| {
            copy_into(Some(&mut *out), x);
            math::normalise(isa, norm, out);
        });
    })
}

/// The norm of each row of `x + y`.
pub(crate) fn add_normalise(isa: Isa, x: &Tensor, y: &Tensor, norm: &Norm) -> Result<Tensor> {
    let share = (ROWS * norm.weight.len()).max(1);
    x.apply_op2_no_bwd(
        y,
        &Pairwise(|x: &[f32], y: &[f32], out: &mut [f32]| {
            let parts = x.par_chunks(share).zip(y.par_chunks(share)).zip(out.par_chunks_mut(share));
            parts.for_each(|((x, y), out)| {
                math::add(x, y, out);
                math::normalise(isa, norm, out);
            });
        }),
    )
}

/// `x + y`. candle's own sum would run on threads of its own.
pub(crate) fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(y, &Pairwise(math::add))
}

/// `bend(gate) * up` of each row, which holds the gate, then the up.
pub(crate) fn gate_multiply(isa: Isa, bend: Gate, x: &Tensor, width: usize) -> Result<Tensor> {
    rowwise("gate_multiply", x, width, |x, out| {
        let x = x.par_chunks((ROWS * width * 2).max(1));
        let out = out.par_chunks_mut((ROWS * width).max(1));
        x.zip(out).for_each(|(x, out)| math::gate_multiply(isa, bend, x, width, out));
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
        let x = slice(storage, layout)?;
        let mut out = vec![0.0; rows * self.columns];
        (self.work)(x, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((rows, self.columns))))
    }
}

/// A tensor made from two of one shape.
struct Pairwise<F>(F);

impl<F: Fn(&[f32], &[f32], &mut [f32])> CustomOp2 for Pairwise<F> {
    fn name(&self) -> &'static str {
        "pairwise"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if x_layout.shape() != y_layout.shape() {
            candle_core::bail!("shapes differ");
        }
        let (x, y) = (slice(x, x_layout)?, slice(y, y_layout)?);
        let mut out = vec![0.0; x.len()];
        (self.0)(x, y, &mut out);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// The elements of a tensor whose rows lie side by side.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("rows are not side by side")
    };
    let Some(x) = storage.as_slice::<f32>()?.get(start..end) else { candle_core::bail!("rows are missing") };
    Ok(x)
}

/// candle's error as the engine's: candle's text may name shapes, which tell the length of a prompt.
pub(crate) fn failed(_: candle_core::Error) -> BackendError {
    BackendError::new("a tensor operation was refused")
}
