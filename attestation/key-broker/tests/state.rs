//! What survives a crash, what is refused at start, and what happens when the store is at fault.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_audit_log::Stamp;
use anchorhold_key_broker::broker::{Beginning, Broker, BrokerError, set_up, set_up_in, set_up_under};
use anchorhold_key_broker::kek::KekError;
use anchorhold_key_broker::kek::settings::{Origin, Settings, WrittenKek};
use anchorhold_key_broker::layout::Layout;
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::embedded::{Embedded, OpenError};
use anchorhold_key_broker::store::{Change, Store as _, StoreError, Table, look_up};
use anchorhold_key_release::{ImportError, WeightsKeyImport, WeightsKeyTerms, WrapError};
use anchorhold_rats::{Nonce, Timestamp};
use common::simulated::{Fault, Simulated};
use common::{Guest, Site, challenge, import_file, post, refusal, story, terms, weights_key};
use std::sync::Arc;

/// Takes the files of a state as they are at this moment, as a crash would leave them.
fn crashed(site: &Site) -> Site {
    let copy = Site {
        folder: tempfile::tempdir().unwrap(),
        clock: site.clock.clone(),
        reports: Arc::default(),
        endorser: None,
    };
    std::fs::create_dir(copy.folder.path().join("keks")).unwrap();
    for name in ["kek.toml", "keks/file-1.sealed", "keks/file-1.credential", "broker.redb"] {
        std::fs::copy(site.folder.path().join(name), copy.folder.path().join(name)).unwrap();
    }
    copy
}

fn kek_file(site: &Site, suffix: &str) -> std::path::PathBuf {
    site.folder.path().join(format!("keks/file-1.{suffix}"))
}

fn change(broker: &Broker, mut work: impl FnMut(&mut dyn Change) -> Result<(), StoreError>) {
    broker.ledger().store().write(&mut |change| work(change)).unwrap();
}

#[tokio::test]
async fn case_01_a_used_challenge_stays_used_after_a_crash() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body.clone()).await.0, 200);
    let after = crashed(&site);
    let restarted = after.open();
    assert_eq!(refusal(post(&restarted, "/v1/release", body).await), (409, "challenge_used".to_owned()));
    // The rest of the state is there too.
    let (body, _) = Guest::new(&after.clock).answer(&restarted, &challenge(&restarted).await);
    assert_eq!(post(&restarted, "/v1/release", body).await.0, 200);
}

#[test]
fn used_nonces_are_forgotten_only_when_they_can_never_be_taken_again() {
    let store = Simulated::default();
    let nonce = |expires: Timestamp, last: u8| {
        let mut bytes = [last; 32];
        bytes[..8].copy_from_slice(&expires.unix_seconds().to_be_bytes());
        Nonce::new(bytes)
    };
    let use_up = |nonce, at| store.write(&mut |change| state::use_up(change, &nonce, at)).unwrap();
    let is_used = |nonce, expires| look_up(&store, |view| state::is_used(view, &nonce, expires)).unwrap();
    let start: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let expires = start.plus_seconds(60);
    let first = nonce(expires, 1);
    assert!(!is_used(first, expires));
    use_up(first, start);
    assert!(is_used(first, expires));
    let later = expires.plus_seconds(60);
    let second = nonce(later.plus_seconds(60), 2);
    use_up(second, later);
    let there = look_up(&store, |view| view.get(Table::Nonces, first.as_bytes())).unwrap();
    assert_eq!(there, None, "forgotten");
    // The clock is set back: the forgotten nonce would be in time again, and is refused all the same.
    assert!(is_used(first, expires));
    assert!(is_used(second, later.plus_seconds(60)));
}

#[test]
fn case_14_a_second_broker_on_the_same_state_is_refused() {
    let (site, broker) = Site::with_model();
    let layout = site.layout();
    assert!(matches!(Embedded::open(layout.embedded()), Err(OpenError::Locked)));
    drop(broker);
    assert!(Embedded::open(layout.embedded()).is_ok());
}

#[test]
fn case_14_a_state_is_made_once() {
    let site = Site::bare();
    let key = std::fs::read(kek_file(&site, "sealed")).unwrap();
    let at = (site.around().clock)();
    let again = set_up_in(&site.layout(), &Beginning { secrets: &common::secrets(), signers: None, at });
    assert!(matches!(again, Err(BrokerError::Exists)));
    assert_eq!(std::fs::read(kek_file(&site, "sealed")).unwrap(), key);
}

#[test]
fn case_14_what_an_init_that_was_cut_off_left_behind_does_not_stop_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::of(&folder.path().join("state"));
    let secrets = common::secrets();
    let beginning = Beginning { secrets: &secrets, signers: None, at: Stamp { wall_ns: 0, mono_ns: 0 } };
    let no_module = WrittenKek::Pkcs11 {
        id: "pkcs11-1".parse().unwrap(),
        module: "no-such-module.so".into(),
        token: "anchorhold".to_owned(),
        key: "kek-1".to_owned(),
        pin_file: "pin".into(),
        deadline_ms: None,
    };
    let failed = set_up_under(&layout, &no_module, (Origin::Fresh, None), &beginning);
    assert!(matches!(failed, Err(BrokerError::Settings(_))), "{failed:?}");
    let around = Site::around_at(&common::Clock::new());
    let opened = Broker::open(&layout, common::anchors(), common::no_witness(), around.clone());
    assert!(matches!(opened, Err(BrokerError::NotSetUp)), "{opened:?}");
    // One that was cut off later leaves the key too, and perhaps its settings.
    let key = WrittenKek::first_beside_state();
    key.create(layout.folder(), None).unwrap();
    let again = set_up_in(&layout, &beginning);
    let Err(BrokerError::KeyWithoutState(path)) = again else { panic!("{again:?}") };
    assert!(path.ends_with("keks/file-1.sealed"), "{}", path.display());
    std::fs::remove_file(path).unwrap();
    Settings::of(key).write(layout.folder()).unwrap();
    set_up_in(&layout, &beginning).unwrap();
    Broker::open(&layout, common::anchors(), common::no_witness(), around).unwrap();
}

#[test]
fn a_state_is_set_up_whole_or_not_at_all() {
    for fault in [Fault::Unreachable, Fault::ChangeLost] {
        let store = Arc::new(Simulated::default());
        let secrets = common::secrets();
        let beginning = Beginning { secrets: &secrets, signers: None, at: Stamp { wall_ns: 0, mono_ns: 0 } };
        store.fail_next(fault);
        let set_up = || set_up(store.clone(), &common::keyring(), &beginning);
        assert!(matches!(set_up(), Err(BrokerError::Ledger(_))));
        set_up().unwrap();
        assert!(matches!(set_up(), Err(BrokerError::Exists)));
        assert_eq!(store.writes(), 3 - u64::from(fault == Fault::Unreachable), "one change each");
    }
}

#[test]
fn an_import_is_taken_once_and_never_replaced() {
    let site = Site::bare();
    let broker = site.open();
    let file = import_file("acme/chat-70b", 7);
    broker.import(&file).unwrap();
    broker.import(&file).unwrap();
    let versions = |id: &str| look_up(broker.ledger().store(), |view| state::versions(view, id)).unwrap();
    assert_eq!(versions("acme/chat-70b"), [terms("acme/chat-70b", 7)]);
    assert_eq!(versions("acme/chat"), []);
    let other =
        WeightsKeyImport::wrap(&weights_key(8), terms("acme/chat-70b", 7), broker.import_key().public_key());
    let other = broker.import(&other.unwrap().to_json());
    assert!(matches!(other, Err(BrokerError::VersionTaken { version: 7 })));
    let imports = common::entries(&broker).iter().filter(|entry| entry["type"] == "key.import").count();
    assert_eq!(imports, 1);
}

#[test]
fn an_import_for_another_broker_is_refused() {
    let site = Site::bare();
    let broker = site.open();
    let file = import_file("acme/chat-70b", 7);
    let text = String::from_utf8(file).unwrap().replace("\"version\": 7", "\"version\": 8");
    let refused = broker.import(text.as_bytes());
    assert!(matches!(refused, Err(BrokerError::Import(ImportError::Wrap(WrapError::Open)))));
}

#[test]
fn no_secret_is_on_disk_in_the_clear() {
    let (site, broker) = Site::with_model();
    drop(broker);
    let file = std::fs::read(site.folder.path().join("broker.redb")).unwrap();
    for secret in [weights_key(7).expose(), &[1; 32], &[2; 32], &[3; 32], &[6; 32]] {
        assert!(!file.windows(32).any(|part| part == secret));
    }
}

#[tokio::test]
async fn case_12_a_key_that_does_not_open_is_503_and_does_not_use_the_challenge_up() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    let flip = || {
        change(&broker, |change| {
            let id = "acme/chat-70b".parse().unwrap();
            let mut row = state::model(&*change, &id, 7)?.unwrap();
            row.wrapped[20] ^= 1;
            state::put_model(change, &terms("acme/chat-70b", 7), &row)
        });
    };
    flip();
    assert_eq!(refusal(post(&broker, "/v1/release", body.clone()).await), (503, "backend".to_owned()));
    assert_eq!(story(&broker).last().unwrap(), &("key.refuse".to_owned(), "backend".to_owned()));
    assert_eq!(site.reports.lock().unwrap().len(), 1);
    flip();
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[test]
fn case_12_another_key_encryption_key_stops_the_start() {
    let (site, broker) = Site::with_model();
    drop(broker);
    let open = || Broker::open(&site.layout(), common::anchors(), common::no_witness(), site.around());
    std::fs::write(kek_file(&site, "credential"), [7; 32]).unwrap();
    assert!(matches!(open(), Err(BrokerError::Settings(_))));
    // Another key of the same name is found at the first secret.
    std::fs::remove_file(kek_file(&site, "sealed")).unwrap();
    let settings = Settings::read(site.folder.path()).unwrap();
    settings.keks()[0].create(site.folder.path(), None).unwrap();
    assert!(matches!(open(), Err(BrokerError::Kek(KekError::Open { .. }))));
}

#[tokio::test]
async fn a_store_out_of_reach_is_503_and_the_same_challenge_is_good_afterwards() {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let broker = site.open_on(store.clone());
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    store.fail_next(Fault::Unreachable);
    assert_eq!(refusal(post(&broker, "/v1/release", body.clone()).await), (503, "backend".to_owned()));
    store.set_unreadable(true);
    assert_eq!(refusal(post(&broker, "/v1/release", body.clone()).await), (503, "backend".to_owned()));
    let health = || http::Request::get("/health").body(axum::body::Body::empty()).unwrap();
    assert_eq!(common::call(&broker, health()).await.0, 503);
    store.set_unreadable(false);
    assert_eq!(common::call(&broker, health()).await.0, 200);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    assert_eq!(story(&broker).len(), 2, "nothing was logged that was not decided");
}

#[tokio::test]
async fn a_release_whose_commit_is_uncertain_is_not_answered() {
    for (fault, second) in [(Fault::AnswerLost, (409, "challenge_used")), (Fault::ChangeLost, (200, ""))] {
        let site = Site::bare();
        let store = Arc::new(Simulated::default());
        let broker = site.open_on(store.clone());
        let guest = Guest::new(&site.clock);
        let (body, _) = guest.answer(&broker, &challenge(&broker).await);
        store.fail_next(fault);
        assert_eq!(refusal(post(&broker, "/v1/release", body.clone()).await), (503, "backend".to_owned()));
        // Where the change is durable after all, so is its entry.
        let restarted = site.reopen_on(Arc::new(store.image()));
        let logged = story(&restarted).iter().filter(|(kind, _)| kind == "key.release").count();
        assert_eq!(logged == 1, fault == Fault::AnswerLost);
        let (status, answer) = post(&restarted, "/v1/release", body).await;
        assert_eq!(status, second.0);
        assert!(status == 200 || refusal((status, answer)).1 == second.1);
    }
}

#[tokio::test]
async fn case_11_a_full_set_of_used_nonces_is_busy_and_empties_by_itself() {
    let site = Site::bare();
    let broker = site.open_on(Arc::new(Simulated::default()));
    let now = site.clock.now();
    for first in (0..state::MAX_NONCES).step_by(4096) {
        change(&broker, |change| {
            (first..first + 4096).try_for_each(|number| {
                let mut nonce = [0; 32];
                nonce[..8].copy_from_slice(&now.unix_seconds().to_be_bytes());
                nonce[8..16].copy_from_slice(&number.to_be_bytes());
                state::use_up(change, &Nonce::new(nonce), now)
            })
        });
    }
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (503, "busy".to_owned()));
    site.clock.pass(120);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[test]
fn refuses_more_versions_of_a_model_than_there_may_be() {
    let site = Site::bare();
    let broker = site.open_on(Arc::new(Simulated::default()));
    change(&broker, |change| {
        (8..=state::MAX_VERSIONS as u64 + 6).try_for_each(|version| {
            let terms = WeightsKeyTerms { version, ..terms("acme/chat-70b", 7) };
            let row = state::ModelRow { terms: serde_json::to_string(&terms).unwrap(), wrapped: Vec::new() };
            state::put_model(change, &terms, &row)
        })
    });
    let full = broker.import(&import_file("acme/chat-70b", 1));
    assert!(matches!(full, Err(BrokerError::TooManyVersions)), "{full:?}");
    broker.import(&import_file("acme/embed", 7)).unwrap();
}
