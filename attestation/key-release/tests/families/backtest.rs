//! A policy asked about every decision of a log: each is counted once, under what became of it.

use crate::exchange::{ask, judge, pseudonyms, terms};
use crate::machine::Machine;
use anchorhold_audit_log::claims::Claims;
use anchorhold_audit_log::{
    BootId, Claim, Code, Decision, Entry, Event, EventType, GrantId, Hash, Key, KeyId, KeyOperation, Model,
    ModelId, Outcome, PolicyId, Request, RequestId, Route, Stamp, encode_entry,
};
use anchorhold_key_release::{Backtest, Ending, Machines, ReleasePolicy};
use anchorhold_rats::{Measurement, Timestamp};

const CHAT: &str = include_str!("../../../../policies/release/chat-prod.toml");
const TDX: &str = include_str!("../../../../policies/release/tdx-guests.toml");

fn at() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn read(text: &str) -> ReleasePolicy {
    ReleasePolicy::from_toml(text).unwrap()
}

fn claims_of(policy: &str, machine: &str) -> Claims {
    let machine: Machine = toml::from_str(machine).unwrap();
    let exchange = ask(&machine, "acme/chat-70b", at(), |_| {});
    match judge(&read(policy), &exchange, &[terms("acme/chat-70b", 7, 0x33, "k1")]) {
        Ok(grant) => grant.claims().unwrap().clone(),
        Err(refusal) => refusal.claims().unwrap().clone(),
    }
}

fn claims() -> Claims {
    claims_of(CHAT, "snp = { measurement = \"a1\", chip = \"0d\" }")
}

/// The event of a decision about these claims.
fn event(kind: EventType, outcome: Outcome, code: &'static str, claims: Option<Claims>) -> Event {
    let wall_ns = at().unix_seconds() * 1_000_000_000 + 999_999_999;
    let mut event = Event::new(kind, outcome, Stamp { wall_ns, mono_ns: 1 });
    event.code = Code::from_static(code);
    event.decision = Some(Decision {
        checks: Vec::new(),
        claims,
        grant: (outcome == Outcome::Success).then(|| GrantId::new("chat-prod").unwrap()),
        lease_s: None,
        policy_digest: Hash::new([1; 32]),
        policy_id: PolicyId::new("acme").unwrap(),
        policy_ver: 1,
    });
    if outcome == Outcome::Success {
        let manifest = Some(Hash::new([0x33; 32]));
        event.model = Some(Model { id: ModelId::new("acme/chat-70b").unwrap(), manifest, ver: Some(7) });
        event.key = Some(Key { kid: KeyId::new("k1").unwrap(), op: KeyOperation::Release, kek: None });
    }
    event
}

fn entry(event: &Event, seq: u64) -> Entry {
    Entry::from_bytes(&encode_entry(event, seq, BootId::new([1; 16])).unwrap()).unwrap()
}

/// What `policy` says of these events, which stand in the log in this order.
fn backtest(policy: &str, events: &[Event]) -> Backtest {
    let (policy, key) = (read(policy), pseudonyms());
    let mut found = Backtest::default();
    for (seq, event) in (0..).zip(events) {
        found.add(&policy, &entry(event, seq), Machines::Compared(&key));
    }
    found
}

fn released() -> Event {
    event(EventType::KeyRelease, Outcome::Success, "ok", Some(claims()))
}

fn refused() -> Event {
    event(EventType::KeyRefuse, Outcome::Denied, "model_refused", Some(claims()))
}

/// Every number of a backtest, in the order of its fields.
fn counts(found: &Backtest) -> [u64; 8] {
    [
        found.releases,
        found.refusals,
        found.releases_refused,
        found.refusals_released,
        found.without_claims,
        found.of_no_policy,
        found.unreadable,
        found.of_resources,
    ]
}

#[test]
fn the_policy_of_the_log_changes_nothing() {
    let renewed = Event { kind: EventType::KeyRenew, ..released() };
    let found = backtest(CHAT, &[released(), renewed, released()]);
    assert_eq!((counts(&found), found.changed.len()), ([3, 0, 0, 0, 0, 0, 0, 0], 0));
    assert!(found.is_unchanged());
    // Refused then and now, for another reason.
    let found = backtest(&CHAT.replace("snp = 23", "snp = 99"), &[refused(), refused()]);
    assert_eq!((counts(&found), found.changed.len()), ([0, 2, 0, 0, 0, 0, 0, 0], 0));
    assert!(found.is_unchanged());
}

#[test]
fn a_release_that_would_be_refused_is_told_with_the_rule() {
    let found = backtest(&CHAT.replace("snp = 23", "snp = 99"), &[refused(), released(), released()]);
    assert_eq!(counts(&found), [2, 1, 2, 0, 0, 0, 0, 0]);
    assert!(!found.is_unchanged());
    let [first, second] = found.changed.as_slice() else { panic!("two changes") };
    assert_eq!((first.index, second.index, first.at), (1, 2, at()));
    assert_eq!(first.measurement, Measurement::new([0xa1; 48]));
    assert_eq!(first.model.as_deref(), Some("acme/chat-70b"));
    assert_eq!(first.then, Ending::Released { grant: "chat-prod".to_owned() });
    assert_eq!(first.now, Ending::Refused { code: "snp_tcb_minimum".to_owned() });
    assert_eq!(first.failed[0].code, "snp_tcb_minimum");
    assert_eq!(first.not_asked, ["max_instances"]);
}

#[test]
fn a_refusal_that_would_be_a_release_is_told_with_what_was_not_asked() {
    let found = backtest(CHAT, &[refused()]);
    assert_eq!(counts(&found), [0, 1, 0, 1, 0, 0, 0, 0]);
    assert!(!found.is_unchanged());
    let [changed] = found.changed.as_slice() else { panic!("one change") };
    assert_eq!(changed.then, Ending::Refused { code: "model_refused".to_owned() });
    assert_eq!(changed.now, Ending::Released { grant: "chat-prod".to_owned() });
    assert!(changed.not_asked.contains(&"model.manifest"), "{:?}", changed.not_asked);
}

#[test]
fn a_released_version_is_asked_about_as_it_was() {
    // Of a refusal it is not known which versions there were.
    let revoked = CHAT.replace("kids         = \"none\"", "kids = [\"k1\"]");
    let found = backtest(&revoked, &[released(), refused()]);
    assert_eq!(counts(&found), [1, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(found.changed[0].now, Ending::Refused { code: "revoked".to_owned() });
}

#[test]
fn a_td_is_told_by_its_mrtd() {
    let machine = "tdx = { mrtd = \"b1\", rtmrs = [\"\", \"11\", \"22\", \"\"], ppid = \"0d\" }";
    let claims = claims_of(TDX, machine);
    let found = backtest(CHAT, &[event(EventType::KeyRelease, Outcome::Success, "ok", Some(claims))]);
    assert_eq!(found.changed[0].measurement, Measurement::new([0xb1; 48]));
}

#[test]
fn what_cannot_be_asked_is_counted_and_not_told() {
    let without = event(EventType::KeyRefuse, Outcome::Denied, "snp_report_signature", None);
    let of_no_policy = ["instances_exceeded", "log_origin_taken", "stage_denied", "endorsements_unavailable"]
        .map(|code| event(EventType::KeyRefuse, Outcome::Denied, code, Some(claims())));
    let mut strange = claims();
    strange.asked.kem = Claim::new("word").unwrap();
    let unreadable = event(EventType::KeyRelease, Outcome::Success, "ok", Some(strange));
    let found = backtest(CHAT, &[&[without, unreadable][..], &of_no_policy].concat());
    assert_eq!((counts(&found), found.changed.len()), ([1, 5, 0, 0, 1, 4, 1, 0], 0));
    assert!(found.is_unchanged());
}

#[test]
fn entries_of_other_kinds_and_of_resources_are_passed_over() {
    let resource = |event: Event| Event {
        request: Some(Request {
            finish: None,
            ms: 1,
            receipt: None,
            rid: RequestId::new("r1").unwrap(),
            route: Route::Kbs,
            status: None,
            stream: false,
            tin: 0,
            tout: 0,
            ttft_ms: None,
        }),
        ..event
    };
    let others = [
        Event { kind: EventType::PolicyLoad, ..released() },
        // A fault is no decision.
        Event { outcome: Outcome::Failure, ..released() },
        Event { outcome: Outcome::Failure, ..refused() },
        resource(Event { kind: EventType::PolicyLoad, ..released() }),
    ];
    assert_eq!(counts(&backtest(CHAT, &others)), [0; 8]);
    let resources = [resource(released()), resource(refused())];
    assert_eq!(counts(&backtest(CHAT, &resources)), [0, 0, 0, 0, 0, 0, 0, 2]);
    let elsewhere = |route| {
        let mut event = resource(released());
        event.request.as_mut().unwrap().route = route;
        event
    };
    assert_eq!(counts(&backtest(CHAT, &[elsewhere(Route::Models)])), [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn no_more_changes_are_told_than_the_limit_and_all_are_counted() {
    let (policy, key) = (read(&CHAT.replace("snp = 23", "snp = 99")), pseudonyms());
    let entry = entry(&released(), 7);
    let mut found = Backtest::default();
    for _ in 0..anchorhold_key_release::MAX_TOLD + 1 {
        found.add(&policy, &entry, Machines::Compared(&key));
    }
    assert_eq!((found.releases_refused, found.changed.len()), (4097, 4096));
}
