//! Loading the SELinux policy of the root, without libselinux: `selinuxfs` takes the policy's bytes.
//!
//! The kernel is built without a switch for enforcement, so the policy is enforced from the moment it is loaded, and no domain in it may
//! load another.

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

/// What the nodes that were there before the policy are; those that come later get the same types from its named transitions. A node
/// without a line is `device_t`, which nobody may open.
const NODES: &[(&str, &[&str])] = &[
    ("null_t", &["null", "zero", "full"]),
    ("random_t", &["random", "urandom"]),
    ("console_t", &["console", "ttyS0", "ttyS1", "hvc0", "ttynull"]),
    ("kmsg_t", &["kmsg"]),
    ("memory_t", &["mem", "kmem", "port"]),
    ("disk_t", &["vda", "vdb", "vdc", "vdd", "dm-0"]),
    ("device_mapper_t", &["mapper/control"]),
    ("tee_t", &["sev-guest", "tdx_guest"]),
    ("tpm_t", &["tpm0", "tpmrm0"]),
    (
        "gpu_t",
        &[
            "nvidiactl",
            "nvidia0",
            "nvidia1",
            "nvidia2",
            "nvidia3",
            "nvidia4",
            "nvidia5",
            "nvidia6",
            "nvidia7",
        ],
    ),
    ("gpu_memory_t", &["nvidia-uvm"]),
];
const DEVICES: &str = "/dev";
const LABEL: &str = "security.selinux";

/// Loads the policy and labels the nodes that are there. The domain of this process changes when it executes the second stage.
///
/// # Errors
/// The kernel has no SELinux, refuses the policy, or does not enforce it.
pub(crate) fn load() -> anyhow::Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let policy = std::fs::read(POLICY).context(POLICY)?;
    mount("selinuxfs", FILES, "selinuxfs", MountFlags::NOSUID | MountFlags::NOEXEC, None)
        .context("this kernel runs without SELinux")?;
    std::fs::write(Path::new(FILES).join("load"), policy).context("loading the SELinux policy")?;
    check()?;
    NODES.iter().try_for_each(|(kind, names)| names.iter().try_for_each(|name| label(name, kind)))
}

fn label(name: &str, kind: &str) -> anyhow::Result<()> {
    let node = Path::new(DEVICES).join(name);
    let context = format!("system_u:object_r:{kind}:s0");
    match rustix::fs::lsetxattr(&node, LABEL, context.as_bytes(), rustix::fs::XattrFlags::empty()) {
        // A device that this machine does not have.
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("labelling {}", node.display())),
    }
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
