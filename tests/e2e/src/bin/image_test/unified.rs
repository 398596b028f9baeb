//! The guest as one program for UEFI with a TPM, which the host starts changed while it says the right launch digest: it plays the
//! processor's firmware, but it cannot tell the TPM what to measure.

use anchorhold_e2e::boot::{COMMENT, Deployment, Ended, Image, WithTpm};
use anchorhold_image_builder::qemu::Machine;
use anyhow::{Context as _, ensure};

/// The unchanged guest serves; one whose settings have another letter in a comment is refused by its PCRs alone.
pub(crate) fn lies(image: &Image) -> anyhow::Result<String> {
    let deployment = Deployment::prepare_with(image, WithTpm::Unified)?;
    let served = deployment.boot(&deployment.machine, |_| {})?.ready().context("the unchanged guest")?;
    let served_s = served.host_ms() / 1e3;
    drop(served);

    let unified = deployment.machine.unified.as_ref().context("no unified image")?;
    let mut bytes = std::fs::read(unified)?;
    let at = bytes.windows(COMMENT.len()).rposition(|window| window == COMMENT.as_bytes());
    *bytes.get_mut(at.context("the settings are not in the image")? + 2).context("an empty comment")? ^= 1;
    let other = deployment.stand.path().join("other.efi");
    std::fs::write(&other, bytes)?;
    let machine = Machine { unified: Some(other), ..deployment.machine.clone() };
    // The digest of the files that the policy names, and not of what is started.
    let Ended { refusal, console, .. } =
        deployment.boot_as(&machine, deployment.measurement.clone(), |_| {})?.ended()?;
    ensure!(
        refusal.by == "key broker" && refusal.code == "tpm_pcr_value",
        "the key broker must refuse with tpm_pcr_value, but: {refusal:?}\n{console}"
    );
    Ok(format!(
        "served unchanged after {served_s:.1} s; changed, with the right launch digest, refused with {}",
        refusal.code
    ))
}
