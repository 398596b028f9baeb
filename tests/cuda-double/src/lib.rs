//! A device that runs the kernels of `server/cuda` on the CPU, thread by thread, so that everything of the CUDA decoder but the device
//! itself is tested where there is none.
//!
//! The kernels are compiled from the same sources as for a GPU; `simt/simt.h` stands in for nvcc's headers. Products are computed by a
//! plain loop in place of cuBLASLt. Memory is zeroed and fenced; a kernel that writes outside of it is found at the next read.

mod ffi;

use anchorhold_cuda::{Address, Argument, Device, DeviceError, Graph, Launch, Memory, Onto, Product};
use std::collections::BTreeMap;

/// Dynamic shared memory of a block, as on compute capability 9.0.
const SHARED: u32 = 227 << 10;

/// What was asked of a device.
#[derive(Debug, Clone, PartialEq)]
enum Work {
    Launch(Launch),
    Product(Product),
}

/// How often the host and the device have crossed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crossings {
    /// Copies to the device.
    pub up: usize,
    /// Copies back.
    pub down: usize,
    /// Bytes of the copies back.
    pub bytes_down: usize,
    /// Allocations.
    pub allocations: usize,
    /// Kernels and products that were started one by one.
    pub starts: usize,
    /// Graphs that were replayed.
    pub replays: usize,
}

/// The double of a device.
#[derive(Debug)]
pub struct Double {
    memory: BTreeMap<u64, ffi::Allocation>,
    free: usize,
    backwards: bool,
    recording: Option<Vec<Work>>,
    graphs: Vec<Vec<Work>>,
    crossings: std::sync::Arc<std::sync::Mutex<Crossings>>,
}

/// In which order the threads of a block take their turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    Forwards,
    /// From the last to the first.
    Backwards,
}

impl Double {
    /// A device with this much memory.
    #[must_use]
    pub fn new(bytes: usize, order: Order) -> Self {
        Self {
            memory: BTreeMap::new(),
            free: bytes,
            backwards: order == Order::Backwards,
            recording: None,
            graphs: Vec::new(),
            crossings: std::sync::Arc::default(),
        }
    }

    /// Counts what crosses, also after the device was given away.
    #[must_use]
    pub fn crossings(&self) -> std::sync::Arc<std::sync::Mutex<Crossings>> {
        std::sync::Arc::clone(&self.crossings)
    }

    fn count(&self, change: impl FnOnce(&mut Crossings)) {
        if let Ok(mut crossings) = self.crossings.lock() {
            change(&mut crossings);
        }
    }

    /// The allocation that holds `bytes` from this number on, and where in it.
    fn find(&mut self, start: u64, bytes: usize) -> Result<(&mut ffi::Allocation, usize), DeviceError> {
        let outside = DeviceError::Launch("memory that was not allocated");
        let (first, allocation) = self.memory.range_mut(..=start).next_back().ok_or(outside.clone())?;
        let offset = usize::try_from(start - first).map_err(|_| outside.clone())?;
        let end = offset.checked_add(bytes).ok_or(outside.clone())?;
        if end <= allocation.bytes().len() { Ok((allocation, offset)) } else { Err(outside) }
    }

    fn slice(&mut self, memory: Memory) -> Result<&mut [u8], DeviceError> {
        let (allocation, offset) = self.find(memory.start().number(), memory.bytes())?;
        let bytes = allocation.bytes().get_mut(offset..offset + memory.bytes());
        bytes.ok_or(DeviceError::Launch("memory that was not allocated"))
    }

    fn do_work(&mut self, work: &Work) -> Result<(), DeviceError> {
        match work {
            Work::Launch(launch) => {
                for argument in &launch.arguments {
                    let address = match argument {
                        Argument::Address(address) => *address,
                        Argument::Cache(cache) => cache.memory,
                        _ => Address::NULL,
                    };
                    if address != Address::NULL {
                        self.find(address.number(), 1)?;
                    }
                }
                ffi::launch(launch, self.backwards)
            }
            Work::Product(product) => self.product(product),
        }
    }

    fn product(&mut self, product: &Product) -> Result<(), DeviceError> {
        let Product { rows, columns, depth, onto, .. } = *product;
        let (x, weights, out) = (product.x.number(), product.weights.number(), product.out.number());
        let read = |double: &mut Self, start: u64, count: usize| -> Result<Vec<f32>, DeviceError> {
            let (allocation, offset) = double.find(start, 2 * count)?;
            let bytes = allocation.bytes().get(offset..offset + 2 * count).unwrap_or_default();
            let wide = |pair: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
            Ok(bytes.as_chunks::<2>().0.iter().map(wide).collect())
        };
        let x = read(self, x, rows * depth)?;
        let weights = read(self, weights, columns * depth)?;
        let (allocation, offset) = self.find(out, 4 * rows * columns)?;
        let out = allocation.bytes().get_mut(offset..offset + 4 * rows * columns).unwrap_or_default();
        let mut cells = out.as_chunks_mut::<4>().0.iter_mut();
        for x in x.chunks_exact(depth) {
            for (weights, cell) in weights.chunks_exact(depth).zip(cells.by_ref()) {
                let sum: f32 = x.iter().zip(weights).map(|(x, weight)| x * weight).sum();
                let before = if onto == Onto::Itself { f32::from_le_bytes(*cell) } else { 0.0 };
                *cell = (before + sum).to_le_bytes();
            }
        }
        Ok(())
    }

    fn start(&mut self, work: Work) -> Result<(), DeviceError> {
        if let Some(recording) = &mut self.recording {
            recording.push(work);
            return Ok(());
        }
        self.count(|crossings| crossings.starts += 1);
        self.do_work(&work)
    }

    fn check_fences(&self) -> Result<(), DeviceError> {
        let whole = self.memory.values().all(ffi::Allocation::fences_are_whole);
        if whole { Ok(()) } else { Err(DeviceError::Launch("something was written outside of its memory")) }
    }
}

impl Device for Double {
    fn allocate(&mut self, bytes: usize) -> Result<Memory, DeviceError> {
        self.free =
            self.free.checked_sub(bytes).ok_or(DeviceError::Memory { wanted: bytes, free: self.free })?;
        let mut allocation = ffi::Allocation::new(bytes);
        let start = allocation.number();
        self.memory.insert(start, allocation);
        self.count(|crossings| crossings.allocations += 1);
        Ok(Memory::new(start, bytes))
    }

    fn shared_bytes(&self) -> u32 {
        SHARED
    }

    fn free_bytes(&mut self) -> Result<usize, DeviceError> {
        Ok(self.free)
    }

    fn upload(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.send(to.part(0, bytes.len())?, bytes)
    }

    fn send(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.count(|crossings| crossings.up += 1);
        self.slice(to.part(0, bytes.len())?)?.copy_from_slice(bytes);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        self.start(Work::Launch(launch.clone()))
    }

    fn multiply(&mut self, product: &Product) -> Result<(), DeviceError> {
        self.start(Work::Product(*product))
    }

    fn clear(&mut self, memory: Memory) -> Result<(), DeviceError> {
        self.slice(memory)?.fill(0);
        Ok(())
    }

    fn read(&mut self, from: Memory, into: &mut [u8]) -> Result<(), DeviceError> {
        self.check_fences()?;
        self.count(|crossings| {
            crossings.down += 1;
            crossings.bytes_down += into.len();
        });
        into.copy_from_slice(self.slice(from.part(0, into.len())?)?);
        Ok(())
    }

    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        match self.recording.replace(Vec::new()) {
            None => Ok(()),
            Some(_) => Err(DeviceError::Launch("a recording is under way")),
        }
    }

    fn end_recording(&mut self) -> Result<Graph, DeviceError> {
        let recorded = self.recording.take().ok_or(DeviceError::Launch("nothing is being recorded"))?;
        self.graphs.push(recorded);
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<(), DeviceError> {
        self.count(|crossings| crossings.replays += 1);
        let works = self.graphs.get(graph.0).cloned().ok_or(DeviceError::Launch("there is no such graph"))?;
        works.iter().try_for_each(|work| self.do_work(work))
    }
}
