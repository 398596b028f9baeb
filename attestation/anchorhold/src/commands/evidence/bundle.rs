//! `anchorhold evidence bundle`.

use super::input::InputArgs;
use crate::exit::{Exit, Failure};
use crate::{files, trust};
use anchorhold_rats::EvidenceBundle;
use std::path::Path;

pub(super) fn run(input: &InputArgs, output: &Path) -> Result<Exit, Failure> {
    let mut bundle = input.read()?;
    if bundle.taken.is_none() {
        bundle.taken = Some(trust::now()?);
    }
    write(&bundle, output)?;
    Ok(Exit::Ok)
}

/// Makes the file.
pub(super) fn write(bundle: &EvidenceBundle, path: &Path) -> Result<(), Failure> {
    let json = serde_json::to_vec(bundle).map_err(|e| Failure::other(format!("no JSON: {e}")))?;
    files::write(&files::create_public(path)?, path, &json)
}
