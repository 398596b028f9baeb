//! The end of a lease. The shortest lease is a minute, so two deployments wait for theirs at the same time.

use crate::support::{Served, chat, code, count, may_read_memory, until};
use anchorhold_e2e::guest::Settings;
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
fn case_13_a_lease_is_renewed_and_a_revoked_model_is_gone_at_its_end() {
    let (mut renewed, ..) = serve();
    let (mut revoked, sealed, weights_key) = serve();
    let began = Instant::now();
    let rest = |until: Duration| (until + SLACK).saturating_sub(began.elapsed());
    let (keeper, sees_memory) = (revoked.guest.keeper_pid(), may_read_memory());
    let has_key = || find(keeper, &[&weights_key]).unwrap()[0];
    assert!(!sees_memory || has_key(), "the search does not find the key where it must be");

    revoked.stand.broker.kill();
    let none = "manifests = \"none\"";
    let newer = policy(&revoked.stand, 2);
    assert!(newer.contains(none));
    let revoking = newer.replace(none, &format!("manifests = [\"sha256:{}\"]", sealed.manifest_digest));
    revoked.stand.broker.set_policy(&revoking).unwrap();
    revoked.stand.broker.serve().unwrap();
    assert_eq!(revoked.post("/v1/chat/completions", &chat("hello")).status, 200);

    renewed.guest.next_stage("release", rest(LEASE)).unwrap();
    let refused = revoked.guest.next_stage("refused", rest(LEASE)).unwrap();
    assert_eq!(refused["error"]["code"], "revoked");
    until("the revoked model is gone", rest(LEASE), || {
        let answer = revoked.post("/v1/chat/completions", &chat("hello"));
        if answer.status == 200 {
            return None;
        }
        // A request that was under way at that moment is told that its worker is gone.
        assert!(answer.status == 503 && ["model_not_ready", "worker_lost"].contains(&code(&answer).as_str()));
        (code(&answer) == "model_not_ready").then_some(())
    });
    assert!(began.elapsed() + SLACK > LEASE, "gone before the end of its lease");
    assert_eq!(revoked.get("/readyz").status, 503);
    if sees_memory {
        until("the key is erased", SLACK, || (!has_key()).then_some(()));
    }
    // The other one goes on beyond the end of its first lease.
    until("the end of the first lease", rest(LEASE), || (began.elapsed() > LEASE).then_some(()));
    assert_eq!(renewed.post("/v1/chat/completions", &chat("hello")).status, 200);

    let entries = revoked.stop();
    assert!(entries.iter().any(|entry| entry["type"] == "key.refuse" && entry["code"] == "revoked"));
    assert_eq!((count(&entries, "key.expire"), count(&entries, "model.unload")), (1, 1));
    let entries = renewed.stop();
    assert_eq!((count(&entries, "key.release"), count(&entries, "key.expire")), (2, 0));
}
