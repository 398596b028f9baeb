//! Doors for fuzz targets, which `cargo fuzz` builds with `--cfg fuzzing`: parsers that otherwise see only what was decrypted.

use crate::card::Card;
use crate::error::Error;
use crate::floe::{HEADER_LEN, parameters};
use crate::json;
use crate::layout::SegmentSize;
use crate::object::{Form, ObjectEntry, ObjectId};
use crate::role::Role;
use crate::suite::Suite;
use crate::tensors::{FileTable, TensorIndex};

/// Reads a decrypted card. The objects that it is held against are those that it names, as far as it does.
///
/// # Errors
/// Those of a card.
pub fn card(bytes: &[u8]) -> Result<Card, Error> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let bundle = value["padding"] != "none";
    let files = value["files"].as_array().cloned().unwrap_or_default();
    let mut objects = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let id: Option<ObjectId> = serde_json::from_value(file["id"].clone()).ok();
        let role: Option<Role> = serde_json::from_value(file["role"].clone()).ok();
        let len = file["len"].as_u64();
        let (Some(id), Some(role), Some(len)) = (id, role, len) else { continue };
        let plaintext_len = if bundle { bundle_len(&files) } else { len };
        let form = Form { suite: Suite::Sha256, size: SegmentSize::Mib1, plaintext_len };
        let mut header = [u8::try_from(at % 256).unwrap_or_default(); HEADER_LEN];
        header.iter_mut().zip(parameters(form.size.segment_len())).for_each(|(out, byte)| *out = byte);
        let role = if bundle { Role::Bundle } else { role };
        objects.extend(ObjectEntry::checked((id, role), form, header, [0; 32]));
        if bundle {
            break;
        }
    }
    Card::parse(bytes, &objects)
}

/// The length that a bundle of these files has under the padding that costs least.
fn bundle_len(files: &[serde_json::Value]) -> u64 {
    let lengths = files.iter().filter_map(|file| file["len"].as_u64());
    crate::padding::Padding::Padme.bundle(lengths).map_or(1, |(_, len)| len)
}

/// Checks a file of a model.
///
/// # Errors
/// [`Error::Json`].
pub fn model_file(role: Role, bytes: &[u8]) -> Result<(), Error> {
    json::check_file(role, bytes)
}

/// The index of a model that is one file.
///
/// # Errors
/// [`Error::Tensors`].
pub fn index(table: FileTable) -> Result<TensorIndex, Error> {
    TensorIndex::of(vec![table])
}
