//! Packages to be read: good ones of each kind, and genuine ones that are not the ones asked for.

use anchorhold_sealed_weights::{Padding, SealOptions, Suite};
use serde_json::{Value, json};

use crate::floe::sha256;
use crate::folder;
use crate::make::{Ask, Cases};
use crate::package::{Package, options};
use crate::seal_signatures::signature;
use crate::{read_card, read_host, read_manifest};

/// A case by id, code and reason, and a change to some JSON that makes it.
pub(crate) type Edit = (&'static str, &'static str, &'static str, fn(&mut Value));

pub(crate) fn add(cases: &mut Cases) {
    good(cases);
    read_manifest::add(cases);
    asked(cases);
    read_host::add(cases);
    read_card::add(cases);
}

pub(crate) fn small() -> Package {
    Package::seal(&folder::small(), &options(1))
}

/// Adds a case of the small package after an alteration.
pub(crate) fn altered(cases: &mut Cases, head: (&str, &str, &str), alter: impl FnOnce(&mut Package)) {
    let mut package = small();
    alter(&mut package);
    cases.read(head, &package, &Ask::default());
}

fn good(cases: &mut Cases) {
    cases.read(("good-safetensors", "", "one file of safetensors, SHA-256"), &small(), &Ask::default());
    let blake3 = SealOptions { suite: Suite::Blake3, ..options(1) };
    let package = Package::seal(&folder::small(), &blake3);
    cases.read(("good-blake3", "", "the same under the suite of BLAKE3 leaves"), &package, &Ask::default());
    let package = Package::seal(&folder::segments(), &options(1));
    cases.read(("good-segments", "", "weights of three segments"), &package, &Ask::default());
    let package = Package::seal(&folder::sharded(), &options(1));
    cases.read(("good-sharded", "", "two numbered files and their index"), &package, &Ask::default());
    let package = Package::seal(&folder::gguf(), &options(1));
    cases.read(("good-gguf", "", "one GGUF file"), &package, &Ask::default());
    let package = Package::seal(&folder::gguf_split(), &options(1));
    cases.read(("good-gguf-split", "", "three GGUF files"), &package, &Ask::default());
    let padme = SealOptions { padding: Padding::Padme, ..options(1) };
    let package = Package::seal(&folder::sharded(), &padme);
    cases.read(("good-padme", "", "all files in one bundle"), &package, &Ask::default());
    for (id, file, key) in
        [("good-signed-p256", "p256.sig", "p256.pem"), ("good-signed-p384", "p384.sig", "p384.pem")]
    {
        let signature = signature(file, key);
        let signed = SealOptions { model_signature: Some(&signature), ..options(1) };
        let package = Package::seal(&folder::small(), &signed);
        cases.read(
            (id, "", "carries a model signature of the reference implementation"),
            &package,
            &Ask::default(),
        );
    }
    let first = small();
    let previous = first.manifest();
    let next = Package::seal(&folder::small(), &SealOptions { previous: Some(&previous), ..options(2) });
    let ask = Ask {
        previous: Some(first.get("manifest.json")),
        manifest_digest: Some(sha256(&next.get("manifest.json"))),
        version_min: 2,
        at_s: 2_000,
        ..Ask::default()
    };
    cases.read(("good-successor", "", "the next version, at its last second"), &next, &ask);
}

/// Genuine packages that are not the ones asked for, and other keys.
fn asked(cases: &mut Cases) {
    let package = small();
    let ask = Ask { version_min: 2, ..Ask::default() };
    cases.read(("asked-newer", "version", "an older signed version"), &package, &ask);
    let ask = Ask { at_s: 2_001, ..Ask::default() };
    cases.read(("asked-later", "expired", "one second after its end"), &package, &ask);
    let ask = Ask { manifest_digest: Some([1; 32]), ..Ask::default() };
    cases.read(("asked-another", "mixed_not_released", "the release names another manifest"), &package, &ask);
    let first = small().get("manifest.json");
    let again = Package::seal(&folder::small(), &options(2));
    let ask = Ask { previous: Some(first.clone()), ..Ask::default() };
    cases.read(("asked-successor", "mixed_other_predecessor", "names no predecessor"), &again, &ask);
    let other = Package::seal(&folder::small(), &SealOptions { model_id: "acme/other", ..options(1) });
    let ask = Ask { previous: Some(other.get("manifest.json")), ..Ask::default() };
    cases.read(
        ("asked-other-model", "mixed_other_model", "the predecessor is of another model"),
        &again,
        &ask,
    );
    let ask = Ask { previous: Some(again.get("manifest.json")), ..Ask::default() };
    cases.read(("asked-rollback", "version", "the predecessor is newer"), &package, &ask);
    let ask = Ask { weights_key: [0x5b; 32], ..Ask::default() };
    cases.read(("key-other", "wrong_key", "another model's weights key"), &package, &ask);
    for (id, field, value) in [
        ("key-for-other-version", "version", json!(2)),
        ("key-for-other-model", "model", json!("acme/other")),
        ("key-of-other-id", "kid", json!("00".repeat(16))),
        ("key-of-other-commitment", "dek_commitment", json!("00".repeat(32))),
    ] {
        let why = format!("the owner signed another {field} than the one the key was committed for");
        altered(cases, (id, "wrong_key", &why), |package| package.resign(|p| p["predicate"][field] = value));
    }
}
