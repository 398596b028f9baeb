//! Several brokers on one database: what one has done the others know, and none of it is lost while brokers are killed, cut off
//! and restarted under load, and the database with them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_attester::software::SoftwareGuest;
use anchorhold_key_release::ReleaseKey;
use anchorhold_rats::{Kem, Sha256Digest};
use common::cluster::Cluster;
use common::partition::Partition;
use common::programs::{SIMULATED, Server, Site, machine, run};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How often something is broken while guests ask; `CHAOS_ROUNDS` asks for more.
const ROUNDS: usize = 6;
const GUESTS: u8 = 6;

fn refusal(answer: &anchorhold_channel::client::Answer) -> (u16, String) {
    common::refusal((answer.status.as_u16(), answer.body.to_vec()))
}

#[tokio::test]
async fn what_one_broker_has_done_the_other_knows() {
    let Some(cluster) = Cluster::start() else { return };
    let one = Site::with_store(SIMULATED, Some(&cluster.settings()));
    let two = one.join(SIMULATED, &cluster.settings());
    assert_eq!(one.public["signing_key"], two.public["signing_key"]);
    assert_eq!(one.public["log_key"], two.public["log_key"]);
    let again = tempfile::tempdir().unwrap();
    std::fs::write(again.path().join("store.toml"), cluster.settings()).unwrap();
    let (good, _, errors) = run(SIMULATED, &["init", "--state", again.path().to_str().unwrap()]);
    assert!(!good && errors.contains("a broker's state already"), "{errors}");

    let servers = [&one, &two].map(|site| Server::start(SIMULATED, &site.state(), site.key("tls_key")));
    let [first, second] = &servers;
    let (machine, key) = (machine(), ReleaseKey::generate(Kem::X25519).unwrap());
    // A challenge of the one is answered by the other, once.
    let challenge = first.post("/v1/challenge", Vec::new()).await;
    let (body, awaiting) = one.answer(&challenge.body, (&machine, &key), 1);
    let answer = second.post("/v1/release", body.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(awaiting.open(&answer.body, &key).unwrap().weights_key(), &common::weights_key(7));
    for server in &servers {
        let again = server.post("/v1/release", body.clone()).await;
        assert_eq!(refusal(&again), (409, "challenge_used".to_owned()));
    }
    // A revocation at the one holds at the other at once.
    let (good, _, errors) = run(SIMULATED, &["revoke", "--state", &one.state(), "kid", "k7"]);
    assert!(good, "{errors}");
    let challenge = second.post("/v1/challenge", Vec::new()).await;
    let (body, _) = two.answer(&challenge.body, (&machine, &key), 1);
    assert_eq!(refusal(&second.post("/v1/release", body).await), (403, "revoked".to_owned()));
    let asked = serde_json::json!({ "instance_id": "01".repeat(16), "kid": "k7" });
    let lease = second.post("/v1/lease", asked.to_string().into_bytes()).await;
    assert_eq!(lease.body.as_ref(), br#"{"lease":"revoked"}"#);
    let (_, status, _) = run(SIMULATED, &["status", "--state", &two.state()]);
    assert_eq!(status["leases"].as_array().unwrap().len(), 1);
}

/// A broker that is started again when it was killed.
struct Broker {
    site: Site,
    server: Mutex<Option<Arc<Server>>>,
    between: Partition,
}

impl Broker {
    async fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().await.clone()
    }

    async fn kill(&self) {
        *self.server.lock().await = None;
    }

    /// Starts it as soon as the database is there.
    async fn start(&self) {
        let (state, tls_key): (_, Sha256Digest) = (self.site.state(), self.site.key("tls_key"));
        loop {
            let (state, tls_key) = (state.clone(), tls_key);
            let start = move || Server::try_start(SIMULATED, &state, tls_key, &[]);
            if let Some(server) = tokio::task::spawn_blocking(start).await.unwrap() {
                *self.server.lock().await = Some(Arc::new(server));
                return;
            }
        }
    }
}

/// What guests saw.
#[derive(Default)]
struct Seen {
    /// How often each nonce got a key.
    keys: BTreeMap<String, usize>,
    /// The brokers' names of requests that were decided, with their status.
    decided: BTreeMap<String, u16>,
    /// The instances that got a key.
    instances: Vec<u8>,
    unanswered: usize,
}

/// One guest: asks for keys, sends each request to both brokers, and again, until told to stop.
async fn ask(
    brokers: Arc<[Broker; 2]>,
    (machine, instance): (Arc<SoftwareGuest>, u8),
    seen: Arc<Mutex<Seen>>,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let key = ReleaseKey::generate(Kem::X25519).unwrap();
    let mut turn = usize::from(instance);
    while !*stop.borrow() {
        turn += 1;
        let Some(server) = brokers[turn % 2].server().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(challenge) = server.try_post("/v1/challenge", Vec::new()).await else { continue };
        if challenge.status != 200 {
            continue;
        }
        let (body, awaiting) = brokers[0].site.answer(&challenge.body, (&machine, &key), instance);
        let nonce: serde_json::Value = serde_json::from_slice(&challenge.body).unwrap();
        let nonce = nonce["nonce"].as_str().unwrap().to_owned();
        let mut awaiting = Some(awaiting);
        for attempt in 0..3 {
            let Some(server) = brokers[(turn + attempt) % 2].server().await else { continue };
            let answer = server.try_post("/v1/release", body.clone()).await;
            let mut seen = seen.lock().await;
            let Ok(answer) = answer else {
                seen.unanswered += 1;
                continue;
            };
            let status = answer.status.as_u16();
            if let Some(rid) = answer.headers.get("x-request-id") {
                seen.decided.insert(rid.to_str().unwrap().to_owned(), status);
            } else {
                assert_eq!(status, 503, "only what could not be logged has no name");
            }
            if status == 200 {
                *seen.keys.entry(nonce.clone()).or_default() += 1;
                seen.instances.push(instance);
                if let Some(awaiting) = awaiting.take() {
                    assert!(awaiting.open(&answer.body, &key).is_ok(), "the answer proves its own entry");
                }
            } else {
                assert!([409, 503].contains(&status), "{:?}", refusal(&answer));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_nonce_is_used_twice_and_nothing_decided_is_lost_while_everything_breaks() {
    let Some(cluster) = Cluster::start() else { return };
    let rounds = std::env::var("CHAOS_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let between = [(); 2].map(|()| Partition::before(cluster.port));
    let [first, second] = &between;
    let one = Site::with_store(SIMULATED, Some(&cluster.settings_over_tls(first.port)));
    let two = one.join(SIMULATED, &cluster.settings_over_tls(second.port));
    let [first, second] = between;
    let brokers = Arc::new([
        Broker { site: one, server: Mutex::new(None), between: first },
        Broker { site: two, server: Mutex::new(None), between: second },
    ]);
    for broker in brokers.iter() {
        broker.start().await;
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let machine = Arc::new(machine());
    let guests: Vec<_> = (1..=GUESTS)
        .map(|instance| {
            let guest = (Arc::clone(&machine), instance);
            tokio::spawn(ask(Arc::clone(&brokers), guest, Arc::clone(&seen), stopped.clone()))
        })
        .collect();
    for round in 0..rounds {
        // Some progress between two faults, so that each meets work under way.
        let before = seen.lock().await.decided.len();
        while seen.lock().await.decided.len() < before + 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let broker = &brokers[round % 2];
        match round % 3 {
            0 => {
                broker.kill().await;
                broker.start().await;
            }
            1 => {
                tokio::task::block_in_place(|| cluster.crash());
                tokio::task::block_in_place(|| cluster.up());
            }
            _ => {
                broker.between.set_cut(true);
                let before = seen.lock().await.decided.len();
                // The other one goes on, unless the one that was cut off holds the database's lock; the server ends that.
                while seen.lock().await.decided.len() < before + 5 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                broker.between.set_cut(false);
            }
        }
    }
    stop.send_replace(true);
    for guest in guests {
        guest.await.unwrap();
    }
    judge(&brokers[0].site, &*seen.lock().await);
}

/// Holds what guests saw against the log and the leases.
fn judge(site: &Site, seen: &Seen) {
    assert!(seen.keys.values().all(|times| *times == 1), "a nonce got two keys");
    assert!(seen.keys.len() > 10, "too little happened: {} keys", seen.keys.len());
    let output =
        std::process::Command::new(SIMULATED).args(["log", "--state", &site.state()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let mut logged: BTreeMap<String, u16> = BTreeMap::new();
    for (index, entry) in entries.enumerate() {
        let entry = entry.unwrap();
        assert_eq!(entry["seq"], index);
        let Some(rid) = entry["req"]["rid"].as_str() else { continue };
        let status = u16::try_from(entry["req"]["status"].as_u64().unwrap()).unwrap();
        assert_eq!(logged.insert(rid.to_owned(), status), None, "one request has two entries");
    }
    for (rid, status) in &seen.decided {
        assert_eq!(logged.get(rid), Some(status), "a decision that was answered is not in the log");
    }
    let (good, status, errors) = run(SIMULATED, &["status", "--state", &site.state()]);
    assert!(good, "{errors}");
    let leases: Vec<_> =
        status["leases"].as_array().unwrap().iter().map(|lease| lease["instance"].clone()).collect();
    for instance in &seen.instances {
        assert!(leases.contains(&format!("{instance:02x}").repeat(16).into()), "a lease was lost");
    }
    let bundle = site.folder.path().join("log.tar");
    let (good, _, errors) =
        run(SIMULATED, &["log", "--state", &site.state(), "--out", bundle.to_str().unwrap()]);
    assert!(good, "{errors}");
    let report =
        anchorhold_audit_log::verify(std::fs::File::open(&bundle).unwrap(), &Default::default()).unwrap();
    assert!(report.is_accepted(), "{report:?}");
    eprintln!(
        "{} keys, {} decisions, {} requests without an answer, {} entries",
        seen.keys.len(),
        seen.decided.len(),
        seen.unanswered,
        logged.len()
    );
}
