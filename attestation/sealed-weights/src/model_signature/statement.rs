//! The statement of model signing 1.0: one subject for the model, and its files as resources of the predicate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ring::digest::{Context, SHA256};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::MAX_RESOURCES;
use crate::hex;
use crate::merkle::{self, Hash};
use crate::rules::ModelSignatureRule;
use crate::strict::{Bounded, Object};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
/// The longest name of a resource or model, in bytes.
const MAX_NAME_LEN: usize = 1024;

pub(super) struct Signed {
    pub(super) model_name: String,
    pub(super) resources: HashMap<String, Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Bounded<Object<Subject>, 2>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: IgnoredAny,
}

/// The statement once more with its predicate, which is read only when its type is known.
#[derive(Deserialize)]
struct WithPredicate {
    predicate: Object<Predicate>,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Object<Digests>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    sha256: String,
}

/// The specification lets verifiers pass over further keys of the predicate.
#[derive(Deserialize)]
struct Predicate {
    serialization: Object<Serialization>,
    resources: Bounded<Object<Resource>, { MAX_RESOURCES + 1 }>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// Reads the signed payload.
pub(super) fn read(payload: &[u8]) -> Result<Signed, ModelSignatureRule> {
    let not_statement = |_| ModelSignatureRule::NotStatement;
    let Object(statement): Object<Statement> = serde_json::from_slice(payload).map_err(not_statement)?;
    let IgnoredAny = statement.predicate;
    if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return Err(ModelSignatureRule::StatementType);
    }
    let [Object(subject)] = statement.subject.0.as_slice() else { return Err(ModelSignatureRule::Subject) };
    let wanted = digest(&subject.digest.0.sha256).filter(|_| subject.name.len() <= MAX_NAME_LEN);
    let wanted = wanted.ok_or(ModelSignatureRule::Subject)?;
    let WithPredicate { predicate: Object(predicate) } =
        serde_json::from_slice(payload).map_err(not_statement)?;
    let Object(Serialization { method, hash_type }) = predicate.serialization;
    if method != "files" || hash_type != "sha256" {
        return Err(ModelSignatureRule::Method);
    }
    let resources = predicate.resources.0;
    if resources.is_empty() || resources.len() > MAX_RESOURCES {
        return Err(ModelSignatureRule::ResourceCount);
    }
    // The subject's digest is SHA-256 over the digests of the resources, in their order.
    let mut root = Context::new(&SHA256);
    let mut by_name = HashMap::with_capacity(resources.len());
    for Object(resource) in resources {
        let named = !resource.name.is_empty() && resource.name.len() <= MAX_NAME_LEN;
        let digest = digest(&resource.digest).filter(|_| named && resource.algorithm == "sha256");
        let digest = digest.ok_or(ModelSignatureRule::Resource)?;
        root.update(&digest);
        match by_name.entry(resource.name) {
            Entry::Occupied(_) => return Err(ModelSignatureRule::DuplicateResource),
            Entry::Vacant(place) => place.insert(digest),
        };
    }
    if merkle::finish(root) != wanted {
        return Err(ModelSignatureRule::RootDigest);
    }
    Ok(Signed { model_name: subject.name.clone(), resources: by_name })
}

fn digest(text: &str) -> Option<Hash> {
    hex::decode(text)
}
