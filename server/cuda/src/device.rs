//! What the decoder asks of a device. The driver's implementation is in [`crate::driver`]; tests have one that runs the same kernels on
//! the CPU.

use crate::kernels::Kernel;

/// Why a device did not do something. Says nothing of what it was computing with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A library of the driver or of CUDA is not on this machine, or cannot be loaded.
    #[error("{library} could not be loaded: {reason}")]
    Library {
        /// Its file name.
        library: &'static str,
        /// The loader's answer.
        reason: String,
    },
    /// A library lacks a function that is called.
    #[error("{library} has no function {function}")]
    Function {
        /// Its file name.
        library: &'static str,
        /// The missing name.
        function: &'static str,
    },
    /// A function of a library answered an error.
    #[error("{function} answered {code}")]
    Call {
        /// The function.
        function: &'static str,
        /// The number that the library answered.
        code: i32,
    },
    /// The program was built without its kernels.
    #[error("this program was built without its kernels: make cuda builds them")]
    NoKernels,
    /// There is no device, or it is too old.
    #[error("{0}")]
    Unusable(&'static str),
    /// A kernel's argument, a range of memory or a size is not what it must be.
    #[error("{0}")]
    Launch(&'static str),
    /// There is not as much memory.
    #[error("{wanted} bytes of device memory are needed, {free} are free")]
    Memory {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that are left.
        free: usize,
    },
    /// A kernel's answer to a known question is wrong.
    #[error("self-test: {0} does not compute what it must")]
    SelfTest(&'static str),
}

/// A place in device memory. Only offered by [`Memory`], which knows what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(u64);

impl Address {
    /// No place, for arguments that may be absent.
    pub const NULL: Self = Self(0);

    /// The number that the device knows it by.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A stretch of device memory. The device that gave it takes it back when it goes, and erases it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    start: Address,
    bytes: usize,
}

impl Memory {
    /// For implementations of [`Device`]: the stretch that begins at the number `start`.
    #[must_use]
    pub const fn new(start: u64, bytes: usize) -> Self {
        Self { start: Address(start), bytes }
    }

    /// Its first byte.
    #[must_use]
    pub const fn start(self) -> Address {
        self.start
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// The `bytes` bytes that begin `offset` bytes in.
    ///
    /// # Errors
    /// They are not all in it.
    pub fn part(self, offset: usize, bytes: usize) -> Result<Self, DeviceError> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        let start = u64::try_from(offset).ok().and_then(|offset| self.start.0.checked_add(offset));
        match (end, start) {
            (Some(_), Some(start)) => Ok(Self { start: Address(start), bytes }),
            _ => Err(DeviceError::Launch("a range is outside of its memory")),
        }
    }
}

/// `struct Cache` of `kernels/step.cuh`: where a layer's keys and values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CacheView {
    /// The blocks.
    pub memory: Address,
    /// Elements of one block.
    pub block_len: u64,
    /// Where the layer begins in a block, in elements.
    pub layer: u64,
    /// Key heads.
    pub heads: u32,
    /// Features of a head.
    pub head: u32,
}

/// `struct Heads` of `kernels/rope.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Heads {
    /// Query heads, a multiple of the key heads.
    pub queries: u32,
    /// Key heads.
    pub keys: u32,
    /// Features of a head.
    pub head: u32,
}

/// `struct Scores` of `kernels/attention.cuh`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Scores {
    /// Multiplies the scores.
    pub scale: f32,
    /// Keeps them between minus and plus this; 0 for no bound.
    pub cap: f32,
    /// How many positions a query sees, itself included; `u32::MAX` for all.
    pub window: u32,
}

/// An argument of a kernel, as the kernel's parameter is declared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A pointer.
    Address(Address),
    /// `unsigned`.
    Number(u32),
    /// `unsigned long long`.
    Wide(u64),
    /// `float`.
    Float(f32),
    /// `Cache`.
    Cache(CacheView),
    /// `Heads`.
    Heads(Heads),
    /// `Scores`.
    Scores(Scores),
}

/// The bytes of a parameter, at an address that is aligned for each kind.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(16))]
pub struct Cell(pub [u8; 32]);

impl Argument {
    /// Bytes of the parameter.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Self::Address(_) | Self::Wide(_) => 8,
            Self::Number(_) | Self::Float(_) => 4,
            Self::Cache(_) => size_of::<CacheView>(),
            Self::Heads(_) => size_of::<Heads>(),
            Self::Scores(_) => size_of::<Scores>(),
        }
    }

    /// The parameter as the kernel reads it, zeros behind it.
    #[must_use]
    pub fn cell(&self) -> Cell {
        let mut bytes = Vec::with_capacity(32);
        match *self {
            Self::Address(address) => bytes.extend(address.number().to_ne_bytes()),
            Self::Number(number) => bytes.extend(number.to_ne_bytes()),
            Self::Wide(number) => bytes.extend(number.to_ne_bytes()),
            Self::Float(number) => bytes.extend(number.to_ne_bytes()),
            Self::Cache(cache) => {
                let wide = [cache.memory.number(), cache.block_len, cache.layer];
                bytes.extend(wide.map(u64::to_ne_bytes).concat());
                bytes.extend([cache.heads, cache.head].map(u32::to_ne_bytes).concat());
            }
            Self::Heads(heads) => {
                bytes.extend([heads.queries, heads.keys, heads.head].map(u32::to_ne_bytes).concat());
            }
            Self::Scores(scores) => {
                bytes.extend([scores.scale, scores.cap].map(f32::to_ne_bytes).concat());
                bytes.extend(scores.window.to_ne_bytes());
            }
        }
        let mut cell = Cell([0; 32]);
        for (to, from) in cell.0.iter_mut().zip(bytes) {
            *to = from;
        }
        cell
    }
}

/// One run of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Which.
    pub kernel: Kernel,
    /// Blocks in each direction; a launch with none does nothing.
    pub grid: [u32; 3],
    /// Threads of a block, in whole warps.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// What the kernel is given, in its order.
    pub arguments: Vec<Argument>,
}

/// `out = x * weights^T`, or `out += x * weights^T`: bf16 in, sums and output in f32, all matrices row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// `rows x depth`, bf16.
    pub x: Address,
    /// `columns x depth`, bf16.
    pub weights: Address,
    /// `rows x columns`, f32.
    pub out: Address,
    /// Rows of `x`.
    pub rows: usize,
    /// Rows of `weights`.
    pub columns: usize,
    /// The length of each row that is multiplied.
    pub depth: usize,
    /// What becomes of what `out` held.
    pub onto: Onto,
}

/// What a product does with what its output held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// It is overwritten.
    Nothing,
    /// The product is added to it.
    Itself,
}

/// A recorded sequence of launches and products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Graph(pub usize);

/// A device with memory and kernels. Everything is done in the order in which it was asked; only [`Device::read`] waits for it.
///
/// No copy and no allocation happens between a step's [`Device::send`] and its [`Device::read`], so that in confidential mode, where
/// each crossing is dear, a step crosses twice.
pub trait Device: Send {
    /// Takes zeroed memory, aligned for every kernel.
    ///
    /// # Errors
    /// There is not as much.
    fn allocate(&mut self, bytes: usize) -> Result<Memory, DeviceError>;

    /// The most bytes of dynamic shared memory that a block of threads can have.
    fn shared_bytes(&self) -> u32;

    /// Bytes that could still be taken.
    ///
    /// # Errors
    /// The device does not say.
    fn free_bytes(&mut self) -> Result<usize, DeviceError>;

    /// Copies weights to the device, through a ring of pinned buffers; returns before they have arrived.
    ///
    /// # Errors
    /// The range is not as long as the bytes, or the device failed.
    fn upload(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies a step's description on a stream of its own; what is launched next waits for it, and it for what was launched before.
    ///
    /// # Errors
    /// The range is shorter than the bytes, the bytes are too many for the pinned buffer, or the device failed.
    fn send(&mut self, to: Memory, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Runs a kernel.
    ///
    /// # Errors
    /// The arguments are not the kernel's, or the device failed.
    fn launch(&mut self, launch: &Launch) -> Result<(), DeviceError>;

    /// Computes a product.
    ///
    /// # Errors
    /// The library has no way for these sizes, or the device failed.
    fn multiply(&mut self, product: &Product) -> Result<(), DeviceError>;

    /// Overwrites memory with zeros.
    ///
    /// # Errors
    /// The device failed.
    fn clear(&mut self, memory: Memory) -> Result<(), DeviceError>;

    /// Waits until everything is done and copies memory back.
    ///
    /// # Errors
    /// The range is not as long as `into`, or the device failed, now or in anything asked since the last read.
    fn read(&mut self, from: Memory, into: &mut [u8]) -> Result<(), DeviceError>;

    /// Records what is launched and multiplied from here on instead of doing it.
    ///
    /// # Errors
    /// The device failed, or records already.
    fn begin_recording(&mut self) -> Result<(), DeviceError>;

    /// Ends the recording.
    ///
    /// # Errors
    /// Nothing is being recorded, or something in it cannot be.
    fn end_recording(&mut self) -> Result<Graph, DeviceError>;

    /// Does what was recorded, as one.
    ///
    /// # Errors
    /// There is no such graph, or the device failed.
    fn replay(&mut self, graph: Graph) -> Result<(), DeviceError>;
}
