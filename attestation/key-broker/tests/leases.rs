//! What a running guest hears of its lease when what it rests on is revoked: the key, or any machine below it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;
#[path = "../../key-release/tests/families/machine.rs"]
mod machine;

use anchorhold_audit_log::Signer;
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::{Store as _, Table, look_up};
use anchorhold_key_release::{AuditTerms, InstanceId, KeyRequest, Revoked, Session, sign_lease_end};
use anchorhold_rats::{Endorsements, Evidence, Measurement, Sha256Digest, Timestamp};
use common::simulated::Simulated;
use common::{Guest, Site, challenge, import_file, post, refusal, set_policy};
use machine::{Machine, Made, anchors};
use std::sync::Arc;

const SNP: &str = include_str!("../../../policies/release/chat-prod.toml");
const TDX: &str = include_str!("../../../policies/release/tdx-guests.toml");
const BOARD: &str = include_str!("../../../policies/release/gpu-board.toml");
const CHIP: &str = "snp = { measurement = \"a1\", chip = \"0d\" }";
const PLATFORM: &str = "tdx = { mrtd = \"b1\", rtmrs = [\"\", \"11\", \"22\", \"\"], ppid = \"0e\" }";
const DEVICE: &str =
    "snp = { measurement = \"a1\" }\ngpu = { kind = \"h100\", pdis = [\"0b0b0b0b0b0b0b0b\"] }";
/// Its devices have other identities at every request.
const DEVICES: &str = "snp = { measurement = \"a1\" }\ngpu = { kind = \"hgx\" }";

/// A broker, one machine that its policy takes, and the model that the machine asks for.
struct Running {
    site: Site,
    broker: Arc<Broker>,
    policy: String,
    machine: Machine,
    model: (&'static str, u8),
}

impl Running {
    fn new(policy: &str, machine: &str, model: (&'static str, u8)) -> Self {
        let site = Site::bare();
        let broker = site.open_with(anchors());
        let pinned = "[\"sha256:3333333333333333333333333333333333333333333333333333333333333333\"]";
        let policy = policy.replace(pinned, "\"any\"");
        set_policy(&broker, &policy).unwrap();
        broker.import(&import_file(model.0, model.1)).unwrap();
        Self { site, broker, policy, machine: toml::from_str(machine).unwrap(), model }
    }

    /// One request for the key.
    async fn ask(&self) -> (u16, Vec<u8>) {
        let at = self.site.clock.now();
        let audit = AuditTerms { anchor_ms: Some(1000), witnesses: 2, ..AuditTerms::default() };
        let request = KeyRequest { audit, ..common::key_request((self.model.0, 1), 1) };
        let keys = Guest::new(&self.site.clock).keys();
        let challenge = challenge(&self.broker).await;
        let session = Session::begin(&challenge, common::pinned(&self.broker), request, keys).unwrap();
        let mut endorsements = Endorsements::default();
        let gpus = self.machine.devices(&session.gpu_nonce(), at, &mut endorsements);
        let digest = Evidence { gpus: gpus.clone(), ..Evidence::snp(Vec::new(), Vec::new()) }.gpu_digest();
        let Made { evidence, endorsements } =
            self.machine.attest(&session.report_data(digest), gpus, endorsements, at);
        post(&self.broker, "/v1/release", session.send_endorsed(evidence, endorsements).0).await
    }

    /// What the guest hears when it asks about its lease.
    async fn lease(&self) -> String {
        let asked = serde_json::json!({ "instance_id": InstanceId::new([1; 16]), "kid": format!("k{}", self.model.1) });
        let (status, body) = post(&self.broker, "/v1/lease", asked.to_string().into_bytes()).await;
        assert_eq!(status, 200);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["lease"].as_str().unwrap().to_owned()
    }

    /// Puts the same policy in force with this list of what it revokes.
    fn revoke_by_policy(&self, list: &str, name: &str) {
        let (version, rest) = self.policy.split_once("version").unwrap().1.split_once('\n').unwrap();
        let version: u64 = version.trim_matches([' ', '=']).parse().unwrap();
        let next = format!("policy = \"next\"\nversion = {}\n{rest}", version + 1);
        let lines = next.lines().map(|line| match line.split_whitespace().next() {
            Some(key) if key == list => format!("{list} = [\"{name}\"]"),
            _ => line.to_owned(),
        });
        set_policy(&self.broker, lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
}

/// A running guest goes on while another one of the kind is revoked, and hears at its next question that its own is.
async fn drains(running: impl Fn() -> Running, kind: &str, (list, own, other): (&str, &str, &str)) {
    for by_policy in [false, true] {
        let running = running();
        let (status, body) = running.ask().await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert_eq!(running.lease().await, "live");
        running.broker.revoke(&Revoked::parse(kind, other).unwrap()).unwrap();
        assert_eq!(running.lease().await, "live", "another {kind} was revoked");
        if by_policy {
            running.revoke_by_policy(list, own);
        } else {
            running.broker.revoke(&Revoked::parse(kind, own).unwrap()).unwrap();
        }
        assert_eq!(running.lease().await, "revoked", "{kind} {own}, by policy: {by_policy}");
        assert_eq!(running.ask().await.0, 403, "and there is no other lease");
    }
}

#[tokio::test]
async fn case_13_a_revoked_key_manifest_or_image_drains_a_running_guest() {
    let running = || Running::new(SNP, CHIP, ("acme/chat-70b", 7));
    drains(running, "kid", ("kids", "k7", "k8")).await;
    let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
    drains(running, "manifest", ("manifests", &digest("07"), &digest("08"))).await;
    let image = |byte: &str| format!("sha384:{}", byte.repeat(48));
    drains(running, "measurement", ("measurements", &image("a1"), &image("a2"))).await;
}

#[tokio::test]
async fn case_13_a_revoked_chip_drains_a_running_guest() {
    let running = || Running::new(SNP, CHIP, ("acme/chat-70b", 7));
    drains(running, "chip", ("chips", &"0d".repeat(64), &"0c".repeat(64))).await;
}

#[tokio::test]
async fn case_13_a_revoked_platform_drains_a_running_guest() {
    let running = || Running::new(TDX, PLATFORM, ("acme/chat-70b", 7));
    drains(running, "platform", ("platforms", &"0e".repeat(16), &"0c".repeat(16))).await;
}

#[tokio::test]
async fn case_13_a_revoked_device_drains_a_running_guest() {
    let single = BOARD.replace("mode               = \"protected-pcie\"", "mode = \"single\"");
    let single = single.replace("gpus               = 8", "gpus = 1");
    let single = single.replace("switches           = 4", "switches = 0").replace(", \"ls10\"", "");
    let running = || Running::new(&single, DEVICE, ("acme/chat-405b", 3));
    drains(running, "device", ("devices", &"0b".repeat(8), &"0c".repeat(8))).await;
}

#[tokio::test]
async fn case_13_a_lease_names_every_machine_below_the_guest_by_pseudonym_only() {
    let running = Running::new(SNP, CHIP, ("acme/chat-70b", 7));
    assert_eq!(running.ask().await.0, 200);
    let status = serde_json::to_value(running.broker.status().unwrap()).unwrap();
    assert_eq!(status["leases"][0]["machines"].as_array().unwrap().len(), 1);
    assert!(!status.to_string().contains("0d0d0d0d"), "{status}");
    // Eight GPUs and four switches.
    let running = Running::new(BOARD, DEVICES, ("acme/chat-405b", 3));
    assert_eq!(running.ask().await.0, 200);
    let status = serde_json::to_value(running.broker.status().unwrap()).unwrap();
    assert_eq!(status["leases"][0]["machines"].as_array().unwrap().len(), 1 + 12);
}

#[tokio::test]
async fn a_note_that_ends_nothing_costs_no_change_of_the_state() {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let broker = site.open_on(store.clone());
    let (guest, mut other) = (Guest::new(&site.clock), Guest::new(&site.clock));
    other.instance = 2;
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    let end =
        |signer: &Signer, kid: &str| post(&broker, "/v1/lease/end", sign_lease_end(signer, kid).unwrap());
    let thief = Signer::from_seed(guest.log().origin().clone(), &[9; 32]).unwrap();
    let before = store.writes();
    // A log that nobody knows, another's signature, and a key of which there is no lease.
    assert_eq!(end(&other.log(), "k7").await.0, 200);
    assert_eq!(end(&thief, "k7").await.0, 403);
    assert_eq!(end(&guest.log(), "k8").await.0, 200);
    assert_eq!(store.writes(), before);
    assert_eq!(end(&guest.log(), "k7").await, (200, br#"{"lease":"ended"}"#.to_vec()));
    assert_eq!(store.writes(), before + 1);
    assert_eq!(end(&guest.log(), "k7").await, (200, br#"{"lease":"unknown"}"#.to_vec()));
    assert_eq!(store.writes(), before + 1, "said again, it ends nothing");
}

fn instance(number: u32) -> InstanceId {
    let mut id = [0xff; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    InstanceId::new(id)
}

#[tokio::test]
async fn a_lease_is_found_among_more_than_are_shown_and_after_its_grant_has_left_the_policy() {
    let running = Running::new(SNP, CHIP, ("acme/chat-70b", 7));
    assert_eq!(running.ask().await.0, 200);
    let (store, at) = (running.broker.ledger().store(), running.site.clock.now());
    let lease = running.broker.status().unwrap().leases.pop().unwrap();
    // Every row of the table, but for the guest's, is before it.
    let many = u32::try_from(state::MAX_LEASES).unwrap();
    store
        .write(&mut |change| {
            let mut row = serde_json::to_value(&lease).unwrap();
            for number in 0..many {
                (row["grant"], row["instance"]) =
                    ("gone".into(), serde_json::to_value(instance(number)).unwrap());
                let key = [instance(number).as_bytes().as_slice(), b"gone"].concat();
                change.put(Table::Leases, &key, &serde_json::to_vec(&row).unwrap())?;
            }
            Ok(())
        })
        .unwrap();
    let other = running.policy.replace("name          = \"chat-prod\"", "name = \"chat-next\"");
    set_policy(&running.broker, other.replace("version          = 42", "version = 43")).unwrap();
    assert_eq!(running.lease().await, "live");
    assert_eq!(look_up(store, |view| state::leases_of(view, lease.instance, at)).unwrap(), [lease]);
}

#[test]
fn ended_leases_of_grants_that_are_gone_are_forgotten_a_few_at_a_time() {
    let store = Simulated::default();
    let start: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let lease = |grant: &str, number: u32, ends: Timestamp| state::Lease {
        grant: grant.to_owned(),
        instance: instance(number),
        ends,
        model_id: "acme/chat-70b".parse().unwrap(),
        version: 7,
        kid: "k7".to_owned(),
        manifest_digest: Sha256Digest::new([7; 32]),
        measurement: Measurement::new([0xa1; 48]),
        machines: serde_json::from_str("[]").unwrap(),
    };
    let put = |lease: &state::Lease, at| {
        store.write(&mut |change| state::put_lease(change, lease, at)).unwrap();
    };
    let rows = |table| look_up(&store, |view| view.scan(table, &[]..&[u8::MAX; 64], 1000)).unwrap().len();
    for number in 0..200 {
        put(&lease("gone", number, start.plus_seconds(60)), start);
    }
    let kept = lease("gone", 200, start.plus_seconds(600));
    put(&kept, start);
    let later = start.plus_seconds(60);
    for round in 1..6 {
        put(&lease("here", 1000, later.plus_seconds(60)), later);
        assert!(
            rows(Table::Leases) >= 202_usize.saturating_sub(round * 64),
            "no round looks at more than 64"
        );
    }
    assert_eq!((rows(Table::Leases), rows(Table::LeaseEnds)), (2, 2));
    let live = |grant: &str| look_up(&store, |view| state::instances(view, grant, later)).unwrap();
    assert_eq!((live("gone"), live("here")), (vec![instance(200)], vec![instance(1000)]));
    // Those of the same grant go at once.
    put(&lease("here", 1001, later.plus_seconds(600)), later.plus_seconds(60));
    assert_eq!(look_up(&store, |view| state::leases_of(view, instance(1000), start)).unwrap(), []);
    assert_eq!(look_up(&store, |view| state::leases_of(view, instance(200), later)).unwrap(), [kept]);
}

#[tokio::test]
async fn case_07_a_refused_device_of_a_board_is_403_and_its_place_is_told() {
    for (place, code, machine) in [
        (0, "nvidia_mode", "gpu = { kind = \"hgx\", feature = [0, 0] }"),
        (5, "rim_measurement", "gpu = { kind = \"hgx\", debug = 5 }"),
        (9, "nvidia_nonce", "gpu = { kind = \"hgx\", stale = 9 }"),
    ] {
        let machine = format!("snp = {{ measurement = \"a1\" }}\n{machine}");
        let running = Running::new(BOARD, &machine, ("acme/chat-405b", 3));
        let (status, body) = running.ask().await;
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &told["error"]["device"]), (403, &place.into()), "{told}");
        assert_eq!(refusal((status, body)).1, code, "{told}");
    }
}
