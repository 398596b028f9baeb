//! Evidence judged for the time by which witnesses had seen it, and entries held to their times.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_roots_pem};
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::tlog::policy::Policy;
use anchorhold_audit_log::{
    Beginning, BindingInputs, BootId, Event, EventType, ExportOptions, Hash, Log, Opening, Origin,
    Outcome as Ended, Signer, Stamp, Tee, export,
};
use anchorhold_dossier::{Check, Expected, Outcome, Report, Status, Trusted, verify_bundles};
use anchorhold_rats::{Ed25519PublicKey, KeyBinding, Measurement, Nonce, Purpose, Sha256Digest, Timestamp};
use anchorhold_relying_party::Accepted;

const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
const BASE_S: i64 = 1_790_000_000;

fn stamp(second: i64) -> Stamp {
    let mono_ns = u64::try_from(second.max(0)).unwrap() * 1_000_000_000;
    Stamp { wall_ns: (BASE_S + second) * 1_000_000_000, mono_ns }
}

fn witness() -> Cosigner {
    Cosigner::from_seed("w.example", &[8; 32]).unwrap()
}

/// The bundle of a guest's log of three minutes, which begins with evidence for its key; the clock of its last entry is `off` seconds off.
fn guest_log(off: i64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let origin = Origin::new("acme/1").unwrap();
    let signer = Signer::from_seed(origin.clone(), &[5; 32]).unwrap();
    let [release_key, tls_key] = [3, 2].map(|byte| [byte; 32]);
    let binding = KeyBinding {
        purpose: Purpose::Log,
        nonce: Nonce::new([0; 32]),
        tls_key: Sha256Digest::new(tls_key),
        release_key: Sha256Digest::new(release_key),
        audit_key: Ed25519PublicKey::new(*signer.key().public_key().as_bytes()),
        context: Sha256Digest::of(origin.as_str().as_bytes()),
        gpu_evidence: Sha256Digest::of(b""),
    };
    let at = Timestamp::from_unix_seconds(BASE_S);
    let guest = SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at).unwrap();
    let opening = Opening::Attested {
        evidence_json: serde_json::to_vec(&guest.attest(&binding.report_data()).unwrap()).unwrap(),
        inputs: BindingInputs::of_log(&origin, Hash::new(release_key), Hash::new(tls_key)),
        tee: Tee::SnpSimulated,
    };
    let beginning = Beginning { opening, ..Beginning::new(signer, BootId::new([6; 16]), stamp(0)) };
    let mut log = Log::begin(&path, beginning).unwrap();
    for minute in 0..3 {
        let at = Stamp {
            wall_ns: stamp(minute * 60 + if minute == 2 { off } else { 0 }).wall_ns,
            ..stamp(minute * 60)
        };
        log.append(&[Event::new(EventType::InferComplete, Ended::Success, at)]).unwrap();
        let note = log.checkpoint().unwrap();
        let text = Note::parse(&note).unwrap().unverified_text().to_owned();
        let line = witness().cosign(&text, u64::try_from(BASE_S + minute * 60).unwrap());
        let size = log.size();
        log.store_cosigned(&[note.as_slice(), line.as_bytes()].concat(), size, at).unwrap();
    }
    let mut out = Vec::new();
    export(&path, &mut out, &ExportOptions::default()).unwrap();
    out
}

/// The auditor's knowledge; the certificates of the evidence are of another century than `at`.
fn expected(witnesses: Option<&Cosigner>) -> Expected {
    let accepted = Accepted {
        measurements: vec![MEASUREMENT],
        dangerous_simulated_roots: Some(simulated_roots_pem()),
        ..Accepted::default()
    };
    let at: Timestamp = "1990-01-01T00:00:00Z".parse().unwrap();
    let trust = accepted.trust(at).unwrap();
    let policy = |witness: &Cosigner| format!("witness w {}\nquorum w\n", witness.key());
    Expected {
        trusted: Some(Trusted { anchors: trust.anchors, policies: vec![trust.policy], at }),
        witnesses: witnesses.map(|witness| Policy::parse(policy(witness).as_bytes()).unwrap()),
        ..Expected::default()
    }
}

fn judged(bundle: &[u8], expected: &Expected) -> Report {
    verify_bundles(&["log.tar"], |_| Ok(bundle), expected).unwrap()
}

#[test]
fn case_48_evidence_is_judged_for_when_witnesses_had_seen_it() {
    let bundle = guest_log(0);
    let report = judged(&bundle, &expected(Some(&witness())));
    assert_eq!(report.outcome(), Outcome::Accepted, "{}", report.to_text());
    let attestation = report.logs[0].attestation.as_ref().unwrap();
    assert!(attestation.is_witnessed);
    assert_eq!(attestation.at, Timestamp::from_unix_seconds(BASE_S));
    assert!(report.verdict(Check::Keys).unwrap().detail.contains("when witnesses had seen"));
    let times = report.verdict(Check::Times).unwrap();
    assert_eq!(times.status, Status::Passed);
    assert_eq!(times.detail, "entries of 1 logs lie between cosignatures at most 60 s apart");
    // Without a witness's word, the time that was given counts.
    let report = judged(&bundle, &expected(None));
    assert_eq!(report.outcome(), Outcome::NotAuthentic, "{}", report.to_text());
    assert!(!report.logs[0].attestation.as_ref().unwrap().is_witnessed);
    assert_eq!(report.verdict(Check::Times).unwrap().status, Status::NotApplicable);
    // And a witness that nobody named has no word: neither its time nor its quorum counts.
    let stranger = Cosigner::from_seed("w.example", &[1; 32]).unwrap();
    let report = judged(&bundle, &expected(Some(&stranger)));
    assert_eq!(report.outcome(), Outcome::NotProven);
    assert!(!report.logs[0].attestation.as_ref().unwrap().is_witnessed);
}

#[test]
fn case_32_an_entry_outside_of_its_bracket_is_noted_with_its_index() {
    let report = judged(&guest_log(7200), &expected(Some(&witness())));
    let verdict = report.verdict(Check::Times).unwrap();
    assert_eq!(verdict.status, Status::Noted);
    assert!(verdict.detail.contains("entry 3 says a time 7200 s after"), "{}", verdict.detail);
    assert_eq!(report.outcome(), Outcome::Accepted);
}
