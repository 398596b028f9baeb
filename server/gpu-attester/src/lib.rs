//! What the two programs do that ask NVIDIA's library (NVML) about this machine's GPUs. The keeper starts both; standard input is their line.
//!
//! * `anchorhold-gpu-attester` has each GPU report for a nonce. It stays.
//! * `anchorhold-gpu-acceptor` lets GPUs in confidential mode take work, and ends. NVIDIA's driver wants `CAP_SYS_ADMIN` for that, so it is
//!   no other process's business.
//!
//! They are processes of their own because the library is: the keeper holds keys and loads no C library, and a worker holds a model. Neither
//! decides anything. What the reports are worth, whoever releases the key decides, and only then does the keeper start the acceptor.
//!
//! Exit codes: 0 when the line ended, 1 when the GPUs cannot be asked.

mod nvml;

use anchorhold_confine::{ConfineError, Layers, Reach, Starting, WithDevice, nvidia_nodes};
use anchorhold_ipc::{Confinement, FromGpuAttester, KEEPER_LINE, Line, ToGpuAttester, inherited};
use nvml::{Nvml, NvmlError};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the loader and the library read.
const READ: &[&str] = &["/etc/ld.so.cache", "/lib", "/lib64", "/proc", "/sys", "/usr/lib", "/usr/lib64"];

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Has GPUs report.
    Attester,
    /// Lets them take work.
    Acceptor,
}

/// Lives as this program until the keeper ends the line.
#[must_use]
pub fn live(program: Program) -> ExitCode {
    let Ok(socket) = inherited(KEEPER_LINE) else { return ExitCode::FAILURE };
    let mut line = Line::<FromGpuAttester, ToGpuAttester>::new(socket);
    let (nvml, layers) = match start(program) {
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
        let answer = answer(&nvml, (program, &asked));
        let answer = answer.unwrap_or_else(|detail| FromGpuAttester::Failed { detail });
        if line.send(&answer, &[]).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Opens the library, between the two steps of the confinement of a process with a device.
fn start(program: Program) -> Result<(Nvml, Layers), String> {
    let there = |path: &PathBuf| path.exists();
    let read = READ.iter().map(PathBuf::from).filter(there).collect();
    let reach = Reach { read, execute: Vec::new(), write: nvidia_nodes() };
    let begin: fn(Reach) -> Result<WithDevice, ConfineError> = match program {
        Program::Attester => anchorhold_confine::begin_gpu_attester,
        Program::Acceptor => anchorhold_confine::begin_gpu_acceptor,
    };
    let confining = begin(reach).map_err(|error| error.to_string())?;
    let nvml = Nvml::open().map_err(|error| error.to_string())?;
    // The library has opened what it needs, and what it opens later is a device as well.
    let layers = confining.finish().and_then(Starting::serve);
    Ok((nvml, layers.map_err(|error| error.to_string())?))
}

fn answer(nvml: &Nvml, asked: (Program, &ToGpuAttester)) -> Result<FromGpuAttester, String> {
    let told = |error: NvmlError| error.to_string();
    match asked {
        (Program::Attester, ToGpuAttester::Attest { nonce }) => {
            nvml.reports(nonce).map(FromGpuAttester::Reports).map_err(told)
        }
        (Program::Acceptor, ToGpuAttester::Accept) => {
            nvml.accept_work().map(|()| FromGpuAttester::Accepted).map_err(told)
        }
        (Program::Attester, ToGpuAttester::Accept) | (Program::Acceptor, ToGpuAttester::Attest { .. }) => {
            Err("that is the other program's to do".to_owned())
        }
    }
}
