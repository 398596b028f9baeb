//! Logs that name the log before them: whole chains, and each way in which one can be wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::{
    BootId, Event, EventType, ExportOptions, Follows, Hash, Log, Origin, Outcome, Predecessor, Signer, Stamp,
    export,
};
use anchorhold_dossier::{Check, Contents, Expected, Link, Report, Status, make, verify, verify_bundles};
use anchorhold_dsse::SigningKey;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

fn stamp(second: i64) -> Stamp {
    Stamp { wall_ns: (1_790_000_000 + second) * 1_000_000_000, mono_ns: 1 }
}

/// One boot of the deployment `acme`: its bundle, and what a broker would say of it after each entry.
struct Boot {
    bundle: Vec<u8>,
    heads: Vec<TreeHead>,
    folder: tempfile::TempDir,
}

/// What a log is made of.
struct Made<'a> {
    name: &'a str,
    follows: Option<Follows>,
    requests: u8,
    is_closed: bool,
    /// Another one makes another history of the same log.
    code: &'static str,
}

impl Default for Made<'_> {
    fn default() -> Self {
        Self { name: "1", follows: None, requests: 3, is_closed: true, code: "ok" }
    }
}

impl Made<'_> {
    fn boot(self) -> Boot {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let origin = origin(self.name);
        let seed = *Hash::of(origin.as_str().as_bytes()).as_bytes();
        let signer = Signer::from_seed(origin, &seed).unwrap();
        let mut log = Log::create(&path, signer, BootId::new([6; 16]), stamp(0)).unwrap();
        let mut heads = vec![TreeHead::empty(), log.head()];
        if let Some(follows) = &self.follows {
            log.append(&[follows.event(stamp(1))]).unwrap();
            heads.push(log.head());
        }
        for _ in 0..self.requests {
            let mut event = Event::new(EventType::InferComplete, Outcome::Success, stamp(2));
            event.code = anchorhold_audit_log::Code::from_static(self.code);
            log.append(&[event]).unwrap();
            heads.push(log.head());
        }
        if self.is_closed {
            log.end(stamp(9)).unwrap();
            heads.push(log.head());
        } else {
            log.checkpoint().unwrap();
        }
        Boot { bundle: exported(&path, None), heads, folder: dir }
    }
}

fn exported(path: &Path, range: Option<Range<u64>>) -> Vec<u8> {
    let mut bundle = Vec::new();
    export(path, &mut bundle, &ExportOptions { range }).unwrap();
    bundle
}

impl Boot {
    /// The same log, of which these entries were exported.
    fn part(&self, range: Range<u64>) -> Vec<u8> {
        exported(&self.folder.path().join("log"), Some(range))
    }

    /// What the boot after it writes down when so many of its entries had been cosigned.
    fn at(&self, name: &str, size: usize) -> Predecessor {
        let head = self.heads[size];
        Predecessor { closed: false, origin: origin(name), root: head.root, size: head.size }
    }

    fn closed(&self, name: &str) -> Predecessor {
        Predecessor { closed: true, ..self.at(name, self.heads.len() - 1) }
    }
}

fn origin(name: &str) -> Origin {
    Origin::new(&format!("acme/{name}")).unwrap()
}

fn follows(log: Predecessor) -> Option<Follows> {
    Some(Follows::Log(log))
}

fn judged_bundles(bundles: &[&[u8]]) -> Report {
    let names: Vec<String> = (0..bundles.len()).map(|at| format!("{at}.tar")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    verify_bundles(&names, |at| Ok(bundles[at]), &Expected::default()).unwrap()
}

fn judged(boots: &[&Boot]) -> Report {
    judged_bundles(&boots.iter().map(|boot| boot.bundle.as_slice()).collect::<Vec<_>>())
}

fn chain(boots: &[&Boot]) -> (Status, String) {
    of_chain(&judged(boots))
}

fn of_chain(report: &Report) -> (Status, String) {
    let verdict = report.verdict(Check::Chain).unwrap();
    (verdict.status, verdict.detail.clone())
}

fn first() -> Boot {
    Made { follows: Some(Follows::Nothing), ..Made::default() }.boot()
}

#[test]
fn boots_that_follow_one_another_are_found_to_in_any_order() {
    let one = first();
    let two = Made { name: "2", follows: follows(one.closed("1")), ..Made::default() }.boot();
    // The second was not closed when the third began.
    let three = Made { name: "3", follows: follows(two.at("2", 4)), ..Made::default() }.boot();
    for order in [[&one, &two, &three], [&three, &two, &one], [&two, &three, &one]] {
        let (status, detail) = chain(&order);
        assert_eq!((status, detail.as_str()), (Status::Passed, "3 logs follow one another"));
    }
    let report = judged(&[&one, &two, &three]);
    assert_eq!(report.logs[0].follows, Link::First);
    assert!(matches!(&report.logs[2].follows, Link::Holds { log } if log.size == 4));
    assert!(report.to_text().contains("acme/1 at 6 entries, closed; it is here"), "{}", report.to_text());
    assert_eq!(report.to_json()["logs"][1]["follows"]["state"], "holds");
}

#[test]
fn case_29_a_log_that_was_set_back_after_its_boot_is_found_by_the_next_one() {
    let whole = Made { is_closed: false, ..Made::default() }.boot();
    let two = Made { name: "2", follows: follows(whole.at("1", 4)), ..Made::default() }.boot();
    assert_eq!(chain(&[&whole, &two]).0, Status::Passed);
    // The host kept an older disk: its log proves itself, and is two entries short.
    let cut = Made { is_closed: false, requests: 1, ..Made::default() }.boot();
    let (status, detail) = chain(&[&cut, &two]);
    assert_eq!(status, Status::Failed);
    assert!(detail.contains("acme/1 at 4 entries; it has fewer entries here"), "{detail}");
}

#[test]
fn case_29_another_history_of_the_log_before_is_found() {
    let one = first();
    let two = Made { name: "2", follows: follows(one.at("1", 3)), ..Made::default() }.boot();
    let other = Made { follows: Some(Follows::Nothing), code: "another", ..Made::default() }.boot();
    let (status, detail) = chain(&[&other, &two]);
    assert_eq!(status, Status::Failed);
    assert!(detail.contains("its first entries are others here"), "{detail}");
    // What had been cosigned was before they part.
    let two = Made { name: "2", follows: follows(one.at("1", 0)), ..Made::default() }.boot();
    assert_eq!(chain(&[&other, &two]).0, Status::Passed);
}

#[test]
fn a_log_that_grew_after_its_end_is_found() {
    let open = Made { is_closed: false, ..Made::default() }.boot();
    let named = Predecessor { closed: true, ..open.at("1", 3) };
    let two = Made { name: "2", follows: follows(named), ..Made::default() }.boot();
    let (status, detail) = chain(&[&open, &two]);
    assert_eq!(status, Status::Failed);
    assert!(detail.contains("had been closed"), "{detail}");
}

#[test]
fn case_36_one_boot_before_all_is_noted_and_one_left_out_between_is_found() {
    let one = first();
    let two = Made { name: "2", follows: follows(one.closed("1")), ..Made::default() }.boot();
    let three = Made { name: "3", follows: follows(two.closed("2")), ..Made::default() }.boot();
    let four = Made { name: "4", follows: follows(three.closed("3")), ..Made::default() }.boot();
    let (status, detail) = chain(&[&two, &three, &four]);
    assert_eq!((status, detail.as_str()), (Status::Noted, "acme/1 came before and is not here"));
    let (status, detail) = chain(&[&two, &four]);
    assert_eq!(status, Status::Failed);
    assert!(detail.contains("acme/1") && detail.contains("acme/3"), "{detail}");
    // Those of another deployment are another line.
    let mut foreign = two.closed("2");
    foreign.origin = Origin::new("other/9").unwrap();
    let other = Made { name: "5", follows: follows(foreign), ..Made::default() }.boot();
    assert_eq!(chain(&[&two, &three, &other]).0, Status::Noted);
}

#[test]
fn two_logs_behind_one_are_named_and_no_attack() {
    let one = first();
    let two = Made { name: "2", follows: follows(one.at("1", 2)), ..Made::default() }.boot();
    let three = Made { name: "3", follows: follows(one.at("1", 4)), ..Made::default() }.boot();
    let (status, detail) = chain(&[&one, &two, &three]);
    assert_eq!(status, Status::Noted);
    assert!(detail.starts_with("acme/2 and acme/3 follow acme/1"), "{detail}");
}

#[test]
fn logs_that_come_before_themselves_are_refused() {
    let head = first().heads[0];
    let named = |name| Predecessor { closed: false, origin: origin(name), root: head.root, size: 0 };
    let own = Made { follows: follows(named("1")), ..Made::default() }.boot();
    assert_eq!(chain(&[&own, &first()]).0, Status::Failed);
    let one = Made { follows: follows(named("2")), ..Made::default() }.boot();
    let two = Made { name: "2", follows: follows(named("1")), ..Made::default() }.boot();
    let (status, detail) = chain(&[&one, &two]);
    assert_eq!((status, detail.as_str()), (Status::Failed, "0.tar comes before itself"));
}

#[test]
fn parts_of_logs_are_compared_where_they_can_be() {
    let whole = first();
    let two = Made { name: "2", follows: follows(whole.at("1", 4)), ..Made::default() }.boot();
    for range in [2..6, 4..6, 1..4, 3..5] {
        let part = whole.part(range.clone());
        assert_eq!(of_chain(&judged_bundles(&[&part, &two.bundle])).0, Status::Passed, "{range:?}");
    }
    for range in [5..6, 0..3] {
        let part = whole.part(range.clone());
        let (status, detail) = of_chain(&judged_bundles(&[&part, &two.bundle]));
        assert_eq!(status, Status::Noted, "{range:?}: {detail}");
        assert!(detail.contains("outside of what was exported"), "{detail}");
    }
    let lie = Predecessor { root: Hash::new([9; 32]), ..whole.at("1", 4) };
    let two = Made { name: "2", follows: follows(lie), ..Made::default() }.boot();
    assert_eq!(of_chain(&judged_bundles(&[&whole.part(2..6), &two.bundle])).0, Status::Failed);
}

#[test]
fn what_nobody_says_is_not_judged() {
    let old = Made::default().boot();
    let told = Made { name: "2", follows: Some(Follows::NotTold), ..Made::default() }.boot();
    let (status, detail) = chain(&[&old, &told]);
    assert_eq!((status, detail.as_str()), (Status::NotApplicable, "no log says which came before it"));
    let report = judged(&[&old, &told]);
    assert_eq!((&report.logs[0].follows, &report.logs[1].follows), (&Link::Unsaid, &Link::NotTold));
    let (status, detail) = chain(&[&first()]);
    assert_eq!(status, Status::NotApplicable);
    assert!(detail.ends_with("the broker knew of none"), "{detail}");
}

#[test]
fn a_log_that_proves_nothing_says_nothing_and_shows_nothing() {
    let mut one = first();
    let two = Made { name: "2", follows: follows(one.at("1", 3)), ..Made::default() }.boot();
    let at = one.bundle.windows(14).rposition(|window| window == b"infer.complete").unwrap();
    one.bundle[at] ^= 1;
    let (status, detail) = chain(&[&one, &two]);
    assert_eq!(status, Status::Failed);
    assert!(detail.contains("what is here proves nothing"), "{detail}");
}

#[test]
fn a_dossier_is_read_again_where_its_logs_name_one_another() {
    let one = first();
    let two = Made { name: "2", follows: follows(one.at("1", 4)), ..Made::default() }.boot();
    let dossier = |boots: [&Boot; 2]| {
        let mut logs = boots.map(|boot| Cursor::new(boot.bundle.as_slice()));
        let mut contents = Contents {
            report_html: b"",
            controls_json: b"{}",
            witnesses: None,
            policies: &[],
            models: &[],
            seen: &[],
            logs: &mut logs,
            sample: None,
            verifier_sha256: None,
        };
        let mut out = Vec::new();
        make(&mut out, &mut contents, &SigningKey::from_seed(&[3; 32]).unwrap()).unwrap();
        out
    };
    let (good, mut opened) = (dossier([&one, &two]), 0);
    let open = || {
        opened += 1;
        Ok(good.as_slice())
    };
    let report = verify(open, &Expected::default()).unwrap();
    assert_eq!((report.verdict(Check::Chain).unwrap().status, opened), (Status::Passed, 2));
    // Another file under the same name, the second time: what was compared before is worth nothing.
    let three = Made { name: "2", follows: follows(one.at("1", 3)), ..Made::default() }.boot();
    let other = dossier([&one, &three]);
    let mut files = [good.as_slice(), other.as_slice()].into_iter();
    let report = verify(|| Ok(files.next().unwrap()), &Expected::default()).unwrap();
    let verdict = report.verdict(Check::Chain).unwrap();
    assert_eq!(verdict.status, Status::Failed);
    assert!(verdict.detail.contains("not compared"), "{}", verdict.detail);
}
