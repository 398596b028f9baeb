//! The manifest as an in-toto statement: the JSON that the owner signs.

use serde::{Deserialize, Deserializer, Serialize};

use crate::floe;
use crate::hex::Hex;
use crate::layout::SegmentSize;
use crate::manifest::Manifest;
use crate::object::{Form, KeyId, ObjectEntry, ObjectId};
use crate::role::Role;
use crate::rules::ManifestRule;
use crate::strict::Object;
use crate::suite::Suite;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://anchorhold.dev/sealed-weights/v2";
/// The version of the format, in the manifest and in the card.
pub(crate) const FORMAT: u64 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Object<Subject>>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Object<Predicate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: Object<SubjectDigest>,
}

/// One root, under the name that the suite gives it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    #[serde(rename = "rfc6962Sha256", default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Hex<32>>,
    #[serde(rename = "rfc6962Sha256Blake3Leaves", default, skip_serializing_if = "Option::is_none")]
    blake3: Option<Hex<32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    format: u64,
    model: String,
    version: u64,
    created_s: u64,
    not_after_s: u64,
    #[serde(deserialize_with = "present")]
    previous: Option<Hex<32>>,
    suite: String,
    kid: KeyId,
    dek_commitment: Hex<32>,
    objects: Vec<Object<Entry>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: ObjectId,
    role: Role,
    ciphertext_len: u64,
    plaintext_len: u64,
    segment_len: u64,
    segment_count: u64,
    header: Hex<{ floe::HEADER_LEN }>,
}

/// An optional value whose key must be there: naming the function makes serde demand it.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hex<32>>, D::Error> {
    Option::deserialize(deserializer)
}

/// The JSON of a manifest.
pub(crate) fn write(manifest: &Manifest) -> Result<Vec<u8>, ManifestRule> {
    let all = || std::iter::once(&manifest.card).chain(&manifest.objects);
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: all().map(|entry| Object(Subject::of(entry))).collect(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Object(Predicate {
            format: FORMAT,
            model: manifest.model_id.clone(),
            version: manifest.version,
            created_s: manifest.created_s,
            not_after_s: manifest.not_after_s,
            previous: manifest.previous.map(Hex),
            suite: manifest.suite.as_str().to_owned(),
            kid: manifest.kid,
            dek_commitment: Hex(manifest.commitment),
            objects: all().map(|entry| Object(Entry::of(entry))).collect(),
        }),
    };
    serde_json::to_vec(&statement).map_err(|_| ManifestRule::NotStatement)
}

/// The manifest of a statement in which every number of an object follows from its length. Its names, times and set of
/// objects are still to be checked.
pub(crate) fn read(payload: &[u8]) -> Result<Manifest, ManifestRule> {
    let Object(statement): Object<Statement> =
        serde_json::from_slice(payload).map_err(|_| ManifestRule::NotStatement)?;
    if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return Err(ManifestRule::StatementType);
    }
    let Object(predicate) = statement.predicate;
    if predicate.format != FORMAT {
        return Err(ManifestRule::Format);
    }
    let suite = Suite::from_name(&predicate.suite).ok_or(ManifestRule::Suite)?;
    if statement.subject.len() != predicate.objects.len() {
        return Err(ManifestRule::SubjectCount);
    }
    let mut entries = Vec::with_capacity(predicate.objects.len());
    for (Object(subject), Object(object)) in statement.subject.iter().zip(&predicate.objects) {
        entries.push(object.checked(subject, suite)?);
    }
    let mut entries = entries.into_iter();
    let card = entries.next().ok_or(ManifestRule::CardPlace)?;
    Ok(Manifest {
        model_id: predicate.model,
        version: predicate.version,
        created_s: predicate.created_s,
        not_after_s: predicate.not_after_s,
        previous: predicate.previous.map(|digest| digest.0),
        suite,
        kid: predicate.kid,
        commitment: predicate.dek_commitment.0,
        card,
        objects: entries.collect(),
    })
}

impl Subject {
    fn of(entry: &ObjectEntry) -> Self {
        let mut digest = SubjectDigest::default();
        *digest.root_of(entry.suite) = Some(Hex(entry.root));
        Self { name: entry.path(), digest: Object(digest) }
    }
}

impl SubjectDigest {
    /// The place of a suite's root.
    const fn root_of(&mut self, suite: Suite) -> &mut Option<Hex<32>> {
        match suite {
            Suite::Sha256 => &mut self.sha256,
            Suite::Blake3 => &mut self.blake3,
        }
    }

    /// The root, if it is the suite's and the only one.
    const fn root(&self, suite: Suite) -> Option<Hex<32>> {
        match (suite, self.sha256, self.blake3) {
            (Suite::Sha256, Some(root), None) | (Suite::Blake3, None, Some(root)) => Some(root),
            _ => None,
        }
    }
}

impl Entry {
    fn of(entry: &ObjectEntry) -> Self {
        Self {
            id: entry.id,
            role: entry.role,
            ciphertext_len: entry.ciphertext_len,
            plaintext_len: entry.plaintext_len,
            segment_len: u64::from(entry.segment_len()),
            segment_count: entry.segment_count(),
            header: Hex(entry.header),
        }
    }

    /// The entry, if its numbers follow from each other and the subject is its own.
    fn checked(&self, subject: &Subject, suite: Suite) -> Result<ObjectEntry, ManifestRule> {
        let size = SegmentSize::from_segment_len(self.segment_len).ok_or(ManifestRule::SegmentLength)?;
        let root = subject.digest.0.root(suite).ok_or(ManifestRule::SubjectDigest)?;
        let form = Form { suite, size, plaintext_len: self.plaintext_len };
        let entry = ObjectEntry::checked((self.id, self.role), form, self.header.0, root.0)?;
        if self.segment_count != entry.segment_count() || self.ciphertext_len != entry.ciphertext_len {
            return Err(ManifestRule::Lengths);
        }
        if subject.name != entry.path() {
            return Err(ManifestRule::SubjectName);
        }
        Ok(entry)
    }
}
