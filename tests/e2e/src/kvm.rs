//! Whether this machine's KVM runs our kernel. That `/dev/kvm` can be opened says nothing: a machine may have a hypervisor there that
//! runs only kernels made for it. So a guest is booted.

use crate::boot::Image;
use anchorhold_image_builder::build::files;
use anchorhold_image_builder::qemu::{self, Accelerator, Machine, Tee};
use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A guest that KVM runs needs a fraction of this.
const WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);
/// What the first process says of a command line that names no root. It is the first thing of ours that runs.
const WORDS: &str = "the command line names no root";
const NODE: &str = "/dev/kvm";

/// What somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// QEMU itself.
    Tcg,
    /// KVM, or nothing.
    Kvm,
    /// KVM where it runs our kernel, else QEMU itself.
    Auto,
}

impl std::str::FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tcg" => Ok(Self::Tcg),
            "kvm" => Ok(Self::Kvm),
            "auto" => Ok(Self::Auto),
            _ => Err(format!("{text} is none of tcg, kvm and auto")),
        }
    }
}

/// Who runs the guest, after a probe where KVM is wished for. `folder` takes the probe's console.
pub fn choose(wish: Wish, image: &Image, folder: &Path) -> anyhow::Result<Accelerator> {
    if wish == Wish::Tcg {
        return Ok(Accelerator::Tcg);
    }
    match (runs(image, folder), wish) {
        (Ok(()), _) => Ok(Accelerator::Kvm),
        (Err(error), Wish::Kvm) => Err(error.context("KVM of this machine does not run the image's kernel")),
        (Err(_), _) => Ok(Accelerator::Tcg),
    }
}

/// Boots the image's kernel and first process, which has nothing to do and says so.
fn runs(image: &Image, folder: &Path) -> anyhow::Result<()> {
    std::fs::File::options().read(true).write(true).open(NODE).context(NODE)?;
    let machine = Machine {
        tpm: None,
        tee: Tee::None,
        accelerator: Accelerator::Kvm,
        cpus: 1,
        memory_mib: 256,
        kernel: image.file(files::KERNEL),
        initrd: image.file(files::INITRD),
        cmdline: "console=ttyS0 quiet panic=-1".to_owned(),
        unified: None,
        root: image.file(files::ROOT),
        forward: None,
        console: folder.join("probe"),
        simulated_digest: None,
        gpus: Vec::new(),
        uninvited: Vec::new(),
    };
    let mut qemu = Command::new(image.tools.join("run/qemu-system-x86_64"))
        .args(qemu::arguments(&machine))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let until = Instant::now() + WITHIN;
    while qemu.try_wait()?.is_none() && Instant::now() < until {
        std::thread::sleep(PAUSE);
    }
    // One that has ended cannot be killed again.
    let _ = qemu.kill();
    qemu.wait()?;
    let console = std::fs::read_to_string(&machine.console).unwrap_or_default();
    if !console.contains(WORDS) {
        bail!("a probe guest did not come up within {} s", WITHIN.as_secs());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_never_taken_for_being_there() {
        let folder = tempfile::tempdir().unwrap();
        // No tools and no kernel: nothing can boot, whatever /dev/kvm is.
        let image = Image { folder: folder.path().to_owned(), tools: folder.path().to_owned() };
        assert_eq!(choose(Wish::Tcg, &image, folder.path()).unwrap(), Accelerator::Tcg);
        assert_eq!(choose(Wish::Auto, &image, folder.path()).unwrap(), Accelerator::Tcg);
        assert!(choose(Wish::Kvm, &image, folder.path()).is_err());
        assert!("xen".parse::<Wish>().is_err());
    }
}
