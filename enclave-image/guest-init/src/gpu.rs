//! NVIDIA's GPUs: the nodes through which a worker reaches them.
//!
//! The driver makes no nodes; elsewhere a privileged program of NVIDIA's does. Here the first process makes them, before the policy is in
//! force: afterwards no process may make a device. A guest whose measured command line promises GPUs and that finds none ends.

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::path::Path;

/// The word of the measured command line: `anchorhold.gpu=nvidia`.
const PARAMETER: &str = "anchorhold.gpu=";
const NVIDIA: &str = "nvidia";
/// Which drivers have which numbers.
const DRIVERS: &str = "/proc/devices";
/// A folder for each GPU that the driver has taken.
const GPUS: &str = "/proc/driver/nvidia/gpus";
const INFORMATION: &str = "information";
const MINOR: &str = "Device Minor:";
const NODES: &str = "/dev";
/// The SELinux policy names as many; a server has no more.
const MAX_GPUS: usize = 8;
/// The minor number of the node for the driver as a whole (`nv-chardev-numbers.h`).
const CONTROL_MINOR: u32 = 255;
/// Read and written by root, which all processes of the guest are.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A node to be made.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    name: String,
    major: u32,
    minor: u32,
}

/// What the measured command line says of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nothing.
    None,
    /// There are some of NVIDIA's.
    Nvidia,
}

impl Promise {
    /// # Errors
    /// The promise is none that this program knows, or stands there twice.
    pub(crate) fn parse(cmdline: &str) -> anyhow::Result<Self> {
        let mut found = cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix(PARAMETER));
        let Some(kind) = found.next() else { return Ok(Self::None) };
        ensure!(found.next().is_none(), "the command line says {PARAMETER} twice");
        ensure!(kind == NVIDIA, "{PARAMETER} is not {NVIDIA}");
        Ok(Self::Nvidia)
    }
}

/// Makes the nodes if GPUs are promised.
///
/// # Errors
/// There is no GPU, or a node cannot be made.
pub(crate) fn make_nodes(promise: Promise) -> anyhow::Result<()> {
    if promise == Promise::None {
        return Ok(());
    }
    let drivers = std::fs::read_to_string(DRIVERS).context(DRIVERS)?;
    for node in nodes(&drivers, &minors(Path::new(GPUS))?)? {
        let path = Path::new(NODES).join(&node.name);
        mknodat(CWD, &path, FileType::CharacterDevice, MODE, makedev(node.major, node.minor))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The number that the driver gave each GPU; none where it has found none.
fn minors(folder: &Path) -> anyhow::Result<Vec<u32>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| folder.display().to_string())?,
    };
    let mut minors = Vec::new();
    for entry in entries {
        let path = entry?.path().join(INFORMATION);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let line = text.lines().find_map(|line| line.strip_prefix(MINOR));
        let minor = line.and_then(|value| value.trim().parse().ok());
        minors.push(minor.with_context(|| format!("{} gives no number", path.display()))?);
    }
    minors.sort_unstable();
    Ok(minors)
}

/// What is made for these GPUs, with the numbers that `/proc/devices` gives their drivers.
fn nodes(drivers: &str, minors: &[u32]) -> anyhow::Result<Vec<Node>> {
    ensure!(!minors.is_empty(), "no NVIDIA device");
    ensure!(minors.len() <= MAX_GPUS, "{} NVIDIA devices, at most {MAX_GPUS} are served", minors.len());
    for (minor, wanted) in minors.iter().zip(0..) {
        ensure!(*minor == wanted, "the NVIDIA devices are numbered {minors:?}, wanted from 0 on");
    }
    let (device, memory) = (major(drivers, "nvidia")?, major(drivers, "nvidia-uvm")?);
    let node = |name: &str, major, minor| Node { name: name.to_owned(), major, minor };
    let gpus = minors.iter().map(|minor| node(&format!("nvidia{minor}"), device, *minor));
    let shared = [node("nvidiactl", device, CONTROL_MINOR), node("nvidia-uvm", memory, 0)];
    Ok(gpus.chain(shared).collect())
}

fn major(drivers: &str, wanted: &str) -> anyhow::Result<u32> {
    let characters = drivers.lines().take_while(|line| !line.starts_with("Block"));
    for line in characters {
        let mut words = line.split_ascii_whitespace();
        if let (Some(number), Some(name), None) = (words.next(), words.next(), words.next())
            && name == wanted
        {
            return number.parse().with_context(|| format!("{DRIVERS}: the number of {wanted}"));
        }
    }
    bail!("the kernel has no driver {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVERS: &str = "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n511 nvidia-uvm\n\nBlock devices:\n254 virtblk\n";

    #[test]
    fn a_promise_is_one_word_that_is_known() {
        assert_eq!(Promise::parse("quiet panic=-1").unwrap(), Promise::None);
        assert_eq!(Promise::parse("quiet anchorhold.gpu=nvidia panic=-1\n").unwrap(), Promise::Nvidia);
        for bad in ["anchorhold.gpu=", "anchorhold.gpu=amd", "anchorhold.gpu=nvidia anchorhold.gpu=nvidia"] {
            assert!(Promise::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_gpu_has_a_node_beside_those_that_all_share() {
        let found = nodes(DRIVERS, &[0, 1]).unwrap();
        let shown: Vec<String> =
            found.iter().map(|node| format!("{} {}:{}", node.name, node.major, node.minor)).collect();
        assert_eq!(shown, ["nvidia0 195:0", "nvidia1 195:1", "nvidiactl 195:255", "nvidia-uvm 511:0"]);
    }

    #[test]
    fn refuses_a_guest_without_gpus_or_without_their_driver() {
        let refused = |drivers: &str, minors: &[u32]| nodes(drivers, minors).unwrap_err().to_string();
        assert_eq!(refused(DRIVERS, &[]), "no NVIDIA device");
        assert!(refused(DRIVERS, &[0, 1, 2, 3, 4, 5, 6, 7, 8]).contains("at most 8"));
        assert!(refused(DRIVERS, &[0, 2]).contains("from 0 on"));
        assert_eq!(
            refused(&DRIVERS.replace("nvidia-uvm", "other"), &[0]),
            "the kernel has no driver nvidia-uvm"
        );
        // A disk's driver of that name is another.
        assert!(nodes("Character devices:\n195 nvidia\n\nBlock devices:\n9 nvidia-uvm\n", &[0]).is_err());
        assert!(nodes(&DRIVERS.replace("511", "x"), &[0]).is_err());
    }

    #[test]
    fn numbers_are_those_that_the_driver_tells() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(minors(&folder.path().join("none")).unwrap(), []);
        for (name, text) in [("0000:02:00.0", "1"), ("0000:01:00.0", "0")] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            let text = format!("Model: \t\t NVIDIA H100\nDevice Minor: \t {text}\nGPU Excluded:\t No\n");
            std::fs::write(folder.path().join(name).join(INFORMATION), text).unwrap();
        }
        assert_eq!(minors(folder.path()).unwrap(), [0, 1]);
        std::fs::write(folder.path().join("0000:01:00.0").join(INFORMATION), "Device Minor: \t ?\n").unwrap();
        assert!(minors(folder.path()).is_err());
    }
}
