//! The control group of everything that serves: how much memory and how many threads it may take. The keeper makes those of its workers below.

use crate::settings::Memory;
use anyhow::Context as _;
use rustix::mount::{MountFlags, mount};
use std::io::Write as _;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const NAME: &str = "serving";
const PROCESSES: &str = "cgroup.procs";
/// As the kernel reads it.
const THIS_PROCESS: &str = "0";
const MIB: u64 = 1 << 20;

/// A control group that exists.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Mounts the hierarchy and makes the group with its limits.
    pub(crate) fn create(memory: &Memory) -> anyhow::Result<Self> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("cgroup2", ROOT, "cgroup2", flags, None).context("mounting control groups")?;
        Self::make(Path::new(ROOT), memory)
    }

    fn make(root: &Path, memory: &Memory) -> anyhow::Result<Self> {
        let group = root.join(NAME);
        write(&root.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
        // For settings that give workers CPUs of their own; a kernel without it refuses those settings when they come.
        let _ = write(&root.join("cgroup.subtree_control"), "+cpuset");
        std::fs::create_dir(&group).with_context(|| group.display().to_string())?;
        write(&group.join("memory.max"), &(u64::from(memory.serving_mib) * MIB).to_string())?;
        write_if_there(&group.join("memory.swap.max"), "0")?;
        // When the limit is met, all of it ends, so that no half of the guest goes on serving.
        write(&group.join("memory.oom.group"), "1")?;
        write(&group.join("pids.max"), &memory.pids.to_string())?;
        Ok(Self(group))
    }

    /// Moves this process into the group, so that what it starts begins there.
    pub(crate) fn enter(&self) -> anyhow::Result<()> {
        write(&self.0.join(PROCESSES), THIS_PROCESS)
    }

    /// Moves this process out again; what it has started stays.
    pub(crate) fn leave(&self) -> anyhow::Result<()> {
        write(&self.0.with_file_name(PROCESSES), THIS_PROCESS)
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// A kernel that knows no swap has no limit of it.
fn write_if_there(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = std::fs::File::options().write(true).open(path);
    match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_limit() {
        let root = tempfile::tempdir().unwrap();
        let memory = Memory { state_mib: 8, serving_mib: 64, pids: 100 };
        let group = Group::make(root.path(), &memory).unwrap();
        group.enter().unwrap();
        group.leave().unwrap();
        let read = |name: &str| std::fs::read_to_string(root.path().join(NAME).join(name)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!([read("pids.max"), read("cgroup.procs")], ["100", "0"]);
        assert_eq!(std::fs::read_to_string(root.path().join(PROCESSES)).unwrap(), "0");
    }

    #[test]
    fn swap_is_limited_where_there_is_swap() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("memory.swap.max");
        write_if_there(&file, "0").unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "max").unwrap();
        write_if_there(&file, "0").unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with('0'));
        assert!(write_if_there(root.path(), "0").is_err());
    }
}
