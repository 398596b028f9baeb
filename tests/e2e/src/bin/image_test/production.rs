//! The production image on a machine without a TEE: it proves nothing, so it serves nothing, and says next to nothing.

use anchorhold_e2e::boot::{Boot, Deployment};
use anchorhold_image_builder::build::files;
use anchorhold_image_builder::qemu::Machine;
use anchorhold_image_builder::settings;
use anyhow::{Context as _, bail, ensure};
use std::path::Path;

/// All that its console may say: what the first process says, and the kernel's own last words.
const LAST_WORDS: &str = "guest-init: error: the keeper ended with 1";
const POWER_DOWN: &str = "reboot: Power down";

pub(crate) fn check(deployment: &Deployment, image: &Path) -> anyhow::Result<String> {
    let from = deployment.stand.path().join("settings");
    let initrd = deployment.stand.path().join("production-initrd");
    let simulating = settings::append(image, &from, &initrd);
    ensure!(simulating.is_err(), "the production image took settings with a simulated attester");

    let to = deployment.stand.path().join("production-settings");
    std::fs::create_dir(&to)?;
    for entry in std::fs::read_dir(&from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    let keeper = std::fs::read_to_string(to.join("keeper.toml"))?;
    let (before, rest) = keeper.split_once("[attester]\n").context("no attester")?;
    let (_, after) = rest.split_once("\n[").context("nothing after the attester")?;
    std::fs::write(to.join("keeper.toml"), format!("{before}[attester]\nkind = \"auto\"\n\n[{after}"))?;
    settings::append(image, &to, &initrd)?;

    let machine = Machine {
        kernel: image.join(files::KERNEL),
        initrd,
        cmdline: std::fs::read_to_string(image.join(files::CMDLINE))?,
        root: image.join(files::ROOT),
        ..deployment.machine.clone()
    };
    let mut told = 0;
    if matches!(deployment.boot(&machine, |_| told += 1)?, Boot::Ready(_)) {
        bail!("the production image serves without a TEE");
    }
    ensure!(told == 0, "the production image told {told} stages");
    let console = std::fs::read_to_string(&machine.console)?;
    let lines: Vec<_> = console.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_silent =
        matches!(lines.as_slice(), [first, last] if *first == LAST_WORDS && last.ends_with(POWER_DOWN));
    ensure!(is_silent, "its console says {lines:?}");
    Ok("takes no simulated attester; without a TEE it ends, with one line of ours on its console".to_owned())
}
