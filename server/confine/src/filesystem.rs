//! What a process may still find behind a path.

use crate::{ConfineError, Layers};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use std::path::PathBuf;

/// The newest Landlock interface whose rights are handled; an older kernel enforces those it knows.
const HANDLED: ABI = ABI::V6;

/// The paths that the keeper and what it starts, or a fetcher, may still reach.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Read files and list directories.
    pub read: Vec<PathBuf>,
    /// Run programs, and read them.
    pub execute: Vec<PathBuf>,
    /// Read, create, write and remove.
    pub write: Vec<PathBuf>,
}

/// The nodes of NVIDIA's devices, for those whose [`Reach`] has them.
#[must_use]
pub fn nvidia_nodes() -> Vec<PathBuf> {
    let nodes = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    nodes
        .filter(|node| node.file_name().as_encoded_bytes().starts_with(b"nvidia"))
        .map(|node| node.path())
        .collect()
}

/// Makes the current directory, if it is empty, the root of all paths.
pub(crate) fn empty_root(layers: &mut Layers) {
    let result = match std::fs::read_dir(".").map(|mut entries| entries.next().is_none()) {
        Ok(true) => rustix::process::chroot(".")
            .and_then(|()| rustix::process::chdir("/"))
            .map_err(std::io::Error::from),
        Ok(false) => Err(std::io::Error::other("the directory it was started in is not empty")),
        Err(error) => Err(error),
    };
    layers.note("empty root", result);
}

/// No path at all, no TCP, no abstract socket or signal to another process.
pub(crate) fn nothing(layers: &mut Layers) {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(HANDLED))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(HANDLED)))
        .and_then(|rules| rules.scope(Scope::from_all(HANDLED)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .map(|status| status.ruleset);
    layers.note("landlock", enforced(status));
}

/// Only what `reach` names; network and signals as before, because the keeper needs the key broker and its children.
pub(crate) fn only(reach: &Reach, layers: &mut Layers) -> Result<(), ConfineError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(HANDLED))
        .map_err(|e| ConfineError::new("landlock", e))?;
    restrict(rules, reach, layers)
}

/// Only what `reach` names; no port to listen on, and no abstract socket of or signal to another process.
pub(crate) fn only_as_client(reach: &Reach, layers: &mut Layers) -> Result<(), ConfineError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(HANDLED))
        .and_then(|rules| rules.handle_access(AccessNet::BindTcp))
        .and_then(|rules| rules.scope(Scope::from_all(HANDLED)))
        .map_err(|e| ConfineError::new("landlock", e))?;
    restrict(rules, reach, layers)
}

/// Only what `reach` names; no TCP at all, and no abstract socket of or signal to another process.
pub(crate) fn only_without_network(reach: &Reach, layers: &mut Layers) -> Result<(), ConfineError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(HANDLED))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(HANDLED)))
        .and_then(|rules| rules.scope(Scope::from_all(HANDLED)))
        .map_err(|e| ConfineError::new("landlock", e))?;
    restrict(rules, reach, layers)
}

fn restrict(rules: Ruleset, reach: &Reach, layers: &mut Layers) -> Result<(), ConfineError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = rules.create().map_err(|e| ConfineError::new("landlock", e))?;
    for (paths, access) in [
        (&reach.read, read),
        (&reach.execute, read | AccessFs::Execute),
        (&reach.write, AccessFs::from_all(HANDLED) & !AccessFs::Execute),
    ] {
        for path in paths {
            let beneath = open_beneath(path, access)?;
            rules = rules.add_rule(beneath).map_err(|e| ConfineError::new("landlock", e))?;
        }
    }
    let status = rules.restrict_self().map(|status| status.ruleset);
    layers.note("landlock", enforced(status));
    Ok(())
}

/// A rule for one path; rights that only make sense for directories are left out for a file.
fn open_beneath(path: &PathBuf, access: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, ConfineError> {
    let failed =
        |e: &dyn std::fmt::Display| ConfineError::new("landlock", format!("{}: {e}", path.display()));
    let file = std::fs::metadata(path).map_err(|e| failed(&e))?.is_file();
    let descriptor = PathFd::new(path).map_err(|e| failed(&e))?;
    Ok(PathBeneath::new(descriptor, if file { access & AccessFs::from_file(HANDLED) } else { access }))
}

fn enforced<E: std::fmt::Display>(status: Result<RulesetStatus, E>) -> Result<(), String> {
    match status {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
        Ok(RulesetStatus::NotEnforced) => Err("not in this kernel".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
