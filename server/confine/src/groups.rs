//! A control group for each worker (`Documentation/admin-guide/cgroup-v2.rst`): what one takes beyond its share ends that one alone.
//!
//! The keeper makes them before it confines itself, below the group that it was started in, and goes into one of its own there, because a
//! group with groups below it may hold no process. It keeps what it needs of them open; no path to them is left to it afterwards.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layer's name.
pub const GROUP: &str = "control group";
/// Where Linux shows the groups.
const ROOT: &str = "/sys/fs/cgroup";
/// In which group the process is.
const OWN: &str = "/proc/self/cgroup";
/// As the kernel reads it.
const THIS_PROCESS: &[u8] = b"0";
/// The longest file of events or processes that is read, in bytes.
const MAX_FILE_LEN: usize = 4096;
/// Of how many microseconds `cpu_percent` is the share, in `cpu.max`.
const PERIOD_US: u64 = 100_000;

/// What one worker may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Bytes of memory; nothing of it is ever written to swap.
    pub memory_bytes: u64,
    /// Threads and processes.
    pub pids: u32,
    /// Per cent of one CPU: 250 are two and a half. No limit if there is none.
    pub cpu_percent: Option<u32>,
    /// The CPUs, in the kernel's form (`0-3,8`). All if there is none.
    pub cpus: Option<String>,
    /// The NUMA nodes that memory is taken from, in the same form. All if there is none.
    pub nodes: Option<String>,
}

/// What a worker met so far that its share ended at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Met {
    /// Processes that were ended because memory was up.
    pub ended_for_memory: u64,
    /// Threads or processes that were refused.
    pub refused_pids: u64,
}

/// The control group of one worker.
#[derive(Debug)]
pub struct Group {
    processes: File,
    memory_events: File,
    pids_events: File,
}

impl Group {
    /// Makes a group for each of `count` workers, with the limits of `share`.
    ///
    /// # Errors
    /// There are no control groups of version 2, none was given to this process, they lack memory or processes, or the machine has not
    /// every CPU and node that `share` names.
    pub fn create(count: usize, share: &Share) -> io::Result<Vec<Self>> {
        let own = std::fs::read_to_string(OWN).map_err(|e| named(Path::new(OWN), &e))?;
        Self::create_below(&own_group(Path::new(ROOT), &own)?, count, share)
    }

    fn create_below(parent: &Path, count: usize, share: &Share) -> io::Result<Vec<Self>> {
        let keeper = parent.join("keeper");
        make(&keeper)?;
        write(&keeper.join("cgroup.procs"), THIS_PROCESS)?;
        let mut wanted = String::from("+memory +pids");
        if share.cpu_percent.is_some() {
            wanted.push_str(" +cpu");
        }
        if share.cpus.is_some() || share.nodes.is_some() {
            wanted.push_str(" +cpuset");
        }
        write(&parent.join("cgroup.subtree_control"), wanted.as_bytes())?;
        (0..count).map(|at| Self::make(&parent.join(format!("worker-{at}")), share)).collect()
    }

    fn make(group: &Path, share: &Share) -> io::Result<Self> {
        make(group)?;
        let set = |name: &str, value: String| write(&group.join(name), value.as_bytes());
        set("memory.max", share.memory_bytes.to_string())?;
        match set("memory.swap.max", "0".to_owned()) {
            // A kernel that knows no swap writes nothing there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        // A worker of which a thread is gone is no worker.
        set("memory.oom.group", "1".to_owned())?;
        set("pids.max", share.pids.to_string())?;
        if let Some(percent) = share.cpu_percent {
            set("cpu.max", format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100))?;
        }
        for (name, list) in [("cpuset.cpus", &share.cpus), ("cpuset.mems", &share.nodes)] {
            if let Some(list) = list {
                restrict(group, name, list)?;
            }
        }
        let open = |name: &str, options: &std::fs::OpenOptions| {
            options.open(group.join(name)).map_err(|e| named(&group.join(name), &e))
        };
        let (mut reading, mut both) = (File::options(), File::options());
        reading.read(true);
        both.read(true).write(true);
        Ok(Self {
            processes: open("cgroup.procs", &both)?,
            memory_events: open("memory.events", &reading)?,
            pids_events: open("pids.events", &reading)?,
        })
    }

    /// Has `command` begin in this group: its process enters before it executes the program.
    ///
    /// # Errors
    /// No descriptor is left.
    #[expect(unsafe_code, reason = "what is done between fork and exec has no safe form")]
    pub fn place(&self, command: &mut Command) -> io::Result<()> {
        let processes = self.processes.try_clone()?;
        let enter = move || rustix::io::write(&processes, THIS_PROCESS).map(drop).map_err(io::Error::from);
        // SAFETY: the closure makes one system call on a descriptor of its own, takes no lock and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Whether this process is in the group.
    ///
    /// # Errors
    /// The kernel does not say who is.
    pub fn holds(&self, pid: u32) -> io::Result<bool> {
        let text = read(&self.processes)?;
        Ok(text.lines().any(|line| line.parse() == Ok(pid)))
    }

    /// What was met so far, since the group was made.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn met(&self) -> io::Result<Met> {
        Ok(Met {
            ended_for_memory: count(&read(&self.memory_events)?, "oom_kill")?,
            refused_pids: count(&read(&self.pids_events)?, "max")?,
        })
    }
}

/// The folder of the group that a process with this `/proc/self/cgroup` is in.
fn own_group(root: &Path, own: &str) -> io::Result<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| io::Error::other("no control groups of version 2"))?;
    let is_plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain {
        return Err(io::Error::other("no control group was given to this process"));
    }
    Ok(root.join(path))
}

/// The number after `name` in a file of lines `name number`.
fn count(text: &str, name: &str) -> io::Result<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name} among the events of a group")))
}

fn read(mut file: &File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    let len = u64::try_from(MAX_FILE_LEN).map_err(io::Error::other)?;
    file.take(len).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// A group that is there already is from a start before, and gets these limits.
fn make(group: &Path) -> io::Result<()> {
    match std::fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|error| named(group, &error)),
    }
}

/// Keeps a group to the CPUs or nodes of a list. The kernel takes a list with some that could be plugged in and are not, and goes by the
/// others, or by all there are if none is left; so what it goes by is read back.
fn restrict(group: &Path, name: &str, list: &str) -> io::Result<()> {
    let told = |name: &str| {
        let path = group.join(name);
        File::open(&path).and_then(|file| read(&file)).map_err(|error| named(&path, &error))
    };
    write(&group.join(name), list.as_bytes())?;
    // Both in the kernel's own form of a list.
    let (wanted, given) = (told(name)?, told(&format!("{name}.effective"))?);
    if wanted == given {
        return Ok(());
    }
    let (wanted, given) = (wanted.trim_end(), given.trim_end());
    Err(io::Error::other(format!(
        "{name} of a worker's group: {wanted} was asked for, the kernel gives {given}"
    )))
}

/// The kernel has made the file; the policy lets nobody make one there.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share =
        Share { memory_bytes: 1 << 30, pids: 40, cpu_percent: Some(150), cpus: None, nodes: None };

    #[test]
    fn the_group_is_that_of_version_2_and_never_the_root() {
        let root = Path::new("/g");
        assert_eq!(own_group(root, "4:memory:/a\n0::/serving\n").unwrap(), Path::new("/g/serving"));
        for not in ["4:memory:/a\n", "0::/\n", "0::/../x\n", "0::/a//b\n", ""] {
            assert!(own_group(root, not).is_err(), "{not:?}");
        }
    }

    #[test]
    fn events_are_counted_by_their_whole_name() {
        let text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
        assert_eq!([count(text, "max").unwrap(), count(text, "oom_kill").unwrap()], [3, 5]);
        for bad in ["", "max", "max x\n", "max -1\n", "xmax 1\n"] {
            assert!(count(bad, "max").is_err(), "{bad:?}");
        }
    }

    /// Plain files in the place of the kernel's.
    fn files() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (group, names) in [
            ("", &["cgroup.subtree_control"][..]),
            ("keeper", &["cgroup.procs"][..]),
            (
                "worker-0",
                &[
                    "cgroup.procs",
                    "memory.max",
                    "memory.swap.max",
                    "memory.oom.group",
                    "memory.events",
                    "pids.max",
                    "pids.events",
                    "cpu.max",
                    "cpuset.cpus",
                    "cpuset.cpus.effective",
                    "cpuset.mems",
                    "cpuset.mems.effective",
                ][..],
            ),
        ] {
            std::fs::create_dir_all(folder.path().join(group)).unwrap();
            names.iter().for_each(|name| std::fs::write(folder.path().join(group).join(name), "").unwrap());
        }
        folder
    }

    #[test]
    fn a_kernel_without_swap_is_taken_and_one_without_a_limit_of_memory_is_not() {
        let folder = files();
        std::fs::remove_file(folder.path().join("worker-0/memory.swap.max")).unwrap();
        Group::create_below(folder.path(), 1, &SHARE).unwrap();
        std::fs::remove_file(folder.path().join("worker-0/memory.max")).unwrap();
        let error = Group::create_below(folder.path(), 1, &SHARE).unwrap_err();
        assert!(error.to_string().contains("memory.max"), "{error}");
    }

    #[test]
    fn every_limit_is_written_and_events_are_read_anew() {
        let folder = files();
        let group = folder.path().join("worker-0");
        let groups = Group::create_below(folder.path(), 1, &SHARE).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&folder.path().join("keeper/cgroup.procs")), "0");
        assert_eq!(text(&folder.path().join("cgroup.subtree_control")), "+memory +pids +cpu");
        for (name, value) in [
            ("memory.max", "1073741824"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("pids.max", "40"),
            ("cpu.max", "150000 100000"),
        ] {
            assert_eq!(text(&group.join(name)), value, "{name}");
        }
        assert!(groups[0].met().is_err(), "the kernel says nothing");
        std::fs::write(group.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        std::fs::write(group.join("pids.events"), "max 7\n").unwrap();
        assert_eq!(groups[0].met().unwrap(), Met { ended_for_memory: 2, refused_pids: 7 });
        std::fs::write(group.join("cgroup.procs"), "11\n12\n").unwrap();
        assert_eq!([11, 1].map(|pid| groups[0].holds(pid).unwrap()), [true, false]);
    }

    #[test]
    fn cpus_and_nodes_are_those_that_were_asked_for_or_there_is_no_group() {
        let share = Share { cpus: Some("0-1".into()), nodes: Some("1".into()), ..SHARE };
        let folder = files();
        let file = |name: &str| folder.path().join("worker-0").join(name);
        std::fs::write(file("cpuset.cpus.effective"), "0-1").unwrap();
        std::fs::write(file("cpuset.mems.effective"), "1").unwrap();
        Group::create_below(folder.path(), 1, &share).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&folder.path().join("cgroup.subtree_control")), "+memory +pids +cpu +cpuset");
        assert_eq!([text(&file("cpuset.cpus")), text(&file("cpuset.mems"))], ["0-1", "1"]);
        for (name, given) in [("cpuset.mems", "0"), ("cpuset.mems", ""), ("cpuset.cpus", "0")] {
            let effective = file(&format!("{name}.effective"));
            let before = text(&effective);
            std::fs::write(&effective, given).unwrap();
            let error = Group::create_below(folder.path(), 1, &share).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
            std::fs::write(&effective, before).unwrap();
        }
        std::fs::remove_file(file("cpuset.mems")).unwrap();
        let error = Group::create_below(folder.path(), 1, &share).unwrap_err();
        assert!(error.to_string().contains("cpuset.mems"), "a kernel without nodes: {error}");
    }

    #[test]
    fn a_program_is_in_the_group_before_it_runs() {
        let folder = files();
        let group = folder.path().join("worker-0");
        let groups = Group::create_below(folder.path(), 1, &SHARE).unwrap();
        let mut command = Command::new("/bin/cat");
        command.arg(group.join("cgroup.procs"));
        groups[0].place(&mut command).unwrap();
        assert_eq!(command.output().unwrap().stdout, THIS_PROCESS);
    }
}
