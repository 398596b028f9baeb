//! A device of the CUDA driver.
//!
//! One stream computes, one copies; events keep them in order. What is copied goes through pinned buffers that are taken once. Nothing
//! is unified memory, which confidential mode does not have.

mod ffi;

use self::ffi::{Blas, Driver, Event, Executable, Function, Pinned, Plan, Stream};
use crate::device::{Argument, Device, DeviceError, Graph, Launch, Memory, Onto, Product};
use crate::kernels::Kernel;
use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;

/// The kernels as a fat binary, aligned as its words want it; empty in a program that was built without them.
const KERNELS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
/// The lowest compute capability that the kernels run on: bf16 on tensor cores.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);
/// Pinned buffers through which weights pass.
const RING: usize = 2;
/// Bytes of each.
const RING_LEN: usize = 32 << 20;
/// Bytes of the longest description of a step.
const STEP_LEN: usize = 1 << 20;
/// Bytes that a product may use beside its operands; NVIDIA's advice for Hopper.
const WORKSPACE: usize = 32 << 20;
/// Products of one size and place in a step whose plans are kept.
const MAX_PLANS: usize = 1 << 16;

#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

/// Whether the device computes where the host cannot look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfidentialMode {
    /// It does, in a production environment and without the tools of developers.
    On,
    /// It does, but developers may look.
    Developer,
    /// It does not.
    Off,
}

impl fmt::Display for ConfidentialMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Developer => "on, open to developers",
            Self::Off => "off",
        })
    }
}

/// What NVML says of the machine's devices. Unsigned: a report of the device, verified elsewhere, is what establishes it.
///
/// # Errors
/// NVML is not there, or does not know the question.
pub fn confidential_mode() -> Result<ConfidentialMode, DeviceError> {
    Ok(mode_of(ffi::confidential_state()?))
}

/// `nvmlConfComputeSystemState_t`: environment (2 is production), feature (1 is on), mode for developers (0 is off).
const fn mode_of([environment, feature, developers]: [u32; 3]) -> ConfidentialMode {
    match (feature, environment, developers) {
        (1, 2, 0) => ConfidentialMode::On,
        (1, ..) => ConfidentialMode::Developer,
        _ => ConfidentialMode::Off,
    }
}

/// One buffer of the ring, and when its last copy is over.
struct Slot {
    pinned: Pinned,
    copied: Event,
}

/// A device of the driver, with everything that it was given.
pub struct CudaDevice {
    driver: Driver,
    blas: Blas,
    functions: Vec<Function>,
    shared: u32,
    compute: Stream,
    copy: Stream,
    /// Recorded on the computing stream; the copying one waits for it.
    computed: Event,
    /// Recorded on the copying stream; the computing one waits for it.
    arrived: Event,
    ring: Vec<Slot>,
    next: usize,
    step: Option<Slot>,
    workspace: Memory,
    memory: Vec<Memory>,
    plans: HashMap<(usize, usize, usize), Plan>,
    graphs: Vec<Executable>,
    recording: bool,
}

impl CudaDevice {
    /// Loads the libraries and the kernels, and takes the first device.
    ///
    /// # Errors
    /// The program has no kernels, a library or a function is missing, or the device is none that they run on.
    pub fn open() -> Result<Self, DeviceError> {
        if KERNELS.0.is_empty() {
            return Err(DeviceError::NoKernels);
        }
        Self::open_with(&KERNELS.0)
    }

    /// The same with other kernels: a fat binary, or what a driver of the tests takes for one.
    ///
    /// # Errors
    /// As for [`CudaDevice::open`].
    pub fn open_with(kernels: &[u8]) -> Result<Self, DeviceError> {
        let driver = Driver::open()?;
        if driver.capability()? < LEAST_CAPABILITY {
            return Err(DeviceError::Unusable("the device is older than compute capability 8.0"));
        }
        driver.enter()?;
        let shared = driver.shared_per_block()?;
        let names: Vec<CString> =
            Kernel::ALL.iter().filter_map(|kernel| CString::new(kernel.name()).ok()).collect();
        let names: Vec<_> = names.iter().map(CString::as_c_str).collect();
        let functions = driver.load(kernels, &names, shared)?;
        let slot = |len| Ok(Slot { pinned: driver.pinned(len)?, copied: driver.event()? });
        let ring = (0..RING).map(|_| slot(RING_LEN)).collect::<Result<_, DeviceError>>()?;
        let step = Some(slot(STEP_LEN)?);
        let workspace = Memory::new(driver.allocate(WORKSPACE)?, WORKSPACE);
        Ok(Self {
            blas: Blas::open(WORKSPACE)?,
            functions,
            shared,
            compute: driver.stream()?,
            copy: driver.stream()?,
            computed: driver.event()?,
            arrived: driver.event()?,
            ring,
            next: 0,
            step,
            workspace,
            memory: vec![workspace],
            plans: HashMap::new(),
            graphs: Vec::new(),
            recording: false,
            driver,
        })
    }

    /// Lets what is copied next wait for what is computed so far.
    fn copy_after_compute(&self) -> Result<(), DeviceError> {
        self.driver.record(self.computed, self.compute)?;
        self.driver.wait(self.copy, self.computed)
    }

    /// Lets what is computed next wait for what is copied so far.
    fn compute_after_copy(&self) -> Result<(), DeviceError> {
        self.driver.record(self.arrived, self.copy)?;
        self.driver.wait(self.compute, self.arrived)
    }

    /// Copies bytes that fit a slot, once its last copy is over.
    fn copy_through(&self, slot: &mut Slot, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.driver.wait_here(slot.copied)?;
        let pinned = slot.pinned.bytes().get_mut(..bytes.len());
        pinned.ok_or(DeviceError::Launch("more bytes than a pinned buffer has"))?.copy_from_slice(bytes);
        self.driver.copy_up(to, &mut slot.pinned, bytes.len(), self.copy)?;
        self.driver.record(slot.copied, self.copy)
    }

    fn plan(&mut self, product: &Product) -> Result<Plan, DeviceError> {
        let key = (product.rows, product.columns, product.depth);
        if let Some(plan) = self.plans.get(&key) {
            return Ok(*plan);
        }
        if self.plans.len() >= MAX_PLANS {
            return Err(DeviceError::Launch("more sizes of products than are kept"));
        }
        let [rows, columns, depth] =
            [key.0, key.1, key.2].map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        let plan = self.blas.plan(rows, columns, depth)?;
        self.plans.insert(key, plan);
        Ok(plan)
    }
}

impl Device for CudaDevice {
    fn allocate(&mut self, bytes: usize) -> Result<Memory, DeviceError> {
        self.driver.enter()?;
        let free = self.driver.free_bytes()?;
        if bytes > free {
            return Err(DeviceError::Memory { wanted: bytes, free });
        }
        let memory = Memory::new(self.driver.allocate(bytes.max(1))?, bytes);
        self.memory.push(memory);
        self.driver.fill_with_zeros(memory.start().number(), bytes.max(1), self.compute)?;
        Ok(memory)
    }

    fn shared_bytes(&self) -> u32 {
        self.shared
    }

    fn free_bytes(&mut self) -> Result<usize, DeviceError> {
        self.driver.enter()?;
        self.driver.free_bytes()
    }

    fn upload(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.driver.enter()?;
        let to = to.part(0, bytes.len())?;
        self.copy_after_compute()?;
        let mut ring = std::mem::take(&mut self.ring);
        let mut next = self.next;
        let copied = (0..).step_by(RING_LEN).zip(bytes.chunks(RING_LEN)).try_for_each(|(offset, chunk)| {
            next = (next + 1) % RING;
            let slot = ring.get_mut(next).ok_or(DeviceError::Launch("there is no pinned buffer"))?;
            self.copy_through(slot, to.part(offset, chunk.len())?.start().number(), chunk)
        });
        (self.ring, self.next) = (ring, next);
        copied?;
        self.compute_after_copy()
    }

    fn send(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError> {
        self.driver.enter()?;
        let to = to.part(0, bytes.len())?;
        self.copy_after_compute()?;
        let mut slot = self.step.take().ok_or(DeviceError::Launch("there is no pinned buffer"))?;
        let copied = self.copy_through(&mut slot, to.start().number(), bytes);
        self.step = Some(slot);
        copied?;
        self.compute_after_copy()
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        if launch.shared > self.shared {
            return Err(DeviceError::Launch("a block would take more shared memory than the device has"));
        }
        self.driver.enter()?;
        let function = self.functions.get(launch.kernel as usize).copied();
        let function = function.ok_or(DeviceError::Launch("there is no such kernel"))?;
        let mut cells: Vec<_> = launch.arguments.iter().map(Argument::cell).collect();
        let form = (launch.grid, launch.threads, launch.shared);
        self.driver.launch(function, form, &mut cells, self.compute)
    }

    fn multiply(&mut self, product: &Product) -> Result<(), DeviceError> {
        self.driver.enter()?;
        let plan = self.plan(product)?;
        let places = (product.x.number(), product.weights.number(), product.out.number());
        let scale = if product.onto == Onto::Itself { 1.0 } else { 0.0 };
        let workspace = (self.workspace.start().number(), self.workspace.bytes());
        self.blas.multiply(&plan, places, scale, workspace, self.compute)
    }

    fn clear(&mut self, memory: Memory) -> Result<(), DeviceError> {
        self.driver.enter()?;
        self.driver.fill_with_zeros(memory.start().number(), memory.bytes(), self.compute)
    }

    fn read(&mut self, from: Memory, into: &mut [u8]) -> Result<(), DeviceError> {
        self.driver.enter()?;
        let from = from.part(0, into.len())?;
        self.copy_after_compute()?;
        let slot = self.ring.first_mut().ok_or(DeviceError::Launch("there is no pinned buffer"))?;
        self.driver.wait_here(slot.copied)?;
        for (offset, chunk) in (0..).step_by(RING_LEN).zip(into.chunks_mut(RING_LEN)) {
            let from = from.part(offset, chunk.len())?.start().number();
            self.driver.copy_down(&mut slot.pinned, from, chunk.len(), self.copy)?;
            self.driver.finish(self.copy)?;
            let pinned = slot.pinned.bytes().get(..chunk.len()).unwrap_or_default();
            chunk.copy_from_slice(pinned);
        }
        Ok(())
    }

    fn begin_recording(&mut self) -> Result<(), DeviceError> {
        if self.recording {
            return Err(DeviceError::Launch("a recording is under way"));
        }
        self.driver.enter()?;
        self.driver.begin_capture(self.compute)?;
        self.recording = true;
        Ok(())
    }

    fn end_recording(&mut self) -> Result<Graph, DeviceError> {
        if !std::mem::take(&mut self.recording) {
            return Err(DeviceError::Launch("nothing is being recorded"));
        }
        self.graphs.push(self.driver.end_capture(self.compute)?);
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, graph: Graph) -> Result<(), DeviceError> {
        self.driver.enter()?;
        let graph = self.graphs.get(graph.0).copied().ok_or(DeviceError::Launch("there is no such graph"))?;
        self.driver.replay(graph, self.compute)
    }
}

impl Drop for CudaDevice {
    /// Erases what the device and the pinned buffers hold, and gives it back. A driver that refuses has lost the device, and with it
    /// the memory.
    fn drop(&mut self) {
        let _ = self.driver.enter();
        for memory in &self.memory {
            let _ = self.driver.fill_with_zeros(memory.start().number(), memory.bytes(), self.compute);
        }
        let _ = self.driver.finish(self.copy);
        let _ = self.driver.finish(self.compute);
        for memory in self.memory.drain(..) {
            let _ = self.driver.free(memory.start().number());
        }
        for slot in self.ring.drain(..).chain(self.step.take()) {
            let _ = self.driver.release(slot.pinned);
        }
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice").field("allocations", &self.memory.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidential_mode_is_on_only_in_production_and_without_developers() {
        for (state, mode) in [
            ([2, 1, 0], ConfidentialMode::On),
            ([2, 1, 1], ConfidentialMode::Developer),
            ([1, 1, 0], ConfidentialMode::Developer),
            ([0, 1, 0], ConfidentialMode::Developer),
            ([2, 0, 0], ConfidentialMode::Off),
            ([0, 0, 0], ConfidentialMode::Off),
            ([2, 7, 0], ConfidentialMode::Off),
        ] {
            assert_eq!(mode_of(state), mode, "{state:?}");
        }
    }

    #[test]
    fn kernels_are_found_by_their_number() {
        assert!(Kernel::ALL.iter().enumerate().all(|(at, kernel)| *kernel as usize == at));
    }
}
