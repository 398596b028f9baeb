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
    let certified = |kind| {
        devices
            .iter()
            .filter(move |device| device.architecture.kind() == kind)
            .map(|device| device.pdi)
            .collect::<BTreeSet<_>>()
    };
    let (gpus, switches) = (certified(Kind::Gpu), certified(Kind::Switch));
    for (index, device) in devices.iter().enumerate() {
        let (code, wanted, stated) = match device.architecture.kind() {
            Kind::Gpu => (codes::TOPOLOGY_SWITCHES, &switches, switches_of(device)),
            Kind::Switch => (codes::TOPOLOGY_GPUS, &gpus, gpus_of(device)),
        };
        let same = !wanted.is_empty() && stated == *wanted;
        let wanted = format!("links to exactly {}", join(wanted));
        DeviceChecks { index, checks }.record(code, same, wanted, join(&stated));
    }
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
