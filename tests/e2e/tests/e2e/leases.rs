//! The end of a lease. The shortest lease is a minute, so two deployments wait for theirs at the same time.

use crate::support::{Served, chat, code, count, may_read_memory, until};
use anchorhold_e2e::guest::{Settings, log_entries};
use anchorhold_e2e::memory::find;
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::owner::{Chosen, Sealed};
use anchorhold_e2e::policy::Policy;
use anchorhold_e2e::refusals::Stand;
use anchorhold_rats::Nonce;
use anchorhold_sealed_weights::SegmentSize;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_secs(60);
/// How long after its end a lease may still show on a machine under load.
const SLACK: Duration = Duration::from_secs(10);

fn policy(stand: &Stand, version: u64) -> String {
    Policy { version, measurement: &stand.measurement, models: &[(CHAT, 1)], lease: "60s", max_instances: 1 }
        .to_toml()
}

/// A deployment with a lease of a minute, and the weights key of its model.
fn serve() -> (Served, Sealed, [u8; 32]) {
    let mut stand = Stand::new().unwrap();
    let weights_key = *Nonce::random().unwrap().as_bytes();
    let chosen = Chosen { weights_key, segment: SegmentSize::Mib1 };
    let sealed = stand.seal_with(&models::chat(), (CHAT, 1), &chosen).unwrap();
    stand.broker.set_policy(&policy(&stand, 1)).unwrap();
    stand.broker.serve().unwrap();
    let settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed)).unwrap();
    (Served::start(stand, &settings), sealed, weights_key)
}

#[test]
fn case_13_a_lease_is_renewed_and_a_revoked_or_expired_model_is_gone() {
    let (mut renewed, ..) = serve();
    let (mut expired, ..) = serve();
    let (mut revoked, sealed, weights_key) = serve();
    let began = Instant::now();
    let rest = |until: Duration| (until + SLACK).saturating_sub(began.elapsed());
    let (keeper, sees_memory) = (revoked.guest.keeper_pid(), may_read_memory());
    let has_key = || find(keeper, &[&weights_key]).unwrap()[0];
    assert!(!sees_memory || has_key(), "the search does not find the key where it must be");

    expired.stand.broker.kill();
    let manifest = format!("sha256:{}", sealed.manifest_digest);
    revoked.stand.broker.revoke("manifest", &manifest).unwrap();
    assert_eq!(revoked.post("/v1/chat/completions", &chat("hello")).status, 200);

    // The guest asks twice a minute, and does not wait for the end of its lease.
    let told = revoked.guest.next_stage("retires", rest(LEASE)).unwrap();
    assert_eq!(told["revoked"], true);
    gone(&revoked, rest(LEASE));
    if sees_memory {
        until("the key is erased", SLACK, || (!has_key()).then_some(()));
    }
    renewed.guest.next_stage("release", rest(LEASE)).unwrap();
    let told = expired.guest.next_stage("retires", rest(LEASE)).unwrap();
    assert_eq!(told["revoked"], false);
    assert!(began.elapsed() + SLACK > LEASE, "gone before the end of its lease");
    gone(&expired, rest(LEASE));
    // The first one goes on beyond the end of its first lease.
    until("the end of the first lease", rest(LEASE), || (began.elapsed() > LEASE).then_some(()));
    assert_eq!(renewed.post("/v1/chat/completions", &chat("hello")).status, 200);

    let of_broker = revoked.stand.broker.entries().unwrap();
    assert_eq!(count(&of_broker, "key.revoke"), 1);
    let entries = revoked.stop();
    assert_eq!(count(&entries, "key.revoke"), 1);
    assert_eq!((count(&entries, "key.expire"), count(&entries, "model.unload")), (0, 1));
    let entries = expired.stop();
    assert_eq!((count(&entries, "key.expire"), count(&entries, "model.unload")), (1, 1));
    assert_eq!(count(&renewed.stand.broker.entries().unwrap(), "key.renew"), 1);
    let entries = renewed.stop();
    assert_eq!((count(&entries, "key.release"), count(&entries, "key.expire")), (2, 1));
}

#[test]
fn the_place_of_a_guest_that_stopped_or_could_not_start_is_free_at_once() {
    let (served, sealed, _) = serve();
    let Served { guest, stand, .. } = served;
    let settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed)).unwrap();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!(refusal.code, "instances_exceeded");
    let log = guest.audit_log.clone();
    guest.stop().unwrap();
    let entries = log_entries(&log).unwrap();
    let end = entries.iter().find(|entry| entry["type"] == "key.expire").unwrap();
    assert_eq!((&end["code"], &end["key"]["op"]), (&"returned".into(), &"destroy".into()));

    // This one gets the key, and then finds the package damaged.
    let card = sealed.package.join("card.sealed");
    let good = std::fs::read(&card).unwrap();
    std::fs::write(&card, &good[1..]).unwrap();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_ne!(refusal.code, "instances_exceeded");
    std::fs::write(&card, &good).unwrap();

    stand.start(&settings).unwrap().ready().unwrap().stop().unwrap();
    let of_broker = stand.broker.entries().unwrap();
    assert_eq!((count(&of_broker, "key.release"), count(&of_broker, "key.expire")), (3, 3));
    assert_eq!(count(&of_broker, "key.refuse"), 1);
}

/// Waits until the model is gone from its server.
fn gone(served: &Served, within: Duration) {
    until("the model is gone", within, || {
        let answer = served.post("/v1/chat/completions", &chat("hello"));
        if answer.status == 200 {
            return None;
        }
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "model_not_ready"));
        Some(())
    });
    assert_eq!(served.get("/readyz").status, 503);
}
