use super::*;
use anchorhold_dsse::{Error, SigningKey, sign};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn set(version: u64, threshold: usize, seeds: &[u8]) -> String {
    let mut text = format!("signers = \"acme\"\nversion = {version}\nthreshold = {threshold}\n");
    for seed in seeds {
        let public = Ed25519PublicKey::new(key(*seed).public_key());
        text += &format!("[[signer]]\nname = \"signer-{seed}\"\nkey = \"{public}\"\n");
    }
    text
}

fn signed(text: &str, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    sign(SIGNER_SET_TYPE, text.as_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn read(text: &str) -> SignerSet {
    SignerSet::from_toml(text).unwrap()
}

#[test]
fn a_set_is_what_its_file_says() {
    let text = set(3, 2, &[1, 2, 3]);
    let set = read(&text);
    assert_eq!((set.id(), set.version(), set.threshold(), set.signers().len()), ("acme", 3, 2, 3));
    assert_eq!(set.digest(), Sha256Digest::of(text.as_bytes()));
    assert_eq!(set.trusted().threshold(), 2);
}

#[test]
fn refuses_sets_that_nobody_or_one_signer_twice_could_satisfy() {
    let path = |text: &str| match SignerSet::from_toml(text).unwrap_err() {
        PolicyError::Value { path, .. } | PolicyError::Missing { path } | PolicyError::Unknown { path } => {
            path
        }
        other => panic!("{other}"),
    };
    assert_eq!(path(&set(1, 0, &[1])), "threshold");
    assert_eq!(path(&set(1, 2, &[1])), "threshold");
    assert_eq!(path(&set(1, 1, &[1, 1])), "signer[1]");
    assert_eq!(path(&set(1, 1, &[1, 2]).replace("signer-2", "signer-1")), "signer[1]");
    assert_eq!(path(&set(1, 1, &(0..9).collect::<Vec<_>>())), "signer");
    assert_eq!(read(&set(1, 8, &(0..8).collect::<Vec<_>>())).signers().len(), MAX_SIGNERS);
    assert_eq!(path(&format!("more = 1\n{}", set(1, 1, &[1]))), "more");
    assert_eq!(path(&set(1, 1, &[1]).replace("name", "title")), "signer[0].name");
    assert_eq!(path(&set(1, 1, &[1]).replace("threshold = 1\n", "")), "threshold");
    assert_eq!(path("signers = \"a\"\nversion = 1\nthreshold = 1\n"), "signer");
}

#[test]
fn the_old_threshold_and_the_new_one_rotate_a_set() {
    let old = read(&set(1, 2, &[1, 2, 3]));
    let next = set(2, 2, &[2, 3, 4]);
    // 2 and 3 are of both sets.
    let rotated = |next: &str, seeds: &[u8]| old.rotate(&signed(next, seeds)).unwrap();
    assert_eq!(rotated(&next, &[2, 3]).set(), &read(&next));
    assert_eq!(rotated(&next, &[1, 2, 4]).signed_by().len(), 3);
    let others = set(2, 1, &[7, 8]);
    assert_eq!(rotated(&others, &[1, 3, 8]).set(), &read(&others));
}

#[test]
fn case_08_refuses_rotations_that_too_few_signed() {
    let old = read(&set(1, 2, &[1, 2, 3]));
    let next = set(2, 2, &[3, 4, 5]);
    let refused = |seeds: &[u8]| old.rotate(&signed(&next, seeds)).unwrap_err();
    assert_eq!(refused(&[3, 4, 5]), RotationError::OldThreshold { wanted: 2, observed: 1 });
    assert_eq!(refused(&[4, 5]), RotationError::OldThreshold { wanted: 2, observed: 0 });
    assert_eq!(refused(&[1, 2]), RotationError::NewThreshold { wanted: 2, observed: 0 });
    assert_eq!(refused(&[1, 2, 4]), RotationError::NewThreshold { wanted: 2, observed: 1 });
    let foreign = refused(&[1, 2, 3, 4, 9]);
    assert!(matches!(foreign, RotationError::Envelope(Error::UnknownSigner { .. })), "{foreign}");
}

#[test]
fn case_08_refuses_rotations_to_another_version_or_set_or_under_another_type() {
    let old = read(&set(5, 1, &[1]));
    for version in [0, 4, 5, 7] {
        let refused = old.rotate(&signed(&set(version, 1, &[1]), &[1])).unwrap_err();
        assert_eq!(refused, RotationError::Version { wanted: 6, observed: version });
    }
    let other = set(6, 1, &[1]).replace("acme", "other");
    assert_eq!(old.rotate(&signed(&other, &[1])), Err(RotationError::OtherSet));
    let text = set(6, 1, &[1]);
    let policy = sign(crate::RELEASE_POLICY_TYPE, text.as_bytes(), &[&key(1)]).unwrap();
    let wanted = Error::PayloadType { wanted: SIGNER_SET_TYPE };
    assert_eq!(old.rotate(&policy), Err(RotationError::Envelope(wanted)));
    assert!(matches!(old.rotate(&signed("signers = 1", &[1])), Err(RotationError::Malformed(_))));
    let bytes = sign(SIGNER_SET_TYPE, &[0xff], &[&key(1)]).unwrap();
    assert_eq!(old.rotate(&bytes), Err(RotationError::NotUtf8));
    assert!(matches!(old.rotate(text.as_bytes()), Err(RotationError::Envelope(Error::Malformed))));
    let last = read(&set(u64::try_from(i64::MAX).unwrap(), 1, &[1]));
    assert!(matches!(last.rotate(&signed(&text, &[1])), Err(RotationError::Version { .. })));
}

#[test]
fn each_refusal_has_a_code_and_says_what_was_wanted() {
    let error = |error: RotationError| (error.code(), error.to_string());
    let texts = [
        error(RotationError::NotUtf8),
        error(RotationError::OtherSet),
        error(RotationError::Version { wanted: 4, observed: 9 }),
        error(RotationError::OldThreshold { wanted: 2, observed: 1 }),
        error(RotationError::NewThreshold { wanted: 3, observed: 1 }),
    ];
    let codes = texts.clone().map(|(code, _)| code);
    assert_eq!(
        codes,
        [
            "signers_malformed",
            "signers_other_set",
            "signers_not_next",
            "signers_too_few_old",
            "signers_too_few_new"
        ]
    );
    for ((_, text), parts) in texts.iter().zip([
        ["UTF-8", ""],
        ["another name", ""],
        ["version 9", "wanted 4"],
        ["1 signers of the set in force", "at least 2"],
        ["1 signers of the new set", "at least 3"],
    ]) {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let text = set(3, 2, &[1, 2, 3]);
    assert_eq!(read(&text).text(), text);
    let old = read(&set(1, 1, &[1]));
    let stranger = old.rotate(&signed(&set(2, 1, &[1]), &[9])).unwrap_err();
    assert!(["signers_wrong_signer", "signers_signature"].contains(&stranger.code()), "{stranger}");
    assert_eq!(old.rotate(b"{}").unwrap_err().code(), "signers_signature");
}
