//! The worker on a CUDA device: started by the keeper like the other one, with two sockets and nothing else.
//!
//! It opens the device and asks every kernel for a known answer before it says that it is confined, so that a keeper gives no key to one
//! that cannot compute. Without a device, a library or its kernels it says what is missing and ends with status 3. `--self-test` asks the
//! same questions and ends.

use anchorhold_confine::{Layers, Reach, begin_with_device, nvidia_nodes};
use anchorhold_cuda::{
    Capacity, ConfidentialMode, CudaDecoder, CudaDevice, DeviceError, confidential_mode, self_test,
};
use anchorhold_engine::{GenerationLimits, Precision};
use anchorhold_ipc::{Confinement, LoadModel, LoadReport};
use anchorhold_model::load_on;
use anchorhold_worker::{Exit, Limits, LoadFailure, Model, Sockets, load_sealed_with, quiet_panics, run};
use anyhow::Context as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// The status of a process that found no device to work with.
const NO_DEVICE: u8 = 3;
/// Positions of the cache are bounded by the device's memory alone.
const LIMITS: GenerationLimits = GenerationLimits {
    step_tokens: 2048,
    running: 32,
    cache_tokens: usize::MAX,
    keep_prefixes: true,
    waiting: 512,
    waiting_tokens: 1 << 20,
};

fn main() -> ExitCode {
    quiet_panics();
    let error = match live() {
        Ok(exit) => return ExitCode::from(exit.status()),
        Err(error) => error,
    };
    // Without a place to write to, the status still tells the keeper.
    let _ = writeln!(std::io::stderr(), "anchorhold-worker-cuda: error: {error:#}");
    if error.downcast_ref::<DeviceError>().is_some() {
        return ExitCode::from(NO_DEVICE);
    }
    ExitCode::FAILURE
}

fn live() -> anyhow::Result<Exit> {
    if std::env::args().nth(1).as_deref() == Some("--self-test") {
        tested()?;
        let _ = writeln!(std::io::stderr(), "anchorhold-worker-cuda: the device computes what it must");
        return Ok(Exit::Ended);
    }
    // Before anything is read from the sockets, as in the other worker.
    let sockets =
        Sockets::take_inherited().context("standard input and output are not the keeper's sockets")?;
    let confining = begin_with_device(reach()).context("the process could not be confined")?;
    let mode = confidential_mode();
    let device = tested()?;
    let starting = confining.finish().context("the process could not be confined")?;
    let shown = mode.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    let told = |layers: &Layers| {
        let mut active: Vec<String> = layers.active.iter().map(ToString::to_string).collect();
        let mut missing = layers.missing.clone();
        if matches!(mode, Ok(ConfidentialMode::On)) {
            active.push(CONFIDENTIAL.to_owned());
        } else {
            missing.push(format!("{CONFIDENTIAL}: {shown}"));
        }
        Confinement { active, missing }
    };
    let held = told(starting.layers());
    let settle = || starting.serve().map(|layers| told(&layers)).map_err(std::io::Error::other);
    let _ = writeln!(std::io::stderr(), "anchorhold-worker-cuda: confidential mode of the device: {shown}");
    let limits = Limits { generation: LIMITS, ..Limits::default() };
    let load = |order, descriptors| load(device, order, descriptors);
    run(sockets, (held, settle), limits, load).context("the worker could not serve")
}

/// The layer by which a keeper can ask for a device in confidential mode (`required_layers`).
const CONFIDENTIAL: &str = "confidential device";

/// A device whose kernels answered rightly. The memory of their questions is given back.
fn tested() -> Result<CudaDevice, DeviceError> {
    self_test(&mut CudaDevice::open()?)?;
    CudaDevice::open()
}

fn load(
    device: CudaDevice,
    order: LoadModel,
    descriptors: Vec<OwnedFd>,
) -> Result<(Model, LoadReport), LoadFailure> {
    if order.precision != Precision::Bf16 {
        let detail = "a CUDA device computes in bf16: set precision = \"bf16\" in the keeper's [worker]";
        return Err(LoadFailure { code: "precision".to_owned(), detail: detail.to_owned() });
    }
    let capacity = Capacity { step_tokens: LIMITS.step_tokens, rows: LIMITS.running, ..Capacity::default() };
    load_sealed_with(order, descriptors, |package, effort| {
        load_on(package, effort, |plan, weights| {
            Ok(Box::new(CudaDecoder::load(device, &plan, weights, capacity)?))
        })
    })
}

/// The nodes of NVIDIA's devices, and where their libraries and what those read lie.
fn reach() -> Reach {
    let there = |path: &PathBuf| path.exists();
    Reach {
        read: READ.iter().map(PathBuf::from).filter(there).collect(),
        execute: Vec::new(),
        write: nvidia_nodes(),
    }
}

/// What the loader and the driver read.
const READ: &[&str] =
    &["/etc/ld.so.cache", "/lib", "/lib64", "/proc", "/sys", "/usr/lib", "/usr/lib64", "/usr/local/cuda"];
