//! NVIDIA's own manifests with the verdicts that are stated for them, and reports of real devices.

use crate::support::*;
use anchorhold_rats::Checks;
use anchorhold_verifier::nvidia::rim::{AuthenticRim, Kind, Measured, authenticate, compare};
use anchorhold_verifier::{Authentic, Refusal, TrustAnchors};
use std::collections::BTreeMap;

fn read(file: &str) -> Option<Vec<u8>> {
    samples().map(|folder| std::fs::read(folder.join(file)).unwrap())
}

fn real(file: &str, time: &str) -> Option<Result<Authentic<AuthenticRim>, Refusal>> {
    read(file).map(|xml| authenticate(&xml, &TrustAnchors::production(), at(time)))
}

fn accepted(file: &str, time: &str) -> Option<AuthenticRim> {
    let rim = real(file, time)?.unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
    assert!(!rim.simulated());
    Some(rim.claims().clone())
}

/// The blocks of an SPDM measurement report, as DSP0274 1.1 lays them out after the request of 37 bytes.
fn measured(file: &str) -> Option<Measured> {
    let report = read(file)?;
    let mut rest = &report[45..];
    let mut blocks = BTreeMap::new();
    for _ in 0..report[41] {
        let length = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
        assert!(blocks.insert(rest[0], rest[7..4 + length].to_vec()).is_none());
        rest = &rest[4 + length..];
    }
    Some(Measured { blocks, nvdec0_disabled: false })
}

fn compared(rims: &[&AuthenticRim], report: &str) -> (usize, Vec<String>) {
    let mut checks = Checks::new();
    compare(rims, &measured(report).unwrap(), &mut checks);
    let of_blocks = checks.all().iter().filter(|check| check.code == "rim_measurement");
    (of_blocks.count(), checks.failed().map(|check| format!("{} {}", check.code, check.wanted)).collect())
}

#[test]
fn driver_and_vbios_of_an_h100_match_its_report() {
    let Some(driver) = accepted("hopper-545-full/driver-rim.xml", "2024-06-01T00:00:00Z") else { return };
    let vbios = accepted("hopper-545-full/vbios-rim.xml", "2024-06-01T00:00:00Z").unwrap();
    assert_eq!((driver.kind(), driver.product(), driver.version()), (Kind::Driver, "GH100", "545.00"));
    assert_eq!((vbios.kind(), vbios.product(), vbios.version()), (Kind::Vbios, "GH100", "96.00.5E.00.01"));
    assert_eq!((driver.resources().len(), driver.certificates().len()), (64, 4));
    let indices: Vec<u8> = driver.reference_values().iter().map(|(index, _)| index).collect();
    assert_eq!(indices, [&[7][..], &(21..=40).collect::<Vec<u8>>()].concat());
    assert_eq!(compared(&[&driver, &vbios], "hopper-545-full/report.bin"), (33, vec![]));
    let (_, conflict) = compared(&[&driver, &driver], "hopper-545-full/report.bin");
    assert_eq!(conflict, ["rim_index_conflict no index in two manifests"]);
}

#[test]
fn expired_signers_are_refused() {
    for (file, last) in [
        ("hopper-545-full/driver-rim.xml", "2025-06-26T06:10:12Z"),
        ("hopper-545-full/vbios-rim.xml", "2025-06-22T09:38:54Z"),
    ] {
        let Some(late) = real(file, "2026-11-22T00:00:00Z") else { return };
        assert_eq!(failed(late).first().unwrap(), "rim_certificate_validity");
        assert_eq!(real(file, last).unwrap().unwrap().expires(), at(last));
        let next = at(last).plus_seconds(1).to_string();
        assert_eq!(failed(real(file, &next).unwrap()), ["rim_certificate_validity"]);
    }
}

#[test]
fn hopper_535_matches_its_vbios_and_not_the_others() {
    const AT: &str = "2025-06-10T00:00:00Z";
    let Some(vbios) = accepted("hopper-535/vbios-rim.xml", AT) else { return };
    assert_eq!(compared(&[&vbios], "hopper-535/report.bin"), (12, vec![]));
    let tampered = real("hopper-535/driver-rim-tampered.xml", AT).unwrap();
    assert_eq!(failed(tampered), ["rim_digest"]);
    let other = accepted("hopper-535/vbios-rim-mismatch.xml", AT).unwrap();
    let (count, failed) = compared(&[&other], "hopper-535/report.bin");
    assert_eq!((count, failed), (12, vec!["rim_measurement index 9: one of 1 reference values".to_string()]));
}

#[test]
fn hopper_570_has_an_expired_driver_and_an_old_vbios() {
    let Some(expired) = real("hopper-570/driver-rim-expired.xml", "2026-01-01T00:00:00Z") else { return };
    let codes = failed(expired);
    assert!(codes.contains(&"rim_digest".to_string()), "{codes:?}");
    assert!(codes.contains(&"rim_certificate_validity".to_string()), "{codes:?}");
    let old = accepted("hopper-570/vbios-rim-old.xml", "2025-06-10T00:00:00Z").unwrap();
    let (_, failed) = compared(&[&old], "hopper-570/report.bin");
    assert_eq!(failed, ["rim_measurement index 9: one of 1 reference values"]);
}

#[test]
fn switch_matches_its_bios_and_not_the_others() {
    const AT: &str = "2026-06-15T00:00:00Z";
    let Some(bios) = accepted("switch-ls10/bios-rim.xml", AT) else { return };
    assert_eq!((bios.kind(), bios.product(), bios.version()), (Kind::SwitchBios, "LS10", "96.10.55.00.01"));
    assert_eq!(compared(&[&bios], "switch-ls10/report.bin"), (31, vec![]));
    assert_eq!(real("switch-ls10/bios-rim.xml", AT).unwrap().unwrap().expires(), at("2027-11-02T23:59:59Z"));
    assert_eq!(failed(real("switch-ls10/bios-rim-tampered.xml", AT).unwrap())[0], "rim_digest");
    assert_eq!(
        failed(real("switch-ls10/bios-rim-mismatch.xml", "2025-06-10T00:00:00Z").unwrap()),
        ["rim_digest"]
    );
}

#[test]
fn manifests_alone() {
    const AT: &str = "2026-06-01T00:00:00Z";
    let Some(good) = accepted("rim/driver-rim-good.xml", AT) else { return };
    assert_eq!((good.kind(), good.product(), good.version()), (Kind::Driver, "GH100", "550.144.03"));
    assert_eq!(good.id().len(), 96);
    assert_eq!(real("rim/driver-rim-good.xml", AT).unwrap().unwrap().expires(), at("2026-12-30T16:56:50Z"));
    assert_eq!(failed(real("rim/driver-rim-bad-signature.xml", AT).unwrap()), ["rim_signature"]);
    let bad_chain = failed(real("rim/rim-bad-chain.xml", AT).unwrap());
    assert!(bad_chain.contains(&"rim_certificate_issuer".to_string()), "{bad_chain:?}");
    assert!(bad_chain.contains(&"rim_certificate_root".to_string()), "{bad_chain:?}");
    assert!(!bad_chain.contains(&"rim_digest".to_string()), "{bad_chain:?}");
}

#[test]
fn real_manifests_end_in_the_vendors_root_only() {
    let Some(xml) = read("rim/driver-rim-good.xml") else { return };
    let refused = authenticate(&xml, &Chain::new().anchors(), at("2026-06-01T00:00:00Z"));
    assert_eq!(failed(refused).first().unwrap(), "rim_certificate_root");
}

#[test]
fn every_sample_has_a_verdict_here() {
    let Some(folder) = samples() else { return };
    let mut found = Vec::new();
    for inner in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(inner.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "xml") {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    let named = include_str!("real.rs");
    for file in &found {
        assert!(named.contains(&format!("/{file}\"")), "{file}");
    }
    assert_eq!(found.len(), 13);
}
