//! Case 26: a new key for the key, and a new key for the weights.

use std::fs;

use anchorhold_sealed_weights::{
    Error, Manifest, PackageFiles, Role, SealOptions, SealedModel, SegmentSize, WeightsKey, key_id,
    read_manifest, seal,
};

use crate::sealing::contents;
use crate::support::*;

/// What a broker keeps for a package: the weights key under a key of its own, here by XOR, and the key id.
struct Wrapped([u8; 32]);

impl Wrapped {
    fn new(weights_key: &[u8; 32], wrapping_key: &[u8; 32]) -> Self {
        let mut out = *weights_key;
        out.iter_mut().zip(wrapping_key).for_each(|(out, byte)| *out ^= byte);
        Self(out)
    }

    fn open(&self, wrapping_key: &[u8; 32]) -> [u8; 32] {
        Self::new(&self.0, wrapping_key).0
    }
}

#[test]
fn case_26_a_rewrapped_key_opens_the_untouched_package() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let before = contents(&package);
    let manifest = verified(&package);
    let (old, new) = ([0x11; 32], [0x22; 32]);
    let wrapped = Wrapped::new(&KEY, &old);
    let rewrapped = Wrapped::new(&wrapped.open(&old), &new);
    // The old wrapping key is gone; what it would open now is refused from the manifest alone.
    assert_eq!(WeightsKey::open(&manifest, &rewrapped.open(&old)).unwrap_err(), Error::WrongKey);
    let key = WeightsKey::open(&manifest, &rewrapped.open(&new)).unwrap();
    open(&package, &key).unwrap().verify(&threads(2)).unwrap();
    assert_eq!(key_id(&rewrapped.open(&new)), manifest.kid(), "names the same key");
    assert!(contents(&package) == before, "no object was touched");
}

#[test]
fn case_26_a_package_sealed_anew_takes_the_place_of_the_old_one() {
    const NEW_KEY: [u8; 32] = [0x6b; 32];
    let fixture = Fixture::new();
    let old = verified(&fixture.package());
    let out = fixture.package().with_file_name("anew");
    let options = SealOptions { previous: Some(&old), ..options(2, SegmentSize::Mib1) };
    let summary = seal(fixture.model.path(), &out, &options, &owner(), &NEW_KEY, &threads(2)).unwrap();
    let new = Manifest::verify(&read_manifest(&out).unwrap(), &owner_public()).unwrap();
    // A release of the new version refuses the old one by version, and by name whatever its version.
    assert_eq!(old.require(&summary.manifest_digest, 2).unwrap_err().code(), "version");
    assert_eq!(old.require(&summary.manifest_digest, 1).unwrap_err().code(), "mixed_not_released");
    new.require(&summary.manifest_digest, 2).unwrap();
    new.require_successor_of(&old).unwrap();
    // What a revocation of the old key names is not what the new package is under.
    assert_ne!(new.kid(), old.kid());
    assert_eq!(WeightsKey::open(&new, &KEY).unwrap_err(), Error::WrongKey);
    assert_eq!(WeightsKey::open(&old, &NEW_KEY).unwrap_err(), Error::WrongKey);
    let key = WeightsKey::open(&new, &NEW_KEY).unwrap();
    let model = SealedModel::open(&key, PackageFiles::open(&out, &new).unwrap()).unwrap();
    model.verify(&threads(2)).unwrap();
    assert_eq!(*model.file(Role::Config).unwrap(), fixture.plain(Role::Config));
    // Nor do the two have a ciphertext in common, although their files are the same.
    let (before, after) = (contents(&fixture.package()), contents(&out));
    assert!(before.values().all(|bytes| !after.values().any(|other| other == bytes)));
    fs::remove_dir_all(out).unwrap();
}
