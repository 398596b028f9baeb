//! All cases.

use anchorhold_sealed_weights::{OwnerKey, Padding, Role, SealOptions};
use serde_json::{Map, Value, json};

use crate::floe::{hex, sha256};
use crate::folder::{self, Folder};
use crate::package::{KEY, OWNER_SEED, Package, options, owner};
use crate::store::{File, Store, text};
use crate::{read_cases, seal_cases, seal_signatures};

/// What is asked of a package beyond being its owner's.
pub(crate) struct Ask {
    pub(crate) owner_key: [u8; 32],
    pub(crate) weights_key: [u8; 32],
    pub(crate) manifest_digest: Option<[u8; 32]>,
    pub(crate) version_min: u64,
    pub(crate) at_s: u64,
    pub(crate) previous: Option<Vec<u8>>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            owner_key: owner().public_key(),
            weights_key: KEY,
            manifest_digest: None,
            version_min: 1,
            at_s: 1_500,
            previous: None,
        }
    }
}

/// Collects cases.
pub(crate) struct Cases(Store);

pub(crate) fn all() -> Store {
    let mut cases = Cases(Store::default());
    read_cases::add(&mut cases);
    seal_cases::add(&mut cases);
    seeds(&mut cases.0);
    cases.0
}

/// What fuzz targets begin with: the plaintexts that the vectors hold encrypted.
fn seeds(store: &mut Store) {
    let small = Package::seal(&folder::small(), &options(1));
    store.seed("manifest.json", small.get("manifest.json"));
    store.seed("card.json", small.plain(Role::Card));
    let padme = SealOptions { padding: Padding::Padme, ..options(1) };
    store.seed("card-padded.json", Package::seal(&folder::sharded(), &padme).plain(Role::Card));
    let signature = seal_signatures::signature("p256.sig", "p256.pem");
    let signed = SealOptions { model_signature: Some(&signature), ..options(1) };
    store.seed("card-signed.json", Package::seal(&folder::small(), &signed).plain(Role::Card));
    let index = "model.safetensors.index.json";
    store.seed("index.json", folder::sharded()[index].bytes());
    store.seed("statement.json", text(&seal_signatures::statement()).into_bytes());
}

/// The stage of a code.
fn stage(code: &str) -> &str {
    let stages = ["weights_index", "model_signature", "wrong_key"];
    let long = stages.into_iter().find(|stage| code.starts_with(stage));
    long.unwrap_or_else(|| code.split('_').next().unwrap())
}

impl Cases {
    fn keep_all(&mut self, files: &Folder) -> Value {
        let kept: Map<String, Value> =
            files.iter().map(|(name, file)| (name.clone(), self.0.keep(file))).collect();
        Value::Object(kept)
    }

    fn add(&mut self, head: (&str, &str, &str), rest: Value) {
        let (id, code, why) = head;
        let expect = if code.is_empty() { "accept" } else { "reject" };
        let mut case = json!({ "id": id, "expect": expect, "stage": stage(code), "code": code, "why": why });
        case.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.0.add_case(case);
    }

    /// A package to be read. An empty code means that it is accepted.
    pub(crate) fn read(&mut self, head: (&str, &str, &str), package: &Package, ask: &Ask) {
        let mut case = json!({
            "kind": "read",
            "package": self.keep_all(&package.0),
            "owner_key": hex(&ask.owner_key),
            "weights_key": hex(&ask.weights_key),
            "version_min": ask.version_min,
            "at_s": ask.at_s,
        });
        if let Some(digest) = ask.manifest_digest {
            case["manifest_digest"] = hex(&digest).into();
        }
        if let Some(previous) = &ask.previous {
            case["previous"] = self.0.keep(&File::Whole(previous.clone()));
        }
        self.add(head, case);
    }

    /// A folder to be sealed. `extra` holds the files for a signature or a predecessor.
    pub(crate) fn seal(
        &mut self,
        head: (&str, &str, &str),
        folder: &Folder,
        options: &SealOptions<'_>,
        extra: &[(&str, File)],
    ) {
        let mut case = json!({
            "kind": "seal",
            "folder": self.keep_all(folder),
            "options": {
                "model": options.model_id,
                "version": options.version,
                "created_s": options.created_s,
                "not_after_s": options.not_after_s,
                "suite": options.suite.as_str(),
                "padding": options.padding.as_str(),
            },
            "owner_seed": hex(&OWNER_SEED),
            "weights_key": hex(&KEY),
        });
        for (field, file) in extra {
            case[*field] = self.0.keep(file);
        }
        if head.1.is_empty() {
            let package = Package::seal(folder, options);
            case["manifest_digest"] = hex(&sha256(&package.get("manifest.json"))).into();
            let len: usize = package.0.values().map(|file| file.bytes().len()).sum();
            if len < 1 << 20 {
                case["package"] = self.keep_all(&package.0);
            }
        }
        self.add(head, case);
    }
}

/// Another owner than that of the vectors.
pub(crate) fn stranger() -> [u8; 32] {
    OwnerKey::from_seed(&[8; 32]).unwrap().public_key()
}
