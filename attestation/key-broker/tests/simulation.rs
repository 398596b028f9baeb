//! The broker in a small world that a seed decides: guests that come and go, an operator, a disk that fails, a network that repeats, loses and
//! delays, a clock that runs, crashes at any moment, and policies and revocations that change while a request is judged.
//!
//! `SEEDS=10000 cargo test --release -p anchorhold-key-broker --test simulation` runs that many; a failure names its seed, and
//! `SEED=…` runs it alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_attester::software::SoftwareGuest;
use anchorhold_audit_log::Signer;
use anchorhold_audit_log::merkle::{Frontier, TreeHead, leaf_hash};
use anchorhold_key_broker::broker::{Answer, Broker, Returned};
use anchorhold_key_release::{Awaiting, LeaseEnd, ReleaseKey, Revoked, Session, sign_lease_end};
use anchorhold_rats::{Ed25519PublicKey, Kem, Sha256Digest, Timestamp};
use common::simulated::{Fault, Simulated};
use common::{Clock, Guest, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SEEDS: u64 = 150;
const STEPS: usize = 40;
const GUESTS: usize = 3;
const MAX_INSTANCES: usize = 2;
const FIRST_POLICY: u64 = 43;
const KIDS: [&str; 2] = ["k7", "k8"];

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A request that a guest has sent, which the network may deliver any number of times.
struct Sent {
    body: Vec<u8>,
    nonce: String,
    awaiting: Option<Awaiting>,
    guest: usize,
}

/// What must be true of everything that was ever answered.
#[derive(Default)]
struct Known {
    /// Status of each request that has an entry.
    decided: BTreeMap<String, u16>,
    keys: BTreeMap<String, usize>,
    /// The heads that were ever seen in an answer.
    heads: Vec<TreeHead>,
    /// Keys whose revocation was acknowledged, and the size of the log then.
    revoked: BTreeMap<&'static str, u64>,
    /// The policy version that was acknowledged, and the size of the log then.
    policies: Vec<(u64, u64)>,
    /// Instances with a lease, until when.
    leases: BTreeMap<u8, Timestamp>,
}

struct World {
    random: Random,
    site: Site,
    store: Arc<Simulated>,
    broker: Arc<Broker>,
    machine: Arc<SoftwareGuest>,
    keys: Vec<ReleaseKey>,
    sent: Vec<Sent>,
    version: u64,
    known: Known,
}

fn policy(version: u64) -> String {
    let text = common::POLICY.replace("= 42", &format!("= {version}"));
    text.replace("max_instances = 16", &format!("max_instances = {MAX_INSTANCES}")).replace("60m", "5m")
}

/// What is the same for every seed, since it is dear.
struct Shared {
    machine: Arc<SoftwareGuest>,
    image: Simulated,
}

impl Shared {
    fn new() -> Self {
        let site = Site::bare();
        let store = Arc::new(Simulated::default());
        let broker = site.open_on(store.clone());
        broker.import(&common::import_file("acme/chat-70b", 8)).unwrap();
        common::set_policy(&broker, policy(FIRST_POLICY)).unwrap();
        let machine = Guest::new(&site.clock).machine;
        Self { machine: Arc::new(machine), image: store.image() }
    }
}

impl World {
    fn new(seed: u64, shared: &Shared) -> Self {
        let site = Site {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::new(),
            reports: Arc::default(),
            endorser: None,
        };
        let store = Arc::new(shared.image.image());
        let broker = site.reopen_on(store.clone());
        let keys = (0..GUESTS).map(|_| ReleaseKey::generate(Kem::X25519).unwrap()).collect();
        Self {
            random: Random(seed),
            site,
            store,
            broker,
            machine: Arc::clone(&shared.machine),
            keys,
            sent: Vec::new(),
            version: FIRST_POLICY,
            known: Known::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.site.clock.now()
    }

    fn size(&self) -> u64 {
        self.broker.ledger().latest().head.size
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..=3 => self.send(),
            4..=8 => self.deliver(),
            9 => self.site.clock.pass([1, 20, 61, 130, 400][self.random.below(5)]),
            10 => self.crash(),
            11 => self.set_policy(),
            12 if self.random.one_in(3) => self.revoke(),
            13 => self.fail_next_change(),
            14 => self.store.set_unreadable(self.random.one_in(2)),
            15 if self.random.one_in(2) => self.give_back(),
            _ => self.ask_lease(),
        }
        self.check_now();
    }

    /// A guest takes a challenge and makes its request; nothing is delivered yet.
    fn send(&mut self) {
        let challenge = self.broker.challenge(b"{}");
        assert_eq!(challenge.status, 200, "a challenge needs no store");
        let guest = self.random.below(GUESTS);
        let keys = anchorhold_key_release::GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: self.keys[guest].public_key().clone(),
            audit_key: Ed25519PublicKey::new(*log_of(guest, guest).key().public_key().as_bytes()),
        };
        let least = if self.random.one_in(4) { 8 } else { 1 };
        let request = common::key_request(("acme/chat-70b", least), u8::try_from(guest).unwrap() + 1);
        let pinned = common::pinned(&self.broker);
        let session = Session::begin(&challenge.body, pinned, request, keys).unwrap();
        let evidence = self.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
        let (body, awaiting) = session.send(evidence);
        let challenge: serde_json::Value = serde_json::from_slice(&challenge.body).unwrap();
        let nonce = challenge["nonce"].as_str().unwrap().to_owned();
        self.sent.push(Sent { body, nonce, awaiting: Some(awaiting), guest });
    }

    /// The network delivers some request, perhaps once more, perhaps garbled, perhaps while the policy changes.
    fn deliver(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.random.below(self.sent.len());
        let mut body = self.sent[at].body.clone();
        if self.random.one_in(12) {
            let place = self.random.below(body.len());
            body[place] ^= 1;
        }
        let mut meanwhile = None;
        if self.random.one_in(4) {
            meanwhile = Some(if self.random.one_in(3) { self.revoke_later() } else { self.policy_later() });
        }
        let answer = self.broker.release(&body);
        if let Some((learn, done)) = meanwhile {
            self.store.forget_hook();
            if let Some(size) = *done.lock().unwrap() {
                learn(&mut self.known, size);
            }
        }
        self.learn(at, &answer, &body);
    }

    fn learn(&mut self, at: usize, answer: &Answer, body: &[u8]) {
        let altered = body != self.sent[at].body;
        if let Some(rid) = &answer.request_id {
            assert_eq!(self.known.decided.insert(rid.clone(), answer.status), None);
        } else {
            assert_eq!(answer.status, 503, "only what could not be logged has no name");
        }
        if answer.status != 200 {
            assert!([400, 401, 403, 409, 503].contains(&answer.status), "{}", answer.status);
            return;
        }
        let nonce: serde_json::Value = serde_json::from_slice(body).unwrap();
        let times = self.known.keys.entry(nonce["nonce"].as_str().unwrap().to_owned()).or_default();
        *times += 1;
        assert_eq!(*times, 1, "a nonce got two keys");
        assert!(!altered, "an altered request got a key");
        let sent = &mut self.sent[at];
        assert_eq!(nonce["nonce"], sent.nonce);
        let awaiting = sent.awaiting.take().expect("the first answer");
        // The network may lose the answer; the lease is taken all the same.
        let released = awaiting.open(&answer.body, &self.keys[sent.guest]).unwrap();
        let version = u8::try_from(released.terms().version).unwrap();
        assert_eq!(released.weights_key(), &common::weights_key(version));
        let ends = self.site.clock.now().plus_seconds(i64::from(released.terms().lease_s));
        self.known.leases.insert(u8::try_from(sent.guest).unwrap() + 1, ends);
        self.known.heads.push(self.broker.ledger().latest().head);
    }

    /// The process ends at once; what the disk took is there.
    fn crash(&mut self) {
        self.store.set_unreadable(false);
        self.store.forget_hook();
        let rows = Arc::new(self.store.image());
        self.store = rows;
        let (keyring, anchors) = (common::keyring(), common::anchors());
        let opened =
            Broker::open_on(self.store.clone(), keyring, anchors, common::no_witness(), self.site.around());
        self.broker = Arc::new(opened.expect("a state that was crashed opens"));
    }

    fn set_policy(&mut self) {
        // Now and then one that is not newer, which must be refused.
        let version = if self.random.one_in(4) { self.version } else { self.version + 1 };
        let outcome = common::set_policy(&self.broker, policy(version));
        if outcome.is_ok() {
            assert!(
                self.known.policies.iter().all(|(older, _)| *older < version),
                "an older policy was taken"
            );
            self.known.policies.push((version, self.size()));
        }
        self.version = self.version.max(version);
    }

    fn revoke(&mut self) {
        let kid = KIDS[self.random.below(2)];
        if self.broker.revoke(&Revoked::Kid(kid.to_owned())).is_ok() {
            let size = self.size();
            self.known.revoked.entry(kid).or_insert(size);
        }
    }

    fn policy_later(&mut self) -> Meanwhile {
        self.version += 1;
        let (version, broker) = (self.version, Arc::clone(&self.broker));
        let done: Done = Arc::default();
        let told = Arc::clone(&done);
        self.store.after_reads(self.random.below(4), move || {
            if common::set_policy(&broker, policy(version)).is_ok() {
                *told.lock().unwrap() = Some(broker.ledger().latest().head.size);
            }
        });
        (Box::new(move |known, size| known.policies.push((version, size))), done)
    }

    fn revoke_later(&mut self) -> Meanwhile {
        let kid = KIDS[self.random.below(2)];
        let broker = Arc::clone(&self.broker);
        let done: Done = Arc::default();
        let told = Arc::clone(&done);
        self.store.after_reads(self.random.below(4), move || {
            if broker.revoke(&Revoked::Kid(kid.to_owned())).is_ok() {
                *told.lock().unwrap() = Some(broker.ledger().latest().head.size);
            }
        });
        let learn = move |known: &mut Known, size| {
            known.revoked.entry(kid).or_insert(size);
        };
        (Box::new(learn), done)
    }

    fn fail_next_change(&mut self) {
        let fault = [Fault::Unreachable, Fault::AnswerLost, Fault::ChangeLost][self.random.below(3)];
        self.store.fail_next(fault);
    }

    fn ask_lease(&mut self) {
        let instance = u8::try_from(self.random.below(GUESTS)).unwrap() + 1;
        let _ = self.broker.lease_state(anchorhold_key_release::InstanceId::new([instance; 16]), "k7");
    }

    /// A guest stops, or a host says so in its name.
    fn give_back(&mut self) {
        let guest = self.random.below(GUESTS);
        let signer = if self.random.one_in(3) { (guest + 1) % GUESTS } else { guest };
        let kid = KIDS[self.random.below(2)];
        let note = sign_lease_end(&log_of(guest, signer), kid).unwrap();
        let instance = u8::try_from(guest).unwrap() + 1;
        match self.broker.end_lease(&LeaseEnd::from_json(&note).unwrap()) {
            Ok(Ok(returned)) => {
                assert!(returned == Returned::Unknown || signer == guest, "ended by another's word");
                if returned == Returned::Ended {
                    self.known.leases.remove(&instance);
                }
            }
            Ok(Err(_)) => assert_ne!(signer, guest),
            // Nobody knows whether it has ended.
            Err(_) if signer == guest => drop(self.known.leases.remove(&instance)),
            Err(_) => {}
        }
    }

    /// What must hold after every step.
    fn check_now(&mut self) {
        self.store.set_unreadable(false);
        let status = self.broker.status().unwrap();
        let live: BTreeSet<u8> = status.leases.iter().map(|lease| lease.instance.as_bytes()[0]).collect();
        assert_eq!(live.len(), status.leases.len(), "an instance has two leases of one grant");
        assert!(live.len() <= MAX_INSTANCES, "{} instances", live.len());
        for (instance, ends) in &self.known.leases {
            assert!(*ends <= self.now() || live.contains(instance), "the lease of {instance} was lost");
        }
    }

    /// What must hold of the whole history.
    fn check_history(&self) {
        let entries = common::entries(&self.broker);
        let mut lines = Vec::new();
        self.broker.export_entries(&mut lines).unwrap();
        let mut frontier = Frontier::new();
        let mut roots = vec![TreeHead::empty()];
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            frontier.push(leaf_hash(line));
            roots.push(frontier.head());
        }
        for head in &self.known.heads {
            assert_eq!(roots[usize::try_from(head.size).unwrap()], *head, "a head that was shown is no more");
        }
        let mut logged: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            assert_eq!(entry["seq"], index);
            let Some(rid) = entry["req"]["rid"].as_str() else { continue };
            let status = entry["req"]["status"].as_u64().unwrap();
            assert_eq!(logged.insert(rid, status), None, "one request has two entries");
            let released = matches!(entry["type"].as_str(), Some("key.release" | "key.renew"));
            assert_eq!(released, status == 200);
            if released {
                let since = self.known.revoked.get(entry["key"]["kid"].as_str().unwrap());
                assert!(since.is_none_or(|since| (index as u64) < *since), "a key left after its revocation");
            }
            if let Some(version) = entry["decision"]["policy_ver"].as_u64() {
                let newest = self.known.policies.iter().filter(|(_, size)| *size <= index as u64);
                let newest = newest.map(|(version, _)| *version).max().unwrap_or(0);
                assert!(version >= newest, "entry {index} was decided by policy {version} after {newest}");
            }
        }
        for (rid, status) in &self.known.decided {
            assert_eq!(logged.get(rid.as_str()), Some(&u64::from(*status)), "a decision is not in the log");
        }
    }
}

/// The log of a guest, signed with the key of one.
fn log_of(guest: usize, signer: usize) -> Signer {
    let origin = common::key_request(("", 0), u8::try_from(guest).unwrap() + 1).log_origin;
    Signer::from_seed(origin, &[u8::try_from(signer).unwrap() + 10; 32]).unwrap()
}

type Done = Arc<std::sync::Mutex<Option<u64>>>;
/// What to learn when something that was to happen meanwhile did, at which size of the log.
type Meanwhile = (Box<dyn FnOnce(&mut Known, u64)>, Done);

fn run(seed: u64, shared: &Shared) -> (usize, usize) {
    let mut world = World::new(seed, shared);
    for _ in 0..STEPS {
        world.step();
    }
    world.crash();
    world.check_now();
    world.check_history();
    (world.known.keys.len(), world.known.decided.len())
}

#[test]
fn whatever_happens_no_nonce_is_used_twice_no_lease_lost_and_no_decision_missing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let shared = Shared::new();
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let (mut keys, mut decisions) = (0, 0);
    for seed in seeds.clone() {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &shared)));
        match outcome {
            Ok((released, decided)) => (keys, decisions) = (keys + released, decisions + decided),
            Err(cause) => {
                eprintln!("seed {seed} failed: run it alone with SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    eprintln!("{} seeds: {decisions} decisions, {keys} keys", seeds.end - seeds.start);
    assert!(keys > 0 || seeds.end - seeds.start < 10, "no seed released a key");
}
