//! The system's randomness.

use ring::error::Unspecified;

#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
pub(crate) fn fill(out: &mut [u8]) -> Result<(), Unspecified> {
    use ring::rand::SecureRandom as _;
    ring::rand::SystemRandom::new().fill(out)
}

/// There is no system below a WebAssembly module, which reads logs and writes none.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
pub(crate) const fn fill(_: &mut [u8]) -> Result<(), Unspecified> {
    Err(Unspecified)
}
