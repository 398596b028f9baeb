//! What a report measured against what manifests ask for.

use super::swid::{Resource, VALUE_LEN};
use super::{AuthenticRim, codes};
use anchorhold_rats::Checks;
use std::collections::BTreeMap;

/// The index, from 0, that measures NVDEC0 (NVIDIA attestation SDK, `nv-attestation-sdk-cpp/src/gpu/verify.cpp`, "MSR 35").
const NVDEC0_INDEX: u8 = 35;

/// What a vendor's manifest asks of a report, whatever the form of the manifest: for each index, from 0, the values of
/// which one must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    by_index: BTreeMap<u8, Vec<[u8; VALUE_LEN]>>,
}

/// What an authentic report measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// The values of its blocks, by SPDM index, from 1.
    pub blocks: BTreeMap<u8, Vec<u8>>,
    /// Whether the report says that the GPU's decoder NVDEC0 is disabled; its measurement then means nothing.
    pub nvdec0_disabled: bool,
}

impl ReferenceValues {
    /// The values of the active Resources.
    pub(super) fn of_resources(resources: &[Resource]) -> Self {
        let active = resources.iter().filter(|resource| resource.active);
        Self { by_index: active.map(|resource| (resource.index, resource.alternatives.clone())).collect() }
    }

    /// The indices, from 0, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[[u8; VALUE_LEN]])> {
        self.by_index.iter().map(|(index, values)| (*index, values.as_slice()))
    }
}

/// Holds a report against all manifests of its device and records each index; true if every rule held.
///
/// Establishes that every value that the manifests ask for is in the report. Presumes that the caller chose the manifests
/// of the device's product and versions, and that `measured` is of an authentic report.
pub fn compare(rims: &[&AuthenticRim], measured: &Measured, checks: &mut Checks) -> bool {
    let values: Vec<_> = rims.iter().map(|rim| rim.reference_values()).collect();
    compare_values(&values, measured, checks)
}

/// The same for reference values of any origin.
pub fn compare_values(all: &[&ReferenceValues], measured: &Measured, checks: &mut Checks) -> bool {
    let mut merged: BTreeMap<u8, &[[u8; VALUE_LEN]]> = BTreeMap::new();
    let mut conflicts: Vec<u8> = Vec::new();
    for (index, values) in all.iter().flat_map(|values| values.iter()) {
        if merged.insert(index, values).is_some() {
            conflicts.push(index);
        }
    }
    let count = merged.len();
    let mut sound =
        checks.record(codes::NO_VALUES, count > 0, "an index with reference values", count.to_string());
    let observed = if conflicts.is_empty() { "none".to_string() } else { format!("{conflicts:?}") };
    sound &=
        checks.record(codes::INDEX_CONFLICT, conflicts.is_empty(), "no index in two manifests", observed);
    for (index, values) in merged {
        sound &= record_index(index, values, measured, checks);
    }
    sound
}

fn record_index(index: u8, values: &[[u8; VALUE_LEN]], measured: &Measured, checks: &mut Checks) -> bool {
    let wanted = format!("index {index}: one of {} reference values", values.len());
    if index == NVDEC0_INDEX && measured.nvdec0_disabled {
        checks.skip(codes::MEASUREMENT, wanted, "NVDEC0 is disabled");
        return true;
    }
    let block = index.checked_add(1).and_then(|spdm| measured.blocks.get(&spdm));
    let Some(block) = block else {
        return checks.record(
            codes::MEASUREMENT_MISSING,
            false,
            format!("a block for index {index}"),
            "none",
        );
    };
    let matching = values.iter().any(|value| value.as_slice() == block);
    checks.record(codes::MEASUREMENT, matching, wanted, hex(block))
}

/// The block in hexadecimal, cut where no value can match any more.
fn hex(block: &[u8]) -> String {
    let shown = anchorhold_rats::hex(block.get(..VALUE_LEN).unwrap_or(block));
    if block.len() > VALUE_LEN { format!("{shown}.. ({} bytes)", block.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::{VALUE_LEN, hex};

    #[test]
    fn a_block_that_no_value_can_match_is_shown_cut_with_its_length() {
        let whole = "07".repeat(VALUE_LEN);
        assert_eq!(hex(&[7]), "07");
        assert_eq!(hex(&[7; VALUE_LEN]), whole);
        assert_eq!(hex(&[7; VALUE_LEN + 1]), format!("{whole}.. (49 bytes)"));
    }
}
