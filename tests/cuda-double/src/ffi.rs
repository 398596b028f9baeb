//! The call of a kernel, and the memory that kernels write to.
#![expect(unsafe_code, reason = "kernels are C++ and take raw addresses")]

use anchorhold_cuda::{Argument, DeviceError, Launch};
use std::ffi::{CStr, CString, c_char, c_uint, c_void};

/// Bytes on each side of an allocation that nothing may change, and its alignment.
const FENCE: usize = 256;
/// What they hold.
const FENCE_BYTE: u8 = 0xa5;

/// Zeroed memory with a fence on both sides, aligned as the driver's is.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// Never grows, so that it stays where it is.
    all: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Allocation {
    pub(crate) fn new(bytes: usize) -> Self {
        let mut all = vec![FENCE_BYTE; bytes + 4 * FENCE];
        let begin = all.as_mut_ptr().expose_provenance();
        let start = begin.next_multiple_of(FENCE) - begin + FENCE;
        all.iter_mut().skip(start).take(bytes).for_each(|byte| *byte = 0);
        Self { all, start, bytes }
    }

    /// The number of its first byte.
    pub(crate) fn number(&mut self) -> u64 {
        (self.all.as_mut_ptr().expose_provenance() + self.start) as u64
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.all.get_mut(self.start..self.start + self.bytes).unwrap_or_default()
    }

    pub(crate) fn fences_are_whole(&self) -> bool {
        let before = self.all.get(..self.start).unwrap_or_default();
        let behind = self.all.get(self.start + self.bytes..).unwrap_or_default();
        before.iter().chain(behind).all(|byte| *byte == FENCE_BYTE)
    }
}

#[repr(C)]
struct Grid {
    blocks: [c_uint; 3],
    threads: c_uint,
    shared: c_uint,
    backwards: c_uint,
}

unsafe extern "C" {
    fn simt_launch(
        name: *const c_char,
        grid: *const Grid,
        count: c_uint,
        sizes: *const c_uint,
        arguments: *mut *mut c_void,
    ) -> *const c_char;
}

/// Runs a kernel. What its addresses lie in was allocated by the double and is not borrowed meanwhile.
pub(crate) fn launch(launch: &Launch, backwards: bool) -> Result<(), DeviceError> {
    let name = CString::new(launch.kernel.name()).map_err(|_| DeviceError::Launch("a kernel's name"))?;
    let narrow = |size: usize| c_uint::try_from(size).unwrap_or(c_uint::MAX);
    let mut cells: Vec<_> = launch.arguments.iter().map(Argument::cell).collect();
    let sizes: Vec<c_uint> = launch.arguments.iter().map(|argument| narrow(argument.size())).collect();
    let mut pointers: Vec<*mut c_void> = cells.iter_mut().map(|cell| cell.0.as_mut_ptr().cast()).collect();
    let grid = Grid {
        blocks: launch.grid,
        threads: launch.threads,
        shared: launch.shared,
        backwards: backwards.into(),
    };
    // SAFETY: `name` ends with a zero; `sizes` and `pointers` have as many elements as `count` says, and each pointer has 32 bytes behind
    // it, which is what the longest parameter has; the call keeps none of them. The kernel writes where its address arguments point: to
    // allocations of the double, and the fences around them tell when it went astray.
    let error = unsafe {
        simt_launch(
            name.as_ptr(),
            &raw const grid,
            narrow(sizes.len()),
            sizes.as_ptr(),
            pointers.as_mut_ptr(),
        )
    };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: what is not null is a string constant of `simt.cpp`.
    let error: &'static CStr = unsafe { CStr::from_ptr(error) };
    Err(DeviceError::Launch(error.to_str().unwrap_or("a launch was refused")))
}
