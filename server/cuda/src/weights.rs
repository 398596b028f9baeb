//! The weights of a plan in device memory: where each lies, and how it gets there.

use crate::device::{Address, Device, DeviceError, Memory};
use anchorhold_model::numbers::{bf16, half, wide};
use anchorhold_model::{DecoderPlan, LayerPart, LoadError, PlannedWeights, Stored, TensorPlace, WeightPart};
use std::collections::HashMap;
use std::ops::ControlFlow;
use zeroize::{Zeroize as _, Zeroizing};

/// Every tensor begins at a multiple of this, as products and vector loads want it.
const ALIGNMENT: usize = 256;

/// The addresses of one layer. Parts that the architecture does not have are [`Address::NULL`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerWeights {
    pub(crate) attention_norm: Address,
    pub(crate) query_key_value: Address,
    /// Of query, key and value together.
    pub(crate) bias: Address,
    pub(crate) query_norm: Address,
    pub(crate) key_norm: Address,
    pub(crate) attention_out: Address,
    pub(crate) attention_out_bias: Address,
    pub(crate) feed_forward_norm: Address,
    pub(crate) gate_up: Address,
    pub(crate) down: Address,
}

/// A model's weights on the device: matrices in bf16, vectors in f32.
#[derive(Debug)]
pub(crate) struct DeviceWeights {
    pub(crate) words: Address,
    pub(crate) norm: Address,
    pub(crate) output: Address,
    pub(crate) layers: Vec<LayerWeights>,
}

/// Where the tensors of a plan go: those that are multiplied together side by side.
struct Arrangement {
    /// For each tensor of the plan its offset.
    offsets: Vec<usize>,
    /// Where each first tensor of a group begins.
    places: HashMap<TensorPlace, usize>,
    bytes: usize,
}

/// Those of a layer that lie side by side, in this order.
const GROUPS: &[&[LayerPart]] = &[
    &[LayerPart::AttentionNorm],
    &[LayerPart::Query, LayerPart::Key, LayerPart::Value],
    &[LayerPart::QueryBias, LayerPart::KeyBias, LayerPart::ValueBias],
    &[LayerPart::QueryNorm],
    &[LayerPart::KeyNorm],
    &[LayerPart::AttentionOut],
    &[LayerPart::AttentionOutBias],
    &[LayerPart::FeedForwardNorm],
    &[LayerPart::Gate, LayerPart::Up],
    &[LayerPart::Down],
];

impl Arrangement {
    fn of(plan: &DecoderPlan) -> Result<Self, DeviceError> {
        let too_large = || DeviceError::Launch("the weights are longer than memory counts");
        let by_place: HashMap<TensorPlace, usize> =
            plan.tensors.iter().enumerate().map(|(at, tensor)| (tensor.place, at)).collect();
        let mut arrangement = Self { offsets: vec![0; plan.tensors.len()], places: HashMap::new(), bytes: 0 };
        let single = [TensorPlace::Words, TensorPlace::Norm, TensorPlace::Output].map(|place| vec![place]);
        let layers = (0..plan.windows.len()).flat_map(|layer| {
            GROUPS
                .iter()
                .map(move |group| group.iter().map(|&part| TensorPlace::Layer(layer, part)).collect())
        });
        for group in single.into_iter().chain(layers) {
            let mut end = arrangement.bytes.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
            for place in group {
                let Some(&at) = by_place.get(&place) else { continue };
                let Some((tensor, offset)) = plan.tensors.get(at).zip(arrangement.offsets.get_mut(at)) else {
                    continue;
                };
                *offset = end;
                arrangement.places.insert(place, end);
                let elements = tensor.rows.checked_mul(tensor.columns).ok_or_else(too_large)?;
                let bytes = elements.checked_mul(width(tensor.rows)).ok_or_else(too_large)?;
                end = end.checked_add(bytes).ok_or_else(too_large)?;
            }
            arrangement.bytes = end;
        }
        Ok(arrangement)
    }

    fn address(&self, memory: Memory, place: TensorPlace) -> Result<Address, DeviceError> {
        match self.places.get(&place) {
            Some(&offset) => Ok(memory.part(offset, 0)?.start()),
            None => Ok(Address::NULL),
        }
    }
}

/// Bytes of an element on the device: vectors are f32, matrices bf16.
const fn width(rows: usize) -> usize {
    if rows == 1 { 4 } else { 2 }
}

impl DeviceWeights {
    /// Takes memory for the weights and fills it, part by part as they are decrypted.
    ///
    /// # Errors
    /// The package is refused, or the device has not as much memory or fails.
    pub(crate) fn load(
        device: &mut dyn Device,
        plan: &DecoderPlan,
        weights: PlannedWeights<'_>,
    ) -> Result<Self, LoadError> {
        let refused = |error: DeviceError| LoadError::Device(error.to_string());
        let arrangement = Arrangement::of(plan).map_err(refused)?;
        let memory = device.allocate(arrangement.bytes).map_err(refused)?;
        let mut pouring = Pouring {
            arrangement: &arrangement,
            memory,
            plan,
            converted: Zeroizing::default(),
            cut: HashMap::new(),
        };
        let mut failure = None;
        let poured = weights.pour(&mut |part| match pouring.take(device, part) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = failure {
            return Err(refused(error));
        }
        poured?;
        Self::at(&arrangement, memory, plan).map_err(refused)
    }

    fn at(arrangement: &Arrangement, memory: Memory, plan: &DecoderPlan) -> Result<Self, DeviceError> {
        let words = arrangement.address(memory, TensorPlace::Words)?;
        let layer = |layer| {
            let address = |part| arrangement.address(memory, TensorPlace::Layer(layer, part));
            Ok(LayerWeights {
                attention_norm: address(LayerPart::AttentionNorm)?,
                query_key_value: address(LayerPart::Query)?,
                bias: address(LayerPart::QueryBias)?,
                query_norm: address(LayerPart::QueryNorm)?,
                key_norm: address(LayerPart::KeyNorm)?,
                attention_out: address(LayerPart::AttentionOut)?,
                attention_out_bias: address(LayerPart::AttentionOutBias)?,
                feed_forward_norm: address(LayerPart::FeedForwardNorm)?,
                gate_up: address(LayerPart::Gate)?,
                down: address(LayerPart::Down)?,
            })
        };
        Ok(Self {
            words,
            norm: arrangement.address(memory, TensorPlace::Norm)?,
            output: if plan.tied { words } else { arrangement.address(memory, TensorPlace::Output)? },
            layers: (0..plan.windows.len()).map(layer).collect::<Result<_, DeviceError>>()?,
        })
    }
}

/// Weights on their way.
struct Pouring<'a> {
    arrangement: &'a Arrangement,
    memory: Memory,
    plan: &'a DecoderPlan,
    /// Bytes as the device holds them; wiped at the end, and before it grows.
    converted: Zeroizing<Vec<u8>>,
    /// For each tensor the beginning of an element whose end is in the next part.
    cut: HashMap<usize, Zeroizing<Vec<u8>>>,
}

impl Pouring<'_> {
    fn take(&mut self, device: &mut dyn Device, part: &WeightPart<'_>) -> Result<(), DeviceError> {
        let (Some(tensor), Some(&start)) =
            (self.plan.tensors.get(part.tensor), self.arrangement.offsets.get(part.tensor))
        else {
            return Err(DeviceError::Launch("a tensor is not in the plan"));
        };
        let from = if part.stored == Stored::F32 { 4 } else { 2 };
        let to = width(tensor.rows);
        let before = self.cut.remove(&part.tensor).unwrap_or_default();
        let offset = usize::try_from(part.offset).unwrap_or(usize::MAX).saturating_sub(before.len());
        if part.stored == Stored::Bf16
            && to == 2
            && before.is_empty()
            && part.bytes.len().is_multiple_of(from)
        {
            let place = self.memory.part(start.saturating_add(offset), part.bytes.len())?;
            return device.upload(place, part.bytes);
        }
        let missing = if before.is_empty() { 0 } else { (from - before.len()).min(part.bytes.len()) };
        let (end, rest) = part.bytes.split_at(missing);
        let mut first = before;
        first.extend_from_slice(end);
        let whole = rest.len() / from * from;
        let (middle, tail) = rest.split_at(whole);
        // Room for all at once: a vector that grows leaves what it held behind.
        let room = (part.bytes.len() / from + 1) * to;
        if self.converted.capacity() < room {
            self.converted.zeroize();
            *self.converted = Vec::with_capacity(room);
        }
        self.converted.clear();
        if first.len() == from {
            convert(part.stored, to, &first, &mut self.converted);
            first.zeroize();
        }
        convert(part.stored, to, middle, &mut self.converted);
        if !tail.is_empty() {
            first.extend_from_slice(tail);
        }
        if !first.is_empty() {
            self.cut.insert(part.tensor, first);
        }
        let place = start.saturating_add(offset / from * to);
        device.upload(self.memory.part(place, self.converted.len())?, &self.converted)
    }
}

/// Appends these elements as bf16 (`to` is 2) or f32.
fn convert(stored: Stored, to: usize, bytes: &[u8], out: &mut Vec<u8>) {
    let (pairs, quads) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    let mut push = |value: f32| match to {
        2 => {
            let [low, high, ..] = bf16(value).to_le_bytes();
            out.extend_from_slice(&[low, high]);
        }
        _ => out.extend_from_slice(&value.to_le_bytes()),
    };
    match stored {
        Stored::F32 => quads.iter().for_each(|quad| push(f32::from_le_bytes(*quad))),
        Stored::F16 => pairs.iter().for_each(|pair| push(half(*pair))),
        Stored::Bf16 => pairs.iter().for_each(|pair| push(wide(*pair))),
    }
}
