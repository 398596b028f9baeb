//! Every real sample with the verdict that its manifest states for a report and its chain.

use crate::support::*;
use anchorhold_rats::GpuEvidence;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::nvidia::{Architecture, AuthenticDevice, Kind};
use serde_json::Value;

/// What the manifest says of a device, beside what was read from its report.
fn assert_fields(device: &AuthenticDevice, fields: &Value, context: &str) {
    let text = |key: &str| fields[key].as_str().unwrap().to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(device.report().nonce.to_string(), text("nonce"), "{context}");
    assert_eq!(device.report().measurements.len() as u64, fields["blocks"].as_u64().unwrap(), "{context}");
    assert_eq!(device.fields().fwid().map(|fwid| hex(fwid)).unwrap_or_default(), text("fwid"), "{context}");
    if let Some(gpu) = device.fields().gpu() {
        assert_eq!(gpu.driver_version.to_string(), text("driver"), "{context}");
        assert_eq!(gpu.vbios_version.to_string(), text("vbios"), "{context}");
        assert_eq!(gpu.project, text("project"), "{context}");
        assert_eq!(gpu.project_sku, text("project_sku"), "{context}");
        assert_eq!(gpu.chip_sku, text("chip_sku"), "{context}");
        assert_eq!(gpu.chip.clone().unwrap_or_default(), text("chip"), "{context}");
        let version = gpu.version.map(|version| hex(&version.to_le_bytes())).unwrap_or_default();
        assert_eq!(version, text("opaque_data_version"), "{context}");
        let flag = gpu.mode.map(|mode| format!("{:02x}00", mode as u8)).unwrap_or_default();
        assert_eq!(flag, text("feature_flag"), "{context}");
    } else {
        assert_eq!(device.fields().switch().unwrap().bios_version.to_string(), text("vbios"), "{context}");
    }
    assert_eq!(fields["slot"], 0, "{context}");
    assert_eq!(fields["trailing_bytes"], 0, "{context}");
}

#[test]
fn accepts_the_report_and_chain_of_every_sample_with_a_report_but_the_bad_one() {
    let anchors = TrustAnchors::production();
    let mut judged = 0;
    for sample in manifest().unwrap_or_default() {
        let (id, fields) = (sample["id"].as_str().unwrap(), &sample["fields"]);
        let Some(folder) = id.strip_prefix("nvidia/").filter(|_| fields["blocks"].is_u64()) else { continue };
        let whole = device(folder).unwrap();
        for expected in sample["expected"].as_array().unwrap() {
            let at = at(expected["at"].as_str().unwrap());
            let result = judge(std::slice::from_ref(&whole), &anchors, at);
            if expected["verdict"].as_str().unwrap() == "reject: signature" {
                assert_eq!(failed(result), ["nvidia_report_signature"], "{id}");
            } else {
                // The other rejections are of manifests, which are judged beside this.
                let result = result.unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
                assert_fields(&result.claims()[0], fields, id);
            }
            judged += 1;
        }
    }
    assert!(judged == 13 || samples().is_none(), "{judged}");
}

#[test]
fn accepts_the_boards_and_reads_their_fields() {
    let anchors = TrustAnchors::production();
    for file in ["hopper_evidence.json", "multi_gpu_hopper.json"] {
        let Some(devices) = board(file) else { return };
        let sample = manifest().unwrap();
        let sample =
            sample.iter().find(|sample| sample["id"] == format!("nvidia/serialized/{file}")).unwrap();
        let at = at(sample["expected"][0]["at"].as_str().unwrap());
        let result = judge(&devices, &anchors, at).unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
        let fields = sample["fields"][file].as_array().unwrap();
        assert_eq!(result.claims().len(), fields.len());
        for (device, fields) in result.claims().iter().zip(fields) {
            assert_fields(device, fields, file);
            assert_eq!((device.kind(), device.architecture()), (Kind::Gpu, Architecture::Hopper));
        }
        assert!(!result.simulated());
        assert_eq!(result.expires().to_string(), "9999-12-31T23:59:59Z");
    }
}

#[test]
fn case_07_refuses_a_device_that_stands_twice_to_fake_a_count() {
    let Some(mut devices) = board("multi_gpu_hopper.json") else { return };
    devices[3] = devices[1].clone();
    let result = judge(&devices, &TrustAnchors::production(), at("2026-03-01T00:00:00Z"));
    let refusal = result.unwrap_err();
    let check = refusal.checks().failed().next().unwrap().clone();
    assert_eq!(
        (check.code.as_ref(), check.observed.as_str()),
        ("nvidia_duplicate_device", "the same as device 1")
    );
    assert!(check.wanted.starts_with("device 3:"), "{}", check.wanted);
}

#[test]
fn identities_are_those_of_the_certificates() {
    let anchors = TrustAnchors::production();
    let at = at("2026-07-25T00:00:00Z");
    for (folder, pdi, chip) in [
        ("hopper-545-full", "ffeeb20009e0be49", "GH100"),
        ("blackwell-575", "e6de55c3bdc14277", "GB100"),
        ("switch-ls10", "203eb31ad9ed0008", "LS_10"),
    ] {
        let Some(device) = device(folder) else { return };
        let result = judge(&[device], &anchors, at).unwrap();
        let device = &result.claims()[0];
        assert_eq!((device.pdi().to_string().as_str(), device.chip()), (pdi, chip));
    }
}

#[test]
fn the_four_gpus_of_one_board_name_the_same_four_switches() {
    let Some(devices) = board("multi_gpu_hopper.json") else { return };
    let result = judge(&devices, &TrustAnchors::production(), at("2026-03-01T00:00:00Z")).unwrap();
    let switches = |device: &AuthenticDevice| {
        let links = device.fields().gpu().unwrap().switches.unwrap();
        links.into_iter().map(|pdi| pdi.reversed()).collect::<std::collections::BTreeSet<_>>()
    };
    let first = switches(&result.claims()[0]);
    assert_eq!(first.len(), 4);
    assert!(result.claims().iter().all(|device| switches(device) == first));
}

#[test]
fn refuses_the_chains_with_a_certificate_too_few() {
    let Some(folder) = samples() else { return };
    let anchors = TrustAnchors::production();
    let whole = device("hopper-545-full").unwrap();
    // The report is of another device, so the one good chain fails at the signature and the others before it.
    for (case, code) in [
        (1, "nvidia_report_signature"),
        (2, "nvidia_chain_length"),
        (3, "nvidia_chain_length"),
        (4, "nvidia_chain_length"),
    ] {
        let text = std::fs::read(folder.join(format!("nvidia/chains/case{case}.txt"))).unwrap();
        let device = GpuEvidence { certificates: chain(&text), ..whole.clone() };
        assert_eq!(failed(judge(&[device], &anchors, at("2026-07-25T00:00:00Z"))), [code], "case {case}");
    }
}
