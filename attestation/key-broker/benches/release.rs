//! From a challenge to an opened weights key: over HTTPS on the loopback, and in the broker alone.
//!
//! Run with `cargo bench -p anchorhold-key-broker`. `RELEASE_DIR` names the folder for the broker's state (default
//! `/tmp`; its disk takes one sync per release), `RELEASES` the number of releases (default 200), `JSON` a file for
//! the results. Each HTTPS exchange is two connections, each with its own TLS handshake. Making the evidence is not
//! counted; verifying it is.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::Stamp;
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_channel::{server, tls};
use anchorhold_key_broker::broker::{Broker, Surroundings, set_up_in};
use anchorhold_key_broker::layout::Layout;
use anchorhold_key_broker::router::router;
use anchorhold_key_broker::secrets::Secrets;
use anchorhold_key_release::{
    Awaiting, GuestKeys, InstanceId, KeyRequest, KeyUse, PinnedBroker, ReleaseKey, Session, WeightsKeyImport,
    WeightsKeyTerms,
};
use anchorhold_rats::{Ed25519PublicKey, Kem, Measurement, Secret, Sha256Digest, Timestamp};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Failure = Box<dyn std::error::Error>;

const POLICY: &str = include_str!("../../../policies/release/chat-prod.toml");
const WARM_UP: usize = 10;

fn stamp() -> Stamp {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX), mono_ns: 0 }
}

fn main() -> Result<(), Failure> {
    let place = std::env::var("RELEASE_DIR").unwrap_or_else(|_| "/tmp".to_owned());
    let count: usize = std::env::var("RELEASES").map_or(Ok(200), |text| text.parse())?;
    let folder = tempfile::tempdir_in(place)?;
    let broker = broker(&Layout::of(folder.path()))?;
    let guest = Guest::new(&broker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    let (alone, https) = runtime.block_on(measure(broker, &guest, count))?;
    let results: Vec<_> = [("release_broker_alone", alone), ("release_https_loopback", https)]
        .into_iter()
        .flat_map(|(name, times)| quantiles(name, times))
        .collect();
    for result in &results {
        let (name, value) = (result["name"].as_str().unwrap_or_default(), result["value"].as_f64());
        writeln!(std::io::stdout(), "{name}: {:.2} ms of {count} releases", value.unwrap_or_default())?;
    }
    if let Ok(path) = std::env::var("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

/// The two ways in turn, so that both meet the same disk and the same neighbours.
async fn measure(
    broker: Arc<Broker>,
    guest: &Guest,
    count: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()])?;
    let tls_key = own.tls_key;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let target = format!("https://{}", listener.local_addr()?).parse()?;
    let (config, limits) = (own.into_server_config()?, server::Limits::default());
    let router = router(Arc::clone(&broker));
    let serving = tokio::spawn(server::serve(listener, config, router, limits, std::future::pending()));
    let client: Client<Pinned> = Client::pinned(target, tls_key, Limits::default());
    let (mut alone, mut https) = (Vec::new(), Vec::new());
    for _ in 0..count + WARM_UP {
        let began = Instant::now();
        let challenge = broker.challenge().body;
        let challenged = began.elapsed();
        let (body, awaiting) = guest.ask(&challenge)?;
        let began = Instant::now();
        let answer = broker.release(&body);
        awaiting.open(&answer.body, &guest.key)?;
        alone.push(challenged + began.elapsed());

        let began = Instant::now();
        let challenge = client.post_json("/v1/challenge", &[], Vec::new().into()).await?;
        let challenged = began.elapsed();
        let (body, awaiting) = guest.ask(&challenge.body)?;
        let began = Instant::now();
        let answer = client.post_json("/v1/release", &[], body.into()).await?;
        awaiting.open(&answer.body, &guest.key)?;
        https.push(challenged + began.elapsed());
    }
    serving.abort();
    Ok((alone, https))
}

fn quantiles(name: &str, mut times: Vec<Duration>) -> Vec<serde_json::Value> {
    times.drain(..WARM_UP);
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(index).map(|time| time.as_secs_f64() * 1000.0)
    };
    [("p50", at(50)), ("p99", at(99))]
        .into_iter()
        .map(|(share, value)| serde_json::json!({ "name": format!("{name}_{share}"), "value": value, "unit": "ms" }))
        .collect()
}

fn broker(layout: &Layout) -> Result<Arc<Broker>, Failure> {
    set_up_in(layout, &Secrets::generate(vec![0; 64].into())?, stamp())?;
    let around = Surroundings { clock: Arc::new(stamp), report: Arc::new(|_| ()) };
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der()))?;
    let broker = Broker::open(layout, anchors, Quorum::new(Vec::new(), 0)?, around)?;
    broker.set_policy(&POLICY.replace("2027-01-31", "2199-01-31"))?;
    let terms = WeightsKeyTerms {
        model_id: "acme/chat-70b".parse()?,
        version: 7,
        kid: "k7".to_owned(),
        manifest_digest: Sha256Digest::new([7; 32]),
        owner_key: Ed25519PublicKey::new([8; 32]),
    };
    let import_key = broker.import_key().public_key();
    broker.import(&WeightsKeyImport::wrap(&Secret::random()?, terms, import_key)?.to_json())?;
    Ok(Arc::new(broker))
}

struct Guest {
    machine: SoftwareGuest,
    key: ReleaseKey,
    broker: PinnedBroker,
}

impl Guest {
    fn new(broker: &Broker) -> Result<Self, Failure> {
        let at = Timestamp::from_unix_seconds(stamp().wall_ns / 1_000_000_000);
        let machine = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), at)?;
        let broker = PinnedBroker {
            signing_key: broker.signing_key().public_key(),
            log_key: broker.ledger().key().clone(),
            witnesses: broker.cosigned().quorum().clone(),
        };
        Ok(Self { machine, key: ReleaseKey::generate(Kem::XWing)?, broker })
    }

    fn ask(&self, challenge: &[u8]) -> Result<(Vec<u8>, Awaiting), Failure> {
        let instance_id = InstanceId::new([1; 16]);
        let request = KeyRequest {
            model_id: "acme/chat-70b".to_owned(),
            min_version: 1,
            purpose: KeyUse::Serve,
            instance_id,
            log_origin: format!("acme/{instance_id}").parse()?,
        };
        let keys = GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: self.key.public_key().clone(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let session = Session::begin(challenge, self.broker.clone(), request, keys)?;
        let evidence = self.machine.attest(&session.report_data(Sha256Digest::of(b"")))?;
        Ok(session.send(evidence))
    }
}
