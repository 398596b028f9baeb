//! Case 15: one flipped bit in any region of a package.

use std::fs;

use anchorhold_sealed_weights::{Destination, Effort, Manifest, Role, read_manifest};

use crate::support::*;

#[test]
fn case_15_refuses_every_flipped_bit_of_the_manifest() {
    let fixture = Fixture::new();
    let genuine = read_manifest(&fixture.package()).unwrap();
    let signature_at = genuine.windows(7).position(|window| window == b"\"sig\":\"").unwrap() + 7;
    for at in 0..genuine.len() {
        for bit in [0, 5] {
            let mut altered = genuine.clone();
            altered[at] ^= 1 << bit;
            let refusal = Manifest::verify(&altered, &owner_public()).unwrap_err();
            let stage = refusal.stage();
            assert!(stage == "manifest" || stage == "signature", "{at}: {refusal}");
            if bit == 0 && (signature_at..signature_at + 86).contains(&at) {
                assert_eq!(stage, "signature", "{at}: {refusal}");
            }
        }
    }
}

#[test]
fn case_15_names_the_stage_of_each_flipped_region() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let flip = |at: u64| move |bytes: &mut Vec<u8>| bytes[usize::try_from(at).unwrap()] ^= 0x10;
    for role in [Role::Weights, Role::Tokenizer, Role::Config] {
        let file = data(&package, role);
        // Parameters, initialisation vector and tag of the header.
        for at in [0, 1, 5, 9, 10, 41, 42, 73] {
            refuses(&package, &file, flip(at), &["header"]);
        }
        let segments = entry(&package, role).segment_count();
        let end = entry(&package, role).ciphertext_len();
        for index in [0, segments / 2, segments - 1] {
            let start = HEADER + index * SEGMENT;
            let stop = (start + SEGMENT).min(end);
            // Length word, nonce, body and tag.
            for at in
                [start, start + 3, start + 4, start + 15, start + 16, (start + stop) / 2, stop - 16, stop - 1]
            {
                refuses(&package, &file, flip(at), &["segment"]);
            }
        }
        for at in 0..segments * 32 {
            if at % 7 == 0 {
                refuses(&package, &tree(&package, role), flip(at), &["tree"]);
            }
        }
    }
    let file = data(&package, Role::Card);
    for at in [0, 10, 42, 73] {
        refuses(&package, &file, flip(at), &["header"]);
    }
    for at in
        [HEADER, HEADER + 4, HEADER + 16, HEADER + 100, entry(&package, Role::Card).ciphertext_len() - 1]
    {
        refuses(&package, &file, flip(at), &["card"]);
    }
    consume(&package).unwrap();
}

#[test]
fn case_15_refuses_flips_that_the_owner_signed_by_their_tag() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for at in [HEADER + 4, HEADER + 16, HEADER + SEGMENT - 1] {
        let file = data(&package, Role::Weights);
        let (genuine, manifest) = (fs::read(&file).unwrap(), read_manifest(&package).unwrap());
        let mut altered = genuine.clone();
        altered[usize::try_from(at).unwrap()] ^= 1;
        fs::write(&file, &altered).unwrap();
        let mut payload = payload(&package);
        describe(&mut payload, &package, Role::Weights, &genuine[..74], &write_tree(&package, Role::Weights));
        sign_as_owner(&package, &payload);
        assert_eq!(stage(&package), "tag", "{at}");
        fs::write(&file, &genuine).unwrap();
        fs::write(package.join("manifest.json"), &manifest).unwrap();
        write_tree(&package, Role::Weights);
    }
    consume(&package).unwrap();
}

#[test]
fn case_15_gives_no_byte_of_a_refused_segment() {
    const SENTINEL: u8 = 0xa5;
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let file = data(&package, Role::Weights);
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(HEADER + 2 * SEGMENT + 500).unwrap()] ^= 1;
    fs::write(&file, &bytes).unwrap();

    let index = model.index();
    let mut memory: Vec<Vec<u8>> =
        index.tensors().map(|tensor| vec![SENTINEL; usize::try_from(tensor.len()).unwrap()]).collect();
    let destinations = memory.iter_mut().map(|memory| Destination::Bytes(memory)).collect();
    let refusal = model.load_tensors(destinations, &Effort::default()).unwrap_err();
    assert_eq!(refusal.stage(), "segment");

    let plain = fixture.plain(Role::Weights);
    let start = usize::try_from(index.files()[0].data_start()).unwrap();
    let loaded = memory.concat();
    let refused = usize::try_from(2 * PAYLOAD).unwrap() - start;
    assert_eq!(loaded[..refused], plain[start..start + refused]);
    assert!(loaded[refused..].iter().all(|byte| matches!(*byte, SENTINEL | 0)));
}

#[test]
fn case_15_refuses_a_file_changed_after_it_was_opened() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let reader = weights(&model);
    let mut scratch = reader.scratch().unwrap();
    reader.read_segment(1, &mut scratch).unwrap();
    let file = data(&package, Role::Weights);
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(HEADER + SEGMENT + 99).unwrap()] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(reader.read_segment(1, &mut scratch).unwrap_err().stage(), "segment");
    reader.read_segment(0, &mut scratch).unwrap();
}

#[test]
fn case_15_finds_every_flip_without_the_key() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let manifest = verified(&package);
    let check = || {
        let files = anchorhold_sealed_weights::PackageFiles::open(&package, &manifest).unwrap();
        files.verify_ciphertext(&manifest, &threads(2))
    };
    check().unwrap();
    let places = [
        (data(&package, Role::Weights), 20, "header"),
        (data(&package, Role::Weights), HEADER + SEGMENT + 77, "segment"),
        (tree(&package, Role::Weights), 40, "tree"),
        (data(&package, Role::Card), HEADER + 50, "tree"),
    ];
    for (file, at, stage) in places {
        let genuine = fs::read(&file).unwrap();
        let mut altered = genuine.clone();
        altered[usize::try_from(at).unwrap()] ^= 1;
        fs::write(&file, &altered).unwrap();
        assert_eq!(check().unwrap_err().stage(), stage);
        fs::write(&file, &genuine).unwrap();
    }
}
