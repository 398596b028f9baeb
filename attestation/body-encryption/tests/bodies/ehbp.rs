//! EHBP: one test for each rule.

use crate::made::{LIMIT, NONCE, entropy, key};
use anchorhold_body_encryption::ehbp::{KEY_CONFIG_PROBLEM, open_request, seal_request};
use anchorhold_body_encryption::{BodyKey, Error};
use anchorhold_rats::{Kem, Secret};

fn sealed(chunks: &[&[u8]]) -> (String, Vec<u8>) {
    let (header, mut sealer, _) = seal_request(key(Kem::X25519).public_key(), entropy(1)).unwrap();
    let mut body = Vec::new();
    for chunk in chunks {
        sealer.push(chunk, &mut body).unwrap();
    }
    (header, body)
}

fn open(key: &BodyKey, header: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
    let (mut opener, mut out) = (open_request(key, header, LIMIT)?, Vec::new());
    opener.push(body, &mut out)?;
    opener.finish().map(|()| out)
}

#[test]
fn refuses_an_old_key_and_asks_for_the_new_one() {
    let (header, body) = sealed(&[b"one", b"two"]);
    let new = BodyKey::from_seed(Kem::X25519, &Secret::take(&mut [9; 32]));
    let error = open(&new, &header, &body).unwrap_err();
    assert!(error == Error::OtherKey && error.asks_for_new_key());
    let problem: serde_json::Value = serde_json::from_str(KEY_CONFIG_PROBLEM).unwrap();
    assert_eq!(problem["type"], "urn:ietf:params:ehbp:error:key-config");
    assert!(problem["title"].is_string() && problem.as_object().unwrap().len() == 2);
    // Only the first frame speaks of the key.
    let key = key(Kem::X25519);
    let mut later = body;
    let last = later.len() - 1;
    later[last] ^= 1;
    assert_eq!(open(&key, &header, &later), Err(Error::Frame));
}

#[test]
fn a_refusal_is_final() {
    let (header, body) = sealed(&[b"one"]);
    let mut broken = body.clone();
    broken[8] ^= 1;
    let (mut opener, mut out) = (open_request(&key(Kem::X25519), &header, LIMIT).unwrap(), Vec::new());
    assert_eq!(opener.push(&broken, &mut out), Err(Error::OtherKey));
    assert_eq!(opener.push(&body, &mut out), Err(Error::OtherKey));
    assert!(out.is_empty() && opener.reply().is_none());
    assert_eq!(opener.finish(), Err(Error::OtherKey));
}

#[test]
fn no_reply_before_a_frame_was_opened() {
    let (header, body) = sealed(&[b"one"]);
    let (mut opener, mut out) = (open_request(&key(Kem::X25519), &header, LIMIT).unwrap(), Vec::new());
    assert!(opener.reply().is_none());
    opener.push(&[0; 8], &mut out).unwrap();
    assert!(opener.reply().is_none());
    opener.push(&body, &mut out).unwrap();
    assert!(opener.reply().is_some());
    let empty = open_request(&key(Kem::X25519), &header, LIMIT).unwrap();
    assert_eq!(empty.finish(), Err(Error::Truncated));
}

#[test]
fn refuses_frames_that_are_cut_reordered_or_of_no_length() {
    let key = key(Kem::X25519);
    let (header, body) = sealed(&[b"one", b"two"]);
    let (first, second) = body.split_at(body.len() / 2);
    for end in (1..body.len()).filter(|end| *end != first.len()) {
        assert_eq!(open(&key, &header, &body[..end]), Err(Error::Truncated), "{end}");
    }
    // What the protocol cannot refuse, and `anchorhold-body/1` does.
    assert_eq!(open(&key, &header, first).unwrap(), b"one");
    assert_eq!(open(&key, &header, &[first, first].concat()), Err(Error::Frame));
    assert_eq!(open(&key, &header, &[second, first].concat()), Err(Error::OtherKey));
    assert_eq!(open(&key, &header, &[0, 0, 0, 15, 0]), Err(Error::FrameLength));
    assert_eq!(open(&key, &header, &[0xff; 4]), Err(Error::TooLong));
}

#[test]
fn refuses_more_than_the_limit() {
    let (header, body) = sealed(&[b"one"]);
    let key = key(Kem::X25519);
    for (limit, outcome) in [(23, Ok(())), (22, Err(Error::TooLong)), (3, Err(Error::TooLong))] {
        let outcome_now = open_request(&key, &header, limit).unwrap().push(&body, &mut Vec::new());
        assert_eq!(outcome_now, outcome);
    }
    // Empty frames count.
    let mut opener = open_request(&key, &header, 8).unwrap();
    assert_eq!(opener.push(&[0; 9], &mut Vec::new()), Err(Error::TooLong));
}

#[test]
fn refuses_headers_of_another_form() {
    let (header, _) = sealed(&[b"one"]);
    let key = key(Kem::X25519);
    for bad in ["", &header[2..], &header.to_uppercase(), &format!("{header}00"), &"00".repeat(32)] {
        assert!(matches!(open_request(&key, bad, LIMIT), Err(Error::Header)), "{bad}");
    }
    for bad in ["", "00", &"4E".repeat(32), &"4e".repeat(31)] {
        let (_, _, awaiting) = seal_request(key.public_key(), entropy(1)).unwrap();
        assert!(matches!(awaiting.open(bad, LIMIT), Err(Error::Header)), "{bad}");
    }
}

#[test]
fn only_x25519_is_spoken() {
    let (header, _) = sealed(&[b"one"]);
    assert!(matches!(open_request(&key(Kem::XWing), &header, LIMIT), Err(Error::OtherKey)));
    assert!(matches!(seal_request(key(Kem::XWing).public_key(), entropy(1)), Err(Error::PublicKey)));
}

#[test]
fn case_47_refuses_every_change_of_one_byte() {
    let key = key(Kem::X25519);
    let (header, mut sealer, awaiting) = seal_request(key.public_key(), entropy(1)).unwrap();
    let mut body = Vec::new();
    sealer.push(b"one", &mut body).unwrap();
    let mut opener = open_request(&key, &header, LIMIT).unwrap();
    opener.push(&body, &mut Vec::new()).unwrap();
    for at in 0..body.len() {
        let mut body = body.clone();
        body[at] ^= 1 << (at % 8);
        assert!(open(&key, &header, &body).is_err(), "{at}");
    }
    let (nonce, mut sealer) = opener.reply().unwrap().seal(&NONCE);
    let mut body = Vec::new();
    sealer.push(b"answer", &mut body).unwrap();
    body[12] ^= 1;
    let mut opener = awaiting.open(&nonce, LIMIT).unwrap();
    assert_eq!(opener.push(&body, &mut Vec::new()), Err(Error::Frame));
    assert_eq!(opener.finish(), Err(Error::Frame));
}
