//! Dense decoders on a CUDA device, and the worker that runs them.
//!
//! Open a [`CudaDevice`], ask it [`self_test`], and give it to [`CudaDecoder::load`] with the plan and the weights that
//! `anchorhold_model::load_on` hands out. The decoder is a `Generator`, as the one on the CPU is.
//!
//! Promised: the program starts without CUDA and says what is missing; a step copies once to the device and once back, and takes no
//! memory; a block is overwritten when it is erased, and all memory when the device goes; no error says what was computed with.
//!
//! Not here: scheduling, and draws that depend on more than the logits (`anchorhold-engine`), tokenizers and packages
//! (`anchorhold-model`), and what establishes that a device is confidential: [`confidential_mode`] is the driver's word alone. Gemma,
//! experts, GGUF and models that embed are refused.
//!
//! The kernels are in `kernels/`, one source for nvcc (`make cuda`) and for a CPU (`tests/cuda-double`, in every test run). Neither the driver
//! nor cuBLASLt have run with this code yet: there was no GPU to try. Their signatures are held against NVIDIA's headers, and everything
//! above [`Device`] is tested on the double; what is below it runs on a driver of the tests that is made of host memory.

mod decoder;
mod device;
mod driver;
mod kernels;
mod self_test;
mod step;
mod weights;

pub use decoder::{Capacity, CudaDecoder};
pub use device::{
    Address, Argument, CacheView, Cell, Device, DeviceError, Graph, Heads, Launch, Memory, Onto, Product,
    Scores,
};
pub use driver::{ConfidentialMode, CudaDevice, confidential_mode};
pub use kernels::Kernel;
pub use self_test::self_test;
