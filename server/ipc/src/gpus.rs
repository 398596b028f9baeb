//! What keeper and GPU attester say to each other.

use crate::Confinement;
use serde::{Deserialize, Serialize};

/// The most GPUs of one answer: as many as evidence may have.
pub const MAX_GPU_REPORTS: usize = 16;

/// From the keeper to the GPU attester.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGpuAttester {
    /// Have every GPU report for this nonce.
    Attest {
        /// What the GPUs sign.
        nonce: [u8; 32],
    },
    /// Let the GPUs take work: somebody who judged their reports has released a key.
    Accept,
}

/// From the GPU attester to the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGpuAttester {
    /// The GPUs can be asked, and this is what holds the process. Comes first.
    Confined(Confinement),
    /// One for each GPU.
    Reports(Vec<GpuReport>),
    /// The GPUs take work.
    Accepted,
    /// What was asked last could not be had; instead of [`Confined`](Self::Confined), nothing can, and it exits.
    Failed {
        /// What was tried and what NVIDIA's library answered.
        detail: String,
    },
}

/// What one GPU says of itself, as NVIDIA's library gives it. Nothing of it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuReport {
    /// SPDM request and response, signed.
    pub report: Vec<u8>,
    /// The certificates of the key that signed, PEM, its own first.
    pub certificates_pem: Vec<u8>,
}
