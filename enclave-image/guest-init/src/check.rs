//! What must be in force before anything listens. A guest in which one of these does not hold ends.

use crate::flavour::Flavour;
use crate::{dm, modules, selinux, settings, sysctl};
use anyhow::{Context as _, ensure};
use std::path::Path;

/// Security modules without which the guest does not serve.
const MODULES: [&str; 3] = ["landlock", "lockdown", "yama"];
const SECURITY: &str = "/sys/kernel/security";

/// # Errors
/// The first that does not hold.
pub(crate) fn all(flavour: Flavour) -> anyhow::Result<()> {
    security_modules()?;
    ensure!(dm::is_intact()?, "the root is not on an intact dm-verity device");
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    root_is_verified(&mounts)?;
    nothing_else_is_on_a_disk(&mounts)?;
    sysctl::check()?;
    selinux::check()?;
    let keeper = std::fs::read_to_string(settings::KEEPER).context(settings::KEEPER)?;
    attester_fits(flavour, &keeper)
}

fn security_modules() -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = Path::new(SECURITY).join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let list = read("lsm")?;
    let active: Vec<&str> = list.trim().split(',').collect();
    for module in MODULES.into_iter().chain(selinux::is_wanted().then_some("selinux")) {
        ensure!(active.contains(&module), "the security module {module} is not active");
    }
    ensure!(modules::is_closed(&read("lockdown")?), "the kernel is not locked down");
    Ok(())
}

/// The root must be the verified device's, read-only, and nothing may lie over it.
fn root_is_verified(mounts: &str) -> anyhow::Result<()> {
    let at_root = |line: &&str| line.split(' ').nth(1) == Some("/");
    let last = mounts.lines().rfind(at_root).context("nothing is mounted as the root")?;
    let mut words = last.split(' ');
    let (device, kind) = (words.next(), words.nth(1));
    let is_read_only = words.next().is_some_and(|options| options.split(',').any(|option| option == "ro"));
    ensure!(
        device == Some(dm::DEVICE) && kind == Some("erofs") && is_read_only,
        "the root is not the verified device, read-only"
    );
    Ok(())
}

/// Kinds of file systems that hold what the kernel or this guest put there, and no disk's bytes.
const WITHOUT_DISK: [&str; 9] =
    ["rootfs", "proc", "sysfs", "devtmpfs", "tmpfs", "securityfs", "selinuxfs", "configfs", "cgroup2"];

/// Whatever disks the host adds, nothing of them is mounted: besides the verified root there are only file systems without a disk.
fn nothing_else_is_on_a_disk(mounts: &str) -> anyhow::Result<()> {
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next(), words.next(), words.next());
        let is_root = device == Some(dm::DEVICE) && at == Some("/");
        ensure!(
            is_root || kind.is_some_and(|kind| WITHOUT_DISK.contains(&kind)),
            "something is mounted that is not of this image: {line}"
        );
    }
    Ok(())
}

/// A simulated attester proves nothing, so only the image that is made to show things may have one.
fn attester_fits(flavour: Flavour, keeper: &str) -> anyhow::Result<()> {
    let keeper: toml::Table = keeper.parse().context(settings::KEEPER)?;
    let kind = keeper.get("attester").and_then(|attester| attester.get("kind")).and_then(toml::Value::as_str);
    ensure!(
        flavour == Flavour::Demo || kind != Some("software"),
        "attester.kind is software, which only the demo image may have"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_last_thing_mounted_there() {
        let good = "none / rootfs rw 0 0\n/dev/dm-0 / erofs ro,nodev,noatime 0 0\nproc /proc proc rw 0 0\n";
        root_is_verified(good).unwrap();
        for bad in [
            "",
            "none / rootfs rw 0 0\n",
            "/dev/dm-0 / erofs rw,nodev 0 0\n",
            "/dev/vda / erofs ro 0 0\n",
            "/dev/dm-0 / ext4 ro 0 0\n",
            &format!("{good}tmpfs / tmpfs ro 0 0\n"),
        ] {
            assert!(root_is_verified(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_44_no_other_disk_is_mounted_anywhere() {
        let good = "none / rootfs rw 0 0\n/dev/dm-0 / erofs ro,nodev,noatime 0 0\nproc /proc proc rw 0 0\ntmpfs /run tmpfs rw 0 0\n";
        nothing_else_is_on_a_disk(good).unwrap();
        for more in [
            "/dev/vdb /run/x erofs ro 0 0",
            "/dev/dm-0 /run/x erofs ro 0 0",
            "host /run/x 9p rw 0 0",
            "x /run/x virtiofs rw 0 0",
            "",
            "x",
        ] {
            assert!(nothing_else_is_on_a_disk(&format!("{good}{more}\n")).is_err(), "{more}");
        }
    }

    #[test]
    fn only_the_demo_image_may_simulate() {
        let software = "[attester]\nkind = \"software\"\n";
        attester_fits(Flavour::Demo, software).unwrap();
        assert!(attester_fits(Flavour::Production, software).is_err());
        assert!(attester_fits(Flavour::Debug, software).is_err());
        attester_fits(Flavour::Production, "[attester]\nkind = \"guest\"\n").unwrap();
    }
}
