//! Key-encryption keys under a broker that serves: faults of their backends, and the change from one to another.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;
#[path = "common/faulty.rs"]
mod faulty;

use anchorhold_attester::software::LaunchConfig;
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_broker::kek::bulkhead::Bulkhead;
use anchorhold_key_broker::kek::settings::{Origin, Settings, WrittenKek};
use anchorhold_key_broker::kek::{BackendError, KekError, KekId, Keyring, LocalKey, Member, Place};
use anchorhold_key_broker::kek_admin::{Fate, KekAdmin, KekAdminError, KekReply, KekRequest};
use anchorhold_key_broker::state::{State, StateError};
use anchorhold_rats::{Measurement, Secret};
use common::{Guest, Site, challenge, import_file, post, refusal, weights_key};
use faulty::{FAULTS, Fault, Faulty};
use redb::ReadableTable as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough never to pass in a test.
const NEVER: Duration = Duration::from_secs(600);

fn id(text: &str) -> KekId {
    text.parse().unwrap()
}

/// A ring with the site's own key, under which its secrets are, and a faulty primary.
fn faulty_ring(site: &Site, deadline: Duration) -> (Keyring, Arc<Faulty>) {
    let backend = Arc::new(Faulty::new(7));
    let ring = Keyring::new(Member::remote(id("faulty-1"), backend.clone(), deadline));
    let settings = Settings::read(site.folder.path()).unwrap();
    ring.add(settings.keks()[0].open(site.folder.path()).unwrap()).unwrap();
    (ring, backend)
}

/// A broker whose weights key is under a key in a faulty backend.
fn faulty_broker(deadline: Duration) -> (Site, Arc<Broker>, Arc<Faulty>) {
    let site = Site::bare();
    let (ring, backend) = faulty_ring(&site, deadline);
    let broker = site.open_with_keyring(ring);
    broker.set_policy(common::POLICY).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    (site, broker, backend)
}

fn told(kind: &str, code: &str) -> (String, String) {
    (kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn case_12_every_fault_is_503_and_logged_and_the_same_challenge_is_good_afterwards() {
    for fault in FAULTS {
        let (site, broker, backend) = faulty_broker(NEVER);
        let guest = Guest::new(&site.clock);
        let (body, awaiting) = guest.answer(&challenge(&broker).await);
        backend.misbehave(Some(fault));
        for _ in 0..2 {
            let answer = post(&broker, "/v1/release", body.clone()).await;
            assert_eq!(refusal(answer), (503, "backend".to_owned()), "{fault:?}");
        }
        assert_eq!(
            site.story(),
            [told("policy.load", "ok"), told("key.refuse", "backend"), told("key.refuse", "backend")]
        );
        let refused: Vec<_> =
            site.entries().into_iter().filter(|entry| entry["type"] == "key.refuse").collect();
        assert!(refused.iter().all(|entry| entry["out"] == "error"), "{refused:?}");
        // The operator is told which key it was; nothing that came out of the backend is in it.
        let reports = site.reports.lock().unwrap().join("\n");
        assert!(reports.contains("faulty-1"), "{reports}");
        for secret in [&[0x47; 4], &[0x77; 4]] {
            assert!(!reports.as_bytes().windows(4).any(|part| part == secret), "{reports}");
        }
        backend.misbehave(None);
        let (status, response) = post(&broker, "/v1/release", body).await;
        assert_eq!(status, 200, "{fault:?}");
        assert_eq!(awaiting.open(&response, &guest.key).unwrap().weights_key(), &weights_key(7));
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
    let (body, _) = Guest::new(&site.clock).answer(&challenge(&broker).await);
    backend.misbehave(Some(Fault::Slow));
    let answer = post(&broker, "/v1/release", body.clone()).await;
    assert_eq!(refusal(answer), (503, "backend".to_owned()));
    assert!(site.reports.lock().unwrap()[0].ends_with("no answer within 100 ms"));
    backend.misbehave(None);
    // A late answer goes to nobody, and the next call is a call of its own.
    while broker.state().keyring().member(&id("faulty-1")).unwrap().health().is_err() {
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
        let (body, _) = guest.answer(&challenge(&broker).await);
        let broker = Arc::clone(&broker);
        waiting.spawn(async move { post(&broker, "/v1/release", body).await.0 });
    }
    while backend.hanging() < Bulkhead::LIMIT {
        tokio::task::yield_now().await;
    }
    // One more does not wait.
    let (body, _) = guest.answer(&challenge(&broker).await);
    let answer = post(&broker, "/v1/release", body.clone()).await;
    assert_eq!(refusal(answer), (503, "backend".to_owned()));
    assert!(site.reports.lock().unwrap()[0].ends_with("8 calls wait for an answer already"));
    // Who gets no key needs no backend.
    let other = Guest::launch(LaunchConfig::new(Measurement::new([0xff; 48])), &site.clock);
    let (foreign, _) = other.answer(&challenge(&broker).await);
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
    let (body, _) = other.answer(&challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "snp_measurement".to_owned()));
    assert!(site.reports.lock().unwrap().is_empty());
}

#[test]
fn case_12_an_import_that_cannot_be_wrapped_leaves_nothing() {
    let site = Site::bare();
    let (ring, backend) = faulty_ring(&site, NEVER);
    let broker = site.open_with_keyring(ring);
    for fault in FAULTS {
        backend.misbehave(Some(fault));
        assert!(broker.import(&import_file("acme/chat-70b", 7)).is_err(), "{fault:?}");
        assert!(broker.state().versions("acme/chat-70b").unwrap().is_empty(), "{fault:?}");
    }
    backend.misbehave(None);
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
}

#[test]
fn case_12_a_primary_that_does_not_answer_stops_the_start_and_another_key_does_not() {
    let site = Site::bare();
    let gone = WrittenKek::Pkcs11 {
        id: id("hsm-1"),
        module: "/nowhere.so".into(),
        token: "anchorhold".to_owned(),
        key: "kek-1".to_owned(),
        pin_file: "pin".into(),
        deadline_ms: Some(1000),
    };
    let settings = Settings::read(site.folder.path()).unwrap();
    let with_gone = settings.with_primary(gone).unwrap();
    with_gone.write(site.folder.path()).unwrap();
    assert!(matches!(State::open(&site.layout()), Err(StateError::Settings(_))));
    let back = WrittenKek::file_beside_state(id("file-2"));
    back.create(site.folder.path(), None).unwrap();
    with_gone.with_primary(back).unwrap().write(site.folder.path()).unwrap();
    drop(site.open());
    let reports = site.reports.lock().unwrap().join("\n");
    assert!(reports.contains("hsm-1"), "{reports}");
}

/// A broker with `models` models, and who changes its keys.
fn with_models(models: u8) -> (Site, Arc<Broker>, KekAdmin) {
    let (site, broker) = Site::with_model();
    for model in 0..models {
        broker.import(&import_file(&format!("acme/model-{model}"), 1 + model % 3)).unwrap();
    }
    let admin = KekAdmin::new(Arc::clone(&broker), &site.layout());
    (site, broker, admin)
}

fn add(admin: &KekAdmin, name: &str) -> Result<KekReply, KekAdminError> {
    let kek = WrittenKek::file_beside_state(id(name));
    admin.carry_out(&KekRequest::Add { kek, origin: Origin::Fresh, shares: None })
}

fn retire(admin: &KekAdmin, name: &str) -> Result<KekReply, KekAdminError> {
    admin.carry_out(&KekRequest::Retire { id: id(name), below: None, fate: Fate::Destroyed })
}

/// How many secrets are under each key, and which is the primary.
fn listed(admin: &KekAdmin) -> Vec<(String, bool, u64)> {
    match admin.carry_out(&KekRequest::List {}).unwrap() {
        KekReply::List { keks, unreadable: 0, .. } => {
            keks.into_iter().map(|kek| (kek.id.to_string(), kek.primary, kek.secrets)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_all_keys_go_under_a_new_one_while_guests_are_served_and_the_old_one_is_destroyed() {
    let (site, broker, admin) = with_models(40);
    let admin = Arc::new(admin);
    // 5 seeds of the site, the example model and 40 more.
    assert_eq!(listed(&admin), [("file-1".to_owned(), true, 46)]);
    let before = std::fs::read(site.folder.path().join("broker.redb")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let serving = tokio::spawn({
        let (broker, clock, stop) = (Arc::clone(&broker), site.clock.clone(), Arc::clone(&stop));
        async move {
            let (guest, mut served) = (Guest::new(&clock), 0);
            while !stop.load(Ordering::SeqCst) || served == 0 {
                let (body, awaiting) = guest.answer(&challenge(&broker).await);
                let (status, response) = post(&broker, "/v1/release", body).await;
                assert_eq!(status, 200);
                assert_eq!(awaiting.open(&response, &guest.key).unwrap().weights_key(), &weights_key(7));
                served += 1;
            }
            served
        }
    });
    let changing = Arc::clone(&admin);
    tokio::task::spawn_blocking(move || {
        assert!(matches!(retire(&changing, "file-1"), Err(KekAdminError::Primary)));
        add(&changing, "file-2").unwrap();
        assert_eq!(listed(&changing), [("file-1".to_owned(), false, 46), ("file-2".to_owned(), true, 0)]);
        assert!(matches!(retire(&changing, "file-1"), Err(KekAdminError::InUse { secrets: 46 })));
        let renewed = changing.carry_out(&KekRequest::Rewrap {}).unwrap();
        assert_eq!(renewed, KekReply::Rewrap { renewed: 46, failed: Vec::new() });
        let again = changing.carry_out(&KekRequest::Rewrap {}).unwrap();
        assert_eq!(again, KekReply::Rewrap { renewed: 0, failed: Vec::new() });
        retire(&changing, "file-1").unwrap();
        assert_eq!(listed(&changing), [("file-2".to_owned(), true, 46)]);
    })
    .await
    .unwrap();
    stop.store(true, Ordering::SeqCst);
    assert!(serving.await.unwrap() > 0);

    assert!(!site.folder.path().join("keks/file-1.sealed").exists());
    assert!(!site.folder.path().join("keks/file-1.credential").exists());
    let entries = site.entries();
    let count = |kind: &str| entries.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((count("key.rotate"), count("key.destroy")), (46, 1));
    let rotated = entries.iter().find(|entry| entry["type"] == "key.rotate" && entry["model"].is_object());
    assert_eq!(rotated.unwrap()["key"]["kek"], "file-2");
    let destroyed = entries.iter().find(|entry| entry["type"] == "key.destroy").unwrap();
    assert_eq!((&destroyed["key"]["kid"], &destroyed["key"]["op"]), (&"file-1".into(), &"destroy".into()));

    // The next start knows the new key alone, and an old copy of the store opens under nothing.
    drop((admin, broker));
    let broker = site.open();
    let (body, _) = Guest::new(&site.clock).answer(&challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    drop(broker);
    std::fs::write(site.folder.path().join("broker.redb"), before).unwrap();
    let old = State::open(&site.layout()).unwrap().secret("signing seed");
    assert!(matches!(old, Err(StateError::Kek(KekError::Retired { kek })) if kek == id("file-1")));
    let admin = KekAdmin::new(Site::with_model().1, &site.layout());
    assert!(matches!(add(&admin, "file-1"), Err(KekAdminError::Settings(_))), "an id is used once");
}

#[test]
fn case_26_a_run_that_was_cut_off_anywhere_goes_on() {
    let (site, broker, admin) = with_models(40);
    add(&admin, "file-2").unwrap();
    let (mut after, mut pages, mut renewed) = (None, 0, 0);
    drop((admin, broker));
    loop {
        // Each page is a process of its own, as after kill -9 at the end of the one before.
        let broker = site.open();
        let target = broker.state().keyring().target().unwrap();
        let page = broker.state().rewrap_page(&target, None).unwrap();
        assert!(page.failed.is_empty());
        renewed += page.renewed.len();
        let page = broker.state().rewrap_page(&target, after.as_ref()).unwrap();
        renewed += page.renewed.len();
        pages += 1;
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!((renewed, pages > 3), (46, true));
    let broker = site.open();
    let census = broker.state().census().unwrap();
    assert_eq!((census.of(&id("file-1"), None), census.of(&id("file-2"), None)), (0, 46));
}

#[test]
fn case_26_nothing_slips_under_a_key_that_is_retired() {
    let (site, broker, admin) = with_models(0);
    add(&admin, "file-2").unwrap();
    admin.carry_out(&KekRequest::Rewrap {}).unwrap();
    // What another broker of the same state still wraps under the old key.
    let settings = Settings::read(site.folder.path()).unwrap();
    let old = settings.kek(&id("file-1")).unwrap().open(site.folder.path()).unwrap();
    broker.state().keyring().set_primary(&id("file-1")).unwrap();
    assert!(broker.state().retire_kek(&id("file-1"), None).unwrap().is_ok());
    let refused = broker.import(&import_file("acme/late", 1));
    assert!(refused.unwrap_err().to_string().contains("which was destroyed"));
    assert!(broker.state().versions("acme/late").unwrap().is_empty());
    assert_eq!(old.health(), Ok(1));
}

#[test]
fn case_26_a_secret_that_does_not_open_stops_no_other_and_keeps_its_key() {
    let (site, broker, admin) = with_models(5);
    drop((admin, broker));
    let models: redb::TableDefinition<(&str, u64), (&[u8], &[u8])> = redb::TableDefinition::new("models");
    let database = redb::Database::open(site.folder.path().join("broker.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(models).unwrap();
        let (name, mut wrapped) = {
            let row = table.get(("acme/model-1", 2)).unwrap().unwrap();
            (row.value().0.to_vec(), row.value().1.to_vec())
        };
        *wrapped.last_mut().unwrap() ^= 1;
        table.insert(("acme/model-1", 2), (name.as_slice(), wrapped.as_slice())).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    let broker = site.open();
    let admin = KekAdmin::new(Arc::clone(&broker), &site.layout());
    add(&admin, "file-2").unwrap();
    let KekReply::Rewrap { renewed, failed } = admin.carry_out(&KekRequest::Rewrap {}).unwrap() else {
        panic!()
    };
    assert_eq!(renewed, 10);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].starts_with("acme/model-1/2: "), "{failed:?}");
    assert!(matches!(retire(&admin, "file-1"), Err(KekAdminError::InUse { secrets: 1 })));
    assert!(site.folder.path().join("keks/file-1.sealed").exists());
    // It is still in the ring.
    assert!(broker.state().keyring().member(&id("file-1")).is_ok());
}

#[test]
fn case_26_a_backend_in_trouble_stops_the_run_and_nothing_is_lost() {
    let site = Site::bare();
    let (ring, backend) = faulty_ring(&site, NEVER);
    let broker = site.open_with_keyring(ring);
    let target = broker.state().keyring().target().unwrap();
    assert_eq!(target.kek, id("faulty-1"));
    for fault in [Fault::Down, Fault::Denied, Fault::OldVersion, Fault::Panic] {
        backend.misbehave(Some(fault));
        let stopped = broker.state().rewrap_page(&target, None);
        assert!(matches!(stopped, Err(StateError::Kek(KekError::Backend { .. }))), "{fault:?}");
    }
    for fault in [Fault::OtherKey, Fault::OtherSecret, Fault::Partial] {
        // It wraps, and would not give back what it wrapped.
        backend.misbehave(Some(fault));
        let page = broker.state().rewrap_page(&target, None).unwrap();
        assert_eq!((page.renewed.len(), page.failed.len()), (0, 5), "{fault:?}");
    }
    assert_eq!(broker.state().census().unwrap().of(&id("file-1"), None), 5);
    backend.misbehave(None);
    assert_eq!(broker.state().rewrap_page(&target, None).unwrap().renewed.len(), 5);
    // A key that cannot be destroyed stays in the ring and in the settings.
    let settings = Settings::read(site.folder.path()).unwrap();
    assert_eq!(settings.keks().len(), 1);
}

#[test]
fn a_key_that_does_not_work_is_not_added_and_shares_that_cannot_be_written_cost_the_key() {
    let (site, _broker, admin) = with_models(0);
    let before = Settings::read(site.folder.path()).unwrap();
    let gone = WrittenKek::Pkcs11 {
        id: id("hsm-1"),
        module: "/nowhere.so".into(),
        token: "anchorhold".to_owned(),
        key: "kek-1".to_owned(),
        pin_file: "pin".into(),
        deadline_ms: None,
    };
    for origin in [Origin::Fresh, Origin::Existing] {
        let refused = admin.carry_out(&KekRequest::Add { kek: gone.clone(), origin, shares: None });
        assert!(refused.is_err(), "{origin:?}");
    }
    let folder = site.folder.path().join("shares");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("share-file-2-3.txt"), "taken").unwrap();
    let order = anchorhold_key_broker::kek_admin::ShareOrder { scheme: "2-of-3".to_owned(), folder };
    let request = KekRequest::Add {
        kek: WrittenKek::file_beside_state(id("file-2")),
        origin: Origin::Fresh,
        shares: Some(order.clone()),
    };
    assert!(matches!(admin.carry_out(&request), Err(KekAdminError::Shares(_))));
    assert!(!site.folder.path().join("keks/file-2.sealed").exists());
    assert_eq!(Settings::read(site.folder.path()).unwrap(), before);
    assert_eq!(listed(&admin), [("file-1".to_owned(), true, 6)]);
    let other = KekRequest::Add {
        kek: WrittenKek::file_beside_state(id("file-2")),
        origin: Origin::Fresh,
        shares: Some(anchorhold_key_broker::kek_admin::ShareOrder {
            folder: site.folder.path().join("more"),
            ..order
        }),
    };
    let KekReply::Add { shares, .. } = admin.carry_out(&other).unwrap() else { panic!() };
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
    for wrong in [&[][..], &[1; 1025]] {
        assert_eq!(ring.wrap(place, wrong), Err(KekError::Length));
    }
    assert!(ring.wrap(place, &[1; 1024]).is_ok());
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
