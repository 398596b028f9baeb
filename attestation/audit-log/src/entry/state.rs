//! The state of a log.

use crate::Hash;
use crate::id::Origin;
use serde::{Deserialize, Serialize};

/// The state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// There is an entry at least every so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat_s: Option<u32>,
    /// The most entries that can be lost, because no checkpoint covers them yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_max: Option<u64>,
    /// The log's name.
    pub origin: Origin,
    /// The root hash over the first `size` entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// A tree size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl LogState {
    /// Of a log of this name, and nothing more.
    #[must_use]
    pub const fn of(origin: Origin) -> Self {
        Self { beat_s: None, lost_max: None, origin, root: None, size: None }
    }
}
