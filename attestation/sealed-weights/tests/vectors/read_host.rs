//! What a host without any key, and a holder of the weights key, can do to a package.

use anchorhold_sealed_weights::Role;

use crate::floe::{HEADER, SEGMENT};
use crate::folder;
use crate::make::{Ask, Cases};
use crate::package::{Package, options};
use crate::read_cases::{altered, small};
use crate::store::{Change, File};

pub(crate) fn add(cases: &mut Cases) {
    host(cases);
    segments(cases);
    key_holder(cases);
    lengths(cases);
}

/// What a host without any key can do.
fn host(cases: &mut Cases) {
    for (role, name) in [(Role::Weights, "weights"), (Role::Config, "config"), (Role::Card, "card")] {
        for (at, what) in [(0, "parameters"), (12, "vector"), (50, "tag")] {
            let id = format!("flip-{name}-header-{what}");
            altered(cases, (&id, "header_not_signed", "one bit of a header"), |package| {
                package.flip(&package.data(role), at);
            });
        }
        let code = if role == Role::Card { "card_tree" } else { "segment_not_in_tree" };
        for (at, what) in [(0, "length-word"), (4, "nonce"), (16, "body")] {
            let id = format!("flip-{name}-{what}");
            altered(cases, (&id, code, "one bit of a segment"), |package| {
                package.flip(&package.data(role), HEADER + at);
            });
        }
        altered(
            cases,
            (&format!("flip-{name}-segment-tag"), code, "one bit of a segment's tag"),
            |package| {
                package.edit(&package.data(role), |bytes| *bytes.last_mut().unwrap() ^= 1);
            },
        );
    }
    altered(cases, ("flip-tree", "tree", "one bit of a leaf hash"), |package| {
        package.flip(&package.tree(Role::Weights), 3);
    });
    altered(cases, ("missing-object", "io", "an object is not there"), |package| {
        package.0.remove(&package.data(Role::Config));
    });
    altered(cases, ("missing-tree", "io", "a tree is not there"), |package| {
        package.0.remove(&package.tree(Role::Config));
    });
    altered(cases, ("missing-card", "io", "the card is not there"), |package| {
        drop(package.0.remove("card.sealed"))
    });
    let other = Package::seal(&folder::small(), &options(2));
    for role in [Role::Weights, Role::Tokenizer] {
        let id = format!("mixed-{role}-of-other-version");
        altered(cases, (&id, "mixed_other_object", "the object and tree of another version"), |package| {
            package.put(&package.data(role), other.get(&other.data(role)));
            package.put(&package.tree(role), other.get(&other.tree(role)));
        });
        let id = format!("mixed-{role}-data-of-other-version");
        altered(
            cases,
            (&id, "header_not_signed", "the object of another version beside its own tree"),
            |package| {
                package.put(&package.data(role), other.get(&other.data(role)));
            },
        );
        let id = format!("mixed-{role}-tree-of-other-version");
        altered(cases, (&id, "tree", "the tree of another version"), |package| {
            package.put(&package.tree(role), other.get(&other.tree(role)));
        });
    }
    altered(
        cases,
        ("mixed-card-of-other-version", "mixed_other_object", "the card of another version"),
        |package| {
            // Cards of the two versions are of one length.
            package.put("card.sealed", other.get("card.sealed"));
        },
    );
    altered(cases, ("swapped-headers", "header_not_signed", "two objects' headers are swapped"), |package| {
        let (a, b) = (package.data(Role::Config), package.data(Role::Tokenizer));
        let (first, second) = (package.get(&a)[..HEADER].to_vec(), package.get(&b)[..HEADER].to_vec());
        package.edit(&a, |bytes| bytes[..HEADER].copy_from_slice(&second));
        package.edit(&b, |bytes| bytes[..HEADER].copy_from_slice(&first));
    });
}

/// Segments in the wrong place, in weights of three.
fn segments(cases: &mut Cases) {
    let package = Package::seal(&folder::segments(), &options(1));
    let (path, tree) = (package.data(Role::Weights), package.tree(Role::Weights));
    let place = |index: usize| HEADER + index * SEGMENT;
    let swap = vec![Change::Copy(place(0), place(1), SEGMENT), Change::Copy(place(1), place(0), SEGMENT)];
    let duplicate = vec![Change::Copy(place(0), place(1), SEGMENT)];
    let changes = [
        ("segments-swapped", "segment_not_in_tree", "the first two segments are swapped", swap.clone()),
        ("segments-duplicated", "segment_not_in_tree", "the first segment stands twice", duplicate),
        ("segments-cut", "truncated", "the last segment is missing", vec![Change::Resize(place(2))]),
        (
            "segments-cut-inside",
            "truncated",
            "half a segment is missing",
            vec![Change::Resize(place(2) - 1_000)],
        ),
        (
            "segments-appended",
            "trailing",
            "32 bytes too many",
            vec![Change::Resize(package.get(&path).len() + 32)],
        ),
    ];
    for (id, code, why, changes) in changes {
        let mut package = package.clone();
        package.0.insert(path.clone(), File::Changed(package.get(&path), changes));
        cases.read((id, code, why), &package, &Ask::default());
    }
    let mut reordered = package.clone();
    reordered.0.insert(path.clone(), File::Changed(package.get(&path), swap));
    reordered.edit(&tree, |leaves| {
        let (first, second) = leaves.split_at_mut(32);
        first.swap_with_slice(&mut second[..32]);
    });
    cases.read(
        ("segments-swapped-with-tree", "tree", "segments and leaf hashes are swapped alike"),
        &reordered,
        &Ask::default(),
    );
    let file = reordered.0[&path].clone();
    reordered.accept(Role::Weights);
    reordered.0.insert(path.clone(), file);
    cases.read(
        ("segments-swapped-and-signed", "tag", "the owner signs swapped segments by mistake"),
        &reordered,
        &Ask::default(),
    );
    let last = package.get(&path).len();
    for (id, code, why, at) in [
        ("segments-signed-flip", "tag", "the owner signs a flipped bit by mistake", place(1) + 500),
        ("segments-signed-tag", "tag", "the owner signs a flipped tag by mistake", last - 1),
        (
            "segments-signed-length-word",
            "segment_length_word",
            "the owner signs another length word by mistake",
            place(1),
        ),
    ] {
        let mut package = package.clone();
        let byte = package.get(&path)[at] ^ 1;
        let file = File::Changed(package.get(&path), vec![Change::Write(at, vec![byte])]);
        package.0.insert(path.clone(), file.clone());
        package.accept(Role::Weights);
        package.0.insert(path.clone(), file);
        cases.read((id, code, why), &package, &Ask::default());
    }
}

/// What a holder of the weights key can do without the owner, and with the owner's mistake.
fn key_holder(cases: &mut Cases) {
    for role in [Role::Weights, Role::Tokenizer] {
        let change = |package: &mut Package| {
            let mut plain = package.plain(role);
            let at = plain.len() - 2;
            plain[at] ^= 1;
            package.reencrypt(role, &plain);
        };
        let id = format!("reencrypted-{role}");
        altered(
            cases,
            (&id, "mixed_other_object", "altered, encrypted with correct tags, with a fitting tree"),
            change,
        );
        let id = format!("reencrypted-{role}-header-kept");
        altered(cases, (&id, "tree", "the same under the signed header"), |package| {
            let header = package.get(&package.data(role))[..HEADER].to_vec();
            change(package);
            package.edit(&package.data(role), |bytes| bytes[..HEADER].copy_from_slice(&header));
        });
        let id = format!("reencrypted-{role}-tree-kept");
        altered(
            cases,
            (&id, "segment_not_in_tree", "the same under the signed header and tree"),
            |package| {
                let (header, tree) =
                    (package.get(&package.data(role))[..HEADER].to_vec(), package.get(&package.tree(role)));
                change(package);
                package.edit(&package.data(role), |bytes| bytes[..HEADER].copy_from_slice(&header));
                package.put(&package.tree(role), tree);
            },
        );
        let id = format!("reencrypted-{role}-signed");
        altered(cases, (&id, "card_digest", "the same, signed by the owner by mistake"), |package| {
            change(package);
            package.accept(role);
        });
    }
    let old = small();
    let mut new = Package::seal(&folder::small(), &options(2));
    new.put(&new.data(Role::Tokenizer), old.get(&old.data(Role::Tokenizer)));
    new.accept(Role::Tokenizer);
    cases.read(
        (
            "moved-between-versions",
            "header_other_key",
            "the owner signs an object of another version by mistake",
        ),
        &new,
        &Ask::default(),
    );
}

fn lengths(cases: &mut Cases) {
    for (role, name) in [(Role::Weights, "weights"), (Role::Card, "card")] {
        for (len, what) in [(0, "empty"), (10, "parameters"), (HEADER, "header"), (HEADER + 16, "prefix")] {
            let id = format!("cut-{name}-at-{what}");
            altered(cases, (&id, "truncated", "cut off there"), |package| {
                package.edit(&package.data(role), |bytes| bytes.truncate(len));
            });
        }
        altered(cases, (&format!("cut-{name}-by-one"), "truncated", "its last byte is missing"), |package| {
            package.edit(&package.data(role), |bytes| _ = bytes.pop());
        });
        altered(cases, (&format!("longer-{name}"), "trailing", "one byte too many"), |package| {
            package.edit(&package.data(role), |bytes| bytes.push(0));
        });
    }
    altered(cases, ("cut-tree", "truncated", "a tree without its last byte"), |package| {
        package.edit(&package.tree(Role::Weights), |bytes| _ = bytes.pop());
    });
    altered(cases, ("longer-tree", "trailing", "a leaf hash too many"), |package| {
        package.edit(&package.tree(Role::Weights), |bytes| bytes.extend([0; 32]));
    });
}
