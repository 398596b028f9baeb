//! Dense decoders on a CUDA device.
mod decoder;
mod device;
mod driver;
mod kernels;
mod self_test;
mod step;
mod weights;

pub use decoder::{Capacity, CudaDecoder};
pub use device::{
    Address, Argument, CacheView, Device, DeviceError, Graph, Heads, Launch, Memory, Onto, Product, Scores,
};
pub use driver::{ConfidentialMode, CudaDevice, confidential_mode};
pub use kernels::Kernel;
pub use self_test::self_test;
