//! From the initrd to the verified root.
//!
//! 1. Mount what the kernel shows: devices, processes, its own state.
//! 2. Load the modules of the measured initrd, if the image has some, then close the loader and lock the kernel down.
//! 3. Set the kernel's switches, which under the policy nobody may write. See that randomness is the processor's. Where GPUs are promised,
//!    make their nodes.
//! 4. Put the disk under dm-verity with the measured root hash and mount it, read-only.
//! 5. Copy the settings out of the measured initrd, make the root the root, load the SELinux policy.
//! 6. Execute the second stage from the root.

use crate::cmdline::Root;
use crate::flavour::{FILE as FLAVOUR, Flavour};
use crate::gpu::{self, Promise};
use crate::{dm, entropy, modules, selinux, settings, sysctl};
use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, mount, mount_move, mount_remount};
use rustix::process::{chdir, chroot};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The argument that tells the second stage from the first.
pub(crate) const SECOND_STAGE: &str = "from-root";
/// This program in the root.
pub(crate) const PROGRAM: &str = "/usr/bin/anchorhold-guest-init";
const NEW_ROOT: &str = "/root";
/// How long the disk may take to appear.
const DISK_WITHIN: Duration = Duration::from_secs(10);

/// Does not return when all went well.
///
/// # Errors
/// The step that failed; the guest must end.
pub(crate) fn run() -> anyhow::Result<()> {
    mount_kernel_views()?;
    let flavour = Flavour::read(Path::new("/"))?;
    let cmdline = std::fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let promise = Promise::parse(&cmdline)?;
    modules::load(promise, flavour)?;
    modules::close()?;
    sysctl::set_all()?;
    entropy::check()?;
    let root = Root::parse(&cmdline)?;
    gpu::make_nodes(promise)?;
    wait_for_disk()?;
    dm::create(&root)?;
    let read_only = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOATIME;
    mount(dm::DEVICE, NEW_ROOT, "erofs", read_only, None).context("mounting the root")?;
    let same = Flavour::read(Path::new(NEW_ROOT))? == flavour;
    ensure!(same, "initrd and root are of two flavours ({FLAVOUR})");
    take_settings(Path::new(settings::IN_INITRD), &Path::new(NEW_ROOT).join(settings::FOLDER))?;
    enter_root()?;
    selinux::load()?;
    Err(Command::new(PROGRAM).arg(SECOND_STAGE).env_clear().exec()).context(PROGRAM)
}

fn mount_kernel_views() -> anyhow::Result<()> {
    let closed = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, at, flags, data) in [
        ("devtmpfs", "/dev", closed, c"mode=0755"),
        ("proc", "/proc", closed | MountFlags::NODEV, c""),
        ("sysfs", "/sys", closed | MountFlags::NODEV, c""),
    ] {
        mount(kind, at, kind, flags, Some(data)).with_context(|| format!("mounting {at}"))?;
    }
    Ok(())
}

/// The kernel has made the disk's node before it starts the first process, unless the host is slow to answer it. There is nothing to wait
/// on: this is before the first event could be subscribed to, and a node either can be opened or cannot.
fn wait_for_disk() -> anyhow::Result<()> {
    let until = Instant::now() + DISK_WITHIN;
    loop {
        match File::open(dm::DISK) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error).context(dm::DISK),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Copies the settings of this deployment, which lie in the measured initrd, to a memory file system that is read-only afterwards.
fn take_settings(from: &Path, to: &Path) -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", to, "tmpfs", flags, Some(c"mode=0755,size=4m")).context("mounting the settings")?;
    for entry in std::fs::read_dir(from).context("the initrd holds no settings")? {
        let entry = entry?;
        ensure!(entry.file_type()?.is_file(), "{} is not a plain file", entry.path().display());
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    mount_remount(to, flags | MountFlags::RDONLY, c"").context("closing the settings")
}

/// Makes the verified root the root of this process and of everything it starts.
fn enter_root() -> anyhow::Result<()> {
    for view in ["/dev", "/proc", "/sys"] {
        mount_move(view, Path::new(NEW_ROOT).join(view.trim_start_matches('/')))
            .with_context(|| format!("moving {view}"))?;
    }
    forget_initrd()?;
    chdir(NEW_ROOT)?;
    mount_move(".", "/").context("moving the root")?;
    chroot(".")?;
    chdir("/")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", "/run", "tmpfs", flags, Some(c"mode=0755,size=16m")).context("mounting /run")?;
    std::fs::DirBuilder::new().mode(0o700).create("/run/anchorhold").context("/run/anchorhold")
}

/// Gives the initrd's memory back. This program itself stays, until the second stage takes its place.
fn forget_initrd() -> anyhow::Result<()> {
    std::fs::remove_dir_all(settings::IN_INITRD).context(settings::IN_INITRD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_not_plain_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("keeper.toml")).unwrap();
        // Without the right to mount, the refusal is the mount's; as root it is the link's. Either way nothing is copied.
        let to = tempfile::tempdir().unwrap();
        assert!(take_settings(folder.path(), to.path()).is_err());
        // What could be mounted goes away with the test's process at the latest.
        let _ = rustix::mount::unmount(to.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
