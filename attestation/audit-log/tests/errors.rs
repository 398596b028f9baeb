//! What errors and findings tell whoever reads them: something, in one line, and of two of a kind not the same; and what they were caused by.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

mod fixture;

use anchorhold_audit_log::cosignature::{Cosigner, QuorumError};
use anchorhold_audit_log::merkle::ProofError;
use anchorhold_audit_log::note::NoteError;
use anchorhold_audit_log::tlog::follow::FollowError;
use anchorhold_audit_log::tlog::policy::{PolicyError, PolicyFault, PolicyRefusal};
use anchorhold_audit_log::tlog::proof::TlogProofError;
use anchorhold_audit_log::tlog::tiles::TileError;
use anchorhold_audit_log::witness::WitnessRefusal;
use anchorhold_audit_log::{
    Check, CheckpointError, Ciphertext, ConsistencyError, EntryError, ExportError, Finding, Hash, LogError,
    ReadError, Receipt, ReceiptError, commit,
};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Display;
use std::io;

/// Each says something in one line without a full stop, and no two say the same.
fn tell_apart<T: Display>(told: impl IntoIterator<Item = T>) {
    let mut seen = BTreeSet::new();
    for text in told.into_iter().map(|one| one.to_string()) {
        assert!(text.len() > 5 && !text.contains('\n') && !text.ends_with('.'), "{text:?}");
        assert!(!text.starts_with(|c: char| c.is_ascii_uppercase()), "{text:?}");
        assert!(seen.insert(text.clone()), "{text:?} twice");
    }
}

const PROOF: ProofError = ProofError::RootMismatch;
const NOTE: NoteError = NoteError::BadSignature;

#[test]
fn every_refusal_of_a_proof_or_a_signature_says_which_it_is() {
    use {CheckpointError as C, NoteError as N, WitnessRefusal as W};
    tell_apart([ProofError::TooLong, ProofError::OutOfRange, ProofError::WrongLength, PROOF]);
    tell_apart([N::TooLong, N::Encoding, N::Shape, N::TooManySignatures, N::SignatureLine, N::KeyName]);
    tell_apart([N::VerifierKey, N::BadSignature, N::NotSigned, N::Text, N::Random]);
    tell_apart([C::Note(NOTE), C::Text, C::Origin]);
    tell_apart([
        ConsistencyError::DifferentLogs,
        ConsistencyError::Equivocation { size: 7 },
        ConsistencyError::NotProven(PROOF),
    ]);
    tell_apart([W::Malformed, W::UnknownLog, W::NotSigned, W::NotProven]);
    tell_apart([W::Conflict { size: 7 }, W::Fork { size: 7 }]);
    tell_apart([QuorumError]);
    tell_apart([ReceiptError::Malformed, ReceiptError::Signature]);
}

#[test]
fn every_refusal_of_the_files_of_a_log_says_which_it_is() {
    let refusal = PolicyRefusal::NoQuorum { cosigned: 2 };
    tell_apart([PolicyRefusal::Checkpoint(CheckpointError::Text), refusal]);
    tell_apart([
        TlogProofError::Malformed,
        TlogProofError::Policy(refusal),
        TlogProofError::NotProven(PROOF),
    ]);
    tell_apart([TileError::Path, TileError::Width { wanted: 3 }, TileError::TooLong, TileError::NoSuchNode]);
    tell_apart([
        FollowError::Checkpoint(CheckpointError::Text),
        FollowError::Shrunk { seen: 3, observed: 2 },
        FollowError::Inconsistent(ConsistencyError::DifferentLogs),
        FollowError::Root { size: 3 },
        FollowError::Tile(TileError::Path),
        FollowError::Entry { index: 3, error: Some(EntryError::Malformed) },
        FollowError::Entry { index: 3, error: None },
        FollowError::Source(io::Error::other("no such host")),
    ]);
    // A fault of the whole file names no line.
    let told = |line| PolicyError { line, fault: PolicyFault::Quorum }.to_string();
    assert_eq!(told(3), format!("line 3: {}", told(0)));
    assert!(!told(0).contains("line"));
}

#[test]
fn every_refusal_of_an_entry_or_an_id_says_what_was_wanted() {
    use EntryError as E;
    tell_apart([E::TooLong { observed_bytes: 20_000 }, E::TooManyChecks { observed: 65 }]);
    tell_apart([E::TooMany { what: "signers" }, E::Malformed, E::NotCanonical, E::Classification]);
    let version = E::Version { observed: 2 }.to_string();
    assert!(version.contains('2') && version.contains('1'), "{version}");
    let hex = "00".parse::<Hash>().unwrap_err().to_string();
    assert!(hex.contains("32 bytes"), "{hex}");
    let id = "a b".parse::<anchorhold_audit_log::ModelId>().unwrap_err().to_string();
    assert!(id.contains("model id") && id.contains("128") && !id.contains("a b"), "{id}");
}

#[test]
fn every_damage_of_a_log_says_where_it_is() {
    use ReadError as R;
    tell_apart([R::Key, R::Checkpoint(CheckpointError::Text), R::Slots, R::KeyWanted, R::Empty]);
    tell_apart([
        R::Io { doing: "read the log's key", source: io::Error::other("gone") },
        R::Damaged { index: 7, segment: 0, offset: 99 },
        R::NotEncrypted { index: 7 },
        R::NotOpened { index: 0 },
        R::NotOpened { index: 7 },
        R::Entry { index: 7, error: EntryError::Malformed },
        R::Misplaced { index: 7, observed: 8 },
        R::ForeignBoot { index: 7 },
        R::Missing { covered: 9, observed: 7 },
        R::Root { size: 7 },
    ]);
    tell_apart([
        LogError::Storage { doing: "append", source: io::Error::other("gone") },
        LogError::Poisoned,
        LogError::Entry(EntryError::Malformed),
        LogError::BatchLength { observed: 0 },
        LogError::EvidenceTooLong { observed_bytes: 2_000_000 },
        LogError::EvidenceRecorded,
        LogError::Sign(NOTE),
        LogError::Random,
        LogError::Full,
        LogError::Ended,
    ]);
    for at_seven in [R::Damaged { index: 7, segment: 0, offset: 99 }, R::NotOpened { index: 7 }] {
        assert!(at_seven.to_string().contains("entry 7"));
    }
    tell_apart([
        ExportError::Read(R::Empty),
        ExportError::Source("the archive is away".into()),
        ExportError::Write(io::Error::other("full")),
        ExportError::NoCheckpoint,
        ExportError::Range { size: 9 },
        ExportError::Binding,
        ExportError::Anchors,
    ]);
}

#[test]
fn the_cause_of_an_error_is_kept() {
    let cause = |error: &dyn Error| error.source().map(ToString::to_string);
    let io = || io::Error::other("gone");
    let read = ReadError::Io { doing: "read the log's key", source: io() };
    assert_eq!(cause(&read).as_deref(), Some("gone"));
    assert_eq!(cause(&ReadError::Checkpoint(CheckpointError::Text)), Some(CheckpointError::Text.to_string()));
    let entry = ReadError::Entry { index: 1, error: EntryError::Malformed };
    assert_eq!(cause(&entry), Some(EntryError::Malformed.to_string()));
    assert_eq!(cause(&ReadError::Empty), None);
    let storage = LogError::Storage { doing: "append", source: io() };
    assert_eq!(cause(&storage).as_deref(), Some("gone"));
    assert_eq!(cause(&LogError::Entry(EntryError::Malformed)), Some(EntryError::Malformed.to_string()));
    assert_eq!(cause(&LogError::Sign(NOTE)), Some(NOTE.to_string()));
    assert_eq!(cause(&LogError::Poisoned), None);
    assert_eq!(cause(&ExportError::Read(ReadError::Empty)), Some(ReadError::Empty.to_string()));
    assert_eq!(cause(&ExportError::Source("away".into())).as_deref(), Some("away"));
    assert_eq!(cause(&ExportError::Write(io())).as_deref(), Some("gone"));
    assert_eq!(cause(&ExportError::NoCheckpoint), None);
}

#[test]
fn every_finding_and_every_check_has_words_and_a_name_of_its_own() {
    use Finding as F;
    let findings = [
        F::AsExpected,
        F::NotReached,
        F::NotAsked,
        F::NotInRange,
        F::Member { name: "proof.json" },
        F::TooLong { name: "proof.json" },
        F::TrailingBytes,
        F::Count { announced: 7 },
        F::Entry { index: 7, error: EntryError::Malformed },
        F::Misplaced { index: 7, observed: 8 },
        F::ForeignBoot { index: 7 },
        F::NotOpened,
        F::AfterClose { index: 7 },
        F::Changed { index: 7 },
        F::NotLocated,
        F::RootMismatch,
        F::Proof(PROOF),
        F::Size { announced: 7, observed: 8 },
        F::Checkpoint(CheckpointError::Text),
        F::TooFewWitnesses { needed: 2 },
        F::OtherKey,
        F::OtherLog,
        F::OtherEvidence,
        F::EvidenceMissing,
        F::NoEvidence,
        F::Closed,
        F::NotClosed { lost_max: 1024, uncovered: 3 },
        F::NotAnnounced,
        F::Silent { index: 7, seconds: 100 },
        F::ClockStepped { index: 7, seconds: 100 },
        F::NoAnchors,
        F::AnchorMisplaced { size: 7 },
        F::Bracketed { widest_s: 60 },
        F::OutOfBracket { index: 7, seconds: 9 },
        F::WitnessBackwards { size: 7 },
        F::Equivocation { size: 7 },
        F::Outdated { seen: 7 },
    ];
    tell_apart(findings);
    let codes: BTreeSet<&str> = findings.iter().map(Finding::code).collect();
    assert_eq!(codes.len(), findings.len());
    assert!(codes.iter().all(|code| code.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')));
    // A time before the cosignature before it, and one after the one after it; neither says a negative number.
    let outside = |seconds| F::OutOfBracket { index: 7, seconds }.to_string();
    tell_apart([outside(-9), outside(9)]);
    assert!(outside(-9).contains(" 9 s before ") && outside(9).contains(" 9 s after "));
    let checks = [Check::Structure, Check::Order, Check::Leaves, Check::Root, Check::Signature];
    let more = [Check::Witnessed, Check::Anchors, Check::Expected, Check::Evidence, Check::Closure];
    let last = [Check::Silence, Check::Clock, Check::Brackets, Check::Earlier];
    tell_apart(checks.iter().chain(&more).chain(&last).map(|check| format!("check {}", check.name())));
}

#[test]
fn what_signs_and_what_is_personal_print_no_byte_of_it() {
    let cosigner = Cosigner::from_seed("w.example", &[8; 32]).unwrap();
    assert_eq!(format!("{cosigner:?}"), format!("Cosigner({})", cosigner.key()));
    let signer = fixture::signer();
    assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.key()));
    assert_eq!(format!("{:?}", Ciphertext::new(vec![0xab; 20]).unwrap()), "Ciphertext(20 bytes)");
    // Of a receipt everything is public.
    let receipt = Receipt::new(commit(&[7; 32], b"question"), commit(&[7; 32], b"answer"));
    let text = serde_json::to_string(&receipt).unwrap();
    assert_eq!(format!("{receipt:?}"), format!("Receipt({})", text.trim_matches('"')));
}
