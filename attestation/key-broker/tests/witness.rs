//! The broker as a witness, and the broker in front of its own witnesses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_audit_log::cosignature::{Quorum, cosignatures};
use anchorhold_audit_log::merkle::{TreeHead, consistency_proof, leaf_hash, root};
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::witness::{AddCheckpoint, with_signatures};
use anchorhold_audit_log::{Checkpoint, Hash, Origin, Signer};
use anchorhold_channel::{server, tls};
use anchorhold_key_broker::anchor::{Anchor, AnchorError, witnesses_from_file};
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::look_up;
use anchorhold_rats::Ed25519PublicKey;
use anchorhold_witnesses::Witnesses;
use axum::body::Body;
use common::simulated::{Fault, Simulated};
use common::{Guest, Site, challenge, entries, post, refusal};
use http::Request;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tower::ServiceExt as _;

const INSTANCE: &str = "01010101010101010101010101010101";

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(format!("leaf {index}").as_bytes())).collect()
}

fn head(count: usize) -> TreeHead {
    TreeHead { size: count as u64, root: root(&leaves(count)) }
}

/// A guest's audit log, by its key: another one than [`Guest::log`].
fn log() -> Signer {
    Signer::from_seed(Origin::new(&format!("acme/{INSTANCE}")).unwrap(), &[4; 32]).unwrap()
}

fn note(head: TreeHead) -> Vec<u8> {
    Checkpoint::new(log().origin().as_str(), head).sign(&log()).unwrap()
}

fn request(old: usize, head: TreeHead) -> Vec<u8> {
    let proof = consistency_proof(&leaves(usize::try_from(head.size).unwrap()), old).unwrap_or_default();
    AddCheckpoint::new(old as u64, proof, note(head)).unwrap().to_bytes()
}

async fn add(broker: &Arc<Broker>, body: Vec<u8>) -> (u16, String, Vec<u8>) {
    let request = Request::post("/witness/add-checkpoint").body(Body::from(body)).unwrap();
    let response = anchorhold_key_broker::router::router(Arc::clone(broker)).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (status, kind, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

/// A broker that has released a key to the guest whose log it will witness.
async fn with_guest() -> (Site, Arc<Simulated>, Arc<Broker>) {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let broker = site.open_on(store.clone());
    let guest = Guest::new(&site.clock);
    let challenge = challenge(&broker).await;
    let keys = anchorhold_key_release::GuestKeys {
        audit_key: Ed25519PublicKey::new(*log().key().public_key().as_bytes()),
        ..guest.keys()
    };
    let request = common::key_request(("acme/chat-70b", 1), 1);
    let session =
        anchorhold_key_release::Session::begin(&challenge, common::pinned(&broker), request, keys).unwrap();
    let no_gpus = anchorhold_rats::Sha256Digest::of(b"");
    let evidence = guest.machine.attest(&session.report_data(no_gpus)).unwrap();
    let (body, _) = session.send(evidence);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    (site, store, broker)
}

#[tokio::test]
async fn a_log_is_witnessed_from_the_release_on_and_each_head_is_cosigned() {
    let (_site, _, broker) = with_guest().await;
    for (old, new) in [(0, 1), (1, 5), (5, 5), (5, 9)] {
        let (status, kind, lines) = add(&broker, request(old, head(new))).await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"), "{old} to {new}");
        let note = with_signatures(&note(head(new)), &lines).unwrap();
        let keys = [broker.cosigner().key().clone()];
        assert_eq!(cosignatures(&Note::parse(&note).unwrap(), &keys).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn refuses_logs_that_are_not_registered_and_keys_that_are_not_theirs() {
    let (_site, _, broker) = with_guest().await;
    let stranger = Signer::from_seed(Origin::new("acme/other").unwrap(), &[3; 32]).unwrap();
    let other = Checkpoint::new("acme/other", head(2)).sign(&stranger).unwrap();
    let other = AddCheckpoint::new(0, Vec::new(), other).unwrap().to_bytes();
    assert_eq!(add(&broker, other).await.0, 404);
    let thief = Signer::from_seed(log().origin().clone(), &[9; 32]).unwrap();
    let stolen = Checkpoint::new(log().origin().as_str(), head(2)).sign(&thief).unwrap();
    let stolen = AddCheckpoint::new(0, Vec::new(), stolen).unwrap().to_bytes();
    assert_eq!(add(&broker, stolen).await.0, 403);
    assert_eq!(add(&broker, b"old x\n\n".to_vec()).await.0, 400);
    assert_eq!(add(&broker, vec![b'a'; 70_000]).await.0, 413);
}

#[tokio::test]
async fn case_29_a_log_that_was_set_back_is_refused_and_its_contradiction_is_kept() {
    let (_site, _, broker) = with_guest().await;
    assert_eq!(add(&broker, request(0, head(7))).await.0, 200);
    // The disk was set back: the log goes on from an older size, and is told the newer one.
    let (status, kind, size) = add(&broker, request(3, head(5))).await;
    assert_eq!((status, kind.as_str(), size.as_slice()), (409, "text/x.tlog.size", b"7\n".as_slice()));
    // A clone that has written something else in the meantime.
    let forked = TreeHead { size: 9, root: Hash::of(b"other") };
    let proof = consistency_proof(&leaves(9), 7).unwrap();
    let fork = AddCheckpoint::new(7, proof, note(forked)).unwrap().to_bytes();
    let before = entries(&broker).len();
    assert_eq!(add(&broker, fork.clone()).await.0, 422);
    assert_eq!(add(&broker, fork).await.0, 422);
    let told = entries(&broker);
    assert_eq!(told.len(), before + 1, "the first contradiction is logged");
    assert_eq!(told[before]["type"], "log.anchor_fail");
    assert_eq!(told[before]["code"], "log_contradiction");
    let row = look_up(broker.ledger().store(), |view| state::witnessed(view, log().origin().as_str()));
    let row = row.unwrap().unwrap();
    for kept in [row.checkpoint, row.contradiction.unwrap()] {
        assert!(Checkpoint::verify(kept.as_bytes(), log().key()).is_ok(), "signed by the log itself");
    }
    // The true history goes on.
    assert_eq!(add(&broker, request(7, head(9))).await.0, 200);
}

#[tokio::test]
async fn a_head_is_stored_before_it_is_cosigned() {
    let (_site, store, broker) = with_guest().await;
    for fault in [Fault::Unreachable, Fault::ChangeLost, Fault::AnswerLost] {
        store.fail_next(fault);
        assert_eq!(add(&broker, request(0, head(4))).await.0, 503, "{fault:?}");
    }
    // The answer of the last one was lost, not the head.
    let (status, _, size) = add(&broker, request(0, head(4))).await;
    assert_eq!((status, size.as_slice()), (409, b"4\n".as_slice()));
    assert_eq!(add(&broker, request(4, head(4))).await.0, 200);
}

#[tokio::test]
async fn of_two_heads_at_once_one_is_cosigned() {
    let (_site, _, broker) = with_guest().await;
    let mut tasks = tokio::task::JoinSet::new();
    for new in [4, 5, 6, 7] {
        let broker = Arc::clone(&broker);
        tasks.spawn(async move { add(&broker, request(0, head(new))).await.0 });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
}

#[tokio::test]
async fn refuses_a_release_that_names_the_log_of_another_key() {
    let (site, _, broker) = with_guest().await;
    // The same instance with another audit key than at its first release.
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "log_origin_taken".to_owned()));
}

/// A witness of its own site, over HTTPS.
struct WitnessSite {
    broker: Arc<Broker>,
    url: String,
    certificate: std::path::PathBuf,
    folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<anchorhold_channel::server::Served>,
}

impl WitnessSite {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::bare();
        let broker = site.open_on(Arc::new(Simulated::default()));
        let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()]).unwrap();
        let certificate = folder.path().join("witness.pem");
        std::fs::write(&certificate, own.certificate_pem()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let router = anchorhold_key_broker::router::router(Arc::clone(&broker));
        let config = own.into_server_config().unwrap();
        let limits = server::Limits::default();
        let serving = tokio::spawn(server::serve(listener, config, router, limits, std::future::pending()));
        Self { broker, url, certificate, folder, serving }
    }

    fn settings(&self, needed: usize) -> Witnesses {
        let path = self.folder.path().join("witnesses.toml");
        let text = format!(
            "needed = {needed}\n[[witness]]\nkey = \"{}\"\nurl = \"{}\"\ncertificate = {:?}\n",
            self.broker.cosigner().key(),
            self.url,
            self.certificate
        );
        std::fs::write(&path, text).unwrap();
        witnesses_from_file(&path).unwrap()
    }
}

fn witnessed_broker(site: &Site, store: Arc<Simulated>, quorum: &Quorum) -> Arc<Broker> {
    let keyring = common::keyring();
    Arc::new(Broker::open_on(store, keyring, common::anchors(), quorum.clone(), site.around()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_leaves_only_after_the_witnesses_cosigned_its_entry() {
    let witness = WitnessSite::start().await;
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    drop(site.open_on(store.clone()));
    let settings = witness.settings(1);
    let broker = witnessed_broker(&site, store, settings.quorum());
    witness.broker.witness_log(broker.ledger().key()).unwrap();
    let anchor = Anchor::new(Arc::clone(&broker), settings);
    let running = tokio::spawn(anchor.run(site.around().clock));
    let guest = Guest::new(&site.clock);
    let (body, awaiting) = guest.answer(&broker, &challenge(&broker).await);
    let (status, answer) = post(&broker, "/v1/release", body).await;
    assert_eq!(status, 200);
    // The guest pins the witness, so opening is the proof that its cosignature is there.
    assert_eq!(awaiting.open(&answer, &guest.key).unwrap().weights_key(), &common::weights_key(7));
    let known =
        look_up(witness.broker.ledger().store(), |view| state::witnessed(view, broker.ledger().key().name()));
    assert_eq!(known.unwrap().unwrap().size, broker.ledger().latest().head.size);
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn case_14_a_state_older_than_the_witness_knows_is_refused() {
    let witness = WitnessSite::start().await;
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    drop(site.open_on(store.clone()));
    let backup = Arc::new(store.image());
    let broker = witnessed_broker(&site, store, witness.settings(1).quorum());
    witness.broker.witness_log(broker.ledger().key()).unwrap();
    broker.revoke(&anchorhold_key_release::Revoked::Kid("k7".to_owned())).unwrap();
    let mut anchor = Anchor::new(Arc::clone(&broker), witness.settings(1));
    anchor.cosign().await.unwrap();
    let (size, key) = (broker.ledger().latest().head.size, broker.ledger().key().clone());
    drop((anchor, broker));

    let restored = witnessed_broker(&site, Arc::clone(&backup), witness.settings(1).quorum());
    let error = Anchor::new(Arc::clone(&restored), witness.settings(1)).cosign().await.unwrap_err();
    assert!(matches!(error, AnchorError::Behind { witness, .. } if witness == size), "{error}");
    assert!(error.is_rollback());
    // Writing on does not help: the history is another one.
    restored.revoke(&anchorhold_key_release::Revoked::Kid("k1".to_owned())).unwrap();
    assert_eq!((restored.ledger().latest().head.size, restored.ledger().key()), (size, &key));
    let error = Anchor::new(Arc::clone(&restored), witness.settings(1)).cosign().await.unwrap_err();
    assert!(error.is_rollback(), "{error}");
    restored.revoke(&anchorhold_key_release::Revoked::Kid("k2".to_owned())).unwrap();
    let error = Anchor::new(restored, witness.settings(1)).cosign().await.unwrap_err();
    assert!(matches!(error, AnchorError::Refused { status: 422 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_away_or_another_is_not_counted() {
    let witness = WitnessSite::start().await;
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    drop(site.open_on(store.clone()));
    let settings = witness.settings(1);
    let broker = witnessed_broker(&site, store, settings.quorum());
    // The witness does not know the log.
    let error = Anchor::new(Arc::clone(&broker), settings).cosign().await.unwrap_err();
    assert!(matches!(&error, AnchorError::TooFew { needed: 1, observed: 0, .. }), "{error}");
    assert!(!error.is_rollback());
    witness.broker.witness_log(broker.ledger().key()).unwrap();
    // Another key than the one that is pinned.
    let path = witness.folder.path().join("witnesses.toml");
    let other = anchorhold_audit_log::cosignature::Cosigner::from_seed("other/witness", &[8; 32]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace(&witness.broker.cosigner().key().to_string(), &other.key().to_string()),
    )
    .unwrap();
    let mut anchor = Anchor::new(Arc::clone(&broker), witnesses_from_file(&path).unwrap());
    let error = anchor.cosign().await.unwrap_err();
    assert!(
        matches!(&error, AnchorError::TooFew { first, .. } if matches!(first.1, AnchorError::Answer(_))),
        "{error}"
    );
    let settings = witness.settings(1);
    witness.serving.abort();
    let error = Anchor::new(broker, settings).cosign().await.unwrap_err();
    assert!(
        matches!(&error, AnchorError::TooFew { first, .. } if matches!(first.1, AnchorError::Unreachable(_))),
        "{error}"
    );
}

#[test]
fn refuses_witness_settings_that_prove_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witnesses.toml");
    let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.path().join("w.pem"), own.certificate_pem()).unwrap();
    let key = anchorhold_audit_log::cosignature::Cosigner::from_seed("w", &[8; 32]).unwrap();
    let witness = format!(
        "[[witness]]\nkey = \"{}\"\nurl = \"https://127.0.0.1:1\"\ncertificate = {:?}\n",
        key.key(),
        folder.path().join("w.pem")
    );
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        witnesses_from_file(&path)
    };
    assert!(read(&format!("needed = 1\n{witness}")).is_ok());
    for bad in [
        format!("needed = 0\n{witness}"),
        format!("needed = 2\n{witness}"),
        format!("needed = 2\n{witness}{witness}"),
        format!("needed = 1\nmore = 1\n{witness}"),
        format!("needed = 1\n{}", witness.replace("https", "http")),
        format!("needed = 1\n{}", witness.replace("w+", "x+")),
        "needed = 1\nwitness = []\n".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}
