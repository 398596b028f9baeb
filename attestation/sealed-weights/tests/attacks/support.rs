//! A small sealed model, an honest reader of it, and the tools of its attackers.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anchorhold_sealed_weights::{
    Effort, Error, Manifest, ObjectEntry, ObjectReader, OwnerKey, PackageFiles, Role, SealOptions,
    SealedModel, SegmentSize, VerifiedManifest, WeightsKey, read_manifest, seal,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::Ed25519KeyPair;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KEY: [u8; 32] = [0x5a; 32];
pub(crate) const OWNER_SEED: [u8; 32] = [7; 32];
/// Plaintext bytes of a segment of the test packages.
pub(crate) const PAYLOAD: u64 = 1 << 20;
/// Encrypted bytes of a full segment.
pub(crate) const SEGMENT: u64 = PAYLOAD + 32;
/// Bytes of a FLOE header.
pub(crate) const HEADER: u64 = 74;
/// Name, type, element size and element count of each tensor, in file order.
const TENSORS: [(&str, &str, u64, u64); 6] = [
    ("embedding", "F32", 4, 600_000),
    ("half", "F16", 2, 300_002),
    ("brain", "BF16", 2, 150_000),
    ("ids", "I64", 8, 17),
    ("tail", "F32", 4, 100_000),
    ("gap", "F32", 4, 0),
];

pub(crate) struct Fixture {
    pub(crate) model: TempDir,
    dir: TempDir,
}

impl Fixture {
    /// A model folder and its package, version 1.
    pub(crate) fn new() -> Self {
        let fixture = Self { model: model_folder(), dir: tempfile::tempdir().unwrap() };
        fixture.seal("package", 1);
        fixture
    }

    pub(crate) fn package(&self) -> PathBuf {
        self.dir.path().join("package")
    }

    /// Seals the folder once more under another name.
    pub(crate) fn seal(&self, name: &str, version: u64) -> PathBuf {
        let out = self.dir.path().join(name);
        seal_folder(self.model.path(), &out, version, SegmentSize::Mib1);
        out
    }

    pub(crate) fn plain(&self, role: Role) -> Vec<u8> {
        fs::read(self.model.path().join(role.file_name().unwrap_or("model.safetensors"))).unwrap()
    }
}

/// The options of the test packages.
pub(crate) fn options(version: u64, segment: SegmentSize) -> SealOptions<'static> {
    SealOptions { segment, ..SealOptions::new("acme/tiny", version, 1_000..=2_000) }
}

pub(crate) fn owner() -> OwnerKey {
    OwnerKey::from_seed(&OWNER_SEED).unwrap()
}

pub(crate) fn seal_folder(model: &Path, out: &Path, version: u64, segment: SegmentSize) {
    seal_with(model, out, &options(version, segment));
}

pub(crate) fn seal_with(model: &Path, out: &Path, options: &SealOptions<'_>) {
    seal(model, out, options, &owner(), &KEY, &threads(2)).unwrap();
}

/// Effort for so many threads.
pub(crate) fn threads(count: usize) -> Effort<'static> {
    Effort::on_threads(NonZeroUsize::new(count).unwrap())
}

/// The object that holds the weights, or the first of them.
pub(crate) fn weights(model: &SealedModel) -> &ObjectReader {
    let holds = |reader: &&ObjectReader| matches!(reader.entry().role(), Role::Weights | Role::Bundle);
    model.objects().iter().find(holds).unwrap()
}

/// A folder whose weights are noise. About 3.6 MB: four segments, the last one not full.
pub(crate) fn model_folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut at = 0;
    let mut entries = Vec::new();
    for (name, dtype, size, count) in TENSORS {
        let end = at + size * count;
        entries
            .push(format!(r#""{name}":{{"dtype":"{dtype}","shape":[{count}],"data_offsets":[{at},{end}]}}"#));
        at = end;
    }
    // As the writers of the format do, padded so that the data begins at a multiple of eight.
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..at {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        weights.push((state >> 56) as u8);
    }
    fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    fs::write(dir.path().join("config.json"), r#"{"hidden_size":384}"#).unwrap();
    let vocabulary: Vec<String> = (0..150_000).map(|index| format!("word{index:06}")).collect();
    let tokenizer = serde_json::json!({ "vocab": vocabulary }).to_string();
    assert!(tokenizer.len() as u64 > PAYLOAD);
    fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    fs::write(dir.path().join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens":true}"#).unwrap();
    dir
}

pub(crate) fn owner_public() -> [u8; 32] {
    owner().public_key()
}

pub(crate) fn verified(package: &Path) -> VerifiedManifest {
    Manifest::verify(&read_manifest(package).unwrap(), &owner_public()).unwrap()
}

pub(crate) fn entry(package: &Path, role: Role) -> ObjectEntry {
    let manifest = verified(package);
    match role {
        Role::Card => manifest.card().clone(),
        _ => manifest.object(role).unwrap().clone(),
    }
}

/// The path of an object's data file.
pub(crate) fn data(package: &Path, role: Role) -> PathBuf {
    match role {
        Role::Card => package.join("card.sealed"),
        _ => package.join("objects").join(entry(package, role).id().to_string()),
    }
}

/// The path of an object's tree file.
pub(crate) fn tree(package: &Path, role: Role) -> PathBuf {
    data(package, role).with_extension("tree")
}

/// What an honest reader does with a package: everything, down to the last byte.
pub(crate) fn consume(package: &Path) -> Result<(), Error> {
    let manifest = Manifest::verify(&read_manifest(package)?, &owner_public())?;
    let key = WeightsKey::open(&manifest, &KEY)?;
    open(package, &key)?.verify(&Effort::default())
}

pub(crate) fn open(package: &Path, key: &WeightsKey) -> Result<SealedModel, Error> {
    SealedModel::open(key, PackageFiles::open(package, key.manifest())?)
}

/// A reader of an intact package.
pub(crate) fn opened(package: &Path) -> SealedModel {
    open(package, &WeightsKey::open(&verified(package), &KEY).unwrap()).unwrap()
}

/// The stage that refuses a package.
pub(crate) fn stage(package: &Path) -> &'static str {
    consume(package).unwrap_err().stage()
}

/// Runs `attack` on a copy of a file's bytes, and checks that the reader refuses with one of these stages.
pub(crate) fn refuses(package: &Path, file: &Path, attack: impl FnOnce(&mut Vec<u8>), stages: &[&str]) {
    let genuine = fs::read(file).unwrap();
    let mut altered = genuine.clone();
    attack(&mut altered);
    assert_ne!(altered, genuine);
    fs::write(file, &altered).unwrap();
    let refusal = consume(package).unwrap_err();
    assert!(stages.contains(&refusal.stage()), "{refusal}, expected one of {stages:?}");
    fs::write(file, &genuine).unwrap();
}

/// Replaces an object by an encryption of `plain` under the weights key, as anybody who holds the key can make it,
/// with a fitting tree file. Returns its FLOE header and root.
pub(crate) fn encrypt_with_key(package: &Path, role: Role, plain: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let entry = entry(package, role);
    assert_eq!(plain.len() as u64, entry.plaintext_len());
    let associated_data = entry.associated_data("acme/tiny", verified(package).version());
    let parameters = fast_floe::Parameters::with_segment_length(u32::try_from(SEGMENT).unwrap()).unwrap();
    let key = fast_floe::Key::from_bytes(KEY);
    let sealed = fast_floe::encrypt(&key, &associated_data, parameters, plain).unwrap();
    fs::write(data(package, role), &sealed).unwrap();
    (sealed[..74].to_vec(), write_tree(package, role))
}

/// Replaces an object by an encryption of `plain`, of any length, with the owner's signature over the result: what a hostile
/// owner can do.
pub(crate) fn reseal(package: &Path, role: Role, plain: &[u8]) {
    let old = entry(package, role);
    let manifest = verified(package);
    let text = |text: &str| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat();
    let id: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&old.id().to_string()[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let associated_data = [
        b"anchorhold/sealed-weights/v2/object",
        &text(manifest.model_id())[..],
        &manifest.version().to_be_bytes(),
        &id,
        &text(role.as_str()),
        &(plain.len() as u64).to_be_bytes(),
    ]
    .concat();
    let file = data(package, role);
    let parameters = fast_floe::Parameters::with_segment_length(u32::try_from(SEGMENT).unwrap()).unwrap();
    let sealed =
        fast_floe::encrypt(&fast_floe::Key::from_bytes(KEY), &associated_data, parameters, plain).unwrap();
    fs::write(&file, &sealed).unwrap();
    let root = write_tree(package, role);
    let mut payload = payload(package);
    describe(&mut payload, package, role, &sealed[..74], &root);
    let objects = payload["predicate"]["objects"].as_array_mut().unwrap();
    let object = objects.iter_mut().find(|object| object["id"] == *old.id().to_string()).unwrap();
    object["plaintext_len"] = Value::from(plain.len());
    object["ciphertext_len"] = Value::from(sealed.len());
    object["segment_count"] = Value::from((plain.len() as u64).div_ceil(PAYLOAD));
    sign_as_owner(package, &payload);
}

/// An object's plaintext, decrypted with another implementation.
pub(crate) fn decrypted(package: &Path, role: Role) -> Vec<u8> {
    let entry = entry(package, role);
    let associated_data = entry.associated_data("acme/tiny", verified(package).version());
    let sealed = fs::read(data(package, role)).unwrap();
    fast_floe::decrypt(&fast_floe::Key::from_bytes(KEY), &associated_data, &sealed).unwrap()
}

/// Reseals the card with a change to its JSON.
pub(crate) fn edit_card(package: &Path, edit: impl FnOnce(&mut Value)) {
    let mut card: Value = serde_json::from_slice(&decrypted(package, Role::Card)).unwrap();
    edit(&mut card);
    reseal(package, Role::Card, &serde_json::to_vec(&card).unwrap());
}

/// Writes the tree file that fits an object's present bytes, and returns its root.
pub(crate) fn write_tree(package: &Path, role: Role) -> [u8; 32] {
    let bytes = fs::read(data(package, role)).unwrap();
    let leaves: Vec<[u8; 32]> = bytes[74..]
        .chunks(usize::try_from(SEGMENT).unwrap())
        .map(|segment| sha256(&[&[0], segment].concat()))
        .collect();
    if role != Role::Card {
        fs::write(tree(package, role), leaves.concat()).unwrap();
    }
    root(&leaves)
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left)[..], &root(right)[..]].concat())
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The manifest's payload as JSON.
pub(crate) fn payload(package: &Path) -> Value {
    let envelope: Value = serde_json::from_slice(&read_manifest(package).unwrap()).unwrap();
    let bytes = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Puts a root and a header for `role` into a payload.
pub(crate) fn describe(payload: &mut Value, package: &Path, role: Role, header: &[u8], root: &[u8; 32]) {
    let id = entry(package, role).id().to_string();
    let objects = payload["predicate"]["objects"].as_array().unwrap();
    let index = objects.iter().position(|object| object["id"] == *id).unwrap();
    payload["predicate"]["objects"][index]["header"] = Value::from(hex(header));
    payload["subject"][index]["digest"]["rfc6962Sha256"] = Value::from(hex(root));
}

/// Signs a payload, as the owner or as somebody else, and writes the manifest.
pub(crate) fn sign(package: &Path, payload: &Value, seed: &[u8; 32], key_id_of: &[u8; 32]) {
    let payload = serde_json::to_vec(payload).unwrap();
    let kind = "application/vnd.in-toto+json";
    let mut encoding = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    encoding.extend_from_slice(&payload);
    let signature = Ed25519KeyPair::from_seed_unchecked(seed).unwrap().sign(&encoding);
    let text = format!(
        r#"{{"payloadType":"{kind}","payload":"{}","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
        STANDARD.encode(&payload),
        hex(&sha256(key_id_of)),
        STANDARD.encode(signature.as_ref())
    );
    fs::write(package.join("manifest.json"), text).unwrap();
}

/// Signs a payload as the owner.
pub(crate) fn sign_as_owner(package: &Path, payload: &Value) {
    sign(package, payload, &OWNER_SEED, &owner_public());
}
