//! The calls of the CUDA driver, cuBLASLt and NVML, which are loaded when the program runs: it starts on a machine without them and says
//! what is missing. The only unsafe code of the crate. `kernels/abi.cpp` holds every signature and number against NVIDIA's headers.
#![expect(unsafe_code, reason = "three C libraries are called")]
#![expect(non_snake_case, reason = "functions have the names of the libraries")]

use crate::device::{Cell, DeviceError};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use zeroize::Zeroize as _;

/// A pointer of one of the libraries that is only handed back to it.
type Opaque = *mut c_void;

macro_rules! library {
    ($(#[$doc:meta])* $table:ident of $file:literal $(or $older:literal)?: $($function:ident($($argument:ty),*);)*) => {
        $(#[$doc])*
        struct $table {
            $($function: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl $table {
            fn open() -> Result<Self, DeviceError> {
                // SAFETY: the libraries are NVIDIA's, found where the system's loader looks for libraries of its own; what they do
                // when they are loaded is as trusted as the driver.
                let library = unsafe { Library::new($file) };
                $(
                    // SAFETY: as above.
                    let library = library.or_else(|error| unsafe { Library::new($older) }.map_err(|_| error));
                )?
                let library = library.map_err(|error| DeviceError::Library { library: $file, reason: error.to_string() })?;
                $(
                    // SAFETY: the type is that of the function in NVIDIA's header, which `kernels/abi.cpp` asserts.
                    let $function = *unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> c_int>(stringify!($function).as_bytes())
                    }
                    .map_err(|_| DeviceError::Function { library: $file, function: stringify!($function) })?;
                )*
                // Never unloaded: the functions above stay where they are, and threads that the library may have started run on.
                std::mem::forget(library);
                Ok(Self { $($function,)* })
            }
        }
    };
}

/// Calls a function of a table; any answer but zero is an error.
macro_rules! call {
    ($table:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: each caller in this module passes pointers that are valid for what the function reads and writes through them, and
        // handles that the same library gave and that were not given back; where that is not plain to see, the caller says why.
        let code = unsafe { ($table.$function)($($argument),*) };
        if code == 0 { Ok(()) } else { Err(DeviceError::Call { function: stringify!($function), code }) }
    }};
}

library! {
    /// `cuda.h`
    Cuda of "libcuda.so.1":
    cuInit(c_uint);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut c_int, c_int);
    cuDeviceGetAttribute(*mut c_int, c_int, c_int);
    cuDevicePrimaryCtxRetain(*mut Opaque, c_int);
    cuDevicePrimaryCtxRelease_v2(c_int);
    cuCtxSetCurrent(Opaque);
    cuMemAlloc_v2(*mut u64, usize);
    cuMemFree_v2(u64);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemHostAlloc(*mut Opaque, usize, c_uint);
    cuMemFreeHost(Opaque);
    cuMemcpyHtoDAsync_v2(u64, *const c_void, usize, Opaque);
    cuMemcpyDtoHAsync_v2(Opaque, u64, usize, Opaque);
    cuMemsetD8Async(u64, u8, usize, Opaque);
    cuStreamCreate(*mut Opaque, c_uint);
    cuStreamSynchronize(Opaque);
    cuStreamWaitEvent(Opaque, Opaque, c_uint);
    cuStreamBeginCapture_v2(Opaque, c_int);
    cuStreamEndCapture(Opaque, *mut Opaque);
    cuEventCreate(*mut Opaque, c_uint);
    cuEventRecord(Opaque, Opaque);
    cuEventSynchronize(Opaque);
    cuModuleLoadData(*mut Opaque, *const c_void);
    cuModuleGetFunction(*mut Opaque, Opaque, *const c_char);
    cuFuncSetAttribute(Opaque, c_int, c_int);
    cuLaunchKernel(Opaque, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Opaque, *mut Opaque, *mut Opaque);
    cuGraphInstantiateWithFlags(*mut Opaque, Opaque, u64);
    cuGraphDestroy(Opaque);
    cuGraphLaunch(Opaque, Opaque);
}

library! {
    /// `cublasLt.h`, the same in CUDA 12 and 13 as far as it is called
    Lt of "libcublasLt.so.13" or "libcublasLt.so.12":
    cublasLtCreate(*mut Opaque);
    cublasLtMatmulDescCreate(*mut Opaque, c_int, c_int);
    cublasLtMatmulDescSetAttribute(Opaque, c_int, *const c_void, usize);
    cublasLtMatrixLayoutCreate(*mut Opaque, c_int, u64, u64, i64);
    cublasLtMatmulPreferenceCreate(*mut Opaque);
    cublasLtMatmulPreferenceSetAttribute(Opaque, c_int, *const c_void, usize);
    cublasLtMatmulAlgoGetHeuristic(Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut Heuristic, *mut c_int);
    cublasLtMatmul(
        Opaque, Opaque, *const c_void, *const c_void, Opaque, *const c_void, Opaque, *const c_void, *const c_void, Opaque,
        *mut c_void, Opaque, *const Algorithm, *mut c_void, usize, Opaque
    );
}

library! {
    /// `nvml.h`
    Nvml of "libnvidia-ml.so.1":
    nvmlInit_v2();
    nvmlShutdown();
    nvmlSystemGetConfComputeState(*mut [c_uint; 3]);
}

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`
const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`
const CAPABILITY_MINOR: c_int = 76;
/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`
const SHARED_PER_BLOCK: c_int = 97;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`
const DYNAMIC_SHARED: c_int = 8;
/// `CU_STREAM_NON_BLOCKING`
const NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`
const WITHOUT_TIME: c_uint = 2;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`
const CAPTURE_THREAD: c_int = 1;
/// `CUBLAS_COMPUTE_32F`
const COMPUTE_F32: c_int = 68;
/// `CUDA_R_32F`
const F32: c_int = 0;
/// `CUDA_R_16BF`
const BF16: c_int = 14;
/// `CUBLASLT_MATMUL_DESC_TRANSA`
const TRANSPOSE_FIRST: c_int = 3;
/// `CUBLAS_OP_T`
const TRANSPOSED: c_int = 1;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`
const MOST_WORKSPACE: c_int = 1;

/// `cublasLtMatmulAlgo_t`
#[derive(Clone, Copy)]
#[repr(C)]
struct Algorithm([u64; 8]);

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
struct Heuristic {
    algorithm: Algorithm,
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// A stream of the driver.
#[derive(Clone, Copy)]
pub(super) struct Stream(Opaque);

/// An event of the driver.
#[derive(Clone, Copy)]
pub(super) struct Event(Opaque);

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
pub(super) struct Function(Opaque);

/// An instantiated graph.
#[derive(Clone, Copy)]
pub(super) struct Executable(Opaque);

/// Host memory that the device copies from and to. Given back, wiped, by [`Driver::release`].
pub(super) struct Pinned {
    start: *mut u8,
    len: usize,
}

impl Pinned {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the driver gave `len` bytes at `start`, written once by `Driver::pinned`; they are this value's alone, and the device
        // does not write to them while they are borrowed: whoever starts a copy waits for it before the next borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// The driver with a context on one device. Its handles live as long as the process.
pub(super) struct Driver {
    cuda: Cuda,
    device: c_int,
    context: Opaque,
}

// SAFETY: the driver's functions may be called from any thread; the context is made current before they are.
unsafe impl Send for Driver {}
// SAFETY: as for `Driver`: a pointer that only the driver looks behind, from whatever thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Send for Executable {}
// SAFETY: the memory is the value's own.
unsafe impl Send for Pinned {}

impl Driver {
    /// The driver, and its first device.
    pub(super) fn open() -> Result<Self, DeviceError> {
        let cuda = Cuda::open()?;
        call!(cuda, cuInit(0))?;
        let (mut count, mut device, mut context) = (0, 0, null_mut());
        call!(cuda, cuDeviceGetCount(&raw mut count))?;
        if count < 1 {
            return Err(DeviceError::Unusable("there is no CUDA device"));
        }
        call!(cuda, cuDeviceGet(&raw mut device, 0))?;
        call!(cuda, cuDevicePrimaryCtxRetain(&raw mut context, device))?;
        Ok(Self { cuda, device, context })
    }

    fn attribute(&self, attribute: c_int) -> Result<u32, DeviceError> {
        let mut value = 0;
        call!(self.cuda, cuDeviceGetAttribute(&raw mut value, attribute, self.device))?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// The device's compute capability.
    pub(super) fn capability(&self) -> Result<(u32, u32), DeviceError> {
        Ok((self.attribute(CAPABILITY_MAJOR)?, self.attribute(CAPABILITY_MINOR)?))
    }

    /// The most shared memory of a block.
    pub(super) fn shared_per_block(&self) -> Result<u32, DeviceError> {
        self.attribute(SHARED_PER_BLOCK)
    }

    /// Makes the context that of the calling thread.
    pub(super) fn enter(&self) -> Result<(), DeviceError> {
        call!(self.cuda, cuCtxSetCurrent(self.context))
    }

    pub(super) fn stream(&self) -> Result<Stream, DeviceError> {
        let mut stream = null_mut();
        call!(self.cuda, cuStreamCreate(&raw mut stream, NON_BLOCKING))?;
        Ok(Stream(stream))
    }

    pub(super) fn event(&self) -> Result<Event, DeviceError> {
        let mut event = null_mut();
        call!(self.cuda, cuEventCreate(&raw mut event, WITHOUT_TIME))?;
        Ok(Event(event))
    }

    pub(super) fn record(&self, event: Event, stream: Stream) -> Result<(), DeviceError> {
        call!(self.cuda, cuEventRecord(event.0, stream.0))
    }

    pub(super) fn wait(&self, stream: Stream, event: Event) -> Result<(), DeviceError> {
        call!(self.cuda, cuStreamWaitEvent(stream.0, event.0, 0))
    }

    /// Waits on the host; an event that was never recorded is over.
    pub(super) fn wait_here(&self, event: Event) -> Result<(), DeviceError> {
        call!(self.cuda, cuEventSynchronize(event.0))
    }

    pub(super) fn finish(&self, stream: Stream) -> Result<(), DeviceError> {
        call!(self.cuda, cuStreamSynchronize(stream.0))
    }

    /// Free bytes of the device.
    pub(super) fn free_bytes(&self) -> Result<usize, DeviceError> {
        let (mut free, mut all) = (0, 0);
        call!(self.cuda, cuMemGetInfo_v2(&raw mut free, &raw mut all))?;
        Ok(free)
    }

    /// Device memory; what is in it is not said.
    pub(super) fn allocate(&self, bytes: usize) -> Result<u64, DeviceError> {
        let mut start = 0;
        call!(self.cuda, cuMemAlloc_v2(&raw mut start, bytes))?;
        Ok(start)
    }

    /// Gives device memory back.
    pub(super) fn free(&self, start: u64) -> Result<(), DeviceError> {
        call!(self.cuda, cuMemFree_v2(start))
    }

    pub(super) fn fill_with_zeros(
        &self,
        start: u64,
        bytes: usize,
        stream: Stream,
    ) -> Result<(), DeviceError> {
        call!(self.cuda, cuMemsetD8Async(start, 0, bytes, stream.0))
    }

    /// Zeroed host memory that the device can copy.
    pub(super) fn pinned(&self, len: usize) -> Result<Pinned, DeviceError> {
        let mut start = null_mut();
        call!(self.cuda, cuMemHostAlloc(&raw mut start, len, 0))?;
        let start = start.cast::<u8>();
        // SAFETY: the driver gave `len` bytes there.
        unsafe { start.write_bytes(0, len) };
        Ok(Pinned { start, len })
    }

    /// Wipes pinned memory and gives it back. Nothing copies it any more.
    pub(super) fn release(&self, mut pinned: Pinned) -> Result<(), DeviceError> {
        pinned.bytes().zeroize();
        call!(self.cuda, cuMemFreeHost(pinned.start.cast()))
    }

    /// Starts a copy of the first `len` bytes, which the caller leaves alone until it is done.
    pub(super) fn copy_up(
        &self,
        to: u64,
        from: &mut Pinned,
        len: usize,
        stream: Stream,
    ) -> Result<(), DeviceError> {
        let len = len.min(from.len);
        call!(self.cuda, cuMemcpyHtoDAsync_v2(to, from.start.cast(), len, stream.0))
    }

    /// Starts a copy to the first `len` bytes, which the caller leaves alone until it is done.
    pub(super) fn copy_down(
        &self,
        to: &mut Pinned,
        from: u64,
        len: usize,
        stream: Stream,
    ) -> Result<(), DeviceError> {
        let len = len.min(to.len);
        call!(self.cuda, cuMemcpyDtoHAsync_v2(to.start.cast(), from, len, stream.0))
    }

    /// Loads a fat binary and finds these kernels, each of which may take `shared` bytes of dynamic shared memory less its own.
    pub(super) fn load(
        &self,
        image: &[u8],
        names: &[&CStr],
        shared: u32,
    ) -> Result<Vec<Function>, DeviceError> {
        let mut module = null_mut();
        // The image is one that this program was built with: its header says how long it is.
        call!(self.cuda, cuModuleLoadData(&raw mut module, image.as_ptr().cast()))?;
        let find = |name: &&CStr| {
            let mut function = null_mut();
            call!(self.cuda, cuModuleGetFunction(&raw mut function, module, name.as_ptr()))?;
            Ok(Function(function))
        };
        let functions = names.iter().map(find).collect::<Result<Vec<_>, DeviceError>>()?;
        if let Some(dynamic) = functions.get(crate::kernels::Kernel::PrefillAttention as usize) {
            let bytes = c_int::try_from(shared).unwrap_or(0);
            call!(self.cuda, cuFuncSetAttribute(dynamic.0, DYNAMIC_SHARED, bytes))?;
        }
        Ok(functions)
    }

    pub(super) fn launch(
        &self,
        function: Function,
        (grid, threads, shared): ([u32; 3], u32, u32),
        arguments: &mut [Cell],
        stream: Stream,
    ) -> Result<(), DeviceError> {
        let mut pointers: Vec<Opaque> = arguments.iter_mut().map(|cell| cell.0.as_mut_ptr().cast()).collect();
        let [x, y, z] = grid;
        // The driver reads as many bytes behind each pointer as the kernel's parameter has, none more than a cell, before it returns.
        let (function, stream, pointers) = (function.0, stream.0, pointers.as_mut_ptr());
        call!(
            self.cuda,
            cuLaunchKernel(function, x, y, z, threads, 1, 1, shared, stream, pointers, null_mut())
        )
    }

    pub(super) fn begin_capture(&self, stream: Stream) -> Result<(), DeviceError> {
        call!(self.cuda, cuStreamBeginCapture_v2(stream.0, CAPTURE_THREAD))
    }

    pub(super) fn end_capture(&self, stream: Stream) -> Result<Executable, DeviceError> {
        let (mut graph, mut executable) = (null_mut(), null_mut());
        call!(self.cuda, cuStreamEndCapture(stream.0, &raw mut graph))?;
        let made = call!(self.cuda, cuGraphInstantiateWithFlags(&raw mut executable, graph, 0));
        call!(self.cuda, cuGraphDestroy(graph))?;
        made.map(|()| Executable(executable))
    }

    pub(super) fn replay(&self, executable: Executable, stream: Stream) -> Result<(), DeviceError> {
        call!(self.cuda, cuGraphLaunch(executable.0, stream.0))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Takes streams, events, modules and graphs with it. A driver that refuses has lost the device.
        let _ = call!(self.cuda, cuDevicePrimaryCtxRelease_v2(self.device));
    }
}

/// How one product is computed: the descriptions of its operands and the algorithm that cuBLASLt chose.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    product: Opaque,
    weights: Opaque,
    x: Opaque,
    out: Opaque,
    algorithm: Algorithm,
}

/// cuBLASLt.
pub(super) struct Blas {
    lt: Lt,
    handle: Opaque,
    preference: Opaque,
}

// SAFETY: handles of cuBLASLt may be used from any thread, one at a time.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Send for Plan {}

impl Blas {
    /// The library, with this much workspace for a product.
    pub(super) fn open(workspace: usize) -> Result<Self, DeviceError> {
        let lt = Lt::open()?;
        let (mut handle, mut preference) = (null_mut(), null_mut());
        call!(lt, cublasLtCreate(&raw mut handle))?;
        call!(lt, cublasLtMatmulPreferenceCreate(&raw mut preference))?;
        let bytes = (&raw const workspace).cast();
        call!(
            lt,
            cublasLtMatmulPreferenceSetAttribute(preference, MOST_WORKSPACE, bytes, size_of::<usize>())
        )?;
        Ok(Self { lt, handle, preference })
    }

    /// How `rows x depth` times the transpose of `columns x depth` is computed. cuBLASLt counts by columns, so that it sees the weights as
    /// `depth x columns`, transposed, and the output as `columns x rows`.
    pub(super) fn plan(&self, rows: u64, columns: u64, depth: u64) -> Result<Plan, DeviceError> {
        let operation = TRANSPOSED;
        let (mut product, mut weights, mut x, mut out) = (null_mut(), null_mut(), null_mut(), null_mut());
        let long = |length: u64| i64::try_from(length).unwrap_or(i64::MAX);
        call!(self.lt, cublasLtMatmulDescCreate(&raw mut product, COMPUTE_F32, F32))?;
        let transposed = (&raw const operation).cast();
        call!(
            self.lt,
            cublasLtMatmulDescSetAttribute(product, TRANSPOSE_FIRST, transposed, size_of::<c_int>())
        )?;
        call!(self.lt, cublasLtMatrixLayoutCreate(&raw mut weights, BF16, depth, columns, long(depth)))?;
        call!(self.lt, cublasLtMatrixLayoutCreate(&raw mut x, BF16, depth, rows, long(depth)))?;
        call!(self.lt, cublasLtMatrixLayoutCreate(&raw mut out, F32, columns, rows, long(columns)))?;
        let mut found =
            Heuristic { algorithm: Algorithm([0; 8]), workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] };
        let mut count = 0;
        let (handle, preference) = (self.handle, self.preference);
        call!(
            self.lt,
            cublasLtMatmulAlgoGetHeuristic(
                handle,
                product,
                weights,
                x,
                out,
                out,
                preference,
                1,
                &raw mut found,
                &raw mut count
            )
        )?;
        if count < 1 || found.state != 0 {
            return Err(DeviceError::Unusable("cuBLASLt has no algorithm for a product of the model"));
        }
        Ok(Plan { product, weights, x, out, algorithm: found.algorithm })
    }

    /// Starts a product; `scale` multiplies what the output held.
    pub(super) fn multiply(
        &self,
        plan: &Plan,
        (x, weights, out): (u64, u64, u64),
        scale: f32,
        (workspace, bytes): (u64, usize),
        stream: Stream,
    ) -> Result<(), DeviceError> {
        // Addresses of the device, which the host does not look behind.
        let at =
            |number: u64| std::ptr::without_provenance_mut::<c_void>(usize::try_from(number).unwrap_or(0));
        let one = 1.0_f32;
        let (one, scale) = ((&raw const one).cast(), (&raw const scale).cast());
        let (x, weights, out, workspace) = (at(x), at(weights), at(out), at(workspace));
        call!(
            self.lt,
            cublasLtMatmul(
                self.handle,
                plan.product,
                one,
                weights.cast_const(),
                plan.weights,
                x.cast_const(),
                plan.x,
                scale,
                out.cast_const(),
                plan.out,
                out,
                plan.out,
                &raw const plan.algorithm,
                workspace,
                bytes,
                stream.0
            )
        )
    }
}

/// What NVML says of confidential computing: the environment, the feature, and the mode for developers.
pub(super) fn confidential_state() -> Result<[u32; 3], DeviceError> {
    let nvml = Nvml::open()?;
    call!(nvml, nvmlInit_v2())?;
    let mut state = [0; 3];
    let said = call!(nvml, nvmlSystemGetConfComputeState(&raw mut state));
    call!(nvml, nvmlShutdown())?;
    said.map(|()| state)
}

const _: () = assert!(size_of::<Heuristic>() == 96 && size_of::<Opaque>() == 8);
