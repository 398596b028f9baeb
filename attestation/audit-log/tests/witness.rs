//! The witness protocol and cosignatures, refusal by refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_audit_log::cosignature::{Cosigner, Quorum, QuorumError, WitnessKey, cosignatures};
use anchorhold_audit_log::merkle::{TreeHead, consistency_proof, leaf_hash, root};
use anchorhold_audit_log::note::{Note, NoteError};
use anchorhold_audit_log::witness::{
    AddCheckpoint, MAX_PROOF_LINES, MAX_REQUEST_BYTES, WitnessRefusal, Witnessed, judge, with_signatures,
};
use anchorhold_audit_log::{Checkpoint, Hash, Origin, Signer};

const ORIGIN: &str = "acme/log";

fn signer() -> Signer {
    Signer::from_seed(Origin::new(ORIGIN).unwrap(), &[1; 32]).unwrap()
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(format!("leaf {index}").as_bytes())).collect()
}

fn head(count: usize) -> TreeHead {
    TreeHead { size: count as u64, root: root(&leaves(count)) }
}

fn note(head: TreeHead) -> Vec<u8> {
    Checkpoint::new(ORIGIN, head).sign(&signer()).unwrap()
}

fn request(old: usize, new: usize) -> AddCheckpoint {
    let proof = consistency_proof(&leaves(new), old).unwrap_or_default();
    AddCheckpoint::new(old as u64, proof, note(head(new))).unwrap()
}

fn refusal(request: &AddCheckpoint, known: &TreeHead) -> WitnessRefusal {
    judge(request, signer().key(), known).unwrap_err()
}

fn cosigner(byte: u8) -> Cosigner {
    Cosigner::from_seed(&format!("witness.example/{byte}"), &[byte; 32]).unwrap()
}

#[test]
fn takes_what_is_consistent_from_the_first_to_the_same_again() {
    for (old, new) in [(0, 1), (0, 7), (1, 2), (3, 8), (7, 7), (8, 21)] {
        let known = if old == 0 { TreeHead::empty() } else { head(old) };
        let sent = request(old, new);
        let read = AddCheckpoint::from_bytes(&sent.to_bytes()).unwrap();
        assert_eq!(read, sent);
        assert_eq!(read.origin(), ORIGIN);
        let taken: Witnessed = judge(&read, signer().key(), &known).unwrap();
        assert_eq!(taken.checkpoint().head, head(new), "{old} to {new}");
        assert_eq!(taken.note(), note(head(new)));
    }
}

#[test]
fn the_body_is_that_of_the_specification() {
    let text = String::from_utf8(request(3, 5).to_bytes()).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("old 3"));
    let proof: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert_eq!(proof.len(), consistency_proof(&leaves(5), 3).unwrap().len());
    assert!(proof.iter().all(|line| line.len() == 44));
    assert_eq!(lines.next(), Some(ORIGIN));
    assert_eq!(lines.next(), Some("5"));
}

#[test]
fn refuses_bodies_of_another_shape() {
    let good = String::from_utf8(request(3, 5).to_bytes()).unwrap();
    let long = format!("old 0\n\n{}", "x".repeat(MAX_REQUEST_BYTES));
    let many = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(MAX_PROOF_LINES + 1);
    for bad in [
        String::new(),
        good.replace("old 3", "old 03"),
        good.replace("old 3", "old +3"),
        good.replace("old 3", "old 6"),
        good.replace("old 3", "old"),
        good.replace("old 3", "old 3\n!"),
        good.replace("old 3", "old 0"),
        good.replacen('=', "", 1),
        good.replacen('\n', "\r\n", 1),
        good.replacen("old 3\n", &format!("old 3\n{many}"), 1),
        good.trim_end().to_owned(),
        long,
    ] {
        assert_eq!(AddCheckpoint::from_bytes(bad.as_bytes()), Err(WitnessRefusal::Malformed), "{bad:.80}");
    }
    assert_eq!(AddCheckpoint::from_bytes(&[0xff; 8]), Err(WitnessRefusal::Malformed));
}

#[test]
fn refuses_another_old_size_and_tells_its_own() {
    let conflict = refusal(&request(3, 5), &head(4));
    assert_eq!(conflict, WitnessRefusal::Conflict { size: 4 });
    assert_eq!((conflict.status(), conflict.size()), (409, Some(4)));
    assert_eq!(refusal(&request(0, 5), &head(4)), WitnessRefusal::Conflict { size: 4 });
    assert_eq!(refusal(&request(3, 5), &TreeHead::empty()), WitnessRefusal::Conflict { size: 0 });
}

#[test]
fn refuses_a_second_history_of_one_size() {
    let other = TreeHead { root: Hash::of(b"other"), ..head(5) };
    let fork = AddCheckpoint::new(5, Vec::new(), note(other)).unwrap();
    assert_eq!(refusal(&fork, &head(5)), WitnessRefusal::Fork { size: 5 });
    assert!(refusal(&fork, &head(5)).suggests_equivocation());
}

#[test]
fn refuses_what_the_proof_does_not_show() {
    let known = TreeHead { root: Hash::of(b"other"), ..head(3) };
    assert_eq!(refusal(&request(3, 5), &known), WitnessRefusal::NotProven);
    let without = AddCheckpoint::new(3, Vec::new(), note(head(5))).unwrap();
    assert_eq!(refusal(&without, &head(3)), WitnessRefusal::NotProven);
    assert_eq!(WitnessRefusal::NotProven.status(), 422);
}

#[test]
fn refuses_checkpoints_of_other_logs_and_keys() {
    let stranger = Signer::from_seed(Origin::new(ORIGIN).unwrap(), &[2; 32]).unwrap();
    let unsigned = judge(&request(0, 5), stranger.key(), &TreeHead::empty()).unwrap_err();
    assert_eq!((unsigned, unsigned.status()), (WitnessRefusal::NotSigned, 403));
    let mut forged = note(head(5));
    let at = forged.len() - 10;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = AddCheckpoint::new(0, Vec::new(), forged).unwrap();
    assert_eq!(refusal(&forged, &TreeHead::empty()), WitnessRefusal::NotSigned);
    let other = Signer::from_seed(Origin::new("acme/other").unwrap(), &[1; 32]).unwrap();
    assert!(judge(&request(0, 5), other.key(), &TreeHead::empty()).is_err());
}

fn cosigned(times: &[(u8, u64)]) -> Vec<u8> {
    let mut note = note(head(5));
    let text = Checkpoint::new(ORIGIN, head(5)).to_text();
    for (witness, time_s) in times {
        note = with_signatures(&note, cosigner(*witness).cosign(&text, *time_s).as_bytes()).unwrap();
    }
    note
}

#[test]
fn cosignatures_verify_under_their_own_name_key_and_time() {
    let note = cosigned(&[(1, 1_790_000_000), (2, 1_790_000_001), (1, 1_790_000_009)]);
    let keys = [cosigner(1).key().clone(), cosigner(2).key().clone(), cosigner(3).key().clone()];
    let parsed = Note::parse(&note).unwrap();
    let found = cosignatures(&parsed, &keys).unwrap();
    let found: Vec<_> = found.iter().map(|one| (one.witness.name(), one.time_s)).collect();
    assert_eq!(found, [("witness.example/1", 1_790_000_009), ("witness.example/2", 1_790_000_001)]);
    // The log's own signature still verifies, and is no cosignature.
    assert!(Checkpoint::verify(&note, signer().key()).is_ok());
    let same_key_as_log = WitnessKey::new(ORIGIN, signer().key().public_key()).unwrap();
    assert_eq!(cosignatures(&parsed, &[same_key_as_log]).unwrap(), []);
}

#[test]
fn case_48_refuses_cosignatures_of_another_text_time_or_length() {
    let text = Checkpoint::new(ORIGIN, head(5)).to_text();
    let keys = [cosigner(1).key().clone()];
    let check = |line: &str| {
        let joined = with_signatures(&note(head(5)), line.as_bytes())?;
        cosignatures(&Note::parse(&joined)?, &keys)
    };
    assert_eq!(check(&cosigner(1).cosign(&text, 7)).unwrap().len(), 1);
    let other_text = Checkpoint::new(ORIGIN, head(6)).to_text();
    assert_eq!(check(&cosigner(1).cosign(&other_text, 7)), Err(NoteError::BadSignature));
    assert_eq!(check(&cosigner(1).cosign(&text, 1 << 63)), Err(NoteError::BadSignature));
    let line = cosigner(1).cosign(&text, 7);
    let (name, encoded) = line.trim_end().rsplit_once(' ').unwrap();
    for altered in [encoded.replacen("AAAA", "AAAB", 1), encoded[..encoded.len() - 4].to_owned()] {
        assert_ne!(altered, encoded);
        let outcome = check(&format!("{name} {altered}\n"));
        assert_eq!(outcome, Err(NoteError::BadSignature), "{altered}");
    }
}

#[test]
fn a_quorum_counts_each_witness_once() {
    let keys: Vec<_> = (1..=3).map(|byte| cosigner(byte).key().clone()).collect();
    let quorum = |needed| Quorum::new(keys.clone(), needed).unwrap();
    let met = |quorum: &Quorum, times: &[(u8, u64)]| {
        quorum.is_met_by(&Note::parse(&cosigned(times)).unwrap()).unwrap()
    };
    assert!(met(&quorum(0), &[]));
    assert!(met(&quorum(2), &[(1, 5), (3, 6)]));
    assert!(!met(&quorum(2), &[(1, 5), (1, 6)]));
    assert!(!met(&quorum(2), &[(1, 5), (9, 6)]));
    assert_eq!((quorum(2).keys(), quorum(2).needed()), (keys.as_slice(), 2));
    assert_eq!(Quorum::new(keys.clone(), 4), Err(QuorumError));
    let renamed = WitnessKey::new("witness.example/renamed", keys[0].public_key()).unwrap();
    assert_eq!(Quorum::new(vec![keys[0].clone(), renamed], 1), Err(QuorumError));
}

#[test]
fn witness_keys_have_one_text_form() {
    let key = cosigner(1).key().clone();
    let text = key.to_string();
    assert_eq!(WitnessKey::parse(&text), Ok(key));
    // A log's key is none, though it may hold the same bytes.
    let log = signer().key().to_string();
    for bad in [text.replace("/1+", "/2+"), text.replacen('+', "", 1), format!("{text}="), log] {
        assert_eq!(WitnessKey::parse(&bad), Err(NoteError::VerifierKey), "{bad}");
    }
}
