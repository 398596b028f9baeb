//! Leaving the namespaces that the process shares with the rest of the guest.

use crate::{Layers, Role};
use rustix::thread::{CapabilitySet, UnshareFlags};

/// Leaves what the role does not need. A process without the right to do so makes a user namespace first, in which it
/// has that right and which ends where its capabilities are dropped.
pub(crate) fn leave(role: &Role, layers: &mut Layers) {
    let privileged =
        rustix::thread::capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_ADMIN));
    if !privileged {
        layers.note("user namespace", unshare(UnshareFlags::NEWUSER));
    }
    layers.note("ipc namespace", unshare(UnshareFlags::NEWIPC));
    layers.note("uts namespace", unshare(UnshareFlags::NEWUTS));
    if matches!(role, Role::Worker | Role::DeviceWorker(_) | Role::GpuAttester(_) | Role::GpuAcceptor(_)) {
        layers.note("network namespace", unshare(UnshareFlags::NEWNET));
    }
}

#[expect(
    unsafe_code,
    reason = "unshare has no safe form in rustix, because of CLONE_FILES, which is never passed"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the danger of `unshare` is that threads see descriptors of another table (`FILES`); no caller in this
    // module passes that flag, and there is only one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}
