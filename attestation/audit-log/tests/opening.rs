//! Evidence that a log begins with: entry 0 names it, bundles carry it, and what comes later does not take its place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

mod fixture;

use anchorhold_audit_log::{
    Beginning, BindingInputs, BindingPurpose, Check, Code, Entry, Expectations, ExportOptions, Finding, Hash,
    Log, LogError, MAX_EVIDENCE_BYTES, Opening, Origin, Outcome, Setting, Status, Tee, export, export_jsonl,
    verify,
};
use fixture::{EVIDENCE, binding, boot, bundle_of, member, pack, request_event, signer, stamp, unpack};
use std::path::Path;

const OPENING: &[u8] = br#"{"tee":"snp","report":"AwQ=","certificates":[],"gpus":[]}"#;

fn inputs() -> BindingInputs {
    BindingInputs::of_log(&Origin::new("test.example/0011").unwrap(), Hash::new([3; 32]), Hash::new([2; 32]))
}

fn attested(evidence: &[u8]) -> Opening {
    Opening::Attested { evidence_json: evidence.to_vec(), inputs: inputs(), tee: Tee::SnpSimulated }
}

fn setting() -> Setting {
    Setting {
        approved_by: Vec::new(),
        name: Code::from_static("settings"),
        new: Some(Hash::new([9; 32])),
        old: None,
    }
}

/// A closed log of five entries that begins so.
fn write(path: &Path, opening: Opening) {
    let beginning =
        Beginning { opening, setting: Some(setting()), ..Beginning::new(signer(), boot(), stamp(0)) };
    let mut log = Log::begin(path, beginning).unwrap();
    log.record_evidence(EVIDENCE, &binding(), Tee::SnpSimulated, stamp(1)).unwrap();
    log.append(&[request_event(2), request_event(3)]).unwrap();
    log.close(stamp(4)).unwrap();
}

fn entries(path: &Path) -> Vec<Entry> {
    let mut lines = Vec::new();
    export_jsonl(path, &mut lines).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Entry::from_bytes(line).unwrap())
        .collect()
}

#[test]
fn entry_0_names_the_evidence_of_the_bundle_and_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, attested(OPENING));
    let entries = entries(&path);
    let named = |at: usize| entries[at].platform.as_ref().and_then(|platform| platform.evidence);
    assert_eq!((named(0), named(1)), (Some(Hash::of(OPENING)), Some(Hash::of(EVIDENCE))));
    assert_eq!(entries[0].cfg, Some(setting()));
    let report = verify(bundle_of(&path).as_slice(), &Expectations::default()).unwrap();
    assert!(report.is_accepted(), "{:?}", report.verdicts);
    assert_eq!(report.verdict(Check::Evidence).unwrap().status, Status::Passed);
    assert_eq!(report.evidence.as_deref(), Some(OPENING));
    let claimed = report.manifest.unwrap().binding.unwrap();
    assert_eq!(claimed, inputs());
    assert_eq!((claimed.purpose, claimed.nonce), (BindingPurpose::Log, Hash::new([0; 32])));
    // What the key was asked for with stays beside the log.
    assert_eq!(std::fs::read(path.join("release-evidence.json")).unwrap(), EVIDENCE);
}

#[test]
fn other_evidence_in_a_bundle_is_not_that_which_entry_0_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, attested(OPENING));
    let finding = |change: &dyn Fn(&mut fixture::Members)| {
        let mut members = unpack(&bundle_of(&path));
        change(&mut members);
        let report = verify(pack(&members).as_slice(), &Expectations::default()).unwrap();
        assert!(!report.is_accepted());
        report.verdict(Check::Evidence).unwrap().finding
    };
    // That of the release is named too, and later.
    let of_release = finding(&|members| {
        *member(members, "evidence.json") = EVIDENCE.to_vec();
        let manifest = String::from_utf8(member(members, "manifest.json").clone()).unwrap();
        let named = |evidence| Hash::of(evidence).to_string();
        *member(members, "manifest.json") = manifest.replace(&named(OPENING), &named(EVIDENCE)).into_bytes();
    });
    assert_eq!(of_release, Finding::OtherEvidence);
    assert_eq!(finding(&|members| member(members, "evidence.json")[9] ^= 1), Finding::OtherEvidence);
}

#[test]
fn a_log_whose_evidence_could_not_be_made_says_so_and_may_have_some_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, Opening::Failed(Code::from_static("attester_failed")));
    let first = entries(&path).swap_remove(0);
    assert_eq!((first.out, first.code), (Outcome::Failure, Code::from_static("attester_failed")));
    assert_eq!(first.platform, None);
    let report = verify(bundle_of(&path).as_slice(), &Expectations::default()).unwrap();
    assert!(report.is_accepted());
    assert_eq!(report.evidence.as_deref(), Some(EVIDENCE), "that of the release");
}

#[test]
fn a_range_without_entry_0_carries_its_evidence_and_cannot_show_that_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, attested(OPENING));
    let mut bundle = Vec::new();
    export(&path, &mut bundle, &ExportOptions { range: Some(2..4) }).unwrap();
    let report = verify(bundle.as_slice(), &Expectations::default()).unwrap();
    assert!(report.is_accepted());
    assert_eq!(report.evidence.as_deref(), Some(OPENING));
    assert_eq!(report.verdict(Check::Evidence).unwrap().finding, Finding::NotInRange);
}

#[test]
fn evidence_over_the_limit_begins_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let opening = attested(&vec![b' '; MAX_EVIDENCE_BYTES + 1]);
    let beginning = Beginning { opening, ..Beginning::new(signer(), boot(), stamp(0)) };
    let refused = Log::begin(&dir.path().join("log"), beginning).unwrap_err();
    assert!(
        matches!(refused, LogError::EvidenceTooLong { observed_bytes } if observed_bytes == MAX_EVIDENCE_BYTES + 1)
    );
}
