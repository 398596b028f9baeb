//! Which layers must hold a process before it is trusted with anything.

use crate::settings::Settings;
use anchorhold_confine::{Phase, Role, SERVING, lacking};
use anchorhold_ipc::Confinement;
use anyhow::ensure;

/// Refuses a process that lacks a layer: in production those of the fixed set, and of a worker those that the settings name besides.
///
/// # Errors
/// All that it lacks, and what the system said of them.
pub(crate) fn require(
    settings: &Settings,
    (process, role): (&str, &Role),
    phase: Phase,
    layers: &Confinement,
) -> anyhow::Result<()> {
    let mut lacks = if settings.production { lacking(role, phase, &layers.active) } else { Vec::new() };
    if matches!(role, Role::Worker | Role::DeviceWorker(_)) {
        let wanted = settings.worker.required_layers.iter();
        // That one comes with the model.
        let wanted = wanted.filter(|layer| phase == Phase::Serving || *layer != SERVING);
        lacks.extend(wanted.filter(|layer| !layers.active.contains(layer)).cloned());
    }
    lacks.dedup();
    ensure!(
        lacks.is_empty(),
        "the {process} runs without {} ({})",
        lacks.join(", "),
        layers.missing.join("; ")
    );
    Ok(())
}
