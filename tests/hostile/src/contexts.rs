//! Contexts of SELinux of this thread.

use crate::system::{address, call, name};

/// What this thread is, and what the next program is that it starts (`linux/lsm.h`).
pub(crate) const CURRENT: i64 = 100;
pub(crate) const EXEC: i64 = 101;

/// Sets a context of SELinux.
pub(crate) fn set_context(attribute: i64, context: &str) -> Result<(), String> {
    // struct lsm_ctx: SELinux's id, flags, length of all, length of the text; then the text.
    let len = 32 + context.len() as u64;
    let mut bytes: Vec<u8> =
        [101, 0, len, context.len() as u64].into_iter().flat_map(u64::to_ne_bytes).collect();
    bytes.extend(context.bytes());
    let size = i64::try_from(bytes.len()).unwrap_or(0);
    call(460, [attribute, address(bytes.as_ptr()), size, 0, 0, 0]).map(drop).map_err(|met| name(met.error))
}
