//! Cases 17 and 18: genuine parts in the wrong place.

use std::fs;
use std::path::Path;

use anchorhold_sealed_weights::{Role, SealOptions, SegmentSize, WeightsKey};

use crate::support::*;

fn segment(index: usize) -> std::ops::Range<usize> {
    let len = usize::try_from(SEGMENT).unwrap();
    74 + index * len..74 + (index + 1) * len
}

fn swap(bytes: &mut [u8], a: usize, b: usize) {
    let (first, second) = (bytes[segment(a)].to_vec(), bytes[segment(b)].to_vec());
    bytes[segment(a)].copy_from_slice(&second);
    bytes[segment(b)].copy_from_slice(&first);
}

/// Makes the owner sign an object's present segments under its present header.
fn sign_present(package: &Path, role: Role) {
    let header = fs::read(data(package, role)).unwrap()[..74].to_vec();
    let mut payload = payload(package);
    describe(&mut payload, package, role, &header, &write_tree(package, role));
    sign_as_owner(package, &payload);
}

#[test]
fn case_17_refuses_swapped_duplicated_and_rotated_segments() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let file = data(&package, Role::Weights);
    refuses(&package, &file, |bytes| swap(bytes, 0, 1), &["segment"]);
    refuses(&package, &file, |bytes| swap(bytes, 1, 2), &["segment"]);
    refuses(&package, &file, |bytes| bytes.copy_within(segment(0), segment(1).start), &["segment"]);
    refuses(
        &package,
        &file,
        |bytes| bytes[segment(0).start..segment(2).end].rotate_left(segment(0).len()),
        &["segment"],
    );
}

#[test]
fn case_17_refuses_reordered_segments_with_their_tree() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let file = data(&package, Role::Weights);
    let mut bytes = fs::read(&file).unwrap();
    swap(&mut bytes, 0, 1);
    fs::write(&file, &bytes).unwrap();
    write_tree(&package, Role::Weights);
    assert_eq!(stage(&package), "tree");
    sign_present(&package, Role::Weights);
    assert_eq!(stage(&package), "tag");
}

#[test]
fn case_17_refuses_segments_of_another_object() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let foreign = fs::read(data(&package, Role::Tokenizer)).unwrap()[segment(0)].to_vec();
    let file = data(&package, Role::Weights);
    refuses(&package, &file, |bytes| bytes[segment(0)].copy_from_slice(&foreign), &["segment"]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[segment(0)].copy_from_slice(&foreign);
    fs::write(&file, &bytes).unwrap();
    sign_present(&package, Role::Weights);
    assert_eq!(stage(&package), "tag");
}

#[test]
fn case_17_refuses_swapped_headers() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let tokenizer = fs::read(data(&package, Role::Tokenizer)).unwrap();
    let file = data(&package, Role::Weights);
    refuses(&package, &file, |bytes| bytes[..74].copy_from_slice(&tokenizer[..74]), &["header"]);
    let mut bytes = fs::read(&file).unwrap();
    let weights_header = bytes[..74].to_vec();
    bytes[..74].copy_from_slice(&tokenizer[..74]);
    fs::write(&file, &bytes).unwrap();
    let mut swapped = tokenizer.clone();
    swapped[..74].copy_from_slice(&weights_header);
    fs::write(data(&package, Role::Tokenizer), &swapped).unwrap();
    assert_eq!(stage(&package), "header");
    let mut payload = payload(&package);
    describe(&mut payload, &package, Role::Weights, &tokenizer[..74], &write_tree(&package, Role::Weights));
    describe(
        &mut payload,
        &package,
        Role::Tokenizer,
        &weights_header,
        &write_tree(&package, Role::Tokenizer),
    );
    sign_as_owner(&package, &payload);
    // Even signed, a header proves by its tag that it was made for another object.
    let refusal = consume(&package).unwrap_err().to_string();
    assert!(refusal.ends_with("header was not made with this weights key for this object"), "{refusal}");
}

#[test]
fn case_17_refuses_parts_of_another_version_under_the_same_key() {
    let fixture = Fixture::new();
    let (package, other) = (fixture.package(), fixture.seal("other", 2));
    for role in [Role::Weights, Role::Tokenizer, Role::Config] {
        let genuine = (fs::read(data(&package, role)).unwrap(), fs::read(tree(&package, role)).unwrap());
        fs::copy(tree(&other, role), tree(&package, role)).unwrap();
        assert_eq!(stage(&package), "tree");
        fs::copy(data(&other, role), data(&package, role)).unwrap();
        assert_eq!(stage(&package), "mixed");
        fs::write(tree(&package, role), genuine.1).unwrap();
        assert_eq!(stage(&package), "header");
        fs::write(data(&package, role), genuine.0).unwrap();
    }
    let foreign = fs::read(data(&other, Role::Weights)).unwrap()[segment(1)].to_vec();
    let file = data(&package, Role::Weights);
    refuses(&package, &file, |bytes| bytes[segment(1)].copy_from_slice(&foreign), &["segment"]);
    refuses(
        &package,
        &data(&package, Role::Card),
        |bytes| {
            *bytes = fs::read(data(&other, Role::Card)).unwrap();
        },
        &["mixed"],
    );
    consume(&package).unwrap();
}

#[test]
fn case_18_refuses_an_older_signed_version() {
    let fixture = Fixture::new();
    let newer = verified(&fixture.seal("newer", 2));
    let older = verified(&fixture.package());
    assert_eq!(older.require(newer.digest(), 2).unwrap_err().stage(), "version");
    assert_eq!(older.require_version(2).unwrap_err().stage(), "version");
    newer.require(newer.digest(), 2).unwrap();
}

#[test]
fn case_18_refuses_a_manifest_that_the_release_does_not_name() {
    let fixture = Fixture::new();
    let again = fixture.package().with_file_name("again");
    let later = SealOptions { created_s: 1_001, ..options(1, SegmentSize::Mib1) };
    seal_with(fixture.model.path(), &again, &later);
    let (one, again) = (verified(&fixture.package()), verified(&again));
    assert_eq!(again.require(one.digest(), 1).unwrap_err().stage(), "mixed");
}

#[test]
fn case_18_refuses_new_weights_with_an_old_tokenizer() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.package(), fixture.seal("new", 2));
    fs::copy(data(&old, Role::Tokenizer), data(&new, Role::Tokenizer)).unwrap();
    fs::copy(tree(&old, Role::Tokenizer), tree(&new, Role::Tokenizer)).unwrap();
    assert_eq!(stage(&new), "mixed");
    // Signed into the new manifest, the old tokenizer still says for which version it was made.
    let header = fs::read(data(&old, Role::Tokenizer)).unwrap()[..74].to_vec();
    let mut payload = payload(&new);
    describe(&mut payload, &new, Role::Tokenizer, &header, &write_tree(&new, Role::Tokenizer));
    sign_as_owner(&new, &payload);
    assert_eq!(stage(&new), "header");
}

#[test]
fn case_18_refuses_a_card_that_lists_other_objects() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let manifest = verified(&package);
    let mut files = anchorhold_sealed_weights::PackageFiles::open(&package, &manifest).unwrap();
    files.objects.pop();
    assert_eq!(files.verify_ciphertext(&manifest, &threads(1)).unwrap_err().stage(), "mixed");
    let key = WeightsKey::open(&manifest, &KEY).unwrap();
    let refusal = anchorhold_sealed_weights::SealedModel::open(&key, files).unwrap_err();
    assert_eq!(refusal.stage(), "mixed");
    let unknown = manifest.card().id();
    let file = || fs::File::open(data(&package, Role::Config)).unwrap();
    let refusal = anchorhold_sealed_weights::ObjectReader::open(&key, &unknown, &file(), file()).unwrap_err();
    assert_eq!(refusal.stage(), "mixed");
}
