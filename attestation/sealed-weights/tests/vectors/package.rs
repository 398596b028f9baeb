//! A package in memory, and what its owner, a holder of its key, and its host can do to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anchorhold_sealed_weights::{
    Effort, Manifest, OwnerKey, Role, SealOptions, SegmentSize, VerifiedManifest, seal,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::Ed25519KeyPair;
use serde_json::Value;

use crate::floe::{self, Under, hex, leaves, root, sha256, unhex};
use crate::folder::{self, Folder};
use crate::store::{File, text};

pub(crate) const KEY: [u8; 32] = [0x5a; 32];
pub(crate) const OWNER_SEED: [u8; 32] = [7; 32];
const KIND: &str = "application/vnd.in-toto+json";

pub(crate) fn owner() -> OwnerKey {
    OwnerKey::from_seed(&OWNER_SEED).unwrap()
}

pub(crate) fn options(version: u64) -> SealOptions<'static> {
    SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("acme/tiny", version, 1_000..=2_000) }
}

/// The files of a package by path.
#[derive(Clone)]
pub(crate) struct Package(pub(crate) BTreeMap<String, File>);

impl Package {
    pub(crate) fn seal(folder: &Folder, options: &SealOptions<'_>) -> Self {
        Self::seal_under(folder, options, &KEY)
    }

    pub(crate) fn seal_under(folder: &Folder, options: &SealOptions<'_>, key: &[u8; 32]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let (source, out) = (place.path().join("model"), place.path().join("package"));
        folder::write(&folder.iter().map(|(name, file)| (name.clone(), file.bytes())).collect(), &source);
        seal(&source, &out, options, &owner(), key, &Effort::default()).unwrap();
        Self::read(&out)
    }

    pub(crate) fn read(from: &Path) -> Self {
        let mut files = BTreeMap::new();
        for folder in ["", "objects"] {
            for entry in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    let name = entry.path().strip_prefix(from).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, File::Whole(fs::read(entry.path()).unwrap()));
                }
            }
        }
        Self(files)
    }

    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        self.0[path].bytes()
    }

    pub(crate) fn put(&mut self, path: &str, bytes: Vec<u8>) {
        assert!(self.0.contains_key(path), "{path}");
        self.0.insert(path.to_owned(), File::Whole(bytes));
    }

    pub(crate) fn edit(&mut self, path: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.get(path);
        edit(&mut bytes);
        self.put(path, bytes);
    }

    pub(crate) fn flip(&mut self, path: &str, at: usize) {
        self.edit(path, |bytes| bytes[at] ^= 0x10);
    }

    pub(crate) fn manifest(&self) -> VerifiedManifest {
        Manifest::verify(&self.get("manifest.json"), &owner().public_key()).unwrap()
    }

    /// The path of the first object of a role.
    pub(crate) fn data(&self, role: Role) -> String {
        match role {
            Role::Card => "card.sealed".to_owned(),
            _ => self.manifest().object(role).unwrap().path(),
        }
    }

    pub(crate) fn tree(&self, role: Role) -> String {
        format!("{}.tree", self.data(role))
    }

    /// The signed payload.
    pub(crate) fn payload(&self) -> Value {
        let envelope: Value = serde_json::from_slice(&self.get("manifest.json")).unwrap();
        serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
    }

    /// Signs a payload's text as the holder of a seed, naming a public key.
    pub(crate) fn sign_text(&mut self, payload: &[u8], seed: &[u8; 32], named: &[u8; 32]) {
        let mut encoding = format!("DSSEv1 {} {KIND} {} ", KIND.len(), payload.len()).into_bytes();
        encoding.extend_from_slice(payload);
        let signature = Ed25519KeyPair::from_seed_unchecked(seed).unwrap().sign(&encoding);
        let text = format!(
            r#"{{"payloadType":"{KIND}","payload":"{}","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
            STANDARD.encode(payload),
            hex(&sha256(named)),
            STANDARD.encode(signature.as_ref())
        );
        self.put("manifest.json", text.into_bytes());
    }

    /// Makes the owner sign a changed payload.
    pub(crate) fn resign(&mut self, change: impl FnOnce(&mut Value)) {
        let mut payload = self.payload();
        change(&mut payload);
        self.sign_text(text(&payload).as_bytes(), &OWNER_SEED, &owner().public_key());
    }

    /// Makes the owner sign a payload with one text replaced.
    pub(crate) fn resign_text(&mut self, from: &str, to: &str) {
        let text = text(&self.payload());
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        self.sign_text(text.as_bytes(), &OWNER_SEED, &owner().public_key());
    }

    fn aad(&self, role: Role, plaintext_len: usize) -> Vec<u8> {
        let manifest = self.manifest();
        let object = if role == Role::Card { manifest.card() } else { manifest.object(role).unwrap() };
        let text = |text: &str| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat();
        [
            b"anchorhold/sealed-weights/v2/object",
            &text(manifest.model_id())[..],
            &manifest.version().to_be_bytes(),
            &unhex(&object.id().to_string()),
            &text(role.as_str()),
            &(plaintext_len as u64).to_be_bytes(),
        ]
        .concat()
    }

    /// An object's plaintext.
    pub(crate) fn plain(&self, role: Role) -> Vec<u8> {
        let sealed = self.get(&self.data(role));
        let segments = (sealed.len() - floe::HEADER).div_ceil(floe::SEGMENT);
        let len = sealed.len() - floe::HEADER - 32 * segments;
        floe::decrypt(&KEY, &self.aad(role, len), &sealed)
    }

    /// Replaces an object by an encryption of `plain` with a fitting tree: what a holder of the key can do.
    pub(crate) fn reencrypt(&mut self, role: Role, plain: &[u8]) {
        let aad = self.aad(role, plain.len());
        let iv = sha256(&[&aad[..], plain].concat());
        let sealed = floe::encrypt(&Under { key: &KEY, aad: &aad, iv }, plain);
        if role != Role::Card {
            self.put(&self.tree(role), leaves(&sealed).concat());
        }
        self.put(&self.data(role), sealed);
    }

    /// Makes the owner sign an object as it is: header, lengths, and the tree of its segments, which is written.
    pub(crate) fn accept(&mut self, role: Role) {
        let path = self.data(role);
        let sealed = self.get(&path);
        let leaves = leaves(&sealed);
        if role != Role::Card {
            self.put(&self.tree(role), leaves.concat());
        }
        self.resign(|payload| {
            let objects = payload["subject"].as_array().unwrap();
            let index = objects.iter().position(|object| object["name"] == *path).unwrap();
            payload["subject"][index]["digest"]["rfc6962Sha256"] = hex(&root(&leaves)).into();
            let object = &mut payload["predicate"]["objects"][index];
            object["header"] = hex(&sealed[..floe::HEADER]).into();
            object["ciphertext_len"] = sealed.len().into();
            object["segment_count"] = leaves.len().into();
            object["plaintext_len"] = (sealed.len() - floe::HEADER - 32 * leaves.len()).into();
        });
    }

    /// Replaces an object's plaintext with the owner's signature: what a hostile owner can do.
    pub(crate) fn reseal(&mut self, role: Role, plain: &[u8]) {
        self.reencrypt(role, plain);
        self.accept(role);
    }

    /// The card's JSON, changed and sealed again.
    pub(crate) fn edit_card(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut card: Value = serde_json::from_slice(&self.plain(Role::Card)).unwrap();
        edit(&mut card);
        self.reseal(Role::Card, text(&card).as_bytes());
    }
}
