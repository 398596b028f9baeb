//! The tensors that an architecture asks for, held against what the package has before any memory is taken.

use crate::error::LoadError;
use crate::packed::Packed;
use anchorhold_engine::Precision;
use anchorhold_sealed_weights::{Destination, Effort, SealedModel, Tensor, reads_as_f32};
use std::collections::HashMap;
use zeroize::Zeroize as _;

/// A tensor that the architecture needs.
pub(crate) struct Need {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl Need {
    pub(crate) fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }

    /// The elements; `None` when there is no such number.
    fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |product, &dimension| product.checked_mul(dimension))
    }
}

/// The decrypted tensors as f32, by name, and how exactly products with them are to be. What is not taken is erased.
pub(crate) struct Weights(HashMap<String, Vec<f32>>, Precision);

impl Drop for Weights {
    fn drop(&mut self) {
        for tensor in self.0.values_mut() {
            tensor.zeroize();
        }
    }
}

impl Weights {
    /// Decrypts the needed tensors straight into their memory.
    ///
    /// # Errors
    /// A needed tensor is missing or of another shape or type; the package has a tensor that is neither needed nor `passed_over`; its
    /// bytes are refused. The first two are found in the signed table, before memory is taken.
    pub(crate) fn load(
        model: &SealedModel,
        effort: &Effort<'_>,
        (needs, passed_over): (&[Need], &[&str]),
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let index = model.index();
        let by_name: HashMap<&str, (usize, &Tensor)> =
            index.tensors().enumerate().map(|(at, tensor)| (tensor.name.as_str(), (at, tensor))).collect();
        let mut wanted = HashMap::new();
        for (order, need) in needs.iter().enumerate() {
            let refused = LoadError::Tensor { index: order, expected: needs.len() };
            let (at, tensor) = *by_name.get(need.name.as_str()).ok_or(refused.clone())?;
            let same = need.shape.iter().map(|&dimension| dimension as u64).eq(tensor.shape.iter().copied());
            let elements = need.elements().filter(|_| same && reads_as_f32(tensor.dtype)).ok_or(refused)?;
            wanted.insert(at, (need.name.clone(), elements));
        }
        let extra = index.tensors().enumerate().filter(|(at, tensor)| {
            !wanted.contains_key(at) && !passed_over.iter().any(|end| tensor.name.ends_with(end))
        });
        match extra.count() {
            0 => {}
            extra => return Err(LoadError::ExtraTensors(extra)),
        }
        let mut tensors: Vec<Option<(String, Vec<f32>)>> = (0..index.len())
            .map(|at| wanted.remove(&at).map(|(name, elements)| (name, vec![0.0; elements])))
            .collect();
        let destinations = tensors.iter_mut().map(|tensor| match tensor {
            Some((_, values)) => Destination::F32(values),
            None => Destination::Skip,
        });
        let destinations = destinations.collect();
        model.load_tensors(destinations, effort)?;
        Ok(Self(tensors.into_iter().flatten().collect(), precision))
    }

    /// How exactly products are to be.
    pub(crate) fn precision(&self) -> Precision {
        self.1
    }

    /// Packs two matrices of one shape by turns, see [`Packed::paired`].
    pub(crate) fn pack_paired(&self, first: &[f32], second: &[f32], depth: usize) -> Packed {
        Packed::paired(first, second, depth, self.1)
    }

    /// Packs matrices for products, one below the other.
    pub(crate) fn pack(&self, parts: &[&[f32]], depth: usize) -> Packed {
        Packed::new(parts, depth, self.1)
    }

    /// Takes a tensor that was needed.
    ///
    /// # Errors
    /// It was not needed, or was taken before.
    pub(crate) fn take(&mut self, name: &str) -> Result<Vec<f32>, LoadError> {
        self.0.remove(name).ok_or(LoadError::Config("a tensor is used that the architecture does not list"))
    }
}
