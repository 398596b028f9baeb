//! What keeper and worker say to each other. What is not here cannot be said.

use anchorhold_engine::{ModelKind, Precision, Shorter};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 32-byte secret on its way between two processes of the guest; wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WireSecret(pub Box<[u8; 32]>);

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireSecret")
    }
}

/// From the keeper to a worker.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Load this model; the descriptors of the package follow in the order of `objects`: first the card,
    /// then for each object its segments and its tree.
    Load(Box<LoadModel>),
    /// The lease ended: wipe keys and weights and exit.
    Wipe,
}

/// What a worker needs in order to load one sealed model.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadModel {
    /// The exact bytes of the signed manifest.
    pub manifest: Vec<u8>,
    /// What the key broker's grant says the manifest's SHA-256 must be.
    pub manifest_digest: [u8; 32],
    /// The lowest version that the release policy allows.
    pub version_min: u64,
    /// The keeper's clock, in seconds of the Unix epoch; a manifest that has expired by then is refused.
    pub at_s: u64,
    /// The Ed25519 key of the model's owner.
    pub owner_key: [u8; 32],
    /// The key that opens the package.
    pub weights_key: WireSecret,
    /// The objects of the package, in the order of their descriptors.
    pub objects: Vec<ObjectDescriptors>,
    /// The most threads to use.
    pub threads: u16,
    /// The CPUs that these threads are bound to, one each; none are bound if it is empty.
    pub cpus: Vec<u16>,
    /// Whether what was computed for a prompt is kept for later ones of the same tenant.
    pub keep_prefixes: bool,
    /// How exactly the model computes.
    pub precision: Precision,
}

/// The two descriptors of one object: its segments and its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDescriptors {
    /// The object's opaque id from the manifest.
    pub id: String,
}

/// From a worker to the keeper.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// What holds the worker; sent before anything is loaded.
    Confined(Confinement),
    /// The model is in memory and answers.
    Loaded {
        /// What was loaded.
        report: LoadReport,
        /// What holds the worker from now on.
        serving: Confinement,
    },
    /// The package was refused; the worker exits.
    LoadFailed {
        /// Stable code of the stage that refused, such as `segment`.
        code: String,
        /// What was wanted and observed, without content.
        detail: String,
    },
}

/// Which layers hold a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Layers in force, such as `seccomp`, `landlock`, `network namespace`.
    pub active: Vec<String>,
    /// Layers that this kernel refused, with the reason.
    pub missing: Vec<String>,
}

/// A loaded model and what loading it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// What was loaded.
    pub model: ModelInfo,
    /// Bytes of plaintext that came out of the package.
    pub bytes: u64,
    /// Bytes of memory that the weights lie in, on the processor's side.
    pub memory_bytes: u64,
    /// Those of them that are locked against swap.
    pub locked_bytes: u64,
    /// Time from the order to a model that answers, tokenizer included, in microseconds.
    pub micros: u64,
}

/// What the gateway tells callers about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The id under which it was sealed.
    pub id: String,
    /// The version under which it was sealed.
    pub version: u64,
    /// What it can do.
    pub kind: ModelKind,
    /// The most tokens of prompt and output together.
    pub max_tokens: u32,
    /// The length of an embedding, or 0.
    pub dimensions: u32,
    /// To which lengths an embedding may be cut.
    pub shorter: Shorter,
    /// SHA-256 of the signed manifest.
    pub manifest_digest: [u8; 32],
}

/// A secret text on its way between two processes of the guest; wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WireText(pub String);

impl fmt::Debug for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireText")
    }
}
