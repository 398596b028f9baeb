//! Key-encryption keys under a broker that serves: faults of their backends, and the change from one to another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use anchorhold_attester::software::LaunchConfig;
use anchorhold_key_broker::broker::{Broker, BrokerError};
use anchorhold_key_broker::kek::bulkhead::Bulkhead;
use anchorhold_key_broker::kek::settings::{Origin, Role, Settings, WrittenKek};
use anchorhold_key_broker::kek::{BackendError, KekError, KekId, Keyring, LocalKey, Member, Place};
use anchorhold_key_broker::kek_admin::{Fate, KekAdminError, KekReply, KekRequest, ShareOrder};
use anchorhold_key_broker::rotation;
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::{Store, look_up};
use anchorhold_rats::{Measurement, Secret};
use common::simulated::Simulated;
use common::{Guest, Site, challenge, entries, import_file, post, refusal, story, terms, weights_key};
use faulty::{FAULTS, Fault, Faulty};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough never to pass in a test.
const NEVER: Duration = Duration::from_secs(600);

fn id(text: &str) -> KekId {
    text.parse().unwrap()
}

/// A ring with the known key, under which the secrets of a state without a folder are, and a faulty primary.
fn faulty_ring(deadline: Duration) -> (Keyring, Arc<Faulty>) {
    let backend = Arc::new(Faulty::new(7));
    let ring = Keyring::new(Member::remote(id("faulty-1"), backend.clone(), deadline));
    ring.add(common::keyring().primary()).unwrap();
    (ring, backend)
}

/// A broker on a state in memory whose next imports are under a key in a faulty backend.
fn faulty_broker(deadline: Duration) -> (Site, Arc<Broker>, Arc<Faulty>) {
    let site = Site::bare();
    let store: Arc<dyn Store> = Arc::new(Simulated::default());
    drop(site.open_on(Arc::clone(&store)));
    let (ring, backend) = faulty_ring(deadline);
    let broker = site.reopen_with(store, ring);
    broker.import(&import_file("acme/chat-70b", 8)).unwrap();
    (site, broker, backend)
}

fn versions(broker: &Broker, model: &str) -> usize {
    look_up(broker.ledger().store(), |view| state::versions(view, model)).unwrap().len()
}

/// The body of a request for the version whose key is in the faulty backend.
async fn ask(guest: &Guest, broker: &Arc<Broker>) -> (Vec<u8>, anchorhold_key_release::Awaiting) {
    guest.ask(broker, &challenge(broker).await, ("acme/chat-70b", 8))
}

fn told(kind: &str, code: &str) -> (String, String) {
    (kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn case_12_every_fault_is_503_and_logged_and_the_same_challenge_is_good_afterwards() {
    for fault in FAULTS {
        let (site, broker, backend) = faulty_broker(NEVER);
        let guest = Guest::new(&site.clock);
        let (body, awaiting) = ask(&guest, &broker).await;
        backend.misbehave(Some(fault));
        for _ in 0..2 {
            let answer = post(&broker, "/v1/release", body.clone()).await;
            assert_eq!(refusal(answer), (503, "backend".to_owned()), "{fault:?}");
        }
        assert_eq!(
            story(&broker),
            [told("policy.load", "ok"), told("key.refuse", "backend"), told("key.refuse", "backend")]
        );
        let refused: Vec<_> =
            entries(&broker).into_iter().filter(|entry| entry["type"] == "key.refuse").collect();
        assert!(refused.iter().all(|entry| entry["out"] == "error"), "{refused:?}");
        // The operator is told which key it was; nothing that came out of the backend is in it.
        let reports = site.reports.lock().unwrap().join("\n");
        assert!(reports.contains("faulty-1"), "{reports}");
        for secret in [&[0x48; 4], &[0x77; 4]] {
            assert!(!reports.as_bytes().windows(4).any(|part| part == secret), "{reports}");
        }
        backend.misbehave(None);
        let (status, response) = post(&broker, "/v1/release", body).await;
        assert_eq!(status, 200, "{fault:?}");
        assert_eq!(awaiting.open(&response, &guest.key).unwrap().weights_key(), &weights_key(8));
    }
}

#[tokio::test]
async fn case_12_each_fault_is_told_apart() {
    let place = Place { kind: "weights key", name: b"x" };
    let kek = || id("faulty-1");
    let backend = Arc::new(Faulty::new(7));
    let member = Member::remote(kek(), backend.clone(), NEVER);
    let blob = member.wrap(place, &[9; 32]).unwrap();
    for fault in FAULTS {
        backend.misbehave(Some(fault));
        let observed = member.unwrap(place, &blob).unwrap_err();
        let trouble = |error| KekError::Backend { kek: kek(), error };
        let wanted = match fault {
            Fault::Down => trouble(BackendError::Unreachable { what: "connection" }),
            Fault::Denied => trouble(BackendError::Denied { what: "this" }),
            Fault::OldVersion => trouble(BackendError::Version { observed: 1 }),
            Fault::OtherKey => KekError::Open { kek: kek() },
            Fault::OtherSecret | Fault::Garbage | Fault::Partial | Fault::Empty => {
                KekError::Commitment { kek: kek() }
            }
            Fault::Panic => trouble(BackendError::Garbage { wanted: "one: the call broke" }),
            Fault::Slow => continue,
        };
        assert_eq!(observed, wanted, "{fault:?}");
        // Nor is anything wrapped by a backend that would not give it back.
        assert!(member.wrap(place, &[9; 32]).is_err(), "{fault:?}");
        assert!(member.health().is_err(), "{fault:?}");
    }
}

#[tokio::test]
async fn case_12_a_slow_backend_costs_its_deadline() {
    let deadline = Duration::from_millis(100);
    let (site, broker, backend) = faulty_broker(deadline);
    let (body, _) = ask(&Guest::new(&site.clock), &broker).await;
    backend.misbehave(Some(Fault::Slow));
    let answer = post(&broker, "/v1/release", body.clone()).await;
    assert_eq!(refusal(answer), (503, "backend".to_owned()));
    assert!(site.reports.lock().unwrap()[0].ends_with("no answer within 100 ms"));
    backend.misbehave(None);
    // A late answer goes to nobody, and the next call is a call of its own.
    while broker.keyring().member(&id("faulty-1")).unwrap().health().is_err() {
        std::thread::yield_now();
    }
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[tokio::test]
async fn case_12_while_a_backend_hangs_the_broker_goes_on() {
    let (site, broker, backend) = faulty_broker(NEVER);
    let guest = Guest::new(&site.clock);
    backend.misbehave(Some(Fault::Slow));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..Bulkhead::LIMIT {
        let (body, _) = ask(&guest, &broker).await;
        let broker = Arc::clone(&broker);
        waiting.spawn(async move { post(&broker, "/v1/release", body).await.0 });
    }
    while backend.hanging() < Bulkhead::LIMIT {
        tokio::task::yield_now().await;
    }
    // One more does not wait.
    let (body, _) = ask(&guest, &broker).await;
    let answer = post(&broker, "/v1/release", body.clone()).await;
    assert_eq!(refusal(answer), (503, "backend".to_owned()));
    assert!(site.reports.lock().unwrap()[0].ends_with("8 calls wait for an answer already"));
    // Who gets no key needs no backend.
    let other = Guest::launch(LaunchConfig::new(Measurement::new([0xff; 48])), &site.clock);
    let (foreign, _) = ask(&other, &broker).await;
    let answer = post(&broker, "/v1/release", foreign).await;
    assert_eq!(refusal(answer), (403, "snp_measurement".to_owned()));
    let health = http::Request::get("/health").body(axum::body::Body::empty()).unwrap();
    assert_eq!(common::call(&broker, health).await.0, 200);
    backend.misbehave(None);
    assert_eq!(waiting.join_all().await, [200; Bulkhead::LIMIT]);
    // The threads give their places back just after the answers.
    loop {
        match post(&broker, "/v1/release", body.clone()).await.0 {
            200 => break,
            status => assert_eq!(status, 503),
        }
    }
}

#[tokio::test]
async fn case_12_a_refused_guest_costs_no_call_of_the_backend() {
    let (site, broker, backend) = faulty_broker(NEVER);
    backend.misbehave(Some(Fault::Panic));
    let other = Guest::launch(LaunchConfig::new(Measurement::new([0xff; 48])), &site.clock);
    let (body, _) = ask(&other, &broker).await;
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "snp_measurement".to_owned()));
    assert!(site.reports.lock().unwrap().is_empty());
}

#[test]
fn case_12_an_import_that_cannot_be_wrapped_leaves_nothing() {
    let (_site, broker, backend) = faulty_broker(NEVER);
    for fault in FAULTS {
        backend.misbehave(Some(fault));
        assert!(broker.import(&import_file("acme/embed", 7)).is_err(), "{fault:?}");
        assert_eq!(versions(&broker, "acme/embed"), 0, "{fault:?}");
    }
    backend.misbehave(None);
    broker.import(&import_file("acme/embed", 7)).unwrap();
    broker.import(&import_file("acme/embed", 7)).unwrap();
    assert_eq!(versions(&broker, "acme/embed"), 1);
}

/// A key in a module that is not there.
fn gone() -> WrittenKek {
    WrittenKek::Pkcs11 {
        id: id("hsm-1"),
        module: "/nowhere.so".into(),
        token: "anchorhold".to_owned(),
        key: "kek-1".to_owned(),
        pin_file: "pin".into(),
        deadline_ms: Some(1000),
    }
}

#[test]
fn case_12_a_primary_that_does_not_answer_stops_the_start_and_another_key_does_not() {
    let site = Site::bare();
    let open = || Broker::open(&site.layout(), common::anchors(), common::no_witness(), site.around());
    let settings = Settings::read(site.folder.path()).unwrap();
    let with_gone = settings.with(gone(), Role::Primary).unwrap();
    with_gone.write(site.folder.path()).unwrap();
    assert!(matches!(open(), Err(BrokerError::Settings(_))));
    let back = WrittenKek::file_beside_state(id("file-2"));
    back.create(site.folder.path(), None).unwrap();
    with_gone.with(back, Role::Primary).unwrap().write(site.folder.path()).unwrap();
    drop(open().unwrap());
    let reports = site.reports.lock().unwrap().join("\n");
    assert!(reports.contains("hsm-1"), "{reports}");
}

/// A broker with `models` models beside the example.
fn with_models(models: u8) -> (Site, Arc<Broker>) {
    let (site, broker) = Site::with_model();
    for model in 0..models {
        broker.import(&import_file(&format!("acme/model-{model}"), 1 + model % 3)).unwrap();
    }
    (site, broker)
}

fn add(broker: &Broker, name: &str) -> Result<KekReply, KekAdminError> {
    let kek = WrittenKek::file_beside_state(id(name));
    broker.kek(&KekRequest::Add {
        kek: Box::new(kek),
        origin: Origin::Fresh,
        role: Role::Primary,
        shares: None,
    })
}

fn retire(broker: &Broker, name: &str) -> Result<KekReply, KekAdminError> {
    broker.kek(&KekRequest::Retire { id: id(name), below: None, fate: Fate::Destroyed })
}

/// One page of a run: how many were wrapped anew, what does not open, and where the next begins.
fn rewrap_page(broker: &Broker, after: Vec<u8>) -> Result<(u64, Vec<String>, Vec<u8>), KekAdminError> {
    match broker.kek(&KekRequest::Rewrap { after })? {
        KekReply::Rewrap { renewed, failed, next } => Ok((renewed, failed, next)),
        other => panic!("{other:?}"),
    }
}

fn rewrap(broker: &Broker) -> (u64, Vec<String>) {
    let (mut all, mut failures, mut after) = (0, Vec::new(), Vec::new());
    loop {
        let (renewed, failed, next) = rewrap_page(broker, after).unwrap();
        all += renewed;
        failures.extend(failed);
        if next.is_empty() {
            return (all, failures);
        }
        after = next;
    }
}

/// How many secrets are under each key, and which is the primary.
fn listed(broker: &Broker) -> Vec<(String, bool, u64)> {
    match broker.kek(&KekRequest::List {}).unwrap() {
        KekReply::List { keks, unreadable: 0, .. } => {
            keks.into_iter().map(|kek| (kek.id.to_string(), kek.primary, kek.secrets)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_all_keys_go_under_a_new_one_while_guests_are_served_and_the_old_one_is_destroyed() {
    let (site, broker) = with_models(40);
    // 9 of the broker itself, the example model and 40 more.
    assert_eq!(listed(&broker), [("file-1".to_owned(), true, 50)]);
    let before = std::fs::read(site.folder.path().join("broker.redb")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let serving = tokio::spawn({
        let (broker, clock, stop) = (Arc::clone(&broker), site.clock.clone(), Arc::clone(&stop));
        async move {
            let (guest, mut served) = (Guest::new(&clock), 0);
            while !stop.load(Ordering::SeqCst) || served == 0 {
                let (body, awaiting) = guest.answer(&broker, &challenge(&broker).await);
                let (status, response) = post(&broker, "/v1/release", body).await;
                assert_eq!(status, 200);
                assert_eq!(awaiting.open(&response, &guest.key).unwrap().weights_key(), &weights_key(7));
                served += 1;
            }
            served
        }
    });
    let changing = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || {
        assert!(matches!(retire(&changing, "file-1"), Err(KekAdminError::Primary)));
        add(&changing, "file-2").unwrap();
        assert_eq!(listed(&changing), [("file-1".to_owned(), false, 50), ("file-2".to_owned(), true, 0)]);
        assert!(matches!(retire(&changing, "file-1"), Err(KekAdminError::InUse { secrets: 50 })));
        assert_eq!(rewrap(&changing), (50, Vec::new()));
        assert_eq!(rewrap(&changing), (0, Vec::new()));
        retire(&changing, "file-1").unwrap();
        assert_eq!(listed(&changing), [("file-2".to_owned(), true, 50)]);
    })
    .await
    .unwrap();
    stop.store(true, Ordering::SeqCst);
    assert!(serving.await.unwrap() > 0);

    assert!(!site.folder.path().join("keks/file-1.sealed").exists());
    assert!(!site.folder.path().join("keks/file-1.credential").exists());
    let entries = entries(&broker);
    let count = |kind: &str| entries.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((count("key.rotate"), count("key.destroy")), (50, 1));
    let rotated = entries.iter().find(|entry| entry["type"] == "key.rotate" && entry["model"].is_object());
    assert_eq!(rotated.unwrap()["key"]["kek"], "file-2");
    let destroyed = entries.iter().find(|entry| entry["type"] == "key.destroy").unwrap();
    assert_eq!((&destroyed["key"]["kid"], &destroyed["key"]["op"]), (&"file-1".into(), &"destroy".into()));

    // The next start knows the new key alone, and an old copy of the store opens under nothing.
    drop(broker);
    let broker = site.open();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    assert!(matches!(add(&broker, "file-1"), Err(KekAdminError::Settings(_))), "an id is used once");
    drop(broker);
    std::fs::write(site.folder.path().join("broker.redb"), before).unwrap();
    let old = Broker::open(&site.layout(), common::anchors(), common::no_witness(), site.around());
    assert!(matches!(old, Err(BrokerError::Kek(KekError::Retired { kek })) if kek == id("file-1")));
}

#[test]
fn case_26_a_run_that_was_cut_off_anywhere_goes_on() {
    let (site, broker) = with_models(40);
    add(&broker, "file-2").unwrap();
    let (mut after, mut pages, mut all) = (Vec::new(), 0, 0);
    drop(broker);
    loop {
        // Each page is a process of its own, as after kill -9 at the end of the one before; and it begins twice.
        let broker = site.open();
        let (renewed, failed, _) = rewrap_page(&broker, Vec::new()).unwrap();
        assert!(failed.is_empty());
        let (more, failed, next) = rewrap_page(&broker, after).unwrap();
        assert!(failed.is_empty());
        all += renewed + more;
        pages += 1;
        if next.is_empty() {
            break;
        }
        after = next;
    }
    assert_eq!((all, pages > 3), (50, true));
    assert_eq!(listed(&site.open()), [("file-1".to_owned(), false, 0), ("file-2".to_owned(), true, 50)]);
}

#[test]
fn case_26_a_page_whose_commit_fails_or_is_lost_is_done_again() {
    use common::simulated::Fault;
    for fault in [Fault::Unreachable, Fault::ChangeLost, Fault::AnswerLost] {
        let site = Site::bare();
        let store = Arc::new(Simulated::default());
        drop(site.open_on(store.clone()));
        let (ring, _backend) = faulty_ring(NEVER);
        let broker = site.reopen_with(store.clone(), ring);
        store.fail_next(fault);
        let cut = rewrap_page(&broker, Vec::new());
        assert!(matches!(cut, Err(KekAdminError::Ledger(_))), "{fault:?}");
        drop(broker);
        let broker = site.reopen_with(Arc::new(store.image()), faulty_ring(NEVER).0);
        let done = if fault == Fault::AnswerLost { 10 } else { 0 };
        assert_eq!(rewrap(&broker), (10 - done, Vec::new()), "{fault:?}");
        // What the log tells of is what has happened, once.
        let told = entries(&broker).iter().filter(|entry| entry["type"] == "key.rotate").count();
        assert_eq!(told, 10, "{fault:?}");
        assert_eq!(rewrap(&broker), (0, Vec::new()));
    }
}

#[test]
fn case_26_nothing_slips_under_a_key_that_is_retired() {
    let (_site, broker) = with_models(0);
    let old = broker.keyring().primary();
    add(&broker, "file-2").unwrap();
    rewrap(&broker);
    // What another broker on the same state wrapped under the old key before it heard of the new one.
    broker.keyring().set_primary(&id("file-1")).unwrap();
    retire(&broker, "file-1").unwrap();
    broker.keyring().reinstate(old);
    let refused = broker.import(&import_file("acme/late", 1));
    assert!(matches!(refused, Err(BrokerError::Kek(KekError::Retired { kek })) if kek == id("file-1")));
    assert_eq!(versions(&broker, "acme/late"), 0);
    let target = anchorhold_key_broker::kek::Target { kek: id("file-1"), version: 1 };
    assert_eq!(broker.keyring().target(), Ok(target));
    let refused = rewrap_page(&broker, Vec::new());
    assert!(matches!(refused, Err(KekAdminError::Kek(KekError::Retired { .. }))), "{refused:?}");
    broker.keyring().set_primary(&id("file-2")).unwrap();
    broker.import(&import_file("acme/late", 1)).unwrap();
}

#[tokio::test]
async fn case_26_two_brokers_on_one_state_change_their_key_one_after_the_other() {
    let site = Site::bare();
    let store: Arc<dyn Store> = Arc::new(Simulated::default());
    drop(site.open_on(Arc::clone(&store)));
    // The new key is on standby at both before one of them wraps under it.
    let open = |store: &Arc<dyn Store>| {
        let ring = common::keyring();
        let key = LocalKey::new(&Secret::take(&mut [0x22; 32]));
        ring.add(Member::local(id("file-2"), Arc::new(key))).unwrap();
        site.reopen_with(Arc::clone(store), ring)
    };
    let (one, two) = (open(&store), open(&store));
    one.keyring().set_primary(&id("file-2")).unwrap();
    one.import(&import_file("acme/chat-70b", 8)).unwrap();
    two.import(&import_file("acme/chat-70b", 9)).unwrap();
    let guest = Guest::new(&site.clock);
    for (version, wanted) in [(8, 9), (9, 9)] {
        for broker in [&one, &two] {
            let challenge = challenge(broker).await;
            let (body, awaiting) = guest.ask(broker, &challenge, ("acme/chat-70b", version));
            let (status, response) = post(broker, "/v1/release", body).await;
            assert_eq!(status, 200);
            assert_eq!(awaiting.open(&response, &guest.key).unwrap().weights_key(), &weights_key(wanted));
        }
    }
    assert_eq!(rewrap(&one), (11, Vec::new()));
    let in_use = |broker: &Broker| {
        look_up(broker.ledger().store(), |view| rotation::in_use(view, &id("file-1"), None)).unwrap()
    };
    assert_eq!((in_use(&one), in_use(&two)), (0, 0));
    // The other one goes back and forth as long as it has not heard of it.
    assert_eq!(rewrap(&two), (12, Vec::new()));
    assert_eq!(in_use(&one), 12);
    two.keyring().set_primary(&id("file-2")).unwrap();
    assert_eq!((rewrap(&two), rewrap(&one)), ((12, Vec::new()), (0, Vec::new())));
}

#[test]
fn a_key_on_standby_opens_and_wraps_nothing_new_until_it_is_promoted() {
    let (site, broker) = with_models(0);
    let kek = WrittenKek::file_beside_state(id("file-2"));
    let request =
        KekRequest::Add { kek: Box::new(kek), origin: Origin::Fresh, role: Role::Standby, shares: None };
    broker.kek(&request).unwrap();
    broker.import(&import_file("acme/embed", 1)).unwrap();
    assert_eq!(listed(&broker), [("file-1".to_owned(), true, 11), ("file-2".to_owned(), false, 0)]);
    let promote = |name: &str| broker.kek(&KekRequest::Promote { id: id(name) });
    assert!(matches!(promote("file-3"), Err(KekAdminError::Settings(_))));
    promote("file-2").unwrap();
    broker.import(&import_file("acme/embed", 2)).unwrap();
    assert_eq!(listed(&broker), [("file-1".to_owned(), false, 11), ("file-2".to_owned(), true, 1)]);
    assert_eq!(Settings::read(site.folder.path()).unwrap().primary(), &id("file-2"));
}

#[test]
fn case_26_a_secret_that_does_not_open_stops_no_other_and_keeps_its_key() {
    let (site, broker) = with_models(5);
    broker
        .ledger()
        .store()
        .write(&mut |change| {
            let model = "acme/model-1".parse().unwrap();
            let mut row = state::model(&*change, &model, 2)?.unwrap();
            *row.wrapped.last_mut().unwrap() ^= 1;
            state::put_model(change, &terms("acme/model-1", 2), &row)
        })
        .unwrap();
    add(&broker, "file-2").unwrap();
    let (renewed, failed) = rewrap(&broker);
    assert_eq!((renewed, failed.len()), (14, 1));
    assert!(failed[0].starts_with("acme/model-1/2: "), "{failed:?}");
    assert!(matches!(retire(&broker, "file-1"), Err(KekAdminError::InUse { secrets: 1 })));
    assert!(site.folder.path().join("keks/file-1.sealed").exists());
    assert!(broker.keyring().member(&id("file-1")).is_ok(), "it is still in the ring");
}

#[test]
fn case_26_a_backend_in_trouble_stops_the_run_and_nothing_is_lost() {
    let (_site, broker, backend) = faulty_broker(NEVER);
    for fault in [Fault::Down, Fault::Denied, Fault::OldVersion, Fault::Panic] {
        backend.misbehave(Some(fault));
        let stopped = rewrap_page(&broker, Vec::new());
        assert!(matches!(stopped, Err(KekAdminError::Kek(KekError::Backend { .. }))), "{fault:?}");
    }
    for fault in [Fault::OtherKey, Fault::OtherSecret, Fault::Partial] {
        // It wraps, and would not give back what it wrapped.
        backend.misbehave(Some(fault));
        let (renewed, failed, _) = rewrap_page(&broker, Vec::new()).unwrap();
        assert_eq!((renewed, failed.len()), (0, 10), "{fault:?}");
    }
    let census = |broker: &Broker| look_up(broker.ledger().store(), rotation::census).unwrap();
    assert_eq!(census(&broker).of(&id("file-1"), None), 10);
    backend.misbehave(None);
    assert_eq!(rewrap(&broker), (10, Vec::new()));
    assert_eq!(census(&broker).of(&id("faulty-1"), None), 11);
    // A ring that was not read from settings is not changed through them.
    assert!(matches!(add(&broker, "file-2"), Err(KekAdminError::NoSettings)));
    assert!(matches!(retire(&broker, "file-1"), Err(KekAdminError::NoSettings)));
    for bad in [&[3][..], &[9, 1]] {
        assert!(matches!(rewrap_page(&broker, bad.to_vec()), Err(KekAdminError::Cursor)));
    }
}

#[test]
fn a_key_that_does_not_work_is_not_added_and_shares_that_cannot_be_written_cost_the_key() {
    let (site, broker) = with_models(0);
    let before = Settings::read(site.folder.path()).unwrap();
    for origin in [Origin::Fresh, Origin::Existing] {
        let refused =
            broker.kek(&KekRequest::Add { kek: Box::new(gone()), origin, role: Role::Standby, shares: None });
        assert!(refused.is_err(), "{origin:?}");
    }
    let folder = site.folder.path().join("shares");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("share-file-2-3.txt"), "taken").unwrap();
    let request = |folder: std::path::PathBuf| KekRequest::Add {
        kek: Box::new(WrittenKek::file_beside_state(id("file-2"))),
        origin: Origin::Fresh,
        role: Role::Primary,
        shares: Some(ShareOrder { scheme: "2-of-3".to_owned(), folder }),
    };
    assert!(matches!(broker.kek(&request(folder)), Err(KekAdminError::Shares(_))));
    assert!(!site.folder.path().join("keks/file-2.sealed").exists());
    assert_eq!(Settings::read(site.folder.path()).unwrap(), before);
    assert_eq!(listed(&broker), [("file-1".to_owned(), true, 10)]);
    let KekReply::Add { shares, .. } = broker.kek(&request(site.folder.path().join("more"))).unwrap() else {
        panic!()
    };
    assert_eq!(shares.len(), 3);
}

#[test]
fn a_ring_tells_unknown_retired_and_taken_ids_apart() {
    let local = |name: &str, byte: u8| {
        Member::local(id(name), Arc::new(LocalKey::new(&Secret::take(&mut [byte; 32]))))
    };
    let place = Place { kind: "weights key", name: b"x" };
    let ring = Keyring::new(local("a", 1));
    ring.add(local("b", 2)).unwrap();
    assert!(ring.add(local("b", 3)).is_err());
    let under_b = local("b", 2).wrap(place, &[5; 32]).unwrap().to_bytes();
    assert_eq!(ring.unwrap(place, &under_b).unwrap().as_slice(), [5; 32]);
    assert_eq!(ring.unwrap_secret::<31>(place, &under_b), Err(KekError::Length));
    assert!(ring.retire(&id("a")).is_none(), "the primary stays");
    let member = ring.retire(&id("b")).unwrap();
    assert_eq!(ring.unwrap(place, &under_b), Err(KekError::Retired { kek: id("b") }));
    assert_eq!(ring.set_primary(&id("b")), Err(KekError::Retired { kek: id("b") }));
    assert!(ring.add(local("b", 2)).is_err(), "an id is used once");
    ring.reinstate(member);
    assert_eq!(ring.unwrap(place, &under_b).unwrap().as_slice(), [5; 32]);
    let under_c = local("c", 2).wrap(place, &[5; 32]).unwrap().to_bytes();
    assert_eq!(ring.unwrap(place, &under_c), Err(KekError::Unknown { kek: id("c") }));
    assert!(matches!(ring.unwrap(place, b"AKB2"), Err(KekError::Blob(_))));
    for wrong in [&[][..], &[1; 2049]] {
        assert_eq!(ring.wrap(place, wrong), Err(KekError::Length));
    }
    assert!(ring.wrap(place, &[1; 2048]).is_ok());
}

#[test]
fn a_blob_that_names_another_key_of_the_ring_does_not_open() {
    let local = |name: &str, byte: u8| {
        Member::local(id(name), Arc::new(LocalKey::new(&Secret::take(&mut [byte; 32]))))
    };
    let place = Place { kind: "weights key", name: b"x" };
    // Two names of one key: the name is bound all the same.
    let ring = Keyring::new(local("a", 1));
    ring.add(local("b", 1)).unwrap();
    let mut wrapped = ring.wrap(place, &[5; 32]).unwrap();
    assert_eq!(wrapped[5], b'a');
    wrapped[5] = b'b';
    assert_eq!(ring.unwrap(place, &wrapped), Err(KekError::Open { kek: id("b") }));
}
