//! Opens the sealed package that the keeper hands over.

use crate::LoadFailure;
use anchorhold_ipc::LoadModel;
use anchorhold_sealed_weights::{
    Error, Manifest, ObjectEntry, ObjectFiles, PackageFiles, SealedModel, VerifiedManifest, WeightsKey,
};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Opens a package from the keeper's order and its descriptors: the card, then for each object its segments and its
/// tree. Objects that the manifest does not name are left alone.
///
/// Establishes that the manifest is the owner's, is the one that the key release named and not older than allowed,
/// that the key is the one it commits to, and that card, trees and headers are the signed ones. Presumes that the
/// keeper took owner's key, digest, version and weights key from a grant.
///
/// # Errors
/// [`LoadFailure`] with the stage that refused.
pub(crate) fn open_package(
    order: &LoadModel,
    descriptors: Vec<OwnedFd>,
) -> Result<(VerifiedManifest, SealedModel), LoadFailure> {
    let manifest = Manifest::verify(&order.manifest, &order.owner_key)?;
    manifest.require(&order.manifest_digest, order.version_min)?;
    manifest.require_valid_at(order.at_s)?;
    let files = files(order, &manifest, descriptors)?;
    let key = WeightsKey::open(&manifest, &order.weights_key.0)?;
    let model = SealedModel::open(&key, files)?;
    Ok((manifest, model))
}

/// The files of the manifest's objects, in its order, out of what the keeper found lying in the package. That the files
/// are what they are called is found when they are held against the manifest.
fn files(
    order: &LoadModel,
    manifest: &VerifiedManifest,
    descriptors: Vec<OwnedFd>,
) -> Result<PackageFiles, LoadFailure> {
    let (count, wanted) = (descriptors.len(), 1 + 2 * order.objects.len());
    let mut files = descriptors.into_iter().map(File::from);
    let card = files.next();
    let mut found = HashMap::new();
    for object in &order.objects {
        let (Some(data), Some(tree)) = (files.next(), files.next()) else { break };
        found.insert(object.id.as_str(), ObjectFiles { tree, data });
    }
    let (Some(card), true) = (card, count == wanted) else {
        let detail = format!("{wanted} descriptors are needed, {count} came");
        return Err(LoadFailure { code: "descriptors".to_owned(), detail });
    };
    let named = |object: &ObjectEntry| {
        let missing = || LoadFailure {
            code: "absent".to_owned(),
            detail: format!("object {} did not come", object.id()),
        };
        found.remove(object.id().to_string().as_str()).ok_or_else(missing)
    };
    Ok(PackageFiles { card, objects: manifest.objects().iter().map(named).collect::<Result<_, _>>()? })
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> Self {
        Self { code: error.stage().to_owned(), detail: error.to_string() }
    }
}
