use super::*;
use crate::{TrustedSigners, sign, verify};

const TYPE: &str = "application/vnd.example+toml";
const OTHER: &str = "application/vnd.other+toml";
const PAYLOAD: &[u8] = b"policy = 1\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn approvals(seeds: &[u8]) -> Vec<Approval> {
    seeds.iter().map(|seed| Approval::sign(TYPE, PAYLOAD, &key(*seed))).collect()
}

#[test]
fn approvals_in_any_order_make_the_envelope_that_the_signers_would_have_made_together() {
    let keys = [1, 2, 3].map(key);
    let together = sign(TYPE, PAYLOAD, &keys.iter().collect::<Vec<_>>()).unwrap();
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        assert_eq!(assemble(TYPE, PAYLOAD, &approvals(&order)).unwrap(), together);
    }
    let public: Vec<_> = keys.iter().map(SigningKey::public_key).collect();
    let trusted = TrustedSigners::of(&public, 3).unwrap();
    assert_eq!(verify(&together, TYPE, &trusted).unwrap().payload(), PAYLOAD);
}

#[test]
fn reads_what_it_writes_and_nothing_else() {
    let approval = Approval::sign(TYPE, PAYLOAD, &key(1));
    let json = approval.to_json();
    assert_eq!(Approval::from_json(&json), Ok(approval.clone()));
    assert_eq!(approval.key(), key(1).public_key());
    assert_eq!(approval.sha256(), digest_of(PAYLOAD));
    let text = String::from_utf8(json).unwrap();
    for (from, to) in [
        ("approval:v1", "approval:v2"),
        ("\"sha256\"", "\"sha512\""),
        ("\"sig\"", "\"more\": 1,\n\"sig\""),
        (&hex(&key(1).public_key()), "00"),
        (&hex(&key(1).public_key()), &hex(&key(1).public_key()).to_uppercase()),
        (&hex(&key(1).public_key()), &"+0".repeat(32)),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert_eq!(Approval::from_json(changed.as_bytes()), Err(ApprovalError::Malformed), "{to}");
    }
    let long = vec![b' '; MAX_APPROVAL_BYTES + 1];
    assert_eq!(
        Approval::from_json(&long),
        Err(ApprovalError::TooLong { observed_bytes: MAX_APPROVAL_BYTES + 1 })
    );
}

#[test]
fn case_08_refuses_approvals_of_something_else() {
    let approve = |payload_type, payload| Approval::sign(payload_type, payload, &key(2));
    let mut all = approvals(&[1]);
    all.push(approve(TYPE, b"policy = 2\n"));
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(ApprovalError::Payload { index: 1 }));
    all[1] = approve(OTHER, PAYLOAD);
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(ApprovalError::PayloadType { index: 1, wanted: TYPE }));
    // One that says to be of this payload, and is not.
    all[1] = Approval { sha256: digest_of(PAYLOAD), ..approve(TYPE, b"policy = 2\n") };
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(Error::Signature { index: 1 }.into()));
    all[1] = Approval { payload_type: TYPE.to_owned(), ..approve(OTHER, PAYLOAD) };
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(Error::Signature { index: 1 }.into()));
    // One that names another key than signed it.
    all[1] = Approval { key: hex(&key(3).public_key()), ..approve(TYPE, PAYLOAD) };
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(Error::Signature { index: 1 }.into()));
    all[1] = Approval { sig: "AA".to_owned(), ..approve(TYPE, PAYLOAD) };
    assert_eq!(assemble(TYPE, PAYLOAD, &all), Err(Error::SignatureEncoding { index: 1 }.into()));
}

#[test]
fn case_08_refuses_no_approval_one_key_twice_and_too_many() {
    assert_eq!(assemble(TYPE, PAYLOAD, &[]), Err(Error::NoKey.into()));
    assert_eq!(
        assemble(TYPE, PAYLOAD, &approvals(&[1, 2, 1])),
        Err(Error::DuplicateSigner { index: 2 }.into())
    );
    let many: Vec<u8> = (0..17).collect();
    let limit = Error::SignatureCount { limit: MAX_SIGNATURES, observed: 17 };
    assert_eq!(assemble(TYPE, PAYLOAD, &approvals(&many)), Err(limit.into()));
    assert!(assemble(TYPE, PAYLOAD, &approvals(&many[..16])).is_ok());
    let long = vec![b'a'; MAX_ENVELOPE_BYTES];
    let approval = Approval::sign(TYPE, &long, &key(1));
    assert!(matches!(
        assemble(TYPE, &long, &[approval]),
        Err(ApprovalError::Envelope(Error::TooLong { .. }))
    ));
}
