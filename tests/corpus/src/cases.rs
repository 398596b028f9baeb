//! The cases of each platform.

mod azure;
mod bytes;
mod nvidia;
mod profile;
mod snp;
mod tdx;
mod tpm;

use crate::Suite;

/// Adds every case.
///
/// # Errors
/// When evidence cannot be made.
pub fn write_all(suite: &mut Suite) -> anyhow::Result<()> {
    snp::write(suite)?;
    tdx::write(suite)?;
    nvidia::write(suite)?;
    azure::write(suite)?;
    tpm::write(suite)
}
