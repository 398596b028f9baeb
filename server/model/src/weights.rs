//! The tensors that an architecture asks for, held against what the package has before any memory is taken, and read a part at a time
//! into the layout that computes, so that no more than that part is ever there twice.

use crate::error::LoadError;
use crate::kernel::{Held, Isa, Pages};
use crate::packed::{Form, Packed};
use crate::stored::Stored;
use anchorhold_engine::Precision;
use anchorhold_sealed_weights::{Effort, SealedModel, Tensor, TensorReader};
use std::collections::HashMap;
use zeroize::Zeroizing;

/// A tensor that the architecture needs.
pub(crate) struct Need {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    kept: Kept,
}

/// What a tensor becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Numbers.
    Numbers,
    /// The beginning of a matrix for products.
    Matrix,
    /// More rows of the matrix that the need before it is part of.
    Below,
}

impl Need {
    /// A tensor that is kept as numbers.
    pub(crate) fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), kept: Kept::Numbers }
    }

    /// A tensor that is packed for products, taken by its name.
    pub(crate) fn matrix(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { kept: Kept::Matrix, ..Self::new(name, shape) }
    }

    /// A tensor that is packed below the one before it, as one matrix.
    pub(crate) fn below(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { kept: Kept::Below, ..Self::new(name, shape) }
    }

    /// The elements; `None` when there is no such number.
    fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |product, &dimension| product.checked_mul(dimension))
    }
}

/// How a container names a tensor and orders its rows.
pub(crate) struct Place {
    pub(crate) name: String,
    /// Heads of so many rows whose row pairs lie side by side, where transformers has the first halves before the second.
    pub(crate) paired: Option<usize>,
}

impl Place {
    /// The place in a container that names and orders as transformers does.
    #[expect(clippy::unnecessary_wraps, reason = "one of several ways to find a tensor")]
    pub(crate) fn as_named(name: &str) -> Option<Self> {
        Some(Self { name: name.to_owned(), paired: None })
    }
}

/// Where a container has the tensor that transformers calls by this name; `None` if it has no such tensor.
pub(crate) type Locate<'a> = &'a dyn Fn(&str) -> Option<Place>;

/// The decrypted tensors by name. What is not taken is erased.
pub(crate) struct Weights {
    numbers: HashMap<String, Pages<f32>>,
    matrices: HashMap<String, Packed>,
    precision: Precision,
    /// What was taken to stay.
    held: Held,
}

/// A needed tensor, found in the package.
struct Found {
    /// Position in the package's index.
    at: usize,
    stored: Stored,
    paired: Option<usize>,
    rows: usize,
    depth: usize,
    goes: Goes,
}

/// Where the rows of a tensor go.
enum Goes {
    /// To the numbers of this place.
    Numbers(usize),
    /// To the matrix of this place, from this row on.
    Matrix(usize, usize),
}

/// What is made of the needs.
#[derive(Default)]
struct Plan {
    found: Vec<Found>,
    /// Name and length.
    numbers: Vec<(String, usize)>,
    matrices: Vec<PlannedMatrix>,
}

struct PlannedMatrix {
    name: String,
    depth: usize,
    /// How each part is stored, and its rows.
    parts: Vec<(Stored, usize)>,
}

/// Bytes of a part for each thread, and their most: a few segments, so that every thread has some to decrypt.
const PART: usize = 8 << 20;
const MAX_PART: usize = 64 << 20;

impl Weights {
    /// Decrypts the needed tensors, in the order of the file, and packs them as they come.
    ///
    /// # Errors
    /// A needed tensor is missing or of another shape or type; the package has a tensor that is neither needed nor `passed_over`; its
    /// bytes are refused. The first two are found in the signed table, before memory is taken.
    pub(crate) fn load(
        model: &SealedModel,
        effort: &Effort<'_>,
        (needs, passed_over): (&[Need], &[&str]),
        locate: Locate<'_>,
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let plan = Plan::new(model, needs, passed_over, locate)?;
        let mut numbers: Vec<Pages<f32>> = plan.numbers.iter().map(|(_, len)| Pages::zeroed(*len)).collect();
        let mut matrices: Vec<Packed> =
            plan.matrices.iter().map(|matrix| matrix.allocate(precision)).collect();
        let mut reader = Reader::new(model.tensor_reader(effort)?, effort.threads.get());
        let isa = Isa::detect();
        for tensor in &plan.found {
            match tensor.goes {
                Goes::Numbers(place) => {
                    let Some(numbers) = numbers.get_mut(place) else { continue };
                    reader.rows(tensor, |row, bytes| {
                        let line = numbers.get_mut(row * tensor.depth..).unwrap_or_default();
                        tensor.stored.numbers(bytes, line.get_mut(..tensor.depth).unwrap_or_default());
                    })?;
                }
                Goes::Matrix(place, first) => {
                    let Some(matrix) = matrices.get_mut(place) else { continue };
                    let mut line = Zeroizing::new(vec![0.0; tensor.depth]);
                    reader.rows(tensor, |row, bytes| {
                        if !matrix.set_stored(first + row, bytes) {
                            tensor.stored.numbers(bytes, &mut line);
                            matrix.set_line(isa, first + row, &line);
                        }
                    })?;
                }
            }
        }
        let names = plan.numbers.into_iter().map(|(name, _)| name);
        let numbers = names.zip(numbers).collect();
        let matrices = plan.matrices.into_iter().map(|matrix| matrix.name).zip(matrices).collect();
        Ok(Self { numbers, matrices, precision, held: Held::default() })
    }

    /// How exactly products are to be.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The memory of everything that was handed out to stay with the model.
    pub(crate) fn held(&self) -> Held {
        self.held
    }

    /// Packs a matrix for products without rounding, in any precision.
    pub(crate) fn pack_exact(&mut self, part: &[f32], depth: usize) -> Packed {
        self.counted(Packed::new(&[part], depth, Form::F32))
    }

    fn counted(&mut self, packed: Packed) -> Packed {
        self.held = self.held.and(packed.held());
        packed
    }

    /// Takes the numbers of a tensor that was needed, out of which something else is made.
    ///
    /// # Errors
    /// It was not needed, or was taken before.
    pub(crate) fn passing(&mut self, name: &str) -> Result<Pages<f32>, LoadError> {
        self.numbers.remove(name).ok_or(UNLISTED)
    }

    /// Takes the numbers of a tensor that was needed, to stay.
    ///
    /// # Errors
    /// It was not needed, or was taken before.
    pub(crate) fn take(&mut self, name: &str) -> Result<Pages<f32>, LoadError> {
        let numbers = self.passing(name)?;
        Ok(self.keep(numbers))
    }

    /// Takes the numbers of tensors that were needed, one behind the other.
    ///
    /// # Errors
    /// One was not needed, or was taken before.
    pub(crate) fn joined(&mut self, names: &[String]) -> Result<Pages<f32>, LoadError> {
        let parts = names.iter().map(|name| self.passing(name)).collect::<Result<Vec<_>, _>>()?;
        let mut joined = Pages::zeroed(parts.iter().map(|part| part.len()).sum());
        let numbers = parts.iter().flat_map(|part| part.iter());
        joined.iter_mut().zip(numbers).for_each(|(slot, number)| *slot = *number);
        Ok(self.keep(joined))
    }

    /// Counts what was made to stay.
    pub(crate) fn keep(&mut self, numbers: Pages<f32>) -> Pages<f32> {
        self.held = self.held.and(numbers.held());
        numbers
    }

    /// Takes the matrix that begins with this tensor.
    ///
    /// # Errors
    /// It was not needed, or was taken before.
    pub(crate) fn matrix(&mut self, name: &str) -> Result<Packed, LoadError> {
        let matrix = self.matrices.remove(name).ok_or(UNLISTED)?;
        Ok(self.counted(matrix))
    }
}

const UNLISTED: LoadError = LoadError::Config("a tensor is used that the architecture does not list");

impl Plan {
    fn new(
        model: &SealedModel,
        needs: &[Need],
        passed_over: &[&str],
        locate: Locate<'_>,
    ) -> Result<Self, LoadError> {
        let index = model.index();
        let mut by_name: HashMap<&str, (usize, &Tensor)> =
            index.tensors().enumerate().map(|(at, tensor)| (tensor.name.as_str(), (at, tensor))).collect();
        let mut plan = Self::default();
        for (order, need) in needs.iter().enumerate() {
            let refused = LoadError::Tensor { index: order, expected: needs.len() };
            let place = locate(&need.name).ok_or(refused.clone())?;
            let (at, tensor) = by_name.remove(place.name.as_str()).ok_or(refused.clone())?;
            plan.add(need, (at, tensor), place.paired).ok_or(refused)?;
        }
        let extra = by_name.keys().filter(|name| !passed_over.iter().any(|end| name.ends_with(end)));
        match extra.count() {
            0 => {}
            extra => return Err(LoadError::ExtraTensors(extra)),
        }
        // In the order of the file no segment is decrypted twice.
        plan.found.sort_by_key(|found| found.at);
        Ok(plan)
    }

    /// Adds a tensor; `None` if it is of another shape or type.
    fn add(&mut self, need: &Need, (at, tensor): (usize, &Tensor), paired: Option<usize>) -> Option<()> {
        let stored = Stored::of(tensor.dtype)?;
        let same = need.shape.iter().map(|&dimension| dimension as u64).eq(tensor.shape.iter().copied());
        let elements = need.elements().filter(|_| same)?;
        // The rows of a vector whose order differs are its elements.
        let depth = match need.shape.as_slice() {
            [_] if paired.is_some() => 1,
            shape => *shape.last()?,
        };
        let rows = elements.checked_div(depth)?;
        let whole = paired.is_none_or(|head| head > 0 && head.is_multiple_of(2) && rows.is_multiple_of(head));
        if !whole || stored.bytes(depth).is_none() {
            return None;
        }
        let goes = match need.kept {
            Kept::Numbers => {
                self.numbers.push((need.name.clone(), elements));
                Goes::Numbers(self.numbers.len() - 1)
            }
            Kept::Matrix => {
                let name = need.name.clone();
                self.matrices.push(PlannedMatrix { name, depth, parts: vec![(stored, rows)] });
                Goes::Matrix(self.matrices.len() - 1, 0)
            }
            Kept::Below => {
                let above = self.matrices.last_mut().filter(|above| above.depth == depth)?;
                let first = above.rows();
                above.parts.push((stored, rows));
                Goes::Matrix(self.matrices.len() - 1, first)
            }
        };
        self.found.push(Found { at, stored, paired, rows, depth, goes });
        Some(())
    }
}

impl PlannedMatrix {
    fn rows(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows).sum()
    }

    fn allocate(&self, precision: Precision) -> Packed {
        let stored: Vec<Stored> = self.parts.iter().map(|(stored, _)| *stored).collect();
        match Form::of(precision, &stored) {
            Form::Quantised => Packed::quantised(&self.parts, self.depth),
            form => Packed::zeroed(self.rows(), self.depth, form),
        }
    }
}

/// Reads tensors row by row.
struct Reader<'a> {
    tensors: TensorReader<'a>,
    part: Zeroizing<Vec<u8>>,
}

impl<'a> Reader<'a> {
    fn new(tensors: TensorReader<'a>, threads: usize) -> Self {
        Self { tensors, part: Zeroizing::new(vec![0; PART.saturating_mul(threads).min(MAX_PART)]) }
    }

    /// Gives every row, by its place in the order of transformers, to `each`.
    fn rows(&mut self, tensor: &Found, mut each: impl FnMut(usize, &[u8])) -> Result<(), LoadError> {
        // `Plan::add` has seen that a row is whole blocks; a row is shorter than any part.
        let len = tensor.stored.bytes(tensor.depth).unwrap_or(1).max(1);
        let (mut row, mut offset) = (0, 0);
        for count in parts(tensor.rows, (self.part.len() / len).max(1)) {
            let Some(part) = self.part.get_mut(..count * len) else { return Err(UNLISTED) };
            self.tensors.read(tensor.at, offset, part)?;
            for bytes in part.chunks_exact(len) {
                each(tensor.paired.map_or(row, |head| unpaired(row, head)), bytes);
                row += 1;
            }
            offset += part.len() as u64;
        }
        Ok(())
    }
}

/// Cuts `rows` into numbers of at most `most`.
fn parts(rows: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(most).map(move |first| most.min(rows - first))
}

/// The place of a row in a head whose first halves come first, when it lies where pairs lie side by side.
fn unpaired(row: usize, head: usize) -> usize {
    let (first, inside) = (row - row % head, row % head);
    first + inside % 2 * (head / 2) + inside / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_pairs_go_to_the_halves() {
        let places: Vec<usize> = (0..8).map(|row| unpaired(row, 4)).collect();
        assert_eq!(places, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn parts_hold_every_row_once() {
        assert_eq!(parts(7, 3).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(parts(0, 3).count(), 0);
    }
}
