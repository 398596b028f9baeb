use super::*;

fn owner() -> OwnerKey {
    OwnerKey::from_seed(&[7; 32]).unwrap()
}

fn entry(id: u8, role: Role, plaintext_len: u64) -> ObjectEntry {
    let layout = Layout { size: SegmentSize::Mib1, plaintext_len };
    let mut header = [id; floe::HEADER_LEN];
    header[..10].copy_from_slice(&floe::parameters(layout.size.segment_len()));
    ObjectEntry::sealed((ObjectId::new([id; 16]), role), layout, header, [id; 32]).unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        model_id: "acme/tiny-1".to_owned(),
        version: 7,
        created_s: 1_000,
        not_after_s: 2_000,
        previous: Some([9; 32]),
        kid: KeyId::from_prefix_of(&[3; 16]),
        commitment: [4; 32],
        card: entry(1, Role::Card, 500),
        objects: vec![
            entry(2, Role::Config, 100),
            entry(3, Role::Tokenizer, 1 << 20),
            entry(4, Role::Weights, (3 << 20) + 1),
        ],
    }
}

fn payload() -> String {
    serde_json::to_string(&manifest().statement()).unwrap()
}

/// What a manifest says whose owner signed this payload.
fn verify(payload: &str) -> Result<VerifiedManifest, Error> {
    Manifest::verify(&dsse::sign(payload.as_bytes(), &owner()).unwrap(), &owner().public_key())
}

/// Checks that a signed payload with one text replaced is refused by this rule.
fn refuses(from: &str, to: &str, rule: &'static str) {
    let altered = payload().replacen(from, to, 1);
    assert_ne!(altered, payload(), "{from} is not in the payload");
    assert_eq!(verify(&altered).unwrap_err(), Error::Manifest(rule), "{from} -> {to}");
}

const NOT_A_STATEMENT: &str = "payload is not a sealed-weights statement";

#[test]
fn reads_back_what_was_signed() {
    let bytes = manifest().sign(&owner()).unwrap();
    let verified = Manifest::verify(&bytes, &owner().public_key()).unwrap();
    assert_eq!(verified.0.manifest, manifest());
    assert_eq!(verified.digest(), &merkle::sha256(&bytes));
    assert_eq!(verified.object(Role::Weights).unwrap().segment_count(), 4);
    assert_eq!(verified.object(Role::ChatTemplate), None);
}

#[test]
fn refuses_unknown_missing_and_repeated_keys() {
    refuses("\"version\":7", "\"version\":7,\"extra\":1", NOT_A_STATEMENT);
    refuses("\"version\":7", "\"version\":7,\"version\":7", NOT_A_STATEMENT);
    refuses("\"version\":7,", "", NOT_A_STATEMENT);
    refuses("\"subject\":", "\"extra\":1,\"subject\":", NOT_A_STATEMENT);
    refuses("\"segment_count\":1", "\"segment_count\":1,\"path\":\"x\"", NOT_A_STATEMENT);
    let previous = format!("\"previous\":\"{}\",", "09".repeat(32));
    refuses(&previous, "", NOT_A_STATEMENT);
}

#[test]
fn accepts_an_absent_predecessor_only_as_null() {
    let previous = format!("\"{}\"", "09".repeat(32));
    let verified = verify(&payload().replacen(&previous, "null", 1)).unwrap();
    assert_eq!(verified.previous(), None);
    refuses(&previous, "\"\"", NOT_A_STATEMENT);
}

#[test]
fn refuses_numbers_and_digests_in_other_forms() {
    refuses("\"version\":7", "\"version\":7.0", NOT_A_STATEMENT);
    refuses("\"version\":7", "\"version\":-7", NOT_A_STATEMENT);
    refuses("\"version\":7", "\"version\":\"7\"", NOT_A_STATEMENT);
    refuses("\"version\":7", "\"version\":18446744073709551616", NOT_A_STATEMENT);
    refuses(&"04".repeat(32), &"04".repeat(31), NOT_A_STATEMENT);
    refuses(&"04".repeat(32), &"0A".repeat(32), NOT_A_STATEMENT);
}

#[test]
fn refuses_another_format_type_or_suite() {
    let types = "statement or predicate type is not the expected one";
    refuses("\"format\":1", "\"format\":2", "format version is not 1");
    refuses("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1", types);
    refuses("sealed-weights/v1", "sealed-weights/v2", types);
    refuses("aes256gcm", "null", "suite is not the one of format version 1");
}

#[test]
fn refuses_ill_formed_model_ids() {
    let rule = "model id is not at most 128 letters, digits, '.', '_', '-' between '/'";
    let long = "a".repeat(MAX_MODEL_ID_LEN + 1);
    for id in ["", "/a", "a/", "a//b", "..", "a/../b", "a b", "\u{e9}", ".a", "a\\u0000", long.as_str()] {
        refuses("acme/tiny-1", id, rule);
    }
    let longest = "a".repeat(MAX_MODEL_ID_LEN);
    assert!(verify(&payload().replacen("acme/tiny-1", &longest, 1)).is_ok());
}

#[test]
fn refuses_version_zero_and_times_out_of_order() {
    let rule = "times are not created before not-after, until the year 9999";
    refuses("\"version\":7", "\"version\":0", "version is zero");
    refuses("\"created_s\":1000", "\"created_s\":2000", rule);
    refuses("\"not_after_s\":2000", "\"not_after_s\":253402300800", rule);
}

#[test]
fn refuses_lengths_that_do_not_follow_from_each_other() {
    let rule = "segment count or ciphertext length does not follow from the plaintext";
    refuses("\"segment_count\":4", "\"segment_count\":3", rule);
    refuses("\"ciphertext_len\":206", "\"ciphertext_len\":207", rule);
    refuses("\"plaintext_len\":100", "\"plaintext_len\":101", rule);
    refuses(
        "\"segment_len\":1048608",
        "\"segment_len\":1048576",
        "segment length is not 1, 4 or 16 MiB and 32 bytes",
    );
    refuses(
        "\"segment_len\":1048608",
        "\"segment_len\":4194336",
        "header has other parameters than the object",
    );
}

#[test]
fn refuses_empty_and_oversized_objects() {
    let rule = "plaintext length is zero or beyond the limit of the role";
    refuses("\"plaintext_len\":100", "\"plaintext_len\":0", rule);
    refuses("\"plaintext_len\":100", "\"plaintext_len\":1048577", rule);
    refuses("\"plaintext_len\":100", "\"plaintext_len\":18446744073709551615", rule);
}

#[test]
fn refuses_more_segments_than_a_tree_may_have() {
    let mut big = manifest();
    big.objects[2] = entry(4, Role::Weights, 2 << 40);
    assert!(big.sign(&owner()).is_ok());
    big.objects[2] = entry(4, Role::Weights, (2 << 40) + 1);
    assert_eq!(
        big.sign(&owner()).unwrap_err(),
        Error::Manifest("plaintext length is zero or beyond the limit of the role")
    );
    assert_eq!(MAX_SEGMENTS, 1 << 21);
}

#[test]
fn refuses_subjects_that_are_not_the_objects() {
    let rule = "subject and object name different files";
    refuses(&format!("\"name\":\"objects/{}", "02".repeat(16)), "\"name\":\"objects/../x", rule);
    refuses("\"name\":\"card.sealed", "\"name\":\"card", rule);
    let first =
        format!("{{\"name\":\"card.sealed\",\"digest\":{{\"rfc6962Sha256\":\"{}\"}}}},", "01".repeat(32));
    refuses(&first, "", "subjects and objects differ in number");
}

#[test]
fn refuses_a_wrong_set_of_objects() {
    let sign = |alter: fn(&mut Manifest)| {
        let mut altered = manifest();
        alter(&mut altered);
        altered.sign(&owner()).unwrap_err()
    };
    let missing = Error::Manifest("weights, config or tokenizer is missing");
    assert_eq!(sign(|manifest| _ = manifest.objects.remove(0)), missing);
    assert_eq!(sign(|manifest| _ = manifest.objects.remove(1)), missing);
    assert_eq!(sign(|manifest| _ = manifest.objects.remove(2)), missing);
    let shared = Error::Manifest("two objects share an id, a role or a header");
    assert_eq!(sign(|manifest| manifest.objects.push(entry(2, Role::Pooling, 1))), shared);
    assert_eq!(sign(|manifest| manifest.objects.push(entry(9, Role::Config, 1))), shared);
    assert_eq!(sign(|manifest| manifest.objects[1].header = manifest.objects[0].header), shared);
    let card = Error::Manifest("card is not the first object and only that");
    assert_eq!(sign(|manifest| manifest.objects.push(entry(9, Role::Card, 1))), card);
    assert_eq!(sign(|manifest| manifest.card = entry(9, Role::Pooling, 1)), card);
}

#[test]
fn refuses_an_oversized_manifest_before_reading_it() {
    let bytes = vec![b' '; MAX_MANIFEST_LEN + 1];
    assert_eq!(Manifest::verify(&bytes, &[0; 32]).unwrap_err(), Error::Manifest("larger than 256 KiB"));
}

#[test]
fn refuses_deep_nesting_and_invalid_utf8() {
    let deep = "[".repeat(100_000);
    assert_eq!(verify(&deep).unwrap_err(), Error::Manifest(NOT_A_STATEMENT));
    let envelope = dsse::sign(&[0xff, 0xfe], &owner()).unwrap();
    let refused = Manifest::verify(&envelope, &owner().public_key()).unwrap_err();
    assert_eq!(refused, Error::Manifest(NOT_A_STATEMENT));
}

#[test]
fn requires_the_released_manifest() {
    let verified = verify(&payload()).unwrap();
    let digest = *verified.digest();
    assert_eq!(verified.require(&digest, 7), Ok(()));
    assert_eq!(verified.require(&digest, 8), Err(Error::Version { least: 8, actual: 7 }));
    let mixed = Error::Mixed("manifest is not the one the release names");
    assert_eq!(verified.require(&[0; 32], 7), Err(mixed));
}

#[test]
fn requires_a_time_before_its_end() {
    let verified = verify(&payload()).unwrap();
    assert_eq!(verified.require_valid_at(2_000), Ok(()));
    let expired = Error::Expired { not_after_s: 2_000, at_s: 2_001 };
    assert_eq!(verified.require_valid_at(2_001), Err(expired));
}

#[test]
fn requires_successors_to_name_their_predecessor() {
    let first = verify(&payload()).unwrap();
    let next = |version, model: &str, previous| {
        let mut next = manifest();
        next.version = version;
        model.clone_into(&mut next.model_id);
        next.previous = previous;
        Manifest::verify(&next.sign(&owner()).unwrap(), &owner().public_key()).unwrap()
    };
    let digest = Some(*first.digest());
    assert_eq!(next(8, "acme/tiny-1", digest).require_successor_of(&first), Ok(()));
    let stale = next(7, "acme/tiny-1", digest).require_successor_of(&first);
    assert_eq!(stale, Err(Error::Version { least: 8, actual: 7 }));
    for wrong in
        [next(8, "acme/tiny-2", digest), next(8, "acme/tiny-1", Some([1; 32])), next(8, "acme/tiny-1", None)]
    {
        assert_eq!(wrong.require_successor_of(&first).unwrap_err().stage(), "mixed");
    }
}
