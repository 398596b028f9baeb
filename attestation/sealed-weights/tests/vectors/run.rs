//! Runs one case, as any implementation would.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anchorhold_sealed_weights::{
    Effort, Error, Manifest, ModelSignature, OwnerKey, PackageFiles, Padding, SealOptions, SealedModel,
    SegmentSize, SignerKey, Suite, VerifiedManifest, WeightsKey, read_manifest, seal,
};
use serde_json::Value;

use crate::floe::{hex, unhex};
use crate::folder;
use crate::store::Store;

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: &'static str,
    pub(crate) stage: String,
    pub(crate) code: String,
}

impl From<Result<(), Error>> for Outcome {
    fn from(result: Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self { verdict: "accept", stage: String::new(), code: String::new() },
            Err(error) => {
                Self { verdict: "reject", stage: error.stage().to_owned(), code: error.code().to_owned() }
            }
        }
    }
}

fn files(store: &Store, case: &Value, field: &str) -> BTreeMap<String, Vec<u8>> {
    let files = case[field].as_object().unwrap();
    files.iter().map(|(name, file)| (name.clone(), store.resolve(file))).collect()
}

fn key(case: &Value, field: &str) -> [u8; 32] {
    unhex(case[field].as_str().unwrap()).try_into().unwrap()
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap()
}

pub(crate) fn run(store: &Store, case: &Value) -> Outcome {
    let place = tempfile::tempdir().unwrap();
    match case["kind"].as_str().unwrap() {
        "read" => read(store, case, place.path()).into(),
        "seal" => seal_case(store, case, place.path()).into(),
        other => panic!("{other}"),
    }
}

fn previous(store: &Store, case: &Value) -> Result<Option<VerifiedManifest>, Error> {
    let Some(file) = case.get("previous") else { return Ok(None) };
    let owner = OwnerKey::from_seed(&crate::package::OWNER_SEED).unwrap().public_key();
    Manifest::verify(&store.resolve(file), &owner).map(Some)
}

fn read(store: &Store, case: &Value, place: &Path) -> Result<(), Error> {
    folder::write(&files(store, case, "package"), place);
    let manifest = Manifest::verify(&read_manifest(place)?, &key(case, "owner_key"))?;
    match case.get("manifest_digest") {
        Some(_) => manifest.require(&key(case, "manifest_digest"), number(case, "version_min"))?,
        None => manifest.require_version(number(case, "version_min"))?,
    }
    if let Some(previous) = previous(store, case)? {
        manifest.require_successor_of(&previous)?;
    }
    manifest.require_valid_at(number(case, "at_s"))?;
    let key = WeightsKey::open(&manifest, &key(case, "weights_key"))?;
    SealedModel::open(&key, PackageFiles::open(place, &manifest)?)?.verify(&Effort::default())
}

fn seal_case(store: &Store, case: &Value, place: &Path) -> Result<(), Error> {
    let (source, out) = (place.join("model"), place.join("package"));
    folder::write(&files(store, case, "folder"), &source);
    let options = &case["options"];
    let previous = previous(store, case)?;
    let signature = match case.get("model_signature") {
        None => None,
        Some(file) => {
            let pem = String::from_utf8(store.resolve(&case["model_signer"])).unwrap();
            Some(ModelSignature::verify(&store.resolve(file), &SignerKey::from_pem(&pem)?)?)
        }
    };
    let paddings = [Padding::None, Padding::Padme, Padding::PowerOfTwo];
    let options = SealOptions {
        model_id: options["model"].as_str().unwrap(),
        version: number(options, "version"),
        created_s: number(options, "created_s"),
        not_after_s: number(options, "not_after_s"),
        previous: previous.as_ref(),
        segment: SegmentSize::Mib1,
        suite: Suite::ALL.into_iter().find(|suite| suite.as_str() == options["suite"]).unwrap(),
        padding: paddings.into_iter().find(|padding| padding.as_str() == options["padding"]).unwrap(),
        model_signature: signature.as_ref(),
    };
    let owner = OwnerKey::from_seed(&key(case, "owner_seed")).unwrap();
    let summary = seal(&source, &out, &options, &owner, &key(case, "weights_key"), &Effort::default())?;
    assert_eq!(hex(&summary.manifest_digest), case["manifest_digest"].as_str().unwrap(), "{}", case["id"]);
    if case.get("package").is_some() {
        for (name, bytes) in files(store, case, "package") {
            assert!(fs::read(out.join(&name)).unwrap() == bytes, "{}: {name}", case["id"]);
        }
    }
    Ok(())
}
