//! What the kernel told.

use crate::id::Code;
use serde::{Deserialize, Serialize};

/// The most permissions that one denial may list: as many as a class of the kernel has.
pub const MAX_PERMISSIONS: usize = 32;

/// What the kernel's audit records said, in words of the guest's policy: types, classes, permissions, numbers. No path, name or argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The class of what was to be reached, such as `tcp_socket`; for AppArmor, the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Code>,
    /// How often, since this was last told.
    pub count: u64,
    /// Whether it was refused, or, for a change of mode, whether the policy is enforced now.
    pub enforced: bool,
    /// Who refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The permissions that were wanted, at most [`MAX_PERMISSIONS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub perms: Vec<Code>,
    /// The signal that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u32>,
    /// The domain of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Code>,
    /// The number of the system call on this architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscall: Option<u32>,
    /// The type of what was to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Code>,
}

impl Kernel {
    /// So many of something of which nothing more is known.
    #[must_use]
    pub const fn counted(count: u64) -> Self {
        Self {
            class: None,
            count,
            enforced: true,
            layer: None,
            perms: Vec::new(),
            signal: None,
            source: None,
            syscall: None,
            target: None,
        }
    }
}

/// A layer of the kernel that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// SELinux.
    Selinux,
    /// AppArmor.
    Apparmor,
    /// The filter of system calls.
    Seccomp,
}
