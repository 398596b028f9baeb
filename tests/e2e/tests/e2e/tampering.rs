//! A host that alters the sealed package, in every region of it. The worker refuses each with the stage that found it,
//! and the port never opens.

use anchorhold_e2e::guest::{Settings, Start};
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::owner::{Chosen, Sealed};
use anchorhold_e2e::refusals::Stand;
use anchorhold_rats::Ed25519PublicKey;
use anchorhold_sealed_weights::{Manifest, ObjectEntry, Role, SegmentSize, VerifiedManifest};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// Bytes of a FLOE header, and of what stands around each segment's payload (`FORMAT.md`, "Objects").
const HEADER: usize = 74;
const OVERHEAD: usize = 32;
/// Whole segments of the weights, but for the last.
const SEGMENT: usize = (1 << 20) + OVERHEAD;
/// Texts in the weights' own header and the bytes of each, so that the small model has five segments.
const TEXTS: usize = 5;
const TEXT_BYTES: usize = 512 * 1024;

/// One broker and one good package, of which each start gets an altered copy.
struct Group {
    stand: Stand,
    settings: Settings,
    good: Package,
    starts: Cell<u32>,
}

/// A package and what its owner signed.
struct Package {
    path: PathBuf,
    manifest: VerifiedManifest,
}

/// The chat model with a long header in front of its weights.
fn source(directory: &Path) -> PathBuf {
    let source = directory.join("source");
    std::fs::create_dir(&source).unwrap();
    for entry in std::fs::read_dir(models::chat()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), source.join(entry.file_name())).unwrap();
    }
    let path = source.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let header_bytes = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let (header, tensors) = bytes[8..].split_at(header_bytes);
    let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let text = |n| (format!("text{n}"), Value::from("x".repeat(TEXT_BYTES)));
    header.insert("__metadata__".to_owned(), Value::Object((0..TEXTS).map(text).collect()));
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    std::fs::write(&path, [length.as_slice(), &header, tensors].concat()).unwrap();
    source
}

impl Group {
    /// Seals; the untouched package must load.
    fn new() -> Self {
        let mut stand = Stand::new().unwrap();
        let source = source(stand.path());
        let chosen = Chosen { weights_key: [0x5e; 32], segment: SegmentSize::Mib1 };
        let sealed = [stand.seal_with(&source, (CHAT, 1), &chosen).unwrap()];
        let measurement = stand.measurement.clone();
        stand.serve(&sealed, &measurement).unwrap();
        let settings = Settings::new(&stand.broker, &stand.owner, &sealed).unwrap();
        let good = Package::read(&stand, &sealed[0]);
        assert_eq!(good.weights().segment_count(), 5);
        let group = Self { stand, settings, good, starts: Cell::new(0) };
        group.start(&group.copy().path).ready().unwrap().stop().unwrap();
        group
    }

    /// Another version of the model, sealed by the same owner under the same weights key.
    fn other_version(&self) -> Package {
        let chosen = Chosen { weights_key: [0x5e; 32], segment: SegmentSize::Mib1 };
        let key = &self.stand.broker.keys.import_key;
        let source = self.stand.path().join("source");
        Package::read(&self.stand, &self.stand.owner.seal_with(&source, (CHAT, 2), key, &chosen).unwrap())
    }

    fn copy(&self) -> Package {
        self.starts.set(self.starts.get() + 1);
        let path = self.stand.path().join(format!("altered-{}", self.starts.get()));
        std::fs::create_dir_all(path.join("objects")).unwrap();
        for file in ["manifest.json", "card.sealed"] {
            std::fs::copy(self.good.path.join(file), path.join(file)).unwrap();
        }
        for entry in std::fs::read_dir(self.good.path.join("objects")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), path.join("objects").join(entry.file_name())).unwrap();
        }
        Package { path, manifest: self.good.manifest.clone() }
    }

    fn start(&self, package: &Path) -> Start {
        let mut settings = self.settings.clone();
        package.clone_into(&mut settings.models[0].1);
        self.stand.start(&settings).unwrap()
    }

    /// Alters a copy, and demands that the worker refuses it with `code`.
    fn refuses(&self, what: &str, code: &str, alter: impl FnOnce(&Package)) {
        let package = self.copy();
        alter(&package);
        let refusal = self.start(&package.path).refused().unwrap_or_else(|error| panic!("{what}: {error}"));
        let observed = (refusal.by.as_str(), refusal.code.as_str());
        assert_eq!(observed, ("worker", code), "{what}: {}", refusal.text);
        std::fs::remove_dir_all(&package.path).unwrap();
    }
}

impl Package {
    fn read(stand: &Stand, sealed: &Sealed) -> Self {
        let owner: Ed25519PublicKey = stand.owner.public_key.parse().unwrap();
        let bytes = std::fs::read(sealed.package.join("manifest.json")).unwrap();
        let manifest = Manifest::verify(&bytes, owner.as_bytes()).unwrap();
        Self { path: sealed.package.clone(), manifest }
    }

    fn weights(&self) -> &ObjectEntry {
        self.manifest.object(Role::Weights).unwrap()
    }

    fn object(&self, role: Role) -> PathBuf {
        self.path.join("objects").join(self.manifest.object(role).unwrap().id().to_string())
    }

    fn tree(&self, role: Role) -> PathBuf {
        self.object(role).with_extension("tree")
    }
}

/// Rewrites a file.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    edit(path, |bytes| bytes[at] ^= 1);
}

/// Exchanges one character of base64 in the value of `field` for another.
fn edit_manifest(package: &Package, field: &str) {
    edit(&package.path.join("manifest.json"), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let begin = text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4;
        let at = begin + 40;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    });
}

#[test]
fn case_15_refuses_a_flipped_bit_in_manifest_and_card() {
    let group = Group::new();
    group.refuses("the payload of the manifest", "signature", |package| edit_manifest(package, "payload"));
    group.refuses("the signature of the manifest", "signature", |package| edit_manifest(package, "sig"));
    let card = |package: &Package| package.path.join("card.sealed");
    for (what, at, code) in [
        ("the card's parameters", 5, "header"),
        ("the card's vector", 20, "header"),
        ("the card's header tag", HEADER - 1, "header"),
        ("the card's length word", HEADER, "card"),
        ("the card's body", HEADER + 20, "card"),
    ] {
        group.refuses(what, code, |package| flip(&card(package), at));
    }
    group.refuses("the card's tag", "card", |package| {
        edit(&card(package), |bytes| *bytes.last_mut().unwrap() ^= 1);
    });
}

#[test]
fn case_15_refuses_a_flipped_bit_in_every_region_of_the_weights() {
    let group = Group::new();
    let length = usize::try_from(group.good.weights().ciphertext_len()).unwrap();
    for (what, at, code) in [
        ("parameters", 5, "header"),
        ("initialisation vector", 20, "header"),
        ("header tag", HEADER - 1, "header"),
        ("length word of the first segment", HEADER, "segment"),
        ("nonce of the first segment", HEADER + 4, "segment"),
        ("first segment", HEADER + 1000, "segment"),
        ("tag of the first segment", HEADER + SEGMENT - 1, "segment"),
        ("middle segment", HEADER + 2 * SEGMENT + SEGMENT / 2, "segment"),
        ("last segment", HEADER + 4 * SEGMENT + 1000, "segment"),
        ("tag of the last segment", length - 1, "segment"),
    ] {
        group.refuses(what, code, |package| flip(&package.object(Role::Weights), at));
    }
    for (what, at) in [("first leaf", 0), ("last leaf", 4 * 32 + 31)] {
        group.refuses(what, "tree", |package| flip(&package.tree(Role::Weights), at));
    }
}

#[test]
fn case_15_refuses_a_flipped_bit_in_every_small_object() {
    let group = Group::new();
    let roles: Vec<_> = group.good.manifest.objects().iter().map(ObjectEntry::role).collect();
    assert!(roles.contains(&Role::Tokenizer) && roles.contains(&Role::ChatTemplate), "{roles:?}");
    for role in roles.into_iter().filter(|role| *role != Role::Weights) {
        let named = |region: &str| format!("{region} of {}", role.as_str());
        let tag = usize::try_from(group.good.manifest.object(role).unwrap().ciphertext_len()).unwrap() - 1;
        for (region, at, code) in
            [("header", 20, "header"), ("body", HEADER + 20, "segment"), ("tag", tag, "segment")]
        {
            group.refuses(&named(region), code, |package| flip(&package.object(role), at));
        }
        group.refuses(&named("tree"), "tree", |package| flip(&package.tree(role), 0));
    }
}

#[test]
fn case_16_refuses_what_was_cut_or_added_to() {
    let group = Group::new();
    let length = usize::try_from(group.good.weights().ciphertext_len()).unwrap();
    for (what, kept) in [
        ("nothing", 0),
        ("half a header", HEADER / 2),
        ("a header", HEADER),
        ("half a segment", HEADER + SEGMENT / 2),
        ("a whole segment", HEADER + SEGMENT),
        ("all but the last segment", HEADER + 4 * SEGMENT),
        ("all but a byte", length - 1),
    ] {
        group.refuses(what, "truncated", |package| {
            edit(&package.object(Role::Weights), |bytes| bytes.truncate(kept));
        });
    }
    group.refuses("a byte more", "trailing", |package| {
        edit(&package.object(Role::Weights), |bytes| bytes.push(0));
    });
    group.refuses("a tree without its last leaf", "truncated", |package| {
        edit(&package.tree(Role::Weights), |bytes| bytes.truncate(4 * 32));
    });
    group.refuses("a tree with a leaf more", "trailing", |package| {
        edit(&package.tree(Role::Weights), |bytes| bytes.extend([0; 32]));
    });
    group.refuses("an empty tokenizer", "truncated", |package| {
        edit(&package.object(Role::Tokenizer), Vec::clear);
    });
    group.refuses("a card without its last byte", "truncated", |package| {
        edit(&package.path.join("card.sealed"), |bytes| bytes.truncate(bytes.len() - 1));
    });
    group.refuses("a card with a byte more", "trailing", |package| {
        edit(&package.path.join("card.sealed"), |bytes| bytes.push(0));
    });
    for (what, change) in [
        ("an empty manifest", (|bytes: &mut Vec<u8>| bytes.clear()) as fn(&mut Vec<u8>)),
        ("half a manifest", |bytes| bytes.truncate(bytes.len() / 2)),
        ("a manifest with a line feed", |bytes| bytes.push(b'\n')),
    ] {
        group.refuses(what, "manifest", |package| edit(&package.path.join("manifest.json"), change));
    }
    for (what, file) in [("no card", "card.sealed"), ("no manifest", "manifest.json")] {
        group.refuses(what, "unreadable", |package| std::fs::remove_file(package.path.join(file)).unwrap());
    }
    group.refuses("no tree", "unreadable", |package| {
        std::fs::remove_file(package.tree(Role::Config)).unwrap();
    });
    group.refuses("no tokenizer", "absent", |package| {
        for path in [package.object(Role::Tokenizer), package.tree(Role::Tokenizer)] {
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn case_17_refuses_parts_in_the_wrong_place() {
    let group = Group::new();
    let exchange = |from: &Path, to: &Path| {
        let (one, other) = (std::fs::read(from).unwrap(), std::fs::read(to).unwrap());
        std::fs::write(from, other).unwrap();
        std::fs::write(to, one).unwrap();
    };
    let first_two = |bytes: &mut Vec<u8>| {
        let (head, rest) = bytes[HEADER..].split_at_mut(SEGMENT);
        head.swap_with_slice(&mut rest[..SEGMENT]);
    };
    group.refuses("two segments exchanged", "segment", |package| {
        edit(&package.object(Role::Weights), first_two);
    });
    group.refuses("two segments exchanged with their leaves", "tree", |package| {
        edit(&package.object(Role::Weights), first_two);
        edit(&package.tree(Role::Weights), |bytes| {
            let (one, rest) = bytes.split_at_mut(32);
            one.swap_with_slice(&mut rest[..32]);
        });
    });
    group.refuses("a segment twice", "segment", |package| {
        edit(&package.object(Role::Weights), |bytes| {
            bytes.copy_within(HEADER..HEADER + SEGMENT, HEADER + SEGMENT);
        });
    });
    // Of two files of different lengths one is too long or too short, whichever is looked at first.
    let (config, tokens) = (Role::Config, Role::TokenizerConfig);
    let length = |role| group.good.manifest.object(role).unwrap().ciphertext_len();
    let roles = group.good.manifest.objects().iter().map(ObjectEntry::role);
    let (first, second) = roles
        .filter(|role| [config, tokens].contains(role))
        .collect::<Vec<_>>()
        .try_into()
        .map(|[first, second]: [Role; 2]| (first, second))
        .unwrap();
    let code = if length(first) < length(second) { "trailing" } else { "truncated" };
    group.refuses("two objects exchanged", code, |package| {
        exchange(&package.object(config), &package.object(tokens));
        exchange(&package.tree(config), &package.tree(tokens));
    });
}

#[test]
fn case_17_case_18_refuses_parts_of_another_version_under_the_same_key() {
    let group = Group::new();
    let other = group.other_version();
    let take = |from: PathBuf, to: PathBuf| assert!(std::fs::copy(from, to).unwrap() > 0);
    group.refuses("the weights", "header", |package| {
        take(other.object(Role::Weights), package.object(Role::Weights));
    });
    group.refuses("the tree of the weights", "tree", |package| {
        take(other.tree(Role::Weights), package.tree(Role::Weights));
    });
    for role in [Role::Weights, Role::Tokenizer] {
        group.refuses("an object with its tree", "mixed", |package| {
            take(other.object(role), package.object(role));
            take(other.tree(role), package.tree(role));
        });
    }
    group.refuses("segments under the right header", "segment", |package| {
        let foreign = std::fs::read(other.object(Role::Weights)).unwrap();
        edit(&package.object(Role::Weights), |bytes| bytes[HEADER..].copy_from_slice(&foreign[HEADER..]));
    });
    group.refuses("a header over the right segments", "header", |package| {
        let foreign = std::fs::read(other.object(Role::Weights)).unwrap();
        edit(&package.object(Role::Weights), |bytes| bytes[..HEADER].copy_from_slice(&foreign[..HEADER]));
    });
    group.refuses("the card", "mixed", |package| {
        take(other.path.join("card.sealed"), package.path.join("card.sealed"));
    });
}
