//! Which manifests belong to a device, and whether its measurements are theirs.

use super::authenticate::AuthenticDevice;
use super::device::DeviceChecks;
use super::rim::{self, AuthenticRim, Kind, Measured};
use super::{Architecture, OpaqueFields, codes};
use anchorhold_rats::{Check, Checks, Outcome};

/// LS10's reports name no project; NVIDIA's manifest service has one name for all.
const LS10_BOARD: &str = "5612_0002_890";
/// How NVIDIA's manifests spell the switch.
const LS10_PRODUCT: &str = "LS10";
/// The chip in the name of a Blackwell driver's manifest where the report names none (NVIDIA attestation SDK).
const BLACKWELL_PRODUCT: &str = "GB100";

/// One manifest that a device needs.
struct Wanted {
    /// Its name at NVIDIA's service, for people: nothing signed holds it.
    name: String,
    kind: Kind,
    product: String,
    version: String,
}

/// What the comparison found.
pub(super) struct References<'a> {
    /// The manifests that the measurements were compared with.
    pub(super) used: Vec<&'a AuthenticRim>,
    /// The names of those that did not come.
    pub(super) missing: Vec<String>,
}

/// Compares a device's measurements with every manifest that belongs to it.
///
/// Establishes that the measurements are those of the manifests in `used`, which are of the versions that the report states.
/// Presumes that the report and the manifests are authentic. `None` when a rule failed.
pub(super) fn judge<'a>(
    device: &AuthenticDevice,
    rims: &'a [AuthenticRim],
    checks: &mut DeviceChecks<'_>,
) -> Option<References<'a>> {
    let mut sets: Vec<Vec<&AuthenticRim>> = vec![Vec::new()];
    let mut missing = Vec::new();
    for wanted in wanted(device) {
        let of_kind: Vec<_> =
            rims.iter().filter(|rim| rim.kind() == wanted.kind && rim.product() == wanted.product).collect();
        let found: Vec<_> = of_kind.iter().copied().filter(|rim| rim.version() == wanted.version).collect();
        let text = format!("{} {} of {}", wanted.kind, wanted.version, wanted.product);
        if let Some(other) = of_kind.first() {
            let observed = found.first().unwrap_or(other).version();
            checks.record(codes::RIM_VERSION, !found.is_empty(), text, observed);
        } else {
            checks.skip(codes::RIM_VERSION, text, "no manifest of this kind and chip");
        }
        if found.is_empty() {
            missing.push(wanted.name);
        } else {
            // Boards of one chip may share a version with other values, and nothing signed names the board.
            sets = sets
                .iter()
                .flat_map(|set| found.iter().map(|rim| [set.as_slice(), &[*rim]].concat()))
                .collect();
        }
    }
    compare(device, sets, checks).map(|used| References { used, missing })
}

/// The first set of manifests that the measurements agree with. Of a failure the checks are those of the last one.
fn compare<'a>(
    device: &AuthenticDevice,
    sets: Vec<Vec<&'a AuthenticRim>>,
    checks: &mut DeviceChecks<'_>,
) -> Option<Vec<&'a AuthenticRim>> {
    let blocks = &device.report().measurements;
    let measured = Measured {
        blocks: blocks.iter().map(|(index, value)| (*index, value.to_vec())).collect(),
        nvdec0_disabled: device.fields().gpu().is_some_and(|gpu| !gpu.nvdec0_enabled),
    };
    let mut last = Checks::new();
    for set in sets {
        if set.is_empty() {
            return Some(set);
        }
        last = Checks::new();
        if rim::compare(&set, &measured, &mut last) {
            record_all(&last, checks);
            return Some(set);
        }
    }
    record_all(&last, checks);
    None
}

/// Records the rules of a comparison again, as of the device.
fn record_all(compared: &Checks, checks: &mut DeviceChecks<'_>) {
    for Check { code, outcome, wanted, observed, .. } in compared.all() {
        let known = rim::codes::ALL.iter().find(|known| known.name == code);
        let code = known.copied().unwrap_or(codes::RIM_VERSION);
        match outcome {
            Outcome::Skipped => checks.skip(code, wanted, observed),
            Outcome::Passed | Outcome::Failed => {
                checks.record(code, *outcome == Outcome::Passed, wanted, observed);
            }
        }
    }
}

fn wanted(device: &AuthenticDevice) -> Vec<Wanted> {
    match device.fields() {
        OpaqueFields::Gpu(gpu) => {
            let product = match device.architecture() {
                Architecture::Hopper | Architecture::Ls10 => device.chip(),
                Architecture::Blackwell => gpu.chip.as_deref().unwrap_or(BLACKWELL_PRODUCT),
            };
            let prefix = match device.architecture() {
                Architecture::Hopper | Architecture::Ls10 => "NV_GPU_DRIVER",
                Architecture::Blackwell => "NV_GPU_CC_DRIVER",
            };
            let board = format!("{}_{}_{}", gpu.project, gpu.project_sku, gpu.chip_sku);
            vec![
                Wanted {
                    name: format!("{prefix}_{product}_{}", gpu.driver_version),
                    kind: Kind::Driver,
                    product: product.to_owned(),
                    version: gpu.driver_version.to_string(),
                },
                Wanted {
                    name: format!("NV_GPU_VBIOS_{board}_{}", gpu.vbios_version.undotted()),
                    kind: Kind::Vbios,
                    product: device.chip().to_owned(),
                    version: gpu.vbios_version.to_string(),
                },
            ]
        }
        OpaqueFields::Switch(switch) => vec![Wanted {
            name: format!("NV_SWITCH_BIOS_{LS10_BOARD}_{}", switch.bios_version.undotted()),
            kind: Kind::SwitchBios,
            product: LS10_PRODUCT.to_owned(),
            version: switch.bios_version.to_string(),
        }],
    }
}
