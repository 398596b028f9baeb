//! From the verified root to a guest that serves, and to its end.

use crate::console::Stages;
use crate::flavour::Flavour;
use crate::groups::Group;
use crate::settings::{KEEPER, Settings};
use crate::{check, handout, network};
use anyhow::{Context as _, ensure};
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit, wait};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/bin/anchorhold-keeper";
/// Where everything that changes lies: the audit log, the cache of packages, the gateway's certificate.
const STATE: &str = "/run/anchorhold";
const LOG: &str = "/run/anchorhold/audit";
/// What the host said the launch digest is, in the image that simulates.
const DIGEST: &str = "/run/anchorhold/simulated-launch-digest";
const FIRMWARE: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/anchorhold/simulated-launch-digest/raw";
/// There with the kernel's driver for it.
const CONFIGFS: &str = "/sys/kernel/config";
/// There in a TD whose kernel gives its registers out.
const REGISTERS: &str = "/sys/devices/virtual/misc/tdx_guest/measurements";
/// A SHA-384 digest in hex.
const DIGEST_LEN: usize = 96;

/// Returns when the keeper has ended well.
///
/// # Errors
/// The step that failed, or how the keeper ended.
pub(crate) fn run() -> anyhow::Result<()> {
    let flavour = Flavour::read(Path::new("/"))?;
    let mut stages = if flavour.tells_stages() { Stages::serial() } else { Stages::silent() };
    stages.tell("root");
    let settings = Settings::read()?;
    mount_rest(&settings)?;
    network::up(&settings.network)?;
    if flavour == Flavour::Demo {
        take_simulated_digest(Path::new(FIRMWARE), Path::new(DIGEST))?;
    }
    let group = Group::create(&settings.memory)?;
    limit()?;
    check::all(flavour)?;
    stages.tell("checked");
    let keeper = start(&group, &stages, flavour)?;
    let status = reap(keeper.id())?;
    if flavour == Flavour::Demo {
        handout::tell(Path::new(LOG), &mut stages)?;
    }
    ensure!(
        status == Some(0),
        "the keeper ended with {}",
        status.map_or("a signal".to_owned(), |code| code.to_string())
    );
    Ok(())
}

fn mount_rest(settings: &Settings) -> anyhow::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let size = format!("mode=0700,size={}m", settings.memory.state_mib);
    let size = std::ffi::CString::new(size)?;
    mount("tmpfs", STATE, "tmpfs", flags, Some(size.as_c_str())).context("mounting the state")?;
    mount("securityfs", "/sys/kernel/security", "securityfs", flags, None).context("mounting securityfs")?;
    for folder in ["audit", "public", "cache"] {
        std::fs::DirBuilder::new().mode(0o700).create(Path::new(STATE).join(folder))?;
    }
    close_sys(flags)
}

/// Nothing of `/sys` is written any more, but by whom the policy lets: the entries by which reports are asked for, which are a file system of
/// their own, and the registers of a TD, which stay as they are under a mount of their own.
fn close_sys(flags: MountFlags) -> anyhow::Result<()> {
    if Path::new(CONFIGFS).exists() {
        mount("configfs", CONFIGFS, "configfs", flags, None).context("mounting configfs")?;
    }
    if Path::new(REGISTERS).exists() {
        mount_bind(REGISTERS, REGISTERS).context("mounting the registers")?;
    }
    // Of this mount alone and not of the file system, which the registers are of too.
    mount_remount("/sys", flags | MountFlags::BIND | MountFlags::RDONLY, c"").context("closing /sys")
}

/// In the image that simulates, the host plays the firmware: it says the launch digest of what it started. Nothing but the software
/// attester reads it, whose evidence no production policy accepts.
fn take_simulated_digest(from: &Path, to: &Path) -> anyhow::Result<()> {
    let Ok(text) = std::fs::read_to_string(from) else { return Ok(()) };
    let is_digest =
        text.len() == DIGEST_LEN && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    ensure!(is_digest, "the simulated launch digest is not {DIGEST_LEN} lowercase hex digits");
    std::fs::write(to, text).context("keeping the simulated launch digest")
}

/// What every process of the guest inherits: no core files, memory that may be locked, and enough descriptors.
fn limit() -> anyhow::Result<()> {
    for (resource, most) in
        [(Resource::Core, Some(0)), (Resource::Memlock, None), (Resource::Nofile, Some(65_536))]
    {
        setrlimit(resource, Rlimit { current: most, maximum: most }).context("setting limits")?;
    }
    Ok(())
}

fn start(group: &Group, stages: &Stages, flavour: Flavour) -> anyhow::Result<Child> {
    let port = || stages.share().map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(KEEPER).env_clear().current_dir(STATE);
    if flavour == Flavour::Production {
        // Whatever the settings say.
        command.arg("--production");
    }
    command.stdin(Stdio::null()).stdout(port()).stderr(port());
    // The group is entered by this process around the start, so that no moment of the keeper's is outside of it.
    group.enter()?;
    let child = command.spawn().context(PROGRAM)?;
    group.leave()?;
    Ok(child)
}

/// Waits for every process that ends, as the first process must, until the keeper is among them. `None` when a signal ended it.
fn reap(keeper: u32) -> anyhow::Result<Option<i32>> {
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty())? else { continue };
        if u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|pid| pid == keeper) {
            return Ok(status.exit_status());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_digest_is_taken_only_in_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        take_simulated_digest(&from, &to).unwrap();
        assert!(!to.exists(), "nothing was said, so nothing is kept");
        std::fs::write(&from, "ab".repeat(48)).unwrap();
        take_simulated_digest(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "ab".repeat(48));
        for bad in ["ab".repeat(47), "AB".repeat(48), format!("{}\n", "ab".repeat(48)), "../".repeat(32)] {
            std::fs::write(&from, &bad).unwrap();
            assert!(take_simulated_digest(&from, &to).is_err(), "{bad}");
        }
    }
}
