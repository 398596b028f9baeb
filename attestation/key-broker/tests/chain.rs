//! Which log came before a guest's, as the broker tells it with the key.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_audit_log::merkle::{TreeHead, leaf_hash, root};
use anchorhold_audit_log::witness::AddCheckpoint;
use anchorhold_audit_log::{Checkpoint, Follows, Predecessor};
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::look_up;
use anchorhold_key_release::{Awaiting, ChallengeAsked};
use axum::body::Body;
use common::simulated::Simulated;
use common::{Guest, Site, call, post};
use http::Request;
use std::collections::BTreeMap;
use std::sync::Arc;

fn opened() -> (Site, Arc<Broker>) {
    let site = Site::bare();
    let broker = site.open_on(Arc::new(Simulated::default()));
    (site, broker)
}

fn guest(site: &Site, instance: u8) -> Guest {
    Guest { instance, ..Guest::new(&site.clock) }
}

/// A request for the key by a guest that says of itself what `asked` says.
async fn ask(broker: &Arc<Broker>, guest: &Guest, asked: &[u8]) -> (Vec<u8>, Awaiting) {
    let (status, challenge) = post(broker, "/v1/challenge", asked.to_vec()).await;
    assert_eq!(status, 200);
    guest.answer(broker, &challenge)
}

async fn told_by(broker: &Arc<Broker>, guest: &Guest, asked: &[u8]) -> Follows {
    let (body, awaiting) = ask(broker, guest, asked).await;
    let (status, answer) = post(broker, "/v1/release", body).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    awaiting.open(&answer, &guest.key).unwrap().follows()
}

async fn told(broker: &Arc<Broker>, guest: &Guest) -> Follows {
    told_by(broker, guest, &ChallengeAsked::OWN.to_json()).await
}

fn head(size: u64) -> TreeHead {
    let leaves: Vec<_> = (0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect();
    TreeHead { size, root: root(&leaves) }
}

/// Has the guest's log cosigned, from nothing on.
async fn cosign(
    broker: &Arc<Broker>,
    guest: &Guest,
    checkpoint: fn(&str, TreeHead) -> Checkpoint,
    size: u64,
) {
    let signer = guest.log();
    let note = checkpoint(signer.origin().as_str(), head(size)).sign(&signer).unwrap();
    let body = AddCheckpoint::new(0, Vec::new(), note).unwrap().to_bytes();
    let request = Request::post("/witness/add-checkpoint").body(Body::from(body)).unwrap();
    let router = anchorhold_key_broker::router::router(Arc::clone(broker));
    let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

fn named(guest: &Guest, head: TreeHead, closed: bool) -> Follows {
    let origin = guest.log().origin().clone();
    Follows::Log(Predecessor { closed, origin, root: head.root, size: head.size })
}

#[tokio::test]
async fn case_29_each_boot_is_told_of_the_one_before_it_as_far_as_it_was_cosigned() {
    let (site, broker) = opened();
    let [one, two, three, four] = [1, 2, 3, 4].map(|instance| guest(&site, instance));
    assert_eq!(told(&broker, &one).await, Follows::Nothing);
    // Nothing of the first was cosigned yet.
    assert_eq!(told(&broker, &two).await, named(&one, TreeHead::empty(), false));
    cosign(&broker, &two, Checkpoint::new, 5).await;
    assert_eq!(told(&broker, &three).await, named(&two, head(5), false));
    cosign(&broker, &three, Checkpoint::closing, 7).await;
    assert_eq!(told(&broker, &four).await, named(&three, head(7), true));
    // With a renewal comes what came with the first key, whatever happened since.
    cosign(&broker, &one, Checkpoint::new, 3).await;
    assert_eq!(told(&broker, &two).await, named(&one, TreeHead::empty(), false));
    assert_eq!(told(&broker, &one).await, Follows::Nothing);
}

#[tokio::test]
async fn what_came_before_outlives_the_broker() {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let broker = site.open_on(store.clone());
    let one = guest(&site, 1);
    assert_eq!(told(&broker, &one).await, Follows::Nothing);
    cosign(&broker, &one, Checkpoint::closing, 4).await;
    let row = look_up(broker.ledger().store(), |view| state::witnessed(view, one.log().origin().as_str()));
    assert!(row.unwrap().unwrap().closed);
    drop(broker);
    let broker = site.reopen_on(store);
    assert_eq!(told(&broker, &guest(&site, 2)).await, named(&one, head(4), true));
}

#[tokio::test]
async fn old_guests_are_told_nothing_and_stand_in_the_line() {
    let (site, broker) = opened();
    let [old, new, oldest] = [1, 2, 3].map(|instance| guest(&site, instance));
    for (guest, asked) in [(&old, &b"{}"[..]), (&oldest, b"")] {
        assert_eq!(told_by(&broker, guest, asked).await, Follows::NotTold);
    }
    assert_eq!(told(&broker, &new).await, named(&oldest, TreeHead::empty(), false));
}

#[tokio::test]
async fn a_challenge_says_only_what_was_asked_for() {
    let (_site, broker) = opened();
    for (asked, minor) in [
        (&b""[..], None),
        (b"{}", None),
        (b"{\"minor\":0}", None),
        (b"{\"minor\":-1}", None),
        (b"[1]", None),
        (b"{\"minor\":1}", Some(1)),
        (b"{\"minor\":4000000000,\"more\":true}", Some(1)),
    ] {
        let request = Request::post("/v1/challenge").body(Body::from(asked.to_vec())).unwrap();
        let (status, body) = call(&broker, request).await;
        let challenge: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, challenge["minor"].as_u64()), (200, minor), "{}", String::from_utf8_lossy(asked));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_that_begin_at_once_come_into_one_line() {
    const BOOTS: u8 = 12;
    let (site, broker) = opened();
    let mut tasks = tokio::task::JoinSet::new();
    for instance in 1..=BOOTS {
        let (broker, guest) = (Arc::clone(&broker), guest(&site, instance));
        tasks.spawn(async move { (guest.log().origin().clone(), told(&broker, &guest).await) });
    }
    let told: BTreeMap<_, _> = tasks.join_all().await.into_iter().collect();
    let mut before = BTreeMap::new();
    for (origin, follows) in &told {
        if let Follows::Log(log) = follows {
            assert!(before.insert(&log.origin, origin).is_none(), "two follow {}", log.origin);
        }
    }
    assert_eq!(before.len(), usize::from(BOOTS) - 1, "one is the first");
}

#[tokio::test]
async fn a_refused_boot_is_no_part_of_the_line() {
    let (site, broker) = opened();
    let newer = |version| common::POLICY.replace("version          = 42", &format!("version = {version}"));
    common::set_policy(&broker, newer(43).replace("max_instances = 16", "max_instances = 1")).unwrap();
    let [one, two] = [1, 2].map(|instance| guest(&site, instance));
    assert_eq!(told(&broker, &one).await, Follows::Nothing);
    let (body, _) = ask(&broker, &two, &ChallengeAsked::OWN.to_json()).await;
    assert_eq!(post(&broker, "/v1/release", body).await.0, 403);
    common::set_policy(&broker, newer(44)).unwrap();
    assert_eq!(told(&broker, &guest(&site, 3)).await, named(&one, TreeHead::empty(), false));
}
