//! The cases of each platform.

mod snp;

use crate::Suite;

/// Adds every case.
///
/// # Errors
/// When evidence cannot be made.
pub fn write_all(suite: &mut Suite) -> anyhow::Result<()> {
    snp::write(suite)
}
