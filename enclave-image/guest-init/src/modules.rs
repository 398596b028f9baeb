//! The kernel's modules, in images whose kernel has some, and the end of all of them.
//!
//! They lie in the initrd, which is measured as the kernel is, and which are loaded stands in this program. Until the loader is closed this is
//! the only process, so nobody else can have brought code into the kernel before.

use crate::flavour::Flavour;
use crate::gpu::Promise;
use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::init_module;
use std::ffi::CStr;
use std::path::Path;

/// Where the builder puts them.
const FOLDER: &str = "/usr/lib/anchorhold/modules";
const LOADER: &str = "/proc/sys/kernel/modules_disabled";
const SECURITY: &str = "/sys/kernel/security";
const LOCKDOWN: &str = "lockdown";
/// The furthest that the kernel is closed, and how it says that it is.
const CLOSED: &str = "confidentiality";

/// A module and how it is set.
struct Module {
    file: &'static str,
    settings: &'static CStr,
}

/// NVIDIA's driver and its memory manager, in the order in which they need each other. The nodes are this program's to make.
const NVIDIA: [Module; 2] = [
    Module { file: "nvidia.ko", settings: c"NVreg_ModifyDeviceFiles=0" },
    Module { file: "nvidia-uvm.ko", settings: c"" },
];
/// What a host says that the launch digest is.
const FIRMWARE_FILES: Module = Module { file: "qemu_fw_cfg.ko", settings: c"" };

/// Loads what this image has for what its command line promises.
///
/// # Errors
/// A module is missing, or the kernel does not take it. NVIDIA's driver refuses a machine without a GPU.
pub(crate) fn load(promise: Promise, flavour: Flavour) -> anyhow::Result<()> {
    if !Path::new(FOLDER).exists() {
        return Ok(());
    }
    for Module { file, settings } in wanted(promise, flavour) {
        let code = std::fs::read(Path::new(FOLDER).join(file)).with_context(|| file.to_owned())?;
        match init_module(&code, settings) {
            Err(Errno::NODEV) => anyhow::bail!("{file} finds no device"),
            other => other.with_context(|| format!("loading {file}"))?,
        }
    }
    // The memory is of use to others.
    std::fs::remove_dir_all(FOLDER).context(FOLDER)
}

fn wanted(promise: Promise, flavour: Flavour) -> Vec<&'static Module> {
    let nvidia: &[Module] = match promise {
        Promise::Nvidia => &NVIDIA,
        Promise::None => &[],
    };
    nvidia.iter().chain((flavour == Flavour::Demo).then_some(&FIRMWARE_FILES)).collect()
}

/// Lets no module in any more, and locks the kernel down where it is not from the start. Neither can be taken back.
///
/// # Errors
/// One of the two is not in force afterwards.
pub(crate) fn close() -> anyhow::Result<()> {
    if Path::new(LOADER).exists() {
        std::fs::write(LOADER, "1").context(LOADER)?;
        let said = std::fs::read_to_string(LOADER).context(LOADER)?;
        ensure!(said.trim() == "1", "the loader of modules is not closed");
    }
    let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("securityfs", SECURITY, "securityfs", closed, None).context("mounting securityfs")?;
    lock_down(&Path::new(SECURITY).join(LOCKDOWN))?;
    unmount(SECURITY, UnmountFlags::empty()).context("unmounting securityfs")
}

fn lock_down(file: &Path) -> anyhow::Result<()> {
    let name = || file.display().to_string();
    if !is_closed(&std::fs::read_to_string(file).with_context(name)?) {
        std::fs::write(file, CLOSED).with_context(name)?;
    }
    ensure!(is_closed(&std::fs::read_to_string(file).with_context(name)?), "the kernel is not locked down");
    Ok(())
}

/// Whether `none integrity [confidentiality]` says so: the word in brackets is in force.
pub(crate) fn is_closed(lockdown: &str) -> bool {
    let mut words = lockdown.split_ascii_whitespace();
    words.any(|word| word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) == Some(CLOSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(promise: Promise, flavour: Flavour) -> Vec<&'static str> {
        wanted(promise, flavour).iter().map(|module| module.file).collect()
    }

    #[test]
    fn case_44_no_module_is_loaded_that_the_measured_image_does_not_name() {
        let driver = ["nvidia.ko", "nvidia-uvm.ko"];
        assert!(files(Promise::None, Flavour::Production).is_empty());
        assert!(files(Promise::None, Flavour::Debug).is_empty());
        assert_eq!(files(Promise::Nvidia, Flavour::Production), driver);
        assert_eq!(files(Promise::None, Flavour::Demo), ["qemu_fw_cfg.ko"]);
        assert_eq!(files(Promise::Nvidia, Flavour::Demo), [driver.as_slice(), &["qemu_fw_cfg.ko"]].concat());
    }

    #[test]
    fn only_the_word_in_brackets_is_in_force() {
        assert!(is_closed("none integrity [confidentiality]\n"));
        for other in [
            "[none] integrity confidentiality\n",
            "none [integrity] confidentiality\n",
            "confidentiality",
            "",
        ] {
            assert!(!is_closed(other), "{other}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_lock_itself_down_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lockdown");
        assert!(lock_down(&file).is_err());
        std::fs::write(&file, "none integrity [confidentiality]\n").unwrap();
        lock_down(&file).unwrap();
        // A plain file keeps what was written, and shows no level in brackets.
        std::fs::write(&file, "[none] integrity confidentiality\n").unwrap();
        assert_eq!(lock_down(&file).unwrap_err().to_string(), "the kernel is not locked down");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), CLOSED);
    }
}
