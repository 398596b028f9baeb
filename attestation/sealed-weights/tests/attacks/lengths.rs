//! Case 16: truncation at every boundary and inside, appended bytes, empty objects.

use std::fs::{self, OpenOptions};

use anchorhold_sealed_weights::{Manifest, Role, read_manifest};

use crate::support::*;

fn cut(len: u64) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes.truncate(usize::try_from(len).unwrap())
}

#[test]
fn case_16_refuses_truncation_at_every_boundary_and_inside() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for role in [Role::Card, Role::Config, Role::Tokenizer, Role::Weights] {
        let end = entry(&package, role).ciphertext_len();
        let mut lengths = vec![0, 1, 10, 42, HEADER - 1, HEADER, HEADER + 4, HEADER + 16, end - 16, end - 1];
        for index in 1..entry(&package, role).segment_count() {
            let boundary = HEADER + index * SEGMENT;
            lengths.extend([boundary - 1, boundary, boundary + 1, boundary + 32]);
        }
        for len in lengths {
            refuses(&package, &data(&package, role), cut(len), &["truncated"]);
        }
        if role != Role::Card {
            let leaves = entry(&package, role).segment_count() * 32;
            for len in [0, 1, leaves - 32, leaves - 1].into_iter().filter(|len| *len < leaves) {
                refuses(&package, &tree(&package, role), cut(len), &["truncated"]);
            }
        }
    }
    consume(&package).unwrap();
}

#[test]
fn case_16_refuses_appended_bytes() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for role in [Role::Card, Role::Config, Role::Weights] {
        for extra in [1, 32, usize::try_from(SEGMENT).unwrap()] {
            let append = move |bytes: &mut Vec<u8>| bytes.resize(bytes.len() + extra, 0);
            refuses(&package, &data(&package, role), append, &["trailing"]);
            if role != Role::Card {
                refuses(&package, &tree(&package, role), append, &["trailing"]);
            }
        }
    }
}

#[test]
fn case_16_refuses_every_prefix_of_the_manifest_and_appended_bytes() {
    let fixture = Fixture::new();
    let genuine = read_manifest(&fixture.package()).unwrap();
    for len in 0..genuine.len() {
        assert_eq!(
            Manifest::verify(&genuine[..len], &owner_public()).unwrap_err().stage(),
            "manifest",
            "{len}"
        );
    }
    for extra in ["\n", " ", "\0", "{}"] {
        let longer = [&genuine, extra.as_bytes()].concat();
        assert_eq!(Manifest::verify(&longer, &owner_public()).unwrap_err().stage(), "manifest");
    }
}

#[test]
fn case_16_refuses_a_file_that_shrinks_while_it_is_read() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let reader = weights(&model);
    let file = OpenOptions::new().write(true).open(data(&package, Role::Weights)).unwrap();
    file.set_len(HEADER + SEGMENT + 1_000).unwrap();
    let mut scratch = reader.scratch().unwrap();
    reader.read_segment(0, &mut scratch).unwrap();
    for index in 1..reader.entry().segment_count() {
        assert_eq!(reader.read_segment(index, &mut scratch).unwrap_err().stage(), "truncated");
    }
    let beyond = reader.entry().segment_count();
    assert_eq!(reader.read_segment(beyond, &mut scratch).unwrap_err().stage(), "segment");
}

#[test]
fn case_16_refuses_a_missing_file_and_a_link_in_its_place() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let file = data(&package, Role::Config);
    let elsewhere = package.join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    assert_eq!(stage(&package), "io");
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    assert_eq!(stage(&package), "io");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(stage(&package), "io");
    fs::remove_dir(&file).unwrap();
    fs::rename(&elsewhere, &file).unwrap();
    consume(&package).unwrap();
}

#[test]
fn case_16_never_waits_for_a_pipe_in_place_of_a_file() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let file = data(&package, Role::Config);
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(stage(&package), "io");
}
