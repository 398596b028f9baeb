//! Loading into aligned memory and staging for devices: what arrives is what was sealed, block by block, in order.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anchorhold_sealed_weights::{
    DEFAULT_BLOCK_LEN, DestinationRule, Effort, Error, MAX_BLOCK_LEN, Padding, Progress, Role, SealOptions,
    SealedModel, SegmentSize, StagedBlock, Suite,
};

use crate::support::*;

/// A device that takes blocks as they come and remembers everything.
struct FakeDevice {
    memory: Vec<u8>,
    written: Vec<bool>,
    end: u64,
    blocks: usize,
    /// How much of each tensor has come, which must be in order.
    tensors: Vec<u64>,
}

impl FakeDevice {
    fn new(model: &SealedModel) -> Self {
        let len = usize::try_from(model.arrangement().unwrap().len()).unwrap();
        let tensors = vec![0; model.index().len()];
        Self { memory: vec![0xee; len], written: vec![false; len], end: 0, blocks: 0, tensors }
    }

    fn copy(&mut self, block: &StagedBlock<'_>) -> ControlFlow<()> {
        assert!(block.device_offset >= self.end, "blocks are in order and apart");
        let start = usize::try_from(block.device_offset).unwrap();
        self.end = block.device_offset + block.bytes.len() as u64;
        assert_eq!(block.bytes.as_ptr().addr() % 4096, start % 4096, "aligned as on the device");
        self.memory[start..start + block.bytes.len()].copy_from_slice(block.bytes);
        let mut at = 0;
        for range in block.ranges {
            assert!(block.bytes[at..range.start].iter().all(|byte| *byte == 0), "zeros between tensors");
            assert_eq!(self.tensors[range.tensor], range.tensor_offset, "a tensor's parts are in order");
            self.tensors[range.tensor] += range.len as u64;
            let place = start + range.start..start + range.start + range.len;
            assert!(self.written[place.clone()].iter().all(|written| !written), "no byte twice");
            self.written[place].fill(true);
            at = range.start + range.len;
        }
        assert_eq!(at, block.bytes.len());
        self.blocks += 1;
        ControlFlow::Continue(())
    }

    fn check(&self, model: &SealedModel, fixture: &Fixture) {
        let plain = fixture.plain(Role::Weights);
        let arrangement = model.arrangement().unwrap();
        let data_start = model.index().files()[0].data_start();
        for (at, tensor) in model.index().tensors().enumerate() {
            assert_eq!(self.tensors[at], tensor.len(), "{}", tensor.name);
            let offset = usize::try_from(arrangement.offset(at).unwrap()).unwrap();
            assert_eq!(offset % if tensor.len() >= 1 << 20 { 4096 } else { 64 }, 0, "{}", tensor.name);
            let begin = usize::try_from(data_start + tensor.begin).unwrap();
            let len = usize::try_from(tensor.len()).unwrap();
            assert!(self.memory[offset..offset + len] == plain[begin..begin + len], "{}", tensor.name);
        }
    }
}

#[test]
fn a_device_gets_every_tensor_once_in_order_and_aligned() {
    let fixture = Fixture::new();
    let bundle = fixture.package().with_file_name("bundle");
    let padded =
        SealOptions { padding: Padding::Padme, suite: Suite::Blake3, ..options(1, SegmentSize::Mib1) };
    seal_with(fixture.model.path(), &bundle, &padded);
    for package in [fixture.package(), bundle] {
        let model = opened(&package);
        for (block_len, blocks) in [((1 << 20) + 4096, 4), (2 << 20, 2), (DEFAULT_BLOCK_LEN, 1)] {
            for count in [1, 3] {
                let mut device = FakeDevice::new(&model);
                model.stage(block_len, &threads(count), |block| device.copy(block)).unwrap();
                device.check(&model, &fixture);
                assert!(device.blocks.abs_diff(blocks) <= 1, "{block_len}: {} blocks", device.blocks);
            }
        }
    }
}

#[test]
fn the_next_block_is_filled_while_one_is_copied() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let verified = AtomicUsize::new(0);
    let progress = |_: Progress| _ = verified.fetch_add(1, Ordering::SeqCst);
    let effort = Effort { progress: Some(&progress), ..Effort::default() };
    let mut blocks = 0;
    model
        .stage((1 << 20) + 4096, &effort, |_| {
            blocks += 1;
            // While this block is held, the other memory is filled: wait until its segment is verified.
            while blocks == 1 && verified.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(blocks > 2);
}

#[test]
fn case_15_no_block_with_a_refused_segment_is_handed_out() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let file = data(&package, Role::Weights);
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(HEADER + 2 * SEGMENT + 500).unwrap()] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let mut device = FakeDevice::new(&model);
    let refusal = model.stage((1 << 20) + 4096, &threads(2), |block| device.copy(block)).unwrap_err();
    assert_eq!(refusal.code(), "segment_not_in_tree");
    assert_eq!(device.blocks, 2);
}

#[test]
fn a_consumer_can_stop_and_lengths_have_limits() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let mut calls = 0;
    let stopped = model.stage(2 << 20, &threads(2), |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((stopped, calls), (Err(DestinationRule::Consumer.into()), 1));
    for wrong in [0, 1 << 19, MAX_BLOCK_LEN + 1] {
        let refused = model.stage(wrong, &threads(1), |_| ControlFlow::Continue(()));
        assert_eq!(refused, Err(DestinationRule::BlockLength.into()), "{wrong}");
    }
}

#[test]
fn memory_is_aligned_and_progress_is_told() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let told = Mutex::new(Vec::new());
    let progress = |progress: Progress| told.lock().unwrap().push(progress);
    let effort = Effort { progress: Some(&progress), ..threads(3) };
    let memory = model.load(&effort).unwrap();
    let plain = fixture.plain(Role::Weights);
    let data_start = model.index().files()[0].data_start();
    for (at, tensor) in model.index().tensors().enumerate() {
        let bytes = memory.tensor(at).unwrap();
        let begin = usize::try_from(data_start + tensor.begin).unwrap();
        assert!(bytes == &plain[begin..begin + bytes.len()], "{}", tensor.name);
        let aligned = if tensor.len() >= 1 << 20 { 4096 } else { 64 };
        assert_eq!(bytes.as_ptr().addr() % aligned, 0, "{}", tensor.name);
    }
    assert_eq!(memory.tensor(model.index().len()), None);
    assert_eq!(memory.len() as u64, model.arrangement().unwrap().len());
    assert!(!memory.is_empty() && format!("{memory:?}").starts_with("TensorMemory"));
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), 4, "once for each segment");
    assert!(told.iter().all(|progress| progress.total == plain.len() as u64));
    assert_eq!(told.iter().map(|progress| progress.done).max(), Some(plain.len() as u64));
}

#[test]
fn case_15_a_refused_segment_leaves_zeros_in_the_tensors_own_memory() {
    const SENTINEL: u8 = 0xa5;
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let file = data(&package, Role::Weights);
    let genuine = fs::read(&file).unwrap();
    // Segment 1 lies wholly inside the first tensor, so it is read, hashed and decrypted there.
    let places = [HEADER + SEGMENT, HEADER + SEGMENT + 4, HEADER + SEGMENT + 5_000, HEADER + 2 * SEGMENT - 1];
    for at in places {
        let mut bytes = genuine.clone();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let mut memory: Vec<Vec<u8>> = model
            .index()
            .tensors()
            .map(|tensor| vec![SENTINEL; usize::try_from(tensor.len()).unwrap()])
            .collect();
        let destinations =
            memory.iter_mut().map(|memory| anchorhold_sealed_weights::Destination::Bytes(memory)).collect();
        let refusal = model.load_tensors(destinations, &threads(1)).unwrap_err();
        assert!(matches!(refusal, Error::Segment { index: 1, .. }), "{refusal}");
        let data_start = usize::try_from(model.index().files()[0].data_start()).unwrap();
        let payload = usize::try_from(PAYLOAD).unwrap();
        let inside = &memory[0][payload - data_start..2 * payload - data_start];
        assert!(inside.iter().all(|byte| *byte == 0), "{at}");
    }
}
