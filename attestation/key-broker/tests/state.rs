//! What survives a crash, what is refused at start, and what happens when the store is at fault.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_key_broker::broker::BrokerError;
use anchorhold_key_broker::kek::KekError;
use anchorhold_key_broker::kek::settings::Settings;
use anchorhold_key_broker::state::{Spent, State, StateError};
use anchorhold_key_release::{ImportError, WrapError};
use anchorhold_rats::Nonce;
use common::{Guest, Site, challenge, import_file, post, refusal, terms, weights_key};
use redb::{Database, ReadableTable as _, TableDefinition};
use std::sync::Arc;

/// Terms and wrapped key, as the state stores them.
type ModelRow = (&'static [u8], &'static [u8]);

/// Takes the files of a state as they are at this moment, as a crash would leave them.
fn crashed(site: &Site) -> Site {
    let copy =
        Site { folder: tempfile::tempdir().unwrap(), clock: site.clock.clone(), reports: Arc::default() };
    std::fs::create_dir(copy.folder.path().join("keks")).unwrap();
    for name in ["kek.toml", "keks/file-1.sealed", "keks/file-1.credential", "broker.redb"] {
        std::fs::copy(site.folder.path().join(name), copy.folder.path().join(name)).unwrap();
    }
    std::fs::create_dir(copy.layout().logs()).unwrap();
    copy
}

fn kek_file(site: &Site, suffix: &str) -> std::path::PathBuf {
    site.folder.path().join(format!("keks/file-1.{suffix}"))
}

#[tokio::test]
async fn case_01_a_used_challenge_stays_used_after_a_crash() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body.clone()).await.0, 200);
    let after = crashed(&site);
    let restarted = after.open();
    assert_eq!(refusal(post(&restarted, "/v1/release", body).await), (409, "challenge_used".to_owned()));
    // The rest of the state is there too.
    let (body, _) = Guest::new(&after.clock).answer(&challenge(&restarted).await);
    assert_eq!(post(&restarted, "/v1/release", body).await.0, 200);
}

#[test]
fn used_nonces_are_forgotten_only_when_they_can_never_be_taken_again() {
    let site = Site::bare();
    let state = State::open(&site.layout()).unwrap();
    let nonce = |expires: i64, last: u8| {
        let mut bytes = [last; 32];
        bytes[..8].copy_from_slice(&expires.to_be_bytes());
        Nonce::new(bytes)
    };
    let start = site.clock.now();
    let expires = start.plus_seconds(60);
    let first = nonce(expires.unix_seconds(), 1);
    assert_eq!(state.spend(&first, expires, None, start).unwrap(), Spent::Fresh);
    assert_eq!(state.spend(&first, expires, None, start).unwrap(), Spent::Before);
    let later = expires.plus_seconds(60);
    let second = nonce(later.plus_seconds(60).unix_seconds(), 2);
    assert_eq!(state.spend(&second, later.plus_seconds(60), None, later).unwrap(), Spent::Fresh);
    assert!(!state.is_used(&first).unwrap(), "forgotten");
    // The clock is set back: the forgotten nonce would be in time again, and is refused all the same.
    assert_eq!(state.spend(&first, expires, None, start).unwrap(), Spent::Before);
}

#[test]
fn case_14_a_second_broker_on_the_same_state_is_refused() {
    let (site, broker) = Site::with_model();
    let layout = site.layout();
    assert!(matches!(State::open(&layout), Err(StateError::Locked)));
    drop(broker);
    assert!(State::open(&layout).is_ok());
}

#[test]
fn case_14_a_state_is_made_once() {
    let site = Site::bare();
    let key = std::fs::read(kek_file(&site, "sealed")).unwrap();
    assert!(matches!(State::create(&site.layout(), &[]), Err(StateError::Exists)));
    assert_eq!(std::fs::read(kek_file(&site, "sealed")).unwrap(), key);
}

#[test]
fn case_08_a_policy_that_is_not_newer_is_refused_and_the_one_in_force_stays() {
    let site = Site::bare();
    let broker = site.open();
    broker.set_policy(common::POLICY).unwrap();
    let older = common::POLICY.replace("= 42", "= 41");
    let broken = common::POLICY.replace("vmpl ", "vmpk ");
    let expired = common::POLICY.replace("= 42", "= 43").replace("2027-01-31", "2026-01-31");
    for (file, code) in [
        (common::POLICY, "policy_not_newer"),
        (&older, "policy_not_newer"),
        (&broken, "policy_malformed"),
        (&expired, "policy_expired"),
    ] {
        assert!(broker.set_policy(file).is_err());
        assert_eq!(site.story().last().unwrap(), &("policy.reject".to_owned(), code.to_owned()));
        assert_eq!(broker.policy().unwrap().version(), 42);
    }
    drop(broker);
    assert_eq!(site.open().policy().unwrap().version(), 42);
}

#[test]
fn case_08_of_two_updates_at_once_one_wins() {
    let site = Site::bare();
    let broker = site.open();
    let results: Vec<bool> = std::thread::scope(|scope| {
        let set = || broker.set_policy(common::POLICY).is_ok();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(set)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|won| **won).count(), 1);
    assert_eq!(site.story().len(), 4);
}

#[test]
fn an_import_is_taken_once_and_never_replaced() {
    let site = Site::bare();
    let broker = site.open();
    let file = import_file("acme/chat-70b", 7);
    broker.import(&file).unwrap();
    broker.import(&file).unwrap();
    let state = broker.state();
    assert_eq!(state.versions("acme/chat-70b").unwrap(), [terms("acme/chat-70b", 7)]);
    assert_eq!(state.weights_key(&"acme/chat-70b".parse().unwrap(), 7).unwrap(), weights_key(7));
    let other = state.import(&terms("acme/chat-70b", 7), &weights_key(8));
    assert!(matches!(other, Err(StateError::VersionTaken { version: 7 })));
    assert_eq!(state.versions("acme/chat").unwrap(), []);
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
    for secret in [weights_key(7).expose(), &[1; 32], &[2; 32], &[3; 32]] {
        assert!(!file.windows(32).any(|part| part == secret));
    }
}

#[tokio::test]
async fn case_12_a_key_that_does_not_open_is_503_and_does_not_use_the_challenge_up() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&challenge(&broker).await);
    drop(broker);
    let models: TableDefinition<(&str, u64), ModelRow> = TableDefinition::new("models");
    let path = site.folder.path().join("broker.redb");
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let database = Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        {
            let mut table = write.open_table(models).unwrap();
            let (name, mut wrapped) = {
                let row = table.get(("acme/chat-70b", 7)).unwrap().unwrap();
                (row.value().0.to_vec(), row.value().1.to_vec())
            };
            change(&mut wrapped);
            table.insert(("acme/chat-70b", 7), (name.as_slice(), wrapped.as_slice())).unwrap();
        }
        write.commit().unwrap();
    };
    change(&|wrapped| wrapped[20] ^= 1);
    let broker = site.open();
    assert_eq!(refusal(post(&broker, "/v1/release", body.clone()).await), (503, "backend".to_owned()));
    assert_eq!(site.story().last().unwrap(), &("key.refuse".to_owned(), "backend".to_owned()));
    assert_eq!(site.reports.lock().unwrap().len(), 1);
    drop(broker);
    change(&|wrapped| wrapped[20] ^= 1);
    assert_eq!(post(&site.open(), "/v1/release", body).await.0, 200);
}

#[tokio::test]
async fn case_12_another_key_encryption_key_stops_the_start() {
    let (site, broker) = Site::with_model();
    drop(broker);
    std::fs::write(kek_file(&site, "credential"), [7; 32]).unwrap();
    assert!(matches!(State::open(&site.layout()), Err(StateError::Settings(_))));
    // Another key of the same name is found at the first secret.
    std::fs::remove_file(kek_file(&site, "sealed")).unwrap();
    let settings = Settings::read(site.folder.path()).unwrap();
    settings.keks()[0].create(site.folder.path(), None).unwrap();
    let opened = State::open(&site.layout()).unwrap().secret("signing seed");
    assert!(matches!(opened, Err(StateError::Kek(KekError::Open { .. }))), "{opened:?}");
}

#[tokio::test]
async fn without_its_log_the_broker_answers_nothing() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&challenge(&broker).await);
    broker.close().unwrap();
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (503, "backend".to_owned()));
    let health = http::Request::get("/health").body(axum::body::Body::empty()).unwrap();
    assert_eq!(common::call(&broker, health).await.0, 503);
}

#[tokio::test]
async fn case_11_a_full_set_of_used_nonces_is_busy_and_empties_by_itself() {
    let (site, broker) = Site::with_model();
    drop(broker);
    let nonces: TableDefinition<&[u8], ()> = TableDefinition::new("nonces");
    let database = Database::open(site.folder.path().join("broker.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(nonces).unwrap();
        for number in 0..65_536_u64 {
            let mut nonce = [0; 32];
            nonce[..8].copy_from_slice(&site.clock.now().unix_seconds().to_be_bytes());
            nonce[8..16].copy_from_slice(&number.to_be_bytes());
            table.insert(nonce.as_slice(), ()).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    let broker = site.open();
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (503, "busy".to_owned()));
    site.clock.pass(120);
    let (body, _) = guest.answer(&challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[test]
fn refuses_more_versions_of_a_model_than_there_may_be() {
    let site = Site::bare();
    let models: TableDefinition<(&str, u64), ModelRow> = TableDefinition::new("models");
    let database = Database::open(site.folder.path().join("broker.redb")).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(models).unwrap();
        for version in 1000..2024 {
            table.insert(("acme/chat-70b", version), (b"{}".as_slice(), b"".as_slice())).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    let state = State::open(&site.layout()).unwrap();
    let full = state.import(&terms("acme/chat-70b", 7), &weights_key(7));
    assert!(matches!(full, Err(StateError::TooManyVersions)));
    state.import(&terms("acme/embed", 7), &weights_key(7)).unwrap();
}
