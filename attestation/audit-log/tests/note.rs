//! Signed notes and checkpoints, against vectors judged by another implementation.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops at a surprise"
)]

mod fixture;

use anchorhold_audit_log::merkle::{TreeHead, consistency_proof, root};
use anchorhold_audit_log::note::{MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES, Note, NoteError};
use anchorhold_audit_log::{
    Checkpoint, CheckpointError, ConsistencyError, Hash, Hex, PublicKey, Signer, VerifierKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fixture::signer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    key: String,
    note: String,
    note_ok: bool,
    checkpoint_ok: bool,
}

fn cases() -> Vec<(Case, Vec<u8>, VerifierKey)> {
    let text = std::fs::read_to_string(format!("{}/notes.json", fixture::VECTORS)).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    let parsed = cases.into_iter().map(|case| {
        let note = STANDARD.decode(&case.note).unwrap();
        let key = VerifierKey::parse(&case.key).unwrap();
        assert_eq!(key.to_string(), case.key);
        (case, note, key)
    });
    parsed.collect()
}

#[test]
fn case_48_verdicts_are_those_of_the_vectors() {
    let cases = cases();
    assert!(cases.len() >= 40);
    for (case, note, key) in cases {
        let parsed = Note::parse(&note);
        let verified = parsed.as_ref().ok().and_then(|note| note.verify(std::slice::from_ref(&key)).ok());
        assert_eq!(verified.is_some(), case.note_ok, "{}", case.name);
        let checkpoint = verified.is_some_and(|note| {
            let checkpoint = Checkpoint::from_text(note.text());
            checkpoint.is_ok_and(|checkpoint| checkpoint.to_text() == note.text())
        });
        assert_eq!(checkpoint, case.checkpoint_ok, "{}", case.name);
    }
}

#[test]
fn case_47_every_single_bit_of_a_checkpoint_matters() {
    let (_, note, key) = cases().into_iter().find(|(case, ..)| case.name == "made-plain").unwrap();
    assert!(Checkpoint::verify(&note, &key).is_ok());
    for bit in 0..note.len() * 8 {
        let mut bad = note.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Checkpoint::verify(&bad, &key).is_err(), "bit {bit}");
    }
}

#[test]
fn case_48_one_key_counts_once_and_two_keys_twice() {
    let text = "hello\n";
    let other = Signer::from_seed(signer().origin().clone(), &[3; 32]).unwrap();
    let one = String::from_utf8(signer().sign(text).unwrap()).unwrap();
    let two = String::from_utf8(other.sign(text).unwrap()).unwrap();
    let (_, line) = one.split_once("\n\n").unwrap();
    let (_, other_line) = two.split_once("\n\n").unwrap();
    let note = format!("{one}{line}{other_line}");
    let note = Note::parse(note.as_bytes()).unwrap();
    let keys = [signer().key().clone(), other.key().clone()];
    assert_eq!(note.verify(&keys[..1]).unwrap().signers(), &keys[..1]);
    assert_eq!(note.verify(&keys).unwrap().signers(), &keys);
    assert_eq!(note.verify(&[]), Err(NoteError::NotSigned));
}

#[test]
fn case_48_bounds_size_and_signatures() {
    let line = "\u{2014} w.example AAAAAAA=\n";
    let with = |count: usize| format!("text\n\n{}", line.repeat(count));
    assert!(Note::parse(with(MAX_NOTE_SIGNATURES).as_bytes()).is_ok());
    assert_eq!(Note::parse(with(MAX_NOTE_SIGNATURES + 1).as_bytes()), Err(NoteError::TooManySignatures));
    assert_eq!(Note::parse(&vec![b'a'; MAX_NOTE_BYTES + 1]), Err(NoteError::TooLong));
    // The longest note is signed and read; a text with one character more is not signed.
    let beside = signer().sign("\n").unwrap().len() - 1;
    let text = |length: usize| format!("{}\n", "a".repeat(length - 1));
    let longest = signer().sign(&text(MAX_NOTE_BYTES - beside)).unwrap();
    assert_eq!(longest.len(), MAX_NOTE_BYTES);
    assert!(Note::parse(&longest).unwrap().verify(&[signer().key().clone()]).is_ok());
    assert_eq!(signer().sign(&text(MAX_NOTE_BYTES - beside + 1)), Err(NoteError::Text));
}

#[test]
fn refuses_malformed_verifier_keys_and_names() {
    let good = signer().key().to_string();
    assert!(VerifierKey::parse(&good).is_ok());
    let (name, rest) = good.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    assert_eq!(Hex::new(signer().key().id()).to_string(), id);
    let ecdsa = STANDARD.encode([&[2], STANDARD.decode(key).unwrap()[1..].as_ref()].concat());
    for bad in [
        format!("{name}+{}+{key}", id.to_uppercase()),
        format!("other+{id}+{key}"),
        format!("{name}+{id}+{ecdsa}"),
        format!("{name}+{id}+{}", &key[..key.len() - 4]),
        format!("{name}+{id}"),
        format!("+{id}+{key}"),
        String::new(),
    ] {
        assert_eq!(VerifierKey::parse(&bad), Err(NoteError::VerifierKey), "{bad}");
    }
    for name in ["", "a b", "a\u{a0}b", "a+b", "a\nb", "a\u{2003}", "a\u{1}", "a\0b"] {
        assert_eq!(VerifierKey::new(name, PublicKey::new([1; 32])), Err(NoteError::KeyName), "{name:?}");
    }
}

#[test]
fn signs_only_text_that_can_stand_in_a_note() {
    for text in ["", "no line feed", "carriage\r\n", "tab\t\n"] {
        assert_eq!(signer().sign(text), Err(NoteError::Text), "{text:?}");
    }
    let text = "a\n\nb\n";
    let note = signer().sign(text).unwrap();
    let note = Note::parse(&note).unwrap();
    assert_eq!(note.verify(&[signer().key().clone()]).unwrap().text(), text);
}

#[test]
fn refuses_a_checkpoint_of_another_log_by_the_same_key() {
    let head = TreeHead { size: 1, root: Hash::of(b"x") };
    let note = Checkpoint::new("elsewhere.example/log", head).sign(&signer()).unwrap();
    assert_eq!(Checkpoint::verify(&note, signer().key()), Err(CheckpointError::Origin));
}

#[test]
fn the_last_checkpoint_of_a_log_says_that_nothing_follows() {
    let head = TreeHead { size: 1, root: Hash::of(b"x") };
    let name = signer().origin().as_str().to_owned();
    for (made, closes) in [(Checkpoint::closing(&name, head), true), (Checkpoint::new(&name, head), false)] {
        let read = Checkpoint::verify(&made.sign(&signer()).unwrap(), signer().key()).unwrap();
        assert_eq!((read.is_closing(), read == made), (closes, true));
    }
}

#[test]
fn case_29_two_histories_are_told_apart() {
    let leaves: Vec<Hash> = (0..9_u8).map(|leaf| Hash::of(&[leaf])).collect();
    let head = |size: usize| TreeHead { size: size as u64, root: root(&leaves[..size]) };
    let old = Checkpoint::new("a", head(5));
    let new = Checkpoint::new("a", head(9));
    let proof = consistency_proof(&leaves, 5).unwrap();
    assert_eq!(old.verify_extended_by(&new, &proof), Ok(()));
    let fork = Checkpoint::new("a", TreeHead { size: 5, root: Hash::of(b"fork") });
    assert_eq!(old.verify_extended_by(&fork, &[]), Err(ConsistencyError::Equivocation { size: 5 }));
    assert!(matches!(fork.verify_extended_by(&new, &proof), Err(ConsistencyError::NotProven(_))));
    assert!(matches!(new.verify_extended_by(&old, &proof), Err(ConsistencyError::NotProven(_))));
    let elsewhere = Checkpoint::new("b", head(9));
    assert_eq!(old.verify_extended_by(&elsewhere, &proof), Err(ConsistencyError::DifferentLogs));
}
