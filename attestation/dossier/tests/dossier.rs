//! Each question about a dossier answered with yes, and with no for its own reason and no other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_roots_pem};
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::tlog::policy::Policy;
use anchorhold_audit_log::{
    Beginning, BindingInputs, BindingPurpose, BootId, Decision, Event, EventType, ExportOptions, Follows,
    Hash, Log, LogReader, LogState, Model, ModelId, Opening, Origin, Outcome as Ended, Platform, PolicyId,
    Signer, Stamp, Tee, VerifierKey, export,
};
use anchorhold_audit_report::Sample;
use anchorhold_dossier::{
    Check, Contents, Expected, MakeError, Outcome, Report, Sampled, Status, Trusted, make, verify,
    verify_bundles,
};
use anchorhold_dsse::{SigningKey, TrustedSigners};
use anchorhold_rats::{Ed25519PublicKey, KeyBinding, Measurement, Nonce, Purpose, Sha256Digest, Timestamp};
use anchorhold_relying_party::Accepted;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::LazyLock;

const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
const RELEASE_POLICY: &[u8] = b"the release policy";
const MODEL: &[u8] = b"the manifest of a model";
const WITNESS_TIME: u64 = 1_790_000_000;

fn at() -> Timestamp {
    Timestamp::from_unix_seconds(1_790_000_000)
}

fn stamp(second: i64) -> Stamp {
    Stamp { wall_ns: (1_790_000_000 + second) * 1_000_000_000, mono_ns: 1 }
}

fn signer(origin: &str) -> Signer {
    let seed = *Hash::of(origin.as_bytes()).as_bytes();
    Signer::from_seed(Origin::new(origin).unwrap(), &seed).unwrap()
}

fn exporter() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).unwrap()
}

static GUEST: LazyLock<SoftwareGuest> =
    LazyLock::new(|| SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()).unwrap());

fn evidence(audit_key: [u8; 32]) -> (Vec<u8>, BindingInputs) {
    let inputs = BindingInputs {
        context: Hash::new([4; 32]),
        nonce: Hash::new([1; 32]),
        purpose: BindingPurpose::KeyRelease,
        release_key: Hash::new([3; 32]),
        tls_key: Hash::new([2; 32]),
    };
    let binding = KeyBinding {
        purpose: Purpose::KeyRelease,
        nonce: Nonce::new([1; 32]),
        tls_key: Sha256Digest::new([2; 32]),
        release_key: Sha256Digest::new([3; 32]),
        audit_key: Ed25519PublicKey::new(audit_key),
        context: Sha256Digest::new([4; 32]),
        gpu_evidence: Sha256Digest::of(b""),
    };
    let evidence = GUEST.attest(&binding.report_data()).unwrap();
    (serde_json::to_vec(&evidence).unwrap(), inputs)
}

fn cosigned(note: &[u8]) -> Vec<u8> {
    let text = Note::parse(note).unwrap().unverified_text().to_owned();
    let line = witness().cosign(&text, WITNESS_TIME);
    [note, line.as_bytes()].concat()
}

fn witness() -> Cosigner {
    Cosigner::from_seed("w.example", &[8; 32]).unwrap()
}

fn bundle_of(path: &Path) -> Vec<u8> {
    let note = LogReader::open(path).unwrap().checkpoint_note().to_vec();
    std::fs::write(path.join("checkpoint.cosigned"), cosigned(&note)).unwrap();
    let mut out = Vec::new();
    export(path, &mut out, &ExportOptions::default()).unwrap();
    out
}

/// A guest's log; with it the note of a checkpoint that it signed on the way.
fn guest_log(origin: &str, requests: i64) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let signer = signer(origin);
    let (evidence, inputs) = evidence(*signer.key().public_key().as_bytes());
    let mut log = Log::create(&path, signer, BootId::new([6; 16]), stamp(0)).unwrap();
    log.record_evidence(&evidence, &inputs, Tee::SnpSimulated, stamp(1)).unwrap();
    log.append(&[Follows::Nothing.event(stamp(1))]).unwrap();
    let model = |kind, second| Event {
        model: Some(Model {
            id: ModelId::new("acme/chat").unwrap(),
            manifest: Some(Hash::of(MODEL)),
            ver: Some(1),
        }),
        ..Event::new(kind, Ended::Success, stamp(second))
    };
    log.append(&[model(EventType::ModelLoad, 2)]).unwrap();
    for second in 0..requests {
        log.append(&[model(EventType::InferComplete, second)]).unwrap();
    }
    let seen = log.checkpoint().unwrap();
    log.close(stamp(9)).unwrap();
    (bundle_of(&path), seen)
}

/// The digest of the evidence in a guest's bundle.
fn evidence_of(bundle: &[u8]) -> Option<Hash> {
    let report =
        anchorhold_audit_log::verify(bundle, &anchorhold_audit_log::Expectations::default()).unwrap();
    report.evidence.map(|evidence| Hash::of(&evidence))
}

/// A broker's log that released a key to each of these logs' boots, asked for with this evidence.
fn broker_log(served: &[(&str, Option<Hash>)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::create(&path, signer("broker.example"), BootId::new([7; 16]), stamp(0)).unwrap();
    for (origin, evidence) in served {
        let mut event = Event::new(EventType::KeyRelease, Ended::Success, stamp(1));
        event.platform = evidence.map(|evidence| Platform::of_evidence(Tee::SnpSimulated, evidence));
        event.log = Some(LogState::of(Origin::new(origin).unwrap()));
        event.decision = Some(Decision {
            checks: Vec::new(),
            claims: None,
            grant: None,
            lease_s: Some(60),
            policy_digest: Hash::of(RELEASE_POLICY),
            policy_id: PolicyId::new("acme").unwrap(),
            policy_ver: 1,
        });
        log.append(&[event]).unwrap();
    }
    log.close(stamp(9)).unwrap();
    bundle_of(&path)
}

/// The contents of a dossier that every question is answered with yes for.
struct Case {
    logs: Vec<Vec<u8>>,
    seen: Vec<Vec<Vec<u8>>>,
    policies: Vec<Vec<u8>>,
    models: Vec<Vec<u8>>,
    sample: Option<Sampled>,
}

impl Case {
    fn good() -> Self {
        let (one, seen) = guest_log("acme/1", 5);
        let (two, _) = guest_log("acme/2", 0);
        let broker = broker_log(&[("acme/1", evidence_of(&one)), ("acme/2", evidence_of(&two))]);
        let logs = vec![one, two, broker];
        let drawn = logs.iter().map(|log| draw(log, "kestrel", 3)).collect();
        let sample = Some(Sampled { drawn, wanted: 3, word: "kestrel".into() });
        let policies = vec![RELEASE_POLICY.to_vec(), b"another".to_vec()];
        let models = vec![MODEL.to_vec(), b"another".to_vec()];
        Self { logs, seen: vec![vec![seen], vec![], vec![]], policies, models, sample }
    }

    fn make(&self) -> Vec<u8> {
        self.try_make().unwrap()
    }

    fn try_make(&self) -> Result<Vec<u8>, MakeError> {
        let mut out = Vec::new();
        let mut logs: Vec<Cursor<&[u8]>> = self.logs.iter().map(|log| Cursor::new(log.as_slice())).collect();
        let mut contents = Contents {
            report_html: b"<!doctype html>",
            controls_json: b"{}",
            witnesses: Some(b"quorum none\n"),
            policies: &self.policies,
            models: &self.models,
            seen: &self.seen,
            logs: &mut logs,
            sample: self.sample.clone(),
            verifier_sha256: Some(Hash::new([0xab; 32])),
        };
        make(&mut out, &mut contents, &exporter()).map(|_| out)
    }
}

fn draw(bundle: &[u8], word: &str, wanted: usize) -> Vec<u64> {
    let report =
        anchorhold_audit_log::verify(bundle, &anchorhold_audit_log::Expectations::default()).unwrap();
    let head = report.checkpoint.unwrap().head;
    let mut sample = Sample::new(head.root, word, wanted);
    (0..head.size).for_each(|index| sample.offer(index));
    sample.drawn()
}

fn expected() -> Expected {
    let accepted = Accepted {
        measurements: vec![MEASUREMENT],
        dangerous_simulated_roots: Some(simulated_roots_pem()),
        ..Accepted::default()
    };
    let trust = accepted.trust(at()).unwrap();
    let witnesses = format!("witness w {}\nquorum w\n", witness().key());
    Expected {
        exporters: Some(TrustedSigners::one(&exporter().public_key())),
        log_keys: vec![signer("broker.example").key().clone()],
        trusted: Some(Trusted { anchors: trust.anchors, policies: vec![trust.policy], at: at() }),
        witnesses: Some(Policy::parse(witnesses.as_bytes()).unwrap()),
    }
}

fn judged(dossier: &[u8], expected: &Expected) -> Report {
    verify(|| Ok(dossier), expected).unwrap()
}

fn status(report: &Report, check: Check) -> Status {
    report.verdict(check).unwrap().status
}

/// The questions that are answered with no.
fn failed(report: &Report) -> Vec<Check> {
    let failed = report.verdicts.iter().filter(|verdict| verdict.status == Status::Failed);
    failed.map(|verdict| verdict.check).collect()
}

#[test]
fn every_question_is_answered_with_yes() {
    let dossier = Case::good().make();
    let report = judged(&dossier, &expected());
    for verdict in &report.verdicts {
        assert_eq!(verdict.status, Status::Passed, "{verdict:?}\n{}", report.to_text());
    }
    let asked: Vec<Check> = report.verdicts.iter().map(|verdict| verdict.check).collect();
    assert_eq!(asked, Check::ALL);
    assert_eq!((report.outcome(), report.outcome().exit_code()), (Outcome::Accepted, 0));
    assert_eq!(report.exporter, Some(Hash::new(exporter().public_key()).to_string()));
    let json = report.to_json();
    assert_eq!((&json["verdict"], json["logs"].as_array().unwrap().len()), (&"accepted".into(), 3));
    assert!(report.to_text().ends_with("verdict        accepted\n"), "{}", report.to_text());
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    let case = Case::good();
    assert_eq!(case.make(), case.make());
}

#[test]
fn what_is_not_asked_is_not_answered() {
    let dossier = Case::good().make();
    let report = judged(&dossier, &Expected::default());
    for check in [Check::Exporter, Check::Keys, Check::Measurements, Check::Cosignatures, Check::Registry] {
        assert_eq!(status(&report, check), Status::NotApplicable, "{check:?}");
    }
    // Whose word the list of boots is, nobody said.
    assert_eq!(status(&report, Check::Boots), Status::Noted);
    assert_eq!(report.outcome(), Outcome::Accepted);
}

#[test]
fn an_unknown_exporter_is_not_authentic() {
    let dossier = Case::good().make();
    let exporters = Some(TrustedSigners::one(&[9; 32]));
    let report = judged(&dossier, &Expected { exporters, ..expected() });
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Exporter], Outcome::NotAuthentic));
}

#[test]
fn case_36_a_member_that_was_changed_or_exchanged_is_found() {
    let case = Case::good();
    let good = case.make();
    // A byte of the page: all else stands.
    let mut page = good.clone();
    let at = page.windows(15).position(|window| window == b"<!doctype html>").unwrap();
    page[at + 3] ^= 1;
    let report = judged(&page, &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Members], Outcome::NotProven));
    // Another log of the same length under the old list.
    let mut other = Case::good();
    other.logs[1] = guest_log("acme/3", 0).0;
    let other = other.make();
    assert_eq!(other.len(), good.len());
    let size = bytes_of_first(&good);
    let mixed = [&good[..size], &other[size..]].concat();
    let report = judged(&mixed, &expected());
    assert!(failed(&report).contains(&Check::Members), "{}", report.to_text());
}

/// Where the second member begins.
fn bytes_of_first(dossier: &[u8]) -> usize {
    let size = usize::from_str_radix(std::str::from_utf8(&dossier[124..135]).unwrap(), 8).unwrap();
    512 + size.div_ceil(512) * 512
}

#[test]
fn case_27_a_changed_entry_is_not_proven() {
    let mut case = Case::good();
    let at = case.logs[0].windows(14).rposition(|window| window == b"infer.complete").unwrap();
    case.logs[0][at..at + 14].copy_from_slice(b"boot.evidence\"");
    let report = judged(&case.make(), &expected());
    assert!(failed(&report).contains(&Check::Logs), "{}", report.to_text());
    assert_eq!(report.outcome(), Outcome::NotProven);
}

#[test]
fn case_28_a_boot_that_had_a_key_and_is_left_out_is_named() {
    let mut case = Case::good();
    case.logs.remove(1);
    (case.seen, case.sample) = (vec![], None);
    let report = judged(&case.make(), &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Boots], Outcome::NotProven));
    let detail = &report.verdict(Check::Boots).unwrap().detail;
    assert!(detail.ends_with("acme/2"), "{detail}");
    // Without a broker's log nobody says which boots there were.
    case.logs.pop();
    assert_eq!(status(&judged(&case.make(), &expected()), Check::Boots), Status::NotApplicable);
}

#[test]
fn a_broker_that_nobody_knows_vouches_for_nothing() {
    let dossier = Case::good().make();
    let log_keys = vec![VerifierKey::new("broker.example", [9; 32].into()).unwrap()];
    let report = judged(&dossier, &Expected { log_keys, ..expected() });
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Keys], Outcome::NotAuthentic));
    assert_eq!(status(&report, Check::Boots), Status::Noted);
}

#[test]
fn another_measurement_is_not_acceptable_and_another_root_not_authentic() {
    let dossier = Case::good().make();
    let trusted = |accepted: Accepted| {
        let trust = accepted.trust(at()).unwrap();
        Some(Trusted { anchors: trust.anchors, policies: vec![trust.policy], at: at() })
    };
    let roots = Some(simulated_roots_pem());
    let other = Measurement::new([1; 48]);
    let accepted =
        Accepted { measurements: vec![other], dangerous_simulated_roots: roots, ..Accepted::default() };
    let report = judged(&dossier, &Expected { trusted: trusted(accepted), ..expected() });
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Measurements], Outcome::NotAcceptable));
    let accepted = Accepted { measurements: vec![MEASUREMENT], ..Accepted::default() };
    let report = judged(&dossier, &Expected { trusted: trusted(accepted), ..expected() });
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Keys], Outcome::NotAuthentic));
    // A policy that accepts nothing accepts nothing.
    let mut none = expected();
    none.trusted.as_mut().unwrap().policies.clear();
    assert_eq!(judged(&dossier, &none).outcome(), Outcome::NotAcceptable);
}

#[test]
fn case_29_missing_witnesses_and_another_history_are_found() {
    let mut case = Case::good();
    let stranger = Cosigner::from_seed("w.example", &[1; 32]).unwrap();
    let policy = format!("witness w {}\nquorum w\n", stranger.key());
    let witnesses = Some(Policy::parse(policy.as_bytes()).unwrap());
    let report = judged(&case.make(), &Expected { witnesses, ..expected() });
    assert_eq!(failed(&report), [Check::Cosignatures, Check::Registry]);
    // A checkpoint of the same size that the same key signed over other entries.
    let (_, forked) = guest_log("acme/1", 5);
    case.seen[0].push(forked);
    let report = judged(&case.make(), &expected());
    assert!(failed(&report).contains(&Check::Checkpoints), "{}", report.to_text());
    assert_eq!(report.outcome(), Outcome::NotProven);
}

#[test]
fn a_policy_that_decided_and_is_not_there_is_missed() {
    let mut case = Case::good();
    case.policies.remove(0);
    let report = judged(&case.make(), &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Policies], Outcome::NotProven));
}

#[test]
fn a_manifest_that_entries_name_and_is_not_there_is_missed() {
    let mut case = Case::good();
    case.models.remove(0);
    let report = judged(&case.make(), &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Models], Outcome::NotProven));
    assert!(report.verdict(Check::Models).unwrap().detail.ends_with(&Hash::of(MODEL).to_string()));
    // Whoever puts in none claims nothing of them, and that is said.
    case.models.clear();
    let report = judged(&case.make(), &expected());
    assert_eq!((status(&report, Check::Models), report.outcome()), (Status::Noted, Outcome::Accepted));
    // A byte of a manifest: it is another.
    case.models = vec![[MODEL, b" "].concat()];
    assert_eq!(failed(&judged(&case.make(), &expected())), [Check::Models]);
    // Nothing in a broker's own log names one.
    let brokers = vec![broker_log(&[])];
    let alone = Case { logs: brokers, seen: vec![], policies: vec![], models: vec![], sample: None };
    assert_eq!(status(&judged(&alone.make(), &expected()), Check::Models), Status::NotApplicable);
}

/// Names are given by whoever starts a guest: a log under the name of a boot that had a key may be another boot's.
#[test]
fn case_28_a_log_of_another_boot_under_the_same_name_is_not_that_boots() {
    let mut case = Case::good();
    case.logs[1] = guest_log("acme/2", 0).0;
    case.sample = None;
    let report = judged(&case.make(), &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Boots], Outcome::NotProven));
    let detail = &report.verdict(Check::Boots).unwrap().detail;
    assert!(detail.starts_with("logs of other boots") && detail.ends_with(": acme/2"), "{detail}");
    // A boot gives evidence for each key it asks for, and its log names the first.
    let later = Some(Hash::new([1; 32]));
    let one = evidence_of(&case.logs[0]);
    let two = evidence_of(&case.logs[1]);
    case.logs[2] = broker_log(&[("acme/1", one), ("acme/1", later), ("acme/2", later), ("acme/2", two)]);
    assert_eq!(status(&judged(&case.make(), &expected()), Check::Boots), Status::Passed);
    // A release that names no evidence is matched by name, and that is said.
    case.logs[2] = broker_log(&[("acme/1", one), ("acme/2", None)]);
    let report = judged(&case.make(), &expected());
    assert_eq!((status(&report, Check::Boots), report.outcome()), (Status::Noted, Outcome::Accepted));
    assert!(report.verdict(Check::Boots).unwrap().detail.ends_with(": acme/2"));
}

/// The bundle of a log named `origin` and signed with the seed of `key`, which begins with evidence for the binding `of`.
fn attested_log(origin: &str, key: &Signer, of: &KeyBinding, inputs: BindingInputs) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let evidence = serde_json::to_vec(&GUEST.attest(&of.report_data()).unwrap()).unwrap();
    let opening = Opening::Attested { evidence_json: evidence, inputs, tee: Tee::SnpSimulated };
    let seed = *Hash::of(key.origin().as_str().as_bytes()).as_bytes();
    let signer = Signer::from_seed(Origin::new(origin).unwrap(), &seed).unwrap();
    let beginning = Beginning { opening, ..Beginning::new(signer, BootId::new([6; 16]), stamp(0)) };
    Log::begin(&path, beginning).unwrap().close(stamp(9)).unwrap();
    bundle_of(&path)
}

/// Evidence that was made for a log before it began: entry 0 names it, and it names the log's key and name.
#[test]
fn evidence_for_a_log_vouches_for_its_key_and_name_and_for_no_other() {
    let (key, other) = (signer("acme/1"), signer("acme/2"));
    let (tls, release) = (Hash::new([2; 32]), Hash::new([3; 32]));
    let of = |signer: &Signer| KeyBinding {
        purpose: Purpose::Log,
        nonce: Nonce::new([0; 32]),
        tls_key: Sha256Digest::new([2; 32]),
        release_key: Sha256Digest::new([3; 32]),
        audit_key: Ed25519PublicKey::new(*signer.key().public_key().as_bytes()),
        context: Sha256Digest::of(signer.origin().as_str().as_bytes()),
        gpu_evidence: Sha256Digest::of(b""),
    };
    let inputs = |origin: &str| BindingInputs::of_log(&Origin::new(origin).unwrap(), release, tls);
    let judge = |origin: &str, key: &Signer, of: KeyBinding, inputs: BindingInputs| {
        let bundle = attested_log(origin, key, &of, inputs);
        verify_bundles(&["bundle.tar"], |_| Ok(bundle.as_slice()), &expected()).unwrap()
    };
    let good = judge("acme/1", &key, of(&key), inputs("acme/1"));
    assert_eq!((failed(&good), good.outcome()), (vec![], Outcome::Accepted), "{}", good.to_text());
    assert_eq!(good.logs[0].attestation.as_ref().unwrap().measurement, Some(MEASUREMENT));
    let of_release = KeyBinding { purpose: Purpose::KeyRelease, ..of(&key) };
    let refused = [
        ("under another name", judge("acme/2", &key, of(&key), inputs("acme/2"))),
        ("under another name, with the inputs of its own", judge("acme/2", &key, of(&key), inputs("acme/1"))),
        ("under another key", judge("acme/1", &other, of(&key), inputs("acme/1"))),
        ("of another log", judge("acme/1", &key, of(&other), inputs("acme/1"))),
        ("made for a release", judge("acme/1", &key, of_release, inputs("acme/1"))),
    ];
    for (what, report) in refused {
        assert_eq!(failed(&report), [Check::Keys], "{what}: {}", report.to_text());
        assert_eq!(report.outcome(), Outcome::NotAuthentic, "{what}");
        let checks = &report.logs[0].attestation.as_ref().unwrap().checks;
        assert!(checks.failed().any(|check| check.code == "snp_report_data"), "{what}: {checks:?}");
    }
}

#[test]
fn a_sample_that_was_picked_is_not_the_one_that_is_drawn() {
    let mut case = Case::good();
    let sample = case.sample.as_mut().unwrap();
    // Ids are random, so that any three may be the ones that are drawn.
    sample.drawn[0] = if sample.drawn[0] == [0, 1, 2] { vec![1, 2, 3] } else { vec![0, 1, 2] };
    let report = judged(&case.make(), &expected());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Sample], Outcome::NotProven));
}

#[test]
fn a_log_that_did_not_end_on_purpose_is_noted_with_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let signer = signer("acme/9");
    let (evidence, inputs) = evidence(*signer.key().public_key().as_bytes());
    let mut log = Log::create(&path, signer, BootId::new([6; 16]), stamp(0)).unwrap();
    log.record_evidence(&evidence, &inputs, Tee::SnpSimulated, stamp(1)).unwrap();
    drop(log);
    let case =
        Case { logs: vec![bundle_of(&path)], seen: vec![], policies: vec![], models: vec![], sample: None };
    let report = judged(&case.make(), &expected());
    assert_eq!((status(&report, Check::Endings), report.outcome()), (Status::Noted, Outcome::Accepted));
    assert!(report.verdict(Check::Endings).unwrap().detail.contains("at most 1024 entries"));
}

#[test]
fn case_36_every_cut_is_refused_and_nothing_may_follow() {
    let case = Case {
        logs: vec![guest_log("acme/1", 0).0],
        seen: vec![],
        policies: vec![],
        models: vec![],
        sample: None,
    };
    let good = case.make();
    assert_eq!(judged(&good, &Expected::default()).outcome(), Outcome::Accepted);
    for length in (0..good.len()).step_by(97).chain(good.len() - 1030..good.len()) {
        let report = judged(&good[..length], &Expected::default());
        assert_eq!(report.outcome(), Outcome::NotProven, "cut at {length}");
    }
    let longer = [good.as_slice(), b"\0"].concat();
    assert_eq!(failed(&judged(&longer, &Expected::default())), [Check::Structure]);
    assert_eq!(failed(&judged(b"", &Expected::default())), [Check::Structure]);
}

#[test]
fn case_36_endless_zeros_are_given_up_at_once() {
    let good = Case::good().make();
    for start in [0, 512, bytes_of_first(&good), good.len() - 2000] {
        let open = || Ok(Cursor::new(good[..start].to_vec()).chain(std::io::repeat(0).take(1 << 40)));
        assert_eq!(verify(open, &Expected::default()).unwrap().outcome(), Outcome::NotProven, "from {start}");
    }
}

#[test]
fn refuses_to_make_what_it_would_not_read() {
    let mut case = Case::good();
    case.logs.clear();
    assert!(matches!(case.try_make(), Err(MakeError::Limits)));
    let mut case = Case::good();
    case.policies = vec![Vec::new(); 257];
    assert!(matches!(case.try_make(), Err(MakeError::Limits)));
    let mut case = Case::good();
    case.sample.as_mut().unwrap().drawn.pop();
    assert!(matches!(case.try_make(), Err(MakeError::Limits)));
}

#[test]
fn the_bundle_of_one_log_is_asked_the_same_questions() {
    let (bundle, _) = guest_log("acme/1", 2);
    let report = verify_bundles(&["bundle.tar"], |_| Ok(bundle.as_slice()), &expected()).unwrap();
    assert_eq!((failed(&report), report.outcome()), (vec![], Outcome::Accepted));
    for check in [Check::Logs, Check::Keys, Check::Measurements, Check::Cosignatures, Check::Endings] {
        assert_eq!(status(&report, check), Status::Passed, "{check:?}");
    }
    let report = verify_bundles(&["bundle.tar"], |_| Ok(&bundle[..bundle.len() / 2]), &expected()).unwrap();
    assert_eq!(report.outcome(), Outcome::NotProven);
}

/// Each detail of the answers, without which a reader would have to believe a word.
#[test]
fn each_answer_says_what_it_rests_on() {
    let report = judged(&Case::good().make(), &expected());
    let detail = |check| report.verdict(check).unwrap().detail.as_str();
    assert_eq!(detail(Check::Structure), "13 members");
    assert_eq!(detail(Check::Exporter), format!("signed by {}", Hash::new(exporter().public_key())));
    assert_eq!(detail(Check::Logs), "3 logs prove their entries");
    assert!(detail(Check::Keys).starts_with("every log's key is vouched for or known as of "));
    assert_eq!(detail(Check::Measurements), "2 guests are what is accepted");
    assert_eq!(detail(Check::Cosignatures), "2 logs have the quorum");
    assert_eq!(detail(Check::Registry), "1 logs have the quorum");
    assert_eq!(detail(Check::Boots), "all 2 boots that had a key have their log here");
    assert_eq!(detail(Check::Policies), "all 1 policies that decided are here");
    assert_eq!(detail(Check::Models), "the manifests of all 1 models are here");
    assert_eq!(detail(Check::Sample), "the word `kestrel` draws it again");
    let (bundle, _) = guest_log("acme/1", 2);
    let of = |names: &[&str]| verify_bundles(names, |_| Ok(bundle.as_slice()), &expected()).unwrap();
    let one = of(&["log.tar"]);
    let detail = |report: &Report, check| report.verdict(check).unwrap().detail.clone();
    assert_eq!(detail(&one, Check::Structure), "the bundle of one log");
    assert_eq!(
        detail(&one, Check::Chain),
        "a bundle is of one boot; the boot before it: the broker knew of none"
    );
    assert_eq!(detail(&of(&["a.tar", "b.tar"]), Check::Structure), "the bundles of 2 logs");
}

/// A list that grew with a hostile log would hide what else is wrong.
#[test]
fn of_many_that_are_missing_the_first_are_named_and_the_rest_counted() {
    let missing = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("acme/{at}")).collect();
        let served: Vec<(&str, Option<Hash>)> = names.iter().map(|name| (name.as_str(), None)).collect();
        let logs = vec![broker_log(&served)];
        let case = Case { logs, seen: vec![], policies: vec![], models: vec![], sample: None };
        judged(&case.make(), &expected()).verdict(Check::Boots).unwrap().detail.clone()
    };
    let five = "acme/0, acme/1, acme/2, acme/3, acme/4";
    assert_eq!(missing(5), format!("5 boots had a key and have no log here: {five}"));
    assert_eq!(missing(8), format!("8 boots had a key and have no log here: {five} and 3 more"));
}

#[test]
fn more_bundles_than_may_be_are_not_opened() {
    let refused = |count: usize| {
        let open = |_| Err::<&[u8], _>(std::io::Error::other("opened"));
        verify_bundles(&vec!["log.tar"; count], open, &Expected::default()).unwrap_err()
    };
    assert_eq!(refused(256).to_string(), "opened");
    assert_eq!(refused(257).kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn names_in_reports_and_codes_of_outcomes_are_each_their_own() {
    let distinct = |names: &[&str]| {
        let set: std::collections::BTreeSet<&&str> = names.iter().collect();
        set.len() == names.len() && names.iter().all(|name| name.len() > 3)
    };
    assert!(distinct(&Check::ALL.map(Check::name)));
    let statuses = [Status::Passed, Status::Failed, Status::Noted, Status::NotApplicable];
    assert!(distinct(&statuses.map(Status::name)));
    let outcomes = [
        Outcome::Accepted,
        Outcome::NotAuthentic,
        Outcome::NotAcceptable,
        Outcome::EndorsementsUnavailable,
        Outcome::NotProven,
    ];
    assert!(distinct(&outcomes.map(Outcome::name)));
    // As the README in a dossier tells them.
    assert_eq!(outcomes.map(Outcome::exit_code), [0, 3, 4, 5, 6]);
}

#[test]
fn a_report_for_people_and_one_for_programs_say_the_same() {
    let report = judged(&Case::good().make(), &expected());
    let (text, json) = (report.to_text(), report.to_json());
    for verdict in &report.verdicts {
        let line = text.lines().rfind(|line| line.starts_with(verdict.check.name())).unwrap();
        assert!(line.contains(verdict.status.name()) && line.ends_with(&verdict.detail), "{line}");
    }
    for (at, log) in report.logs.iter().enumerate() {
        let manifest = log.bundle.manifest.as_ref().unwrap();
        assert!(text.contains(&format!("{:12} {}\n", log.name, manifest.origin)), "{text}");
        let of_log = &json["logs"][at];
        assert_eq!(of_log["origin"], manifest.origin.as_str());
        let checks = of_log["checks"].as_array().unwrap();
        assert_eq!(checks.len(), log.bundle.verdicts.len());
        for (check, verdict) in checks.iter().zip(&log.bundle.verdicts) {
            assert_eq!(check["check"], verdict.check.name());
            assert_eq!(check["finding"], verdict.finding.code());
            assert_eq!(check["detail"], verdict.finding.to_string());
            let status = check["status"].as_str().unwrap();
            let words = format!("    {:14} {status:15} {}\n", verdict.check.name(), verdict.finding);
            assert!(text.contains(&words), "{words}");
        }
    }
    assert!(text.contains("(simulated: nothing is protected)"));
}

#[test]
fn what_a_dossier_was_not_made_for_is_said() {
    use std::error::Error as _;
    let io = MakeError::Io(std::io::Error::other("full"));
    assert_eq!(
        (io.to_string(), io.source().unwrap().to_string()),
        ("write the dossier: full".into(), "full".into())
    );
    let mut case = Case::good();
    case.logs.clear();
    let limits = case.try_make().unwrap_err();
    assert!(limits.source().is_none() && limits.to_string().contains("more than a dossier may hold"));
    assert!(MakeError::Changed { log: 7 }.to_string().contains("bundle 7"));
    // A bundle that reads otherwise the second time.
    struct Growing(Cursor<Vec<u8>>);
    impl Read for Growing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl std::io::Seek for Growing {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            if let Some(byte) = self.0.get_mut().last_mut() {
                *byte ^= 1;
            }
            self.0.seek(to)
        }
    }
    let mut logs = [Growing(Cursor::new(guest_log("acme/1", 0).0))];
    let mut contents = Contents {
        report_html: b"",
        controls_json: b"",
        witnesses: None,
        policies: &[],
        models: &[],
        seen: &[],
        logs: &mut logs,
        sample: None,
        verifier_sha256: None,
    };
    let changed = make(Vec::new(), &mut contents, &exporter()).unwrap_err();
    assert!(matches!(changed, MakeError::Changed { log: 0 }), "{changed}");
}

/// What an auditor without our programs reads first.
#[test]
fn the_readme_names_the_exporter_the_verifier_and_the_exit_codes() {
    let dossier = Case::good().make();
    let at = dossier.windows(20).position(|window| window == b"Anchorhold audit dos").unwrap();
    let readme = String::from_utf8_lossy(&dossier[at..at + 4096]).into_owned();
    for wanted in [
        format!("--exporter {}", Hash::new(exporter().public_key())),
        format!("SHA-256 {}", Hash::new([0xab; 32])),
        "4 not acceptable, 5 endorsements unavailable".to_owned(),
        "manifest.dsse.json".to_owned(),
        "log-NNN.tar".to_owned(),
    ] {
        assert!(readme.contains(&wanted), "{wanted}\n{readme}");
    }
}

/// Evidence that nothing ties to the log's key is evidence for nobody.
#[test]
fn evidence_without_the_inputs_of_its_report_data_vouches_for_nothing() {
    let (bundle, _) = guest_log("acme/1", 0);
    let size = bytes_of_first(&bundle);
    let manifest = String::from_utf8(bundle[512..size].to_vec()).unwrap();
    let (before, rest) = manifest.trim_end_matches('\0').split_once("\"binding\":{").unwrap();
    let (_, after) = rest.split_once('}').unwrap();
    let without = format!("{before}\"binding\":null{after}");
    let mut first = bundle[..512].to_vec();
    first[124..135].copy_from_slice(format!("{:011o}", without.len()).as_bytes());
    first[148..156].copy_from_slice(b"        ");
    let sum: u32 = first.iter().map(|byte| u32::from(*byte)).sum();
    first[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    first.extend_from_slice(without.as_bytes());
    first.resize(first.len().next_multiple_of(512), 0);
    let changed = [first.as_slice(), &bundle[size..]].concat();
    let report = verify_bundles(&["log.tar"], |_| Ok(changed.as_slice()), &expected()).unwrap();
    assert_eq!(status(&report, Check::Logs), Status::Passed, "{}", report.to_text());
    assert_eq!((failed(&report), report.outcome()), (vec![Check::Keys], Outcome::NotAuthentic));
    let checks = &report.logs[0].attestation.as_ref().unwrap().checks;
    assert!(checks.failed().any(|check| check.code == "audit_evidence"), "{checks:?}");
}

#[test]
fn a_read_that_was_interrupted_goes_on_and_one_that_failed_does_not() {
    struct Failing(Cursor<Vec<u8>>, Option<std::io::ErrorKind>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1.take().map_or_else(|| self.0.read(buffer), |kind| Err(kind.into()))
        }
    }
    impl std::io::Seek for Failing {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let (bundle, _) = guest_log("acme/1", 0);
    let made = |failing| {
        let mut logs = [Failing(Cursor::new(bundle.clone()), failing)];
        let mut contents = Contents {
            report_html: b"",
            controls_json: b"",
            witnesses: None,
            policies: &[],
            models: &[],
            seen: &[],
            logs: &mut logs,
            sample: None,
            verifier_sha256: None,
        };
        let mut out = Vec::new();
        make(&mut out, &mut contents, &exporter()).map(|_| out)
    };
    let good = made(None).unwrap();
    assert!(made(Some(std::io::ErrorKind::Interrupted)).unwrap() == good);
    let failed = made(Some(std::io::ErrorKind::UnexpectedEof)).unwrap_err();
    assert!(matches!(failed, MakeError::Io(_)), "{failed}");
}
