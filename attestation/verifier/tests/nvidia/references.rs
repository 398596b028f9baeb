//! Manifests: which ones belong to a device, and what is refused. Their own refusals are tested beside this.

use crate::forge::*;
use crate::forge_rim::Rim;
use crate::support::*;
use anchorhold_rats::{Der, GpuEvidence, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::nvidia::{Input, authenticate};

fn refusal(device: &Device, rims: &[Der]) -> Vec<String> {
    failed(authenticate(&Input { devices: &[device.evidence()], rims, ocsp: &[] }, &anchors(), now()))
}

fn missing(device: &Device, rims: &[Der]) -> Vec<String> {
    let input = Input { devices: &[device.evidence()], rims, ocsp: &[] };
    authenticate(&input, &anchors(), now()).unwrap().claims()[0].missing_rims().to_vec()
}

#[test]
fn names_the_manifests_that_did_not_come() {
    let (driver, vbios) = (Rim::driver().sign(), Rim::vbios().sign());
    let gpu = Device::gpu(1);
    let names = ["NV_GPU_DRIVER_GH100_590.12", "NV_GPU_VBIOS_G520_0200_885_9600A50001"];
    assert_eq!(missing(&gpu, &[]), names);
    assert_eq!(missing(&gpu, std::slice::from_ref(&driver)), names[1..]);
    assert_eq!(missing(&gpu, std::slice::from_ref(&vbios)), names[..1]);
    assert_eq!(missing(&gpu, &[driver, vbios]), [""; 0]);
    let switch = Device::switch(9, &[1]);
    assert_eq!(missing(&switch, &[]), ["NV_SWITCH_BIOS_5612_0002_890_9610550001"]);
    assert_eq!(missing(&switch, &[Rim::switch().sign()]), [""; 0]);
}

#[test]
fn names_the_manifests_of_real_devices() {
    let at = at("2026-07-25T00:00:00Z");
    for (folder, names) in [
        ("hopper-535", &["NV_GPU_DRIVER_GH100_535.86.09", "NV_GPU_VBIOS_1010_0200_882_96005E0001"][..]),
        ("blackwell-575", &["NV_GPU_CC_DRIVER_GB100_575.32", "NV_GPU_VBIOS_G525_0220_886_970088000F"]),
        ("switch-ls10", &["NV_SWITCH_BIOS_5612_0002_890_9610550001"]),
    ] {
        let Some(device) = device(folder) else { return };
        let result = judge(&[device], &TrustAnchors::production(), at).unwrap();
        assert_eq!(result.claims()[0].missing_rims(), names);
    }
}

#[test]
fn refuses_measurements_that_are_not_the_manifests() {
    let mut device = Device::gpu(1);
    device.blocks[7] = block(8, &[0xee; 48]);
    assert_eq!(refusal(&device, &[Rim::driver().sign(), Rim::vbios().sign()]), ["rim_measurement"]);
    assert_eq!(refusal(&device, &[Rim::vbios().sign()]), [""; 0]);
    device.blocks.remove(7);
    assert_eq!(refusal(&device, &[Rim::driver().sign()]), ["rim_measurement_missing"]);
}

#[test]
fn refuses_manifests_of_another_version_only() {
    let device = Device::gpu(1);
    let other = Rim { version: "590.13", ..Rim::driver() }.sign();
    assert_eq!(refusal(&device, std::slice::from_ref(&other)), ["nvidia_rim_version"]);
    assert_eq!(refusal(&device, &[other, Rim::driver().sign()]), [""; 0]);
    let vbios = Rim { version: "96.00.A5.00.02", ..Rim::vbios() }.sign();
    assert_eq!(refusal(&device, &[Rim::driver().sign(), vbios]), ["nvidia_rim_version"]);
}

#[test]
fn manifests_of_other_chips_and_kinds_do_not_count() {
    let device = Device::gpu(1);
    let other = Rim { product: "GB100", ..Rim::driver() }.sign();
    assert_eq!(missing(&device, &[other, Rim::vbios().sign()]), ["NV_GPU_DRIVER_GH100_590.12"]);
    assert_eq!(missing(&device, &[Rim::switch().sign()]).len(), 2);
}

#[test]
fn of_two_manifests_of_one_version_the_measurements_decide() {
    let device = Device::gpu(1);
    let other = Rim { values: vec![(0, 0xaa), (1, 0xab)], ..Rim::vbios() }.sign();
    let driver = Rim::driver().sign();
    assert_eq!(refusal(&device, &[other.clone(), Rim::vbios().sign(), driver.clone()]), [""; 0]);
    assert_eq!(refusal(&device, &[Rim::vbios().sign(), other.clone(), driver.clone()]), [""; 0]);
    assert_eq!(refusal(&device, &[other, driver]), ["rim_measurement", "rim_measurement"]);
}

#[test]
fn refuses_a_driver_manifest_that_speaks_of_the_vbios_indices() {
    let greedy = Rim { values: vec![(6, 7), (7, 8)], ..Rim::driver() }.sign();
    assert_eq!(refusal(&Device::gpu(1), &[greedy, Rim::vbios().sign()]), ["rim_index_conflict"]);
}

#[test]
fn the_decoders_measurement_counts_while_it_is_on() {
    let rim = Rim { values: vec![(7, 8), (35, 0xee)], ..Rim::driver() }.sign();
    assert_eq!(refusal(&Device::gpu(1).set(11, &[0x55]), std::slice::from_ref(&rim)), [""; 0]);
    assert_eq!(refusal(&Device::gpu(1).set(11, &[0xaa]), &[rim]), ["rim_measurement"]);
}

#[test]
fn refuses_every_board_with_a_bad_manifest() {
    let mut changed = Rim::switch().sign();
    let place = changed.0.windows(2).position(|pair| pair == b"0f").unwrap();
    changed.0[place] = b'1';
    assert_eq!(refusal(&Device::gpu(1), &[changed]), ["rim_digest"]);
}

/// A real device with real manifests of its folder.
fn real(folder: &str, rims: &[&str], at: Timestamp) -> Option<Vec<String>> {
    let device: GpuEvidence = device(folder)?;
    let read = |file: &&str| Der(std::fs::read(samples().unwrap().join("nvidia").join(file)).unwrap());
    let rims: Vec<_> = rims.iter().map(read).collect();
    let input = Input { devices: &[device], rims: &rims, ocsp: &[] };
    Some(failed(authenticate(&input, &TrustAnchors::production(), at)))
}

#[test]
fn judges_the_real_samples_with_their_manifests_as_stated() {
    let day = |text: &str| at(&format!("{text}T00:00:00Z"));
    for (folder, rims, date, codes) in [
        (
            "hopper-545-full",
            &["hopper-545-full/driver-rim.xml", "hopper-545-full/vbios-rim.xml"][..],
            "2024-06-01",
            &[][..],
        ),
        (
            "hopper-545-full",
            &["hopper-545-full/driver-rim.xml", "hopper-545-full/vbios-rim.xml"],
            "2026-11-22",
            &["rim_certificate_validity"],
        ),
        ("hopper-535", &["hopper-535/vbios-rim.xml"], "2025-06-10", &[]),
        ("hopper-535", &["hopper-535/driver-rim-tampered.xml"], "2025-06-10", &["rim_digest"]),
        ("hopper-535", &["hopper-535/vbios-rim-mismatch.xml"], "2025-06-10", &["rim_measurement"]),
        ("hopper-570", &[], "2025-01-02", &[]),
        ("hopper-570", &["hopper-570/driver-rim-expired.xml"], "2026-01-01", &["rim_digest"]),
        ("hopper-570", &["hopper-570/vbios-rim-old.xml"], "2025-06-10", &["rim_measurement"]),
        ("switch-ls10", &["switch-ls10/bios-rim.xml"], "2026-06-15", &[]),
        ("switch-ls10", &["switch-ls10/bios-rim-tampered.xml"], "2026-06-15", &["rim_digest"]),
        ("switch-ls10", &["switch-ls10/bios-rim-mismatch.xml"], "2025-06-10", &["rim_digest"]),
        ("hopper-535", &["rim/driver-rim-good.xml"], "2026-06-01", &["nvidia_rim_version"]),
    ] {
        let Some(observed) = real(folder, rims, day(date)) else { return };
        let first: Vec<_> = observed.iter().take(1).collect();
        assert_eq!(
            first,
            codes.iter().take(1).collect::<Vec<_>>(),
            "{folder} {rims:?} at {date}: {observed:?}"
        );
    }
}
