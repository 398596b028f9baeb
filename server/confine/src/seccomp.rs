//! The system-call filters of `policies/seccomp`, compiled when the process confines itself.

use crate::{ConfineError, Layers, Role};
use seccompiler::TargetArch;

const WORKER: &str = include_str!("../../../policies/seccomp/worker.json");
const DEVICE_WORKER: &str = include_str!("../../../policies/seccomp/worker-device.json");
const GATEWAY: &str = include_str!("../../../policies/seccomp/gateway.json");
const FETCHER: &str = include_str!("../../../policies/seccomp/fetcher.json");
const KEEPER: &str = include_str!("../../../policies/seccomp/keeper.json");

pub(crate) fn filter(role: &Role, layers: &mut Layers) -> Result<(), ConfineError> {
    let failed = |reason: &dyn std::fmt::Display| ConfineError::new("seccomp", reason);
    let text = match role {
        Role::Worker => WORKER,
        Role::DeviceWorker(_) => DEVICE_WORKER,
        Role::Gateway => GATEWAY,
        Role::Fetcher(_) => FETCHER,
        Role::Keeper(_) => KEEPER,
    };
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| failed(&e))?;
    let programs = seccompiler::compile_from_json(text.as_bytes(), arch).map_err(|e| failed(&e))?;
    // The allow-list comes last, because it does not let another filter be added.
    for name in ["clone3", "deny", "allow"] {
        if let Some(program) = programs.get(name) {
            seccompiler::apply_filter_all_threads(program).map_err(|e| failed(&e))?;
        }
    }
    layers.active.push("seccomp");
    Ok(())
}
