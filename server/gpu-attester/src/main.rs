//! `anchorhold-gpu-attester`: asks NVIDIA's library (NVML) for the reports of this machine's GPUs. The keeper starts it; standard input is its
//! line. It is a process of its own because the library is: the keeper holds keys and loads no C library, and a worker holds a model.
//!
//! It decides nothing. What the reports are worth, whoever releases the key decides; and only when a key was released does the keeper have
//! it tell GPUs in confidential mode that they may take work.
//!
//! Exit codes: 0 when the line ended, 1 when the GPUs cannot be asked.

mod nvml;

use anchorhold_confine::{Layers, Reach, begin_with_device, nvidia_nodes};
use anchorhold_ipc::{Confinement, FromGpuAttester, KEEPER_LINE, Line, ToGpuAttester, inherited};
use nvml::{Nvml, NvmlError};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the loader and the library read.
const READ: &[&str] = &["/etc/ld.so.cache", "/lib", "/lib64", "/proc", "/sys", "/usr/lib", "/usr/lib64"];

fn main() -> ExitCode {
    let Ok(socket) = inherited(KEEPER_LINE) else { return ExitCode::FAILURE };
    let mut line = Line::<FromGpuAttester, ToGpuAttester>::new(socket);
    let (nvml, layers) = match start() {
        Ok(started) => started,
        Err(detail) => {
            // The keeper is told, or is gone.
            let _ = line.send(&FromGpuAttester::Failed { detail }, &[]);
            return ExitCode::FAILURE;
        }
    };
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confined = FromGpuAttester::Confined(Confinement { active, missing: layers.missing });
    if line.send(&confined, &[]).is_err() {
        return ExitCode::FAILURE;
    }
    while let Ok((asked, _)) = line.receive() {
        let answer = answer(&nvml, &asked)
            .unwrap_or_else(|error| FromGpuAttester::Failed { detail: error.to_string() });
        if line.send(&answer, &[]).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Opens the library, between the two steps of the confinement of a process with a device.
fn start() -> Result<(Nvml, Layers), String> {
    let there = |path: &PathBuf| path.exists();
    let read = READ.iter().map(PathBuf::from).filter(there).collect();
    let confining = begin_with_device(Reach { read, execute: Vec::new(), write: nvidia_nodes() });
    let confining = confining.map_err(|error| error.to_string())?;
    let nvml = Nvml::open().map_err(|error| error.to_string())?;
    // The library has opened what it needs, and what it opens later is a device as well.
    let layers = confining.finish().and_then(anchorhold_confine::Starting::serve);
    Ok((nvml, layers.map_err(|error| error.to_string())?))
}

fn answer(nvml: &Nvml, asked: &ToGpuAttester) -> Result<FromGpuAttester, NvmlError> {
    match asked {
        ToGpuAttester::Attest { nonce } => nvml.reports(nonce).map(FromGpuAttester::Reports),
        ToGpuAttester::Accept => nvml.accept_work().map(|()| FromGpuAttester::Accepted),
    }
}
