//! Loading the SELinux policy of the root and enforcing it, without libselinux: `selinuxfs` takes the policy's bytes.

use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, mount};
use std::path::Path;

/// The policy in the verified root. An image that has one enforces it or does not serve.
pub(crate) const POLICY: &str = "/usr/lib/anchorhold/selinux/policy";
const FILES: &str = "/sys/fs/selinux";

/// Whether this image has a policy.
pub(crate) fn is_wanted() -> bool {
    Path::new(POLICY).exists()
}

/// Loads the policy and enforces it from here on. The domain of this process changes when it executes the second stage.
///
/// # Errors
/// The kernel has no SELinux, or refuses the policy.
pub(crate) fn load() -> anyhow::Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let policy = std::fs::read(POLICY).context(POLICY)?;
    mount("selinuxfs", FILES, "selinuxfs", MountFlags::NOSUID | MountFlags::NOEXEC, None)
        .context("this kernel runs without SELinux: it is not in lsm=")?;
    std::fs::write(Path::new(FILES).join("load"), policy).context("loading the SELinux policy")?;
    std::fs::write(Path::new(FILES).join("enforce"), "1").context("enforcing the SELinux policy")
}

/// # Errors
/// The policy of this image is not enforced.
pub(crate) fn check() -> anyhow::Result<()> {
    if is_wanted() {
        let enforce = std::fs::read_to_string(Path::new(FILES).join("enforce")).context("SELinux")?;
        ensure!(enforce.trim() == "1", "SELinux does not enforce");
    }
    Ok(())
}
