//! `anchorhold evidence save`.

use crate::commands::presented;
use crate::endorse::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::output::remark;
use crate::{files, trust};
use anchorhold_channel::client::Target;
use anchorhold_channel::document::Document;
use anchorhold_client::AttestationBundle;
use std::path::Path;

pub(super) fn run(target: &Target, path: &Path, store: &StoreArgs) -> Result<Exit, Failure> {
    let obtained = presented::fetch(target)?;
    let taken = trust::now()?;
    let document = Document::from_json(&obtained.bytes);
    let document =
        document.map_err(|error| Failure::new(Exit::NotAuthentic, format!("{target}: {error}")))?;
    let endorsements = store.gather(document.evidence(), taken)?;
    let bundle = AttestationBundle::new(&obtained.target, taken, &obtained.presented(), endorsements);
    let json = bundle.and_then(|bundle| bundle.to_json()).map_err(Failure::other)?;
    files::write(&files::create_public(path)?, path, &json)?;
    remark(&format!("saved; judge it with:\n  anchorhold verify --bundle {} --at {taken}", path.display()));
    Ok(Exit::Ok)
}
