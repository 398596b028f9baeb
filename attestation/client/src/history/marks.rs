//! The highest that was accepted of one server, and what is behind it.

use super::Observation;
use anchorhold_channel::document::MAX_MODELS;
use anchorhold_rats::{Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The most logs whose ends are remembered for one server; of more, those that were seen last.
pub const MAX_LOGS: usize = 64;
/// The most models, and the most products, that are remembered for one server; what is over is not compared.
const MAX_REMEMBERED: usize = MAX_MODELS;

/// In what a server went back behind what was accepted of it before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rollback {
    /// An older version of a model.
    ModelVersion {
        /// The model.
        model: String,
        /// The highest version that was accepted.
        accepted: u64,
        /// The version now.
        observed: u64,
    },
    /// The same version of a model under another manifest.
    ModelManifest {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
        /// The manifest that was accepted.
        accepted: Sha256Digest,
        /// The manifest now.
        observed: Sha256Digest,
    },
    /// An older part of the TCB, of the same product.
    Tcb {
        /// The part.
        component: String,
        /// The highest that was accepted.
        accepted: i64,
        /// What it is now.
        observed: i64,
    },
    /// The same log with fewer entries.
    TreeSize {
        /// The log.
        origin: String,
        /// The highest number that was accepted.
        accepted: u64,
        /// The number now.
        observed: u64,
    },
    /// The same log with as many entries and another root: two logs under one name.
    RootHash {
        /// The log.
        origin: String,
        /// The number of entries.
        tree_size: u64,
        /// The root that was accepted.
        accepted: Sha256Digest,
        /// The root now.
        observed: Sha256Digest,
    },
}

impl Rollback {
    /// The stable name of the rule.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ModelVersion { .. } => "rollback_model_version",
            Self::ModelManifest { .. } => "rollback_model_manifest",
            Self::Tcb { .. } => "rollback_tcb",
            Self::TreeSize { .. } => "rollback_tree_size",
            Self::RootHash { .. } => "rollback_root_hash",
        }
    }
}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModelVersion { model, accepted, observed } => {
                write!(f, "{model} is version {observed}, and {accepted} was accepted before")
            }
            Self::ModelManifest { model, version, accepted, observed } => {
                write!(
                    f,
                    "{model} version {version} has manifest {observed}, and {accepted} was accepted before"
                )
            }
            Self::Tcb { component, accepted, observed } => {
                write!(f, "TCB {component} is {observed}, and {accepted} was accepted before")
            }
            Self::TreeSize { origin, accepted, observed } => {
                write!(f, "log {origin} has {observed} entries, and {accepted} were accepted before")
            }
            Self::RootHash { origin, tree_size, accepted, observed } => write!(
                f,
                "log {origin} of {tree_size} entries has root {observed}, and {accepted} was accepted before"
            ),
        }
    }
}

/// The highest of everything that was accepted of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marks {
    pub(super) target: String,
    models: BTreeMap<String, Model>,
    /// By product, then by part.
    tcbs: BTreeMap<String, BTreeMap<String, i64>>,
    logs: BTreeMap<String, Log>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    version: u64,
    manifest_digest: Sha256Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    tree_size: u64,
    root_hash: Sha256Digest,
    seen: Timestamp,
}

impl Marks {
    pub(super) const fn new(target: String) -> Self {
        Self { target, models: BTreeMap::new(), tcbs: BTreeMap::new(), logs: BTreeMap::new() }
    }

    pub(super) fn is_within_limits(&self) -> bool {
        self.models.len() <= MAX_REMEMBERED
            && self.tcbs.len() <= MAX_REMEMBERED
            && self.logs.len() <= MAX_LOGS
    }

    pub(super) fn compare(&self, new: &Observation) -> Vec<Rollback> {
        let mut behind = Vec::new();
        for model in &new.models {
            let Some(known) = self.models.get(&model.id) else { continue };
            let (accepted, observed) = (known.version, model.version);
            if observed < accepted {
                behind.push(Rollback::ModelVersion { model: model.id.clone(), accepted, observed });
            } else if observed == accepted && known.manifest_digest != model.manifest_digest {
                let (accepted, observed) = (known.manifest_digest, model.manifest_digest);
                let (model, version) = (model.id.clone(), model.version);
                behind.push(Rollback::ModelManifest { model, version, accepted, observed });
            }
        }
        let known = self.tcbs.get(&new.product);
        for (component, &observed) in &new.tcb {
            let accepted = known.and_then(|known| known.get(component)).copied().unwrap_or(observed);
            if observed < accepted {
                behind.push(Rollback::Tcb { component: component.clone(), accepted, observed });
            }
        }
        if let Some(known) = self.logs.get(&new.audit.origin) {
            let (origin, observed) = (new.audit.origin.clone(), new.audit.tree_size);
            if observed < known.tree_size {
                behind.push(Rollback::TreeSize { origin, accepted: known.tree_size, observed });
            } else if observed == known.tree_size && new.audit.root_hash != known.root_hash {
                let (accepted, observed) = (known.root_hash, new.audit.root_hash);
                behind.push(Rollback::RootHash { origin, tree_size: known.tree_size, accepted, observed });
            }
        }
        behind
    }

    /// Takes what is higher, part by part.
    pub(super) fn raise(&mut self, new: Observation) {
        for model in new.models {
            let (version, manifest_digest) = (model.version, model.manifest_digest);
            let full = self.models.len() >= MAX_REMEMBERED && !self.models.contains_key(&model.id);
            if !full && self.models.get(&model.id).is_none_or(|known| known.version < version) {
                self.models.insert(model.id, Model { version, manifest_digest });
            }
        }
        if self.tcbs.len() < MAX_REMEMBERED || self.tcbs.contains_key(&new.product) {
            let known = self.tcbs.entry(new.product).or_default();
            for (component, value) in new.tcb {
                let highest = known.entry(component).or_insert(value);
                *highest = value.max(*highest);
            }
        }
        let (tree_size, root_hash, seen) = (new.audit.tree_size, new.audit.root_hash, new.at);
        let log = self.logs.entry(new.audit.origin).or_insert(Log { tree_size, root_hash, seen });
        log.seen = seen;
        if log.tree_size < tree_size {
            *log = Log { tree_size, root_hash, seen };
        }
        while self.logs.len() > MAX_LOGS {
            let oldest = self.logs.iter().min_by_key(|(_, log)| log.seen).map(|(origin, _)| origin.clone());
            oldest.map(|origin| self.logs.remove(&origin));
        }
    }
}
