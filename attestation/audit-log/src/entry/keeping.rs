//! How long a log is kept, by whom that was held up, and what was destroyed: the acts of an archive.

use super::sealed::SubjectKeyId;
use crate::Hash;
use crate::id::{Code, HoldId, Origin, TenantId};
use serde::{Deserialize, Serialize};

/// The most retention profiles that one act may name.
pub const MAX_PROFILES: usize = 8;

/// An act of an archive and what it is about. What is not said does not restrict it: a hold without a tenant is about all tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeping {
    /// How many keys were destroyed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The index before which entries are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// The index of the first entry that went with this act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Which hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// The key that was destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<SubjectKeyId>,
    /// Which log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The retention profiles that were selected, at most [`MAX_PROFILES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Code>,
    /// The root hash of the log's checkpoint, which stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// From this time on, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// The size of the log's checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Which tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Before this time, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}
