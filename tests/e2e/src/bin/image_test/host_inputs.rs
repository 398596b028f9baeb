//! Inputs of the host that change no measurement: what it adds is not looked at, and what it takes away stops the guest.

use anchorhold_e2e::boot::{Deployment, Ended};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::models::EMBEDDING;
use anchorhold_image_builder::qemu::Machine;
use anyhow::{Context as _, ensure};
use std::ffi::OsString;

/// A second and a third disk, a file system and randomness of the host's, words for whoever reads firmware's tables, and a port that
/// a program in a guest might wait on.
const ADDED: [&str; 22] = [
    "-device",
    "virtio-blk-pci,drive=other",
    "-drive",
    "if=none,id=swap,format=raw,readonly=on,file.driver=null-co,file.size=1M",
    "-device",
    "virtio-blk-pci,drive=swap",
    "-object",
    "rng-builtin,id=randomness",
    "-device",
    "virtio-rng-pci,rng=randomness",
    "-device",
    "virtio-serial-pci",
    "-device",
    "virtio-balloon-pci",
    "-fw_cfg",
    "name=opt/anchorhold/keeper.toml,string=[attester]",
    "-fw_cfg",
    "name=opt/io.systemd.credentials/anchorhold,string=secret",
    "-smbios",
    "type=11,value=io.systemd.stub.kernel-cmdline-extra=enforcing=0",
    "-smbios",
    "type=1,serial=ds=nocloud",
];

/// The main job with everything that a host can add beside the image. The guest is the one that was measured, and answers.
pub(crate) fn uninvited(deployment: &Deployment) -> anyhow::Result<String> {
    // A root file system with its hash tree, as good as the guest's own.
    let mut drive = OsString::from("if=none,id=other,format=raw,readonly=on,file=");
    drive.push(&deployment.machine.root);
    let mut uninvited = vec!["-drive".into(), drive];
    uninvited.extend(ADDED.map(OsString::from));
    let machine = Machine { uninvited, ..deployment.machine.clone() };
    let booted = deployment.boot(&machine, |_| {})?.ready()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let caller = Caller::verify_at(&booted.url, &booted.api_key, &deployment.measurement).await?;
        caller.embed(EMBEDDING, &["Is anything else in here?"]).await
    })?;
    ensure!(answered.len() == 1, "{} vectors for one text", answered.len());
    let kinds = ADDED.iter().filter(|word| word.starts_with('-')).count();
    Ok(format!("{kinds} devices and files more, measured and answered as without them"))
}

/// The processor's own randomness is the only one that a host does not know.
pub(crate) fn without_rdrand(deployment: &Deployment) -> anyhow::Result<String> {
    let uninvited = ["-cpu", "max,-rdrand"].map(OsString::from).to_vec();
    stopped(deployment, &Machine { uninvited, ..deployment.machine.clone() }, "a processor without rdrand")
}

/// A disk whose end is missing cannot hold the hash tree, whatever its size says.
pub(crate) fn short_disk(deployment: &Deployment) -> anyhow::Result<String> {
    let bytes = std::fs::read(&deployment.machine.root)?;
    let root = deployment.stand.path().join("short-disk");
    std::fs::write(&root, bytes.get(..bytes.len() / 2).context("an empty root")?)?;
    stopped(
        deployment,
        &Machine { root, ..deployment.machine.clone() },
        "guest-init: error: loading the root's table",
    )
}

/// The guest says why it stops, and nothing of it was served.
fn stopped(deployment: &Deployment, machine: &Machine, why: &str) -> anyhow::Result<String> {
    let Ended { console, stages, .. } = deployment.boot(machine, |_| {})?.ended()?;
    ensure!(stages.is_empty(), "the guest told stages: {stages:?}");
    let last = console.lines().find(|line| line.contains(why));
    Ok(last.with_context(|| format!("the guest did not stop with {why:?}: {console}"))?.trim().to_owned())
}
