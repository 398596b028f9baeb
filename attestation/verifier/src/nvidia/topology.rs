//! Whether the links that devices state are those among the devices of the evidence.
//!
//! Each device signs what it is linked to, and each is known by its certificate. So a board is whole when both agree: no
//! device behind the links is missing from the evidence, and none stands in the evidence without the links.

use super::device::DeviceChecks;
use super::{Kind, Pdi, Stated, codes};
use anchorhold_rats::Checks;
use std::collections::BTreeSet;

/// Records for each device whether its links lead to exactly the devices of the other kind.
pub(super) fn judge(devices: &[Stated<'_>], checks: &mut Checks) {
    for (index, device) in devices.iter().enumerate() {
        let (stated, wanted) = links(device, devices);
        let code = match device.architecture.kind() {
            Kind::Gpu => codes::TOPOLOGY_SWITCHES,
            Kind::Switch => codes::TOPOLOGY_GPUS,
        };
        let same = links_are_whole(device, devices);
        let wanted = format!("links to exactly {}", join(&wanted));
        DeviceChecks { index, checks }.record(code, same, wanted, join(&stated));
    }
}

/// Whether the links of `device` lead to exactly the devices of the other kind among `devices`, which are some.
#[must_use]
pub fn links_are_whole(device: &Stated<'_>, devices: &[Stated<'_>]) -> bool {
    let (stated, wanted) = links(device, devices);
    !wanted.is_empty() && stated == wanted
}

/// Where the links of `device` lead as it states, and where they lead on a whole board.
fn links(device: &Stated<'_>, devices: &[Stated<'_>]) -> (BTreeSet<Pdi>, BTreeSet<Pdi>) {
    let (stated, other) = match device.architecture.kind() {
        Kind::Gpu => (switches_of(device), Kind::Switch),
        Kind::Switch => (gpus_of(device), Kind::Gpu),
    };
    let others = devices.iter().filter(|device| device.architecture.kind() == other);
    (stated, others.map(|device| device.pdi).collect())
}

fn switches_of(device: &Stated<'_>) -> BTreeSet<Pdi> {
    let links = device.fields.gpu().and_then(|gpu| gpu.switches);
    links.into_iter().flatten().filter(is_linked).map(Pdi::reversed).collect()
}

fn gpus_of(device: &Stated<'_>) -> BTreeSet<Pdi> {
    let links = device.fields.switch().map(|switch| switch.gpus);
    links.into_iter().flatten().filter(is_linked).collect()
}

/// Zero is a link to nothing. No certified device has it, so leaving it out hides none.
fn is_linked(pdi: &Pdi) -> bool {
    pdi.0 != [0; 8]
}

fn join(devices: &BTreeSet<Pdi>) -> String {
    if devices.is_empty() {
        return "none".to_owned();
    }
    devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
