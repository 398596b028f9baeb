//! How workers run.

use anchorhold_confine::{Reach, Role, Share};
use anchorhold_ipc::Precision;
use anyhow::ensure;
use serde::Deserialize;
use std::path::PathBuf;

/// The workers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worker {
    pub(crate) program: PathBuf,
    /// What workers compute on; the processor if it is not written.
    #[serde(default)]
    pub(crate) device: Device,
    /// Threads of each worker.
    pub(crate) threads: u16,
    /// Whether each of these threads is bound to a CPU of its own, for a guest that has its CPUs to itself.
    #[serde(default)]
    pub(crate) pin_threads: bool,
    /// Whether a worker keeps what it computed for a prompt, for later ones of the same tenant that begin alike.
    #[serde(default = "super::keeps")]
    pub(crate) keep_prefixes: bool,
    /// How exactly models compute: `f32`, also if it is not written, `bf16`, or `stored`, for GGUF files that are quantised.
    #[serde(default)]
    pub(crate) precision: Precision,
    /// Layers of confinement without which a worker may not be given a key.
    pub(crate) required_layers: Vec<String>,
    /// What each worker may take, in a control group of its own; none where it is not written.
    pub(crate) group: Option<WorkerGroup>,
}

/// What one worker may take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerGroup {
    /// Memory, in MiB; none of it is written to swap.
    pub(crate) memory_mib: u32,
    /// Threads; if it is not written, as many more than `worker.threads` as a worker has beside those.
    pub(crate) pids: Option<u32>,
    /// Per cent of one CPU; all there is if it is not written.
    pub(crate) cpu_percent: Option<u32>,
    /// CPUs, such as `0-3,8`; all there are if it is not written.
    pub(crate) cpus: Option<String>,
    /// NUMA nodes that memory is taken from, in the same form; all there are if it is not written.
    pub(crate) nodes: Option<String>,
}

/// Threads that a worker has beside those that compute, with some to spare.
const OTHER_THREADS: u32 = 16;
/// The longest list of CPUs or nodes, in bytes.
const MAX_LIST_LEN: usize = 256;

impl WorkerGroup {
    /// As the kernel is told; the limits of a worker with so many threads.
    pub(crate) fn share(&self, threads: u16) -> Share {
        Share {
            memory_bytes: u64::from(self.memory_mib) << 20,
            pids: self.pids.unwrap_or(u32::from(threads) + OTHER_THREADS),
            cpu_percent: self.cpu_percent,
            cpus: self.cpus.clone(),
            nodes: self.nodes.clone(),
        }
    }

    pub(super) fn check(&self, threads: u16) -> anyhow::Result<()> {
        let Self { memory_mib, pids, cpu_percent, cpus, nodes } = self;
        ensure!(*memory_mib >= 16, "worker.group.memory_mib is {memory_mib}, wanted 16 at least");
        let least = u32::from(threads) + 4;
        let pids = pids.unwrap_or(least);
        ensure!(
            pids >= least,
            "worker.group.pids is {pids}, wanted {least} at least: a worker has that many threads"
        );
        let percent = cpu_percent.unwrap_or(100);
        ensure!(
            (1..=100_000).contains(&percent),
            "worker.group.cpu_percent is {percent}, wanted 1 to 100000"
        );
        let is_list = |list: &String| {
            (1..=MAX_LIST_LEN).contains(&list.len())
                && list.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b','))
        };
        ensure!(cpus.as_ref().is_none_or(is_list), "worker.group.cpus is no list such as 0-3,8");
        ensure!(nodes.as_ref().is_none_or(is_list), "worker.group.nodes is no list such as 0 or 0-1");
        Ok(())
    }
}

/// What a worker computes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Device {
    #[default]
    Cpu,
    /// A GPU of NVIDIA's, by the program beside the worker whose name ends in `-cuda`.
    Cuda,
}

impl Worker {
    /// As which its domain is named; what it reaches is its own to say.
    pub(crate) fn role(&self) -> Role {
        match self.device {
            Device::Cpu => Role::Worker,
            Device::Cuda => Role::DeviceWorker(Reach::default()),
        }
    }

    /// The program that is started.
    pub(crate) fn program(&self) -> PathBuf {
        match self.device {
            Device::Cpu => self.program.clone(),
            Device::Cuda => {
                let mut name = self.program.file_name().unwrap_or_default().to_owned();
                name.push("-cuda");
                self.program.with_file_name(name)
            }
        }
    }
}
