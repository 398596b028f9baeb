//! `anchorhold evidence endorse`.

use super::bundle;
use super::input::InputArgs;
use crate::endorse::{StoreArgs, add};
use crate::exit::{Exit, Failure};
use crate::trust;
use anchorhold_rats::Timestamp;
use std::path::Path;

/// What the file had already stays, unless something was fetched in its place.
pub(super) fn run(
    input: &InputArgs,
    output: &Path,
    at: Option<Timestamp>,
    store: &StoreArgs,
) -> Result<Exit, Failure> {
    let at = at.map_or_else(trust::now, Ok)?;
    let mut bundle = input.read()?;
    let endorsed = store.endorse(&bundle.evidence, at)?;
    bundle.evidence = endorsed.evidence;
    add(&mut bundle.endorsements, endorsed.endorsements);
    bundle.taken = Some(bundle.taken.unwrap_or(at));
    bundle
        .evidence
        .check_limits()
        .and_then(|()| bundle.endorsements.check_limits())
        .map_err(Failure::other)?;
    bundle::write(&bundle, output)?;
    Ok(Exit::Ok)
}
