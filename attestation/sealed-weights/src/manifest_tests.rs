use super::*;
use crate::floe;
use crate::object::{Form, ObjectId};
use crate::rules::SignatureRule;

fn owner() -> OwnerKey {
    OwnerKey::from_seed(&[7; 32]).unwrap()
}

fn try_entry(id: u8, role: Role, plaintext_len: u64) -> Result<ObjectEntry, ManifestRule> {
    let form = Form { suite: Suite::Sha256, size: SegmentSize::Mib1, plaintext_len };
    let mut header = [id; floe::HEADER_LEN];
    header[..10].copy_from_slice(&floe::parameters(form.size.segment_len()));
    ObjectEntry::checked((ObjectId::new([id; 16]), role), form, header, [id; 32])
}

fn entry(id: u8, role: Role, plaintext_len: u64) -> ObjectEntry {
    try_entry(id, role, plaintext_len).unwrap()
}

fn manifest() -> Manifest {
    Manifest {
        model_id: "acme/tiny-1".to_owned(),
        version: 7,
        created_s: 1_000,
        not_after_s: 2_000,
        previous: Some([9; 32]),
        suite: Suite::Sha256,
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
    String::from_utf8(statement::write(&manifest()).unwrap()).unwrap()
}

/// What a manifest says whose owner signed this payload.
fn verify(payload: &str) -> Result<VerifiedManifest, Error> {
    Manifest::verify(&dsse::sign(payload.as_bytes(), &owner()).unwrap(), &owner().public_key())
}

/// Checks that a signed payload with one text replaced is refused by this rule.
fn refuses(from: &str, to: &str, rule: ManifestRule) {
    let altered = payload().replacen(from, to, 1);
    assert_ne!(altered, payload(), "{from} is not in the payload");
    assert_eq!(verify(&altered).unwrap_err(), rule.into(), "{from} -> {to}");
}

#[test]
fn reads_back_what_was_signed() {
    let bytes = manifest().sign(&owner()).unwrap();
    let verified = Manifest::verify(&bytes, &owner().public_key()).unwrap();
    assert_eq!(verified.0.manifest, manifest());
    assert_eq!(verified.digest(), &merkle::sha256(&bytes));
    assert_eq!(verified.object(Role::Weights).unwrap().segment_count(), 4);
    assert_eq!(verified.object(Role::ChatTemplate), None);
    assert_eq!((verified.version(), verified.suite()), (7, Suite::Sha256));
    assert_eq!((verified.created_s(), verified.not_after_s()), (1_000, 2_000));
    assert_eq!(verified.previous(), Some(&[9; 32]));
    assert_eq!(verified.card().root(), &[1; 32]);
}

#[test]
fn refuses_unknown_missing_and_repeated_keys() {
    let rule = ManifestRule::NotStatement;
    refuses("\"version\":7", "\"version\":7,\"extra\":1", rule);
    refuses("\"version\":7", "\"version\":7,\"version\":7", rule);
    refuses("\"version\":7,", "", rule);
    refuses("\"subject\":", "\"extra\":1,\"subject\":", rule);
    refuses("\"segment_count\":1", "\"segment_count\":1,\"path\":\"x\"", rule);
    refuses(&format!("\"previous\":\"{}\",", "09".repeat(32)), "", rule);
}

#[test]
fn refuses_lists_in_place_of_objects() {
    let value: serde_json::Value = serde_json::from_str(&payload()).unwrap();
    let order = ["_type", "subject", "predicateType", "predicate"];
    let list: Vec<&serde_json::Value> = order.iter().map(|key| &value[*key]).collect();
    let refused = verify(&serde_json::to_string(&list).unwrap()).unwrap_err();
    assert_eq!(refused, ManifestRule::NotStatement.into());
    let digest = format!("\"digest\":{{\"rfc6962Sha256\":\"{}\"}}", "01".repeat(32));
    refuses(&digest, &format!("\"digest\":[\"{}\"]", "01".repeat(32)), ManifestRule::NotStatement);
}

#[test]
fn accepts_an_absent_predecessor_only_as_null() {
    let previous = format!("\"{}\"", "09".repeat(32));
    let verified = verify(&payload().replacen(&previous, "null", 1)).unwrap();
    assert_eq!(verified.previous(), None);
    refuses(&previous, "\"\"", ManifestRule::NotStatement);
}

#[test]
fn refuses_numbers_and_digests_in_other_forms() {
    let rule = ManifestRule::NotStatement;
    refuses("\"version\":7", "\"version\":7.0", rule);
    refuses("\"version\":7", "\"version\":-7", rule);
    refuses("\"version\":7", "\"version\":\"7\"", rule);
    refuses("\"version\":7", "\"version\":18446744073709551616", rule);
    refuses(&"04".repeat(32), &"04".repeat(31), rule);
    refuses(&"04".repeat(32), &"0A".repeat(32), rule);
}

#[test]
fn refuses_another_format_type_or_suite() {
    refuses("\"format\":2", "\"format\":1", ManifestRule::Format);
    refuses("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1", ManifestRule::StatementType);
    refuses("sealed-weights/v2", "sealed-weights/v1", ManifestRule::StatementType);
    refuses("aes256gcm", "null", ManifestRule::Suite);
}

#[test]
fn refuses_a_root_that_is_not_of_the_suite() {
    let rule = ManifestRule::SubjectDigest;
    let (sha256, blake3) = ("\"rfc6962Sha256\"", "\"rfc6962Sha256Blake3Leaves\"");
    refuses(sha256, blake3, rule);
    refuses(Suite::Sha256.as_str(), Suite::Blake3.as_str(), rule);
    let one = format!("{sha256}:\"{}\"", "01".repeat(32));
    refuses(&one, &format!("{one},{blake3}:\"{}\"", "01".repeat(32)), rule);
    refuses(&one, "", rule);
    let mut other = manifest();
    other.suite = Suite::Blake3;
    other.card.suite = Suite::Blake3;
    other.objects.iter_mut().for_each(|object| object.suite = Suite::Blake3);
    let bytes = other.sign(&owner()).unwrap();
    assert_eq!(Manifest::verify(&bytes, &owner().public_key()).unwrap().0.manifest, other);
}

#[test]
fn refuses_ill_formed_model_ids() {
    let long = "a".repeat(MAX_MODEL_ID_LEN + 1);
    for id in ["", "/a", "a/", "a//b", "..", "a/../b", "a b", "\u{e9}", ".a", "a\\u0000", long.as_str()] {
        refuses("acme/tiny-1", id, ManifestRule::ModelId);
    }
    let longest = "a".repeat(MAX_MODEL_ID_LEN);
    assert!(verify(&payload().replacen("acme/tiny-1", &longest, 1)).is_ok());
}

#[test]
fn refuses_version_zero_and_times_out_of_order() {
    refuses("\"version\":7", "\"version\":0", ManifestRule::VersionZero);
    refuses("\"created_s\":1000", "\"created_s\":2000", ManifestRule::Times);
    refuses("\"not_after_s\":2000", "\"not_after_s\":253402300800", ManifestRule::Times);
    assert!(verify(&payload().replacen("\"not_after_s\":2000", "\"not_after_s\":253402300799", 1)).is_ok());
}

#[test]
fn refuses_lengths_that_do_not_follow_from_each_other() {
    refuses("\"segment_count\":4", "\"segment_count\":3", ManifestRule::Lengths);
    refuses("\"ciphertext_len\":206", "\"ciphertext_len\":207", ManifestRule::Lengths);
    refuses("\"plaintext_len\":100", "\"plaintext_len\":101", ManifestRule::Lengths);
    refuses("\"segment_len\":1048608", "\"segment_len\":1048576", ManifestRule::SegmentLength);
    refuses("\"segment_len\":1048608", "\"segment_len\":4194336", ManifestRule::HeaderParameters);
}

#[test]
fn refuses_empty_and_oversized_objects() {
    for len in ["0", "1048577", "18446744073709551615"] {
        refuses("\"plaintext_len\":100", &format!("\"plaintext_len\":{len}"), ManifestRule::PlaintextLength);
    }
    assert_eq!(try_entry(4, Role::Weights, 2 << 40).unwrap().segment_count(), MAX_SEGMENTS);
    for role in [Role::Weights, Role::Bundle, Role::Card, Role::Config] {
        assert!(try_entry(4, role, role.max_len()).is_ok());
        assert_eq!(try_entry(4, role, role.max_len() + 1), Err(ManifestRule::PlaintextLength));
    }
    assert_eq!(MAX_SEGMENTS, 1 << 21);
}

#[test]
fn refuses_subjects_that_are_not_the_objects() {
    let name = format!("\"name\":\"objects/{}", "02".repeat(16));
    refuses(&name, "\"name\":\"objects/../x", ManifestRule::SubjectName);
    refuses("\"name\":\"card.sealed", "\"name\":\"card", ManifestRule::SubjectName);
    let first =
        format!("{{\"name\":\"card.sealed\",\"digest\":{{\"rfc6962Sha256\":\"{}\"}}}},", "01".repeat(32));
    refuses(&first, "", ManifestRule::SubjectCount);
}

/// What becomes of a manifest with this change.
fn signed(alter: impl FnOnce(&mut Manifest)) -> Result<Vec<u8>, Error> {
    let mut altered = manifest();
    alter(&mut altered);
    altered.sign(&owner())
}

fn refuses_set(alter: impl FnOnce(&mut Manifest), rule: ManifestRule) {
    assert_eq!(signed(alter).unwrap_err(), rule.into());
}

#[test]
fn refuses_a_wrong_set_of_objects() {
    use ManifestRule::{BundleNotAlone, CardPlace, DuplicateRole, Shared, WeightsCount};
    refuses_set(|manifest| _ = manifest.objects.pop(), WeightsCount);
    refuses_set(|manifest| manifest.objects.clear(), WeightsCount);
    refuses_set(|manifest| manifest.objects.push(entry(2, Role::Pooling, 1)), Shared);
    refuses_set(|manifest| manifest.objects.push(entry(1, Role::Pooling, 1)), Shared);
    refuses_set(|manifest| manifest.objects[1].header = manifest.objects[0].header, Shared);
    refuses_set(|manifest| manifest.objects[1].id = manifest.objects[0].id, Shared);
    refuses_set(|manifest| manifest.objects.push(entry(9, Role::Config, 1)), DuplicateRole);
    refuses_set(|manifest| manifest.objects.push(entry(9, Role::Card, 1)), CardPlace);
    refuses_set(|manifest| manifest.card = entry(9, Role::Pooling, 1), CardPlace);
    refuses_set(|manifest| manifest.objects.push(entry(9, Role::Bundle, 1)), BundleNotAlone);
    signed(|manifest| manifest.objects = vec![entry(9, Role::Bundle, 1)]).unwrap();
    let payload = payload();
    let none = verify(payload.split_at(payload.find("\"subject\"").unwrap()).0);
    assert_eq!(none.unwrap_err(), ManifestRule::NotStatement.into());
}

#[test]
fn accepts_as_many_weights_as_fit_and_no_more() {
    let weights = |count: usize| {
        (0..count)
            .map(|at| {
                let mut entry = entry(0, Role::Weights, 5 << 30);
                entry.id = ObjectId::new((at as u128 + (1 << 120)).to_be_bytes());
                entry.header[20..28].copy_from_slice(&at.to_be_bytes());
                entry
            })
            .collect::<Vec<_>>()
    };
    let with = |count| signed(|manifest| manifest.objects.extend(weights(count)));
    assert!(with(MAX_WEIGHTS - 1).unwrap().len() <= MAX_MANIFEST_LEN);
    assert_eq!(with(MAX_WEIGHTS).unwrap_err(), ManifestRule::WeightsCount.into());
}

#[test]
fn refuses_an_oversized_manifest_before_reading_it() {
    let bytes = vec![b' '; MAX_MANIFEST_LEN + 1];
    assert_eq!(Manifest::verify(&bytes, &[0; 32]).unwrap_err(), ManifestRule::TooLong.into());
    let bytes = vec![b' '; MAX_MANIFEST_LEN];
    assert_eq!(Manifest::verify(&bytes, &[0; 32]).unwrap_err(), ManifestRule::NotEnvelope.into());
}

#[test]
fn refuses_deep_nesting_and_invalid_utf8() {
    let deep = "[".repeat(100_000);
    assert_eq!(verify(&deep).unwrap_err(), ManifestRule::NotStatement.into());
    let envelope = dsse::sign(&[0xff, 0xfe], &owner()).unwrap();
    let refused = Manifest::verify(&envelope, &owner().public_key()).unwrap_err();
    assert_eq!(refused, ManifestRule::NotStatement.into());
    let other = Manifest::verify(&envelope, &[1; 32]).unwrap_err();
    assert_eq!(other, SignatureRule::OtherOwner.into());
}

#[test]
fn requires_the_released_manifest() {
    let verified = verify(&payload()).unwrap();
    let digest = *verified.digest();
    assert_eq!(verified.require(&digest, 7), Ok(()));
    assert_eq!(verified.require(&digest, 8), Err(Error::Version { least: 8, actual: 7 }));
    assert_eq!(verified.require(&[0; 32], 7), Err(MixedRule::NotReleased.into()));
}

#[test]
fn requires_a_time_before_its_end() {
    let verified = verify(&payload()).unwrap();
    assert_eq!(verified.require_valid_at(2_000), Ok(()));
    let expired = Error::Expired { not_after_s: 2_000, at_s: 2_001 };
    assert_eq!(verified.require_valid_at(2_001), Err(expired));
}

#[test]
fn case_18_requires_successors_to_name_their_predecessor() {
    let first = verify(&payload()).unwrap();
    let next = |version, model: &str, previous| {
        let bytes = signed(|next| {
            (next.version, next.previous) = (version, previous);
            model.clone_into(&mut next.model_id);
        });
        Manifest::verify(&bytes.unwrap(), &owner().public_key()).unwrap()
    };
    let digest = Some(*first.digest());
    assert_eq!(next(8, "acme/tiny-1", digest).require_successor_of(&first), Ok(()));
    let stale = next(7, "acme/tiny-1", digest).require_successor_of(&first);
    assert_eq!(stale, Err(Error::Version { least: 8, actual: 7 }));
    let other_model = next(8, "acme/tiny-2", digest).require_successor_of(&first);
    assert_eq!(other_model, Err(MixedRule::OtherModel.into()));
    for wrong in [next(8, "acme/tiny-1", Some([1; 32])), next(8, "acme/tiny-1", None)] {
        assert_eq!(wrong.require_successor_of(&first), Err(MixedRule::OtherPredecessor.into()));
        assert_eq!(wrong.require_previous(first.digest()), Err(MixedRule::OtherPredecessor.into()));
    }
    assert_eq!(next(9, "acme/tiny-2", digest).require_previous(first.digest()), Ok(()));
}
