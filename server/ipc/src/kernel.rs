//! What the collector tells the keeper of the kernel's audit records.

use crate::Confinement;
use serde::{Deserialize, Serialize};

/// From the keeper to the collector: nothing but the end of the line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCollector {}

/// From the collector to the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCollector {
    /// The kernel's audit records come to it, and this is what holds it.
    Confined(Confinement),
    /// The kernel's audit records do not come to it; it exits.
    Failed {
        /// The system's answer.
        detail: String,
    },
    /// The kernel said this.
    Told(KernelReport),
}

/// One thing that the kernel's audit records said, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// What.
    pub what: KernelEvent,
    /// How often since it was last told, at least once.
    pub count: u64,
}

/// What audit records can say here: words of the guest's policy, in lower case, and numbers. Paths, names and arguments stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KernelEvent {
    /// The mandatory policy refused something, or would have.
    Denied(PolicyDenial),
    /// A filter of system calls refused one.
    Filtered {
        /// The process.
        pid: u32,
        /// Its domain, if the kernel has a mandatory policy.
        source: Option<String>,
        /// The number of the call.
        syscall: u32,
        /// The signal that ended the process for it; 0 if it went on.
        signal: u32,
    },
    /// A mandatory policy was loaded.
    PolicyLoaded,
    /// Whether the mandatory policy is enforced changed.
    Mode {
        /// Whether it is now.
        enforcing: bool,
    },
    /// Records are missing; the count says how many.
    Lost(WhyLost),
}

/// One refusal of the mandatory policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyDenial {
    /// Whose policy.
    pub policy: MandatoryPolicy,
    /// The process.
    pub pid: u32,
    /// Its domain.
    pub source: String,
    /// The type of what was to be reached, where there is one.
    pub target: Option<String>,
    /// The class of what was to be reached, or the operation.
    pub class: String,
    /// What was wanted of it.
    pub permissions: Vec<String>,
    /// Whether it was refused.
    pub enforced: bool,
}

/// Whose policy is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MandatoryPolicy {
    /// SELinux.
    Selinux,
    /// AppArmor.
    AppArmor,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WhyLost {
    /// The kernel counted them as lost.
    Kernel,
    /// Their serial numbers never came.
    Gap,
    /// They are of a kind that is told, and not of its form.
    Unreadable,
    /// There were too many different ones to tell them apart.
    TooMany,
}
