//! What drivers and firmware say in the opaque data, and that it is what the certificates say.

use super::{Made, PDI};
use crate::cases::bytes::put;
use crate::writer::Suite;
use anchorhold_attester::software::gpu::{Chip, GpuConfig, OpaqueField, SpdmReport};

const DRIVER: u16 = 3;
const VBIOS: u16 = 6;
const NVDEC0: u16 = 11;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const FWID: u16 = 20;
const PROTECTED_PCIE: u16 = 21;
const PDI_FIELD: u16 = 22;
const SWITCH_GPUS: u16 = 26;
const VERSION: u16 = 34;
const FEATURE: u16 = 36;

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let switch = Made::new(GpuConfig::new(Chip::Ls10, PDI))?;
    list(suite, made)?;
    missing(suite, made, &switch)?;
    values(suite, made, &switch)?;
    identity(suite, made, &switch)
}

fn list(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.signed(|signed| {
        // The last field is the feature flag: type, length and value of two bytes each.
        let length = signed.len() - 4;
        put(signed, length, 3);
    })?;
    let format = "nvidia_opaque_format";
    suite.add(
        "nvidia-opaque-cut",
        case.refused("parse", format),
        "the last field is longer than the rest",
    )?;
    let case = made.fields(|r| r.opaque.extend((1000..1064).map(|kind| OpaqueField::new(kind, &[]))))?;
    suite.add("nvidia-opaque-many", case.refused("parse", format), "more than 64 fields")?;
    let case = made.fields(|r| r.opaque.push(OpaqueField::new(DRIVER, b"999.99\0")))?;
    suite.add(
        "nvidia-opaque-twice",
        case.refused("parse", "nvidia_opaque_duplicate"),
        "two versions of the driver",
    )?;
    for (id, value) in [("two", &[2, 0][..]), ("short", &[1])] {
        let case = made.fields(|r| set(r, VERSION, value))?.refused("parse", "nvidia_opaque_version");
        suite.add(
            format!("nvidia-opaque-version-{id}"),
            case,
            "opaque data of a version that is not known",
        )?;
    }
    let case = made.fields(|r| r.opaque.push(OpaqueField::new(1000, &[1, 2, 3])))?;
    suite.add("nvidia-good-opaque-unknown", case, "a field of a type that says nothing yet")
}

fn missing(suite: &mut Suite, made: &Made, switch: &Made) -> anyhow::Result<()> {
    for (id, of, kind) in [
        ("driver", made, DRIVER),
        ("vbios", made, VBIOS),
        ("nvdec0", made, NVDEC0),
        ("chip-sku", made, CHIP_SKU),
        ("project", made, PROJECT),
        ("project-sku", made, PROJECT_SKU),
        ("switch-identity", switch, PDI_FIELD),
        ("switch-links", switch, SWITCH_GPUS),
    ] {
        let case = of.fields(|r| r.opaque.retain(|field| field.kind != kind))?;
        let case = case.refused("parse", "nvidia_opaque_missing");
        suite.add(format!("nvidia-opaque-no-{id}"), case, format!("field {kind} is not there"))?;
    }
    Ok(())
}

fn values(suite: &mut Suite, made: &Made, switch: &Made) -> anyhow::Result<()> {
    for (id, of, kind, value) in [
        ("driver-words", made, DRIVER, &b"590.12-beta\0"[..]),
        ("driver-after-nul", made, DRIVER, b"590.12\0x"),
        ("vbios-tail", made, VBIOS, &[0, 0xa5, 0, 0x96, 1, 0, 0, 1]),
        ("nvdec0", made, NVDEC0, &[0]),
        ("project-path", made, PROJECT, b"../x\0"),
        ("fwid-short", made, FWID, &[1; 47]),
        ("protected-pcie", made, PROTECTED_PCIE, &[1]),
        ("feature", made, FEATURE, &[3, 0]),
        ("switch-bios", switch, VBIOS, b"96.10.55.00"),
        ("switch-links-short", switch, SWITCH_GPUS, &[0; 127]),
    ] {
        let case = of.fields(|r| set(r, kind, value))?.refused("parse", "nvidia_opaque_field");
        suite.add(format!("nvidia-opaque-{id}"), case, format!("field {kind} is of another form, signed"))?;
    }
    Ok(())
}

fn identity(suite: &mut Suite, made: &Made, switch: &Made) -> anyhow::Result<()> {
    let case = made.config(|config| config.fwid = Some([9; 48]))?.refused("identity", "nvidia_fwid");
    suite.add("nvidia-fwid", case, "the report states other firmware than the certificate")?;
    let case = switch.fields(|r| set(r, PDI_FIELD, &[9; 8]))?;
    suite.add(
        "nvidia-switch-identity",
        case.refused("identity", "nvidia_switch_identity"),
        "the switch says that it is another one",
    )
}

/// Gives the field of this type another value.
fn set(report: &mut SpdmReport, kind: u16, value: &[u8]) {
    for field in report.opaque.iter_mut().filter(|field| field.kind == kind) {
        field.value = value.to_vec();
    }
}
