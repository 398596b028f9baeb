//! How files were made: an in-toto statement (v1) with SLSA provenance (v1).
//!
//! Specifications: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> and <https://slsa.dev/spec/v1.0/provenance>.
//! It is signed in a DSSE envelope under [`PAYLOAD_TYPE`]; who holds a file against it asks [`Statement::names`].

use crate::{Error, limited};
use anchorhold_rats::Sha256Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The payload type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The longest statement, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 1 << 20;
/// The most files of one statement, made or used.
pub const MAX_FILES: usize = 4096;
const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What the build's parameters mean: `enclave-image/image.sh` of the source that is named.
const BUILD: &str = "https://anchorhold.invalid/build/image/v1";
const BUILDER: &str = "https://anchorhold.invalid/builder/local/v1";

/// A file by name and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// What it is.
    pub name: String,
    /// Its SHA-256 digest.
    pub sha256: Sha256Digest,
}

/// What was made, from what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The files that were made: image, measurements, list of components.
    pub subjects: Vec<File>,
    /// What they were made from: the source, lock files, tools.
    pub materials: Vec<File>,
    /// What was asked of the build, such as flavour and profile.
    pub parameters: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: Definition,
    run_details: Details,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    build_type: String,
    external_parameters: Map<String, Value>,
    #[serde(default)]
    resolved_dependencies: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Details {
    builder: Builder,
}

#[derive(Serialize, Deserialize)]
struct Builder {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    digest: Digests,
}

#[derive(Serialize, Deserialize)]
struct Digests {
    sha256: Sha256Digest,
}

impl Statement {
    /// The statement as JSON; files and parameters in the order of their names, so that the same build makes the same bytes.
    ///
    /// # Panics
    /// Never: the document has only texts and lists.
    #[must_use]
    pub fn to_json(&self) -> String {
        let resources = |files: &[File]| -> Vec<Resource> {
            let mut sorted: Vec<&File> = files.iter().collect();
            sorted.sort();
            let resource =
                |file: &File| Resource { name: file.name.clone(), digest: Digests { sha256: file.sha256 } };
            sorted.into_iter().map(resource).collect()
        };
        let mut parameters = self.parameters.clone();
        parameters.sort();
        let document = Document {
            kind: TYPE.to_owned(),
            subject: resources(&self.subjects),
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate {
                build_definition: Definition {
                    build_type: BUILD.to_owned(),
                    external_parameters: parameters
                        .into_iter()
                        .map(|(key, value)| (key, Value::String(value)))
                        .collect(),
                    resolved_dependencies: resources(&self.materials),
                },
                run_details: Details { builder: Builder { id: BUILDER.to_owned() } },
            },
        };
        let mut text = serde_json::to_string_pretty(&document).expect("texts and lists are JSON");
        text.push('\n');
        text
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// [`Error`] when it is too long, no in-toto statement with SLSA provenance of this build, or names nothing or a file twice.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let what = "provenance";
        let document: Document =
            serde_json::from_str(limited("bytes of provenance", json, MAX_STATEMENT_BYTES)?)
                .map_err(|error| Error::malformed(what, &error.to_string()))?;
        let Definition { build_type, external_parameters, resolved_dependencies } =
            document.predicate.build_definition;
        for (observed, wanted) in
            [(&document.kind, TYPE), (&document.predicate_type, PREDICATE), (&build_type, BUILD)]
        {
            if observed != wanted {
                return Err(Error::malformed(what, observed));
            }
        }
        let parameter = |(key, value): (String, Value)| match value {
            Value::String(text) => Ok((key, text)),
            _ => Err(Error::malformed(what, &key)),
        };
        let subjects = files(document.subject)?;
        if subjects.is_empty() {
            return Err(Error::missing("file in the", what));
        }
        Ok(Self {
            subjects,
            materials: files(resolved_dependencies)?,
            parameters: external_parameters.into_iter().map(parameter).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the file `name` was made with this digest; `None` when no file of that name was made.
    #[must_use]
    pub fn names(&self, name: &str, sha256: &Sha256Digest) -> Option<bool> {
        self.subjects.iter().find(|file| file.name == name).map(|file| file.sha256 == *sha256)
    }
}

fn files(resources: Vec<Resource>) -> Result<Vec<File>, Error> {
    if resources.len() > MAX_FILES {
        return Err(Error::TooLong { what: "files", limit: MAX_FILES, observed: resources.len() });
    }
    let mut out: Vec<File> = resources
        .into_iter()
        .map(|resource| File { name: resource.name, sha256: resource.digest.sha256 })
        .collect();
    out.sort();
    match out.windows(2).find(|pair| matches!(pair, [one, other] if one.name == other.name)) {
        Some([twice, ..]) => Err(Error::malformed("provenance", &twice.name)),
        _ => Ok(out),
    }
}
