//! The names of the manifests for a device, as its report states them.
//!
//! The names are those of NVIDIA's verifiers (`nvtrust`, `get_driver_rim_file_id` and `get_vbios_rim_file_id`). Nothing is
//! authenticated here: a report that lies is told the manifests of something else, and refused by the verifier.

use anchorhold_rats::{Evidence, GpuEvidence};
use anchorhold_verifier::nvidia::{Architecture, Report, VbiosVersion};
use anchorhold_verifier::x509::Certificate;
use std::collections::BTreeMap;

/// Types of fields in the opaque data of a report.
const DRIVER_VERSION: u16 = 3;
const VBIOS_VERSION: u16 = 6;
const CHIP_SKU: u16 = 15;
const PROJECT: u16 = 17;
const PROJECT_SKU: u16 = 18;
const CHIP: u16 = 35;
/// Drivers of Blackwell that do not state the chip are those of its first one.
const FIRST_BLACKWELL: &str = "GB100";
/// Project, its SKU and chip SKU of the LS10 board, which its report does not state.
const LS10_BOARD: &str = "5612_0002_890";

/// The names of the manifests for all devices of `evidence`, each once, in the order of the devices. A device that is not
/// readable has none; the verifier refuses it.
#[must_use]
pub fn rim_ids(evidence: &Evidence) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for id in evidence.gpus.iter().flat_map(|device| of_device(device).unwrap_or_default()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn of_device(device: &GpuEvidence) -> Option<Vec<String>> {
    // Leaf, then the certificate that names the chip.
    let brom = Certificate::parse(&device.certificates.get(1)?.0).ok()?;
    let architecture = Architecture::of_chip(brom.common_name()?.split(' ').next()?)?;
    let report = Report::parse(&device.report).ok()?;
    let fields = read_fields(&report.opaque)?;
    let text = |field: u16| fields.get(&field).and_then(|value| read_text(value));
    let driver = match architecture {
        Architecture::Ls10 => {
            // A switch states its version as text.
            let version: VbiosVersion = text(VBIOS_VERSION)?.parse().ok()?;
            return Some(vec![format!("NV_SWITCH_BIOS_{LS10_BOARD}_{}", version.undotted())]);
        }
        Architecture::Hopper => format!("NV_GPU_DRIVER_GH100_{}", text(DRIVER_VERSION)?),
        Architecture::Blackwell => {
            let chip = text(CHIP).unwrap_or(FIRST_BLACKWELL.to_owned());
            format!("NV_GPU_CC_DRIVER_{chip}_{}", text(DRIVER_VERSION)?)
        }
    };
    let firmware = read_vbios_version(fields.get(&VBIOS_VERSION)?)?.undotted();
    let (project, project_sku, chip_sku) = (text(PROJECT)?, text(PROJECT_SKU)?, text(CHIP_SKU)?);
    Some(vec![driver, format!("NV_GPU_VBIOS_{project}_{project_sku}_{chip_sku}_{firmware}")])
}

/// Type and length, 2 bytes little-endian each, then the value.
fn read_fields(opaque: &[u8]) -> Option<BTreeMap<u16, &[u8]>> {
    let mut fields = BTreeMap::new();
    let mut rest = opaque;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let (value, after) = after.split_at_checked(usize::from(u16::from_le_bytes([c, d])))?;
        fields.insert(u16::from_le_bytes([a, b]), value);
        rest = after;
    }
    Some(fields)
}

/// Upper case, without the zero bytes and blanks at the end, as in the names.
fn read_text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_ascii_uppercase())
}

/// A GPU states four bytes in the other order, then one.
fn read_vbios_version(value: &[u8]) -> Option<VbiosVersion> {
    match value {
        [d, c, b, a, e, ..] => Some(VbiosVersion([*a, *b, *c, *d, *e])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_and_refuses_cut_ones() {
        let opaque = [3, 0, 2, 0, b'5', b'5', 15, 0, 0, 0];
        assert_eq!(read_fields(&opaque).unwrap(), BTreeMap::from([(3, &b"55"[..]), (15, &[][..])]));
        assert_eq!(read_fields(&opaque[..9]), None);
        assert_eq!(read_fields(&opaque[..5]), None);
        assert_eq!(read_text(b"g520\0\0"), Some("G520".to_owned()));
        assert_eq!(read_text(b"\0\0"), None);
        let version = read_vbios_version(&[0x5e, 0, 0, 0x96, 1, 0, 0, 0]).unwrap();
        assert_eq!(version.undotted(), "9600005E01");
        assert_eq!(read_vbios_version(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn a_device_that_is_not_readable_has_no_manifests() {
        let mut evidence = Evidence::tdx(Vec::new());
        evidence.gpus = vec![GpuEvidence { report: vec![1], certificates: vec![] }];
        assert_eq!(rim_ids(&evidence), Vec::<String>::new());
    }
}
