//! The five kinds of files that are signed, told apart by what they say.

use super::about;
use crate::exit::Failure;
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, MACHINE_LIST_TYPE, MachineList, PROFILE_TYPE, PolicyError,
    REFERENCE_VALUES_TYPE, ReferenceValues,
};
use anchorhold_key_release::{RELEASE_POLICY_TYPE, ReleasePolicy, SIGNER_SET_TYPE, SignerSet};
use std::path::Path;

/// What a file is called.
pub(super) const fn name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::ReleasePolicy => "release policy",
        FileKind::Profile => "appraisal profile",
        FileKind::MachineList => "machine list",
        FileKind::ReferenceValues => "reference values",
        FileKind::SignerSet => "signer set",
    }
}

/// Under which payload type a file is signed, so that a signature on one kind is none on another.
pub(super) const fn payload_type(kind: FileKind) -> &'static str {
    match kind {
        FileKind::ReleasePolicy => RELEASE_POLICY_TYPE,
        FileKind::Profile => PROFILE_TYPE,
        FileKind::MachineList => MACHINE_LIST_TYPE,
        FileKind::ReferenceValues => REFERENCE_VALUES_TYPE,
        FileKind::SignerSet => SIGNER_SET_TYPE,
    }
}

const KINDS: [FileKind; 5] = [
    FileKind::ReleasePolicy,
    FileKind::Profile,
    FileKind::MachineList,
    FileKind::ReferenceValues,
    FileKind::SignerSet,
];

/// The kind with this payload type.
pub(super) fn of_payload_type(stated: &str) -> Option<FileKind> {
    KINDS.into_iter().find(|kind| payload_type(*kind) == stated)
}

/// What a text is. What its reader would refuse is refused here already, so that nobody signs it.
pub(super) fn read(path: &Path, text: &str) -> Result<FileKind, Failure> {
    let kind = FileKind::of(text).map_err(|e| about(path, e))?;
    require(kind, text).map_err(|e| about(path, e))?;
    Ok(kind)
}

/// Establishes that a text is a file of this kind.
pub(super) fn require(kind: FileKind, text: &str) -> Result<(), PolicyError> {
    match kind {
        FileKind::ReleasePolicy => ReleasePolicy::from_toml(text).map(drop),
        FileKind::Profile => AppraisalProfile::from_toml(text).map(drop),
        FileKind::MachineList => MachineList::from_toml(text).map(drop),
        FileKind::ReferenceValues => ReferenceValues::from_toml(text).map(drop),
        FileKind::SignerSet => SignerSet::from_toml(text).map(drop),
    }
}
