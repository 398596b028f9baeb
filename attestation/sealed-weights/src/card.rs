//! The encrypted inner manifest: real file names, lengths and plaintext digests, and the tables of tensors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::dtype::Container;
use crate::error::Error;
use crate::hex::Hex;
use crate::manifest::MAX_WEIGHTS;
use crate::merkle::Hash;
use crate::model_signature::{MAX_MODEL_SIGNATURE_LEN, ModelSignature, SignerKey};
use crate::names::WeightsSet;
use crate::object::{ObjectEntry, ObjectId};
use crate::padding::Padding;
use crate::role::Role;
use crate::rules::{CardRule, MixedRule, ModelSignatureRule};
use crate::statement::FORMAT;
use crate::strict::{Bounded, Object};
use crate::tensors::{FileTable, TensorIndex, UncheckedTable};

/// The most files of a package.
const MAX_FILES: usize = Role::NAMED.len() + MAX_WEIGHTS;

/// A file of the package as the card describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFile {
    pub(crate) id: ObjectId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) sha256: Hash,
}

impl CardFile {
    /// The object that holds the file.
    #[must_use]
    pub const fn id(&self) -> ObjectId {
        self.id
    }

    /// Where the file begins in the object's plaintext.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file. Secret as the file is, when the package hides sizes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no byte, which no verified package allows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the file is for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The file's name in the folder that was sealed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the file. Secret as the file is: it tells which open model a package holds.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

/// The decrypted card. Agrees with the manifest it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    padding: Padding,
    files: Vec<CardFile>,
    index: TensorIndex,
    model_signature: Option<ModelSignature>,
}

impl Card {
    /// How the package hides sizes.
    #[must_use]
    pub const fn padding(&self) -> Padding {
        self.padding
    }

    /// The files, in the order of their roles; weights last, by number.
    #[must_use]
    pub fn files(&self) -> &[CardFile] {
        &self.files
    }

    /// The tables of tensors.
    #[must_use]
    pub const fn index(&self) -> &TensorIndex {
        &self.index
    }

    /// The OpenSSF signature over the files, if the package carries one. It verifies under the key that the owner named,
    /// and these are the files that it signs.
    #[must_use]
    pub const fn model_signature(&self) -> Option<&ModelSignature> {
        self.model_signature.as_ref()
    }

    /// The card of these files, if it keeps every rule.
    pub(crate) fn new(
        padding: Padding,
        files: Vec<CardFile>,
        tables: Vec<FileTable>,
        model_signature: Option<ModelSignature>,
    ) -> Result<Self, Error> {
        let set = check_names(&files)?;
        let weights = files.iter().filter(|file| file.role == Role::Weights).count();
        if tables.len() != weights {
            return Err(CardRule::Tables.into());
        }
        if tables.iter().any(|table| table.container() != set.container) {
            return Err(CardRule::Containers.into());
        }
        let index = TensorIndex::of(tables)?;
        if let Some(signature) = &model_signature {
            signature.check_files(&files)?;
        }
        Ok(Self { padding, files, index, model_signature })
    }

    /// The card's plaintext, padded as the card says.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let written = Written {
            format: FORMAT,
            padding: self.padding,
            files: self.files.iter().map(File::of).collect(),
            tables: self.index.files(),
            model_signature: self.model_signature.as_ref().map(Signature::of),
        };
        let mut bytes = serde_json::to_vec(&written).map_err(|_| CardRule::NotCard)?;
        let len = self.padding.card_len(bytes.len() as u64).filter(|len| *len <= Role::Card.max_len());
        bytes.resize(len.and_then(|len| usize::try_from(len).ok()).ok_or(CardRule::TooLong)?, b' ');
        Ok(bytes)
    }

    /// Reads a decrypted card and holds it against the manifest's objects.
    pub(crate) fn parse(bytes: &[u8], objects: &[ObjectEntry]) -> Result<Self, Error> {
        let Object(read): Object<Read> = serde_json::from_slice(bytes).map_err(|_| CardRule::NotCard)?;
        if read.format != FORMAT {
            return Err(CardRule::Format.into());
        }
        check_padding(bytes, read.padding)?;
        let files: Vec<CardFile> = read.files.0.into_iter().map(|file| file.0.read()).collect();
        check_places(read.padding, &files, objects)?;
        let weights = files.iter().filter(|file| file.role == Role::Weights);
        if weights.clone().count() != read.tables.0.len() {
            return Err(CardRule::Tables.into());
        }
        let tables = weights.zip(read.tables.0).map(|(file, table)| table.0.checked(file.len));
        let tables = tables.collect::<Result<_, _>>()?;
        let signature = read.model_signature.map(Signature::verify).transpose()?;
        Self::new(read.padding, files, tables, signature)
    }
}

/// What stands after the JSON of a card is spaces, as many as its padding asks for.
fn check_padding(bytes: &[u8], padding: Padding) -> Result<(), CardRule> {
    let json = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let closed = json.checked_sub(1).and_then(|last| bytes.get(last)) == Some(&b'}');
    if closed && padding.card_len(json as u64) == Some(bytes.len() as u64) {
        Ok(())
    } else {
        Err(CardRule::PaddingBytes)
    }
}

/// Files lie where the padding puts them, in the objects that the manifest lists.
fn check_places(padding: Padding, files: &[CardFile], objects: &[ObjectEntry]) -> Result<(), Error> {
    if !padding.is_bundle() {
        if objects.iter().any(|object| object.role == Role::Bundle) {
            return Err(CardRule::Padding.into());
        }
        let same =
            |(file, object): (&CardFile, &ObjectEntry)| (file.id, file.role) == (object.id, object.role);
        if files.len() != objects.len() || !files.iter().zip(objects).all(same) {
            return Err(MixedRule::CardFiles.into());
        }
        let placed =
            |(file, object): (&CardFile, &ObjectEntry)| (file.offset, file.len) == (0, object.plaintext_len);
        return if files.iter().zip(objects).all(placed) { Ok(()) } else { Err(CardRule::Place.into()) };
    }
    let [bundle] = objects else { return Err(CardRule::Padding.into()) };
    if bundle.role != Role::Bundle {
        return Err(CardRule::Padding.into());
    }
    if files.iter().any(|file| file.id != bundle.id) {
        return Err(MixedRule::CardFiles.into());
    }
    if files.iter().any(|file| file.len == 0 || file.len > file.role.max_len()) {
        return Err(CardRule::Place.into());
    }
    let (offsets, len) = padding.bundle(files.iter().map(|file| file.len)).ok_or(CardRule::Place)?;
    if !files.iter().map(|file| file.offset).eq(offsets) {
        return Err(CardRule::Place.into());
    }
    if bundle.plaintext_len != len {
        return Err(CardRule::Padding.into());
    }
    Ok(())
}

/// Roles in order and each once but weights, names that go with them, and nothing missing that a model needs.
fn check_names(files: &[CardFile]) -> Result<WeightsSet, CardRule> {
    let mut previous = None;
    for file in files {
        let named = match file.role {
            Role::Card | Role::Bundle => false,
            Role::Weights => true,
            role => role.file_name() == Some(file.name()),
        };
        if !named {
            return Err(CardRule::FileName);
        }
        if previous.is_some_and(|previous| file.role <= previous && file.role != Role::Weights) {
            return Err(CardRule::FileOrder);
        }
        previous = Some(file.role);
    }
    let has = |role: Role| files.iter().any(|file| file.role == role);
    let weights: Vec<&str> =
        files.iter().filter(|file| file.role == Role::Weights).map(CardFile::name).collect();
    let set = WeightsSet::of(&weights).map_err(|refusal| match refusal {
        crate::names::SetRefusal::None => CardRule::Missing,
        crate::names::SetRefusal::Name => CardRule::FileName,
        crate::names::SetRefusal::Containers => CardRule::Containers,
        crate::names::SetRefusal::Several | crate::names::SetRefusal::Numbers => CardRule::Shards,
    })?;
    let safetensors = set.container == Container::Safetensors;
    if safetensors && !(has(Role::Config) && has(Role::Tokenizer)) {
        return Err(CardRule::Missing);
    }
    if has(Role::WeightsIndex) != (safetensors && set.numbered) {
        return Err(CardRule::IndexPresence);
    }
    Ok(set)
}

#[derive(Serialize)]
struct Written<'a> {
    format: u64,
    padding: Padding,
    files: Vec<File>,
    tables: &'a [FileTable],
    model_signature: Option<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    format: u64,
    padding: Padding,
    files: Bounded<Object<File>, MAX_FILES>,
    tables: Bounded<Object<UncheckedTable>, MAX_WEIGHTS>,
    #[serde(deserialize_with = "present")]
    model_signature: Option<Signature>,
}

/// An optional value whose key must be there: naming the function makes serde demand it.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Signature>, D::Error> {
    Option::<Object<Signature>>::deserialize(deserializer).map(|signature| signature.map(|object| object.0))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: ObjectId,
    offset: u64,
    len: u64,
    role: Role,
    name: String,
    sha256: Hex<32>,
}

impl File {
    fn of(file: &CardFile) -> Self {
        let CardFile { id, offset, len, role, name, sha256 } = file.clone();
        Self { id, offset, len, role, name, sha256: Hex(sha256) }
    }

    fn read(self) -> CardFile {
        let Self { id, offset, len, role, name, sha256 } = self;
        CardFile { id, offset, len, role, name, sha256: sha256.0 }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    bundle: String,
    signer: String,
}

impl Signature {
    fn of(signature: &ModelSignature) -> Self {
        Self {
            bundle: STANDARD.encode(signature.bundle()),
            signer: STANDARD.encode(signature.signer().der()),
        }
    }

    fn verify(self) -> Result<ModelSignature, Error> {
        if self.bundle.len() > MAX_MODEL_SIGNATURE_LEN.div_ceil(3) * 4 {
            return Err(ModelSignatureRule::TooLong.into());
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| ModelSignatureRule::Base64);
        let signer = SignerKey::from_der(&decode(&self.signer)?)?;
        ModelSignature::verify(&decode(&self.bundle)?, &signer)
    }
}
