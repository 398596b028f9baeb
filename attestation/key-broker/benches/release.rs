//! From a challenge to an opened weights key: over HTTPS on the loopback with 1, 32 and 256 guests at a time, and how many
//! decisions a second the broker makes when nothing but deciding is asked of it.
//!
//! Run with `cargo bench -p anchorhold-key-broker`. `RELEASE_DIR` names the folder for the broker's state (default
//! `/tmp`; its disk takes one sync for all releases that come together), `RELEASES` the number of releases of each measurement (default
//! 512), `JSON` a file for the results. Each HTTPS exchange is two connections, each with its own TLS handshake. Guests and
//! broker share the cores; making the evidence is not counted, verifying it is. `over_verify` is the ratio to verifying
//! the same evidence and nothing else.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_audit_log::Stamp;
use anchorhold_audit_log::cosignature::Quorum;
use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_channel::{server, tls};
use anchorhold_key_broker::broker::{Beginning, Broker, NewPolicy, Replaces, Surroundings, set_up_in};
use anchorhold_key_broker::layout::Layout;
use anchorhold_key_broker::router::router;
use anchorhold_key_broker::secrets::{Secrets, Tls};
use anchorhold_key_release::{
    AuditTerms, Awaiting, GuestKeys, InstanceId, KeyRequest, KeyUse, PinnedBroker, ReleaseKey,
    ReleaseRequest, Session, WeightsKeyImport, WeightsKeyTerms,
};
use anchorhold_rats::{Ed25519PublicKey, Endorsements, Kem, Measurement, Secret, Sha256Digest, Timestamp};
use anchorhold_verifier::authenticate;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const POLICY: &str = include_str!("../../../policies/release/chat-prod.toml");
const WARM_UP: usize = 16;

fn stamp() -> Stamp {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp { wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX), mono_ns: 0 }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(stamp().wall_ns / 1_000_000_000)
}

fn main() -> Result<(), Failure> {
    let place = std::env::var("RELEASE_DIR").unwrap_or_else(|_| "/tmp".to_owned());
    let count: usize = std::env::var("RELEASES").map_or(Ok(512), |text| text.parse())?;
    let folder = tempfile::tempdir_in(place)?;
    let broker = broker(&Layout::of(folder.path()))?;
    let guest = Arc::new(Guest::new(&broker)?);
    let mut results = Vec::new();
    for kem in Kem::ALL {
        let guest = Guest { key: ReleaseKey::generate(kem)?, ..Guest::new(&broker)? };
        results.extend(decisions(&broker, &guest, kem, count)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for clients in [1, 32, 256] {
        let times = runtime.block_on(over_https(&broker, &guest, clients, count.max(2 * clients)))?;
        results.extend(quantiles(&format!("release_https_{clients}_guests"), times));
    }
    for result in &results {
        writeln!(std::io::stdout(), "{}: {:.3} {}", result["name"], result["value"], result["unit"])?;
    }
    if let Ok(path) = std::env::var("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}

/// Decisions a second of the broker alone, with requests that are ready, one at a time and 32 at a time.
fn decisions(broker: &Arc<Broker>, guest: &Guest, kem: Kem, count: usize) -> Result<Vec<Value>, Failure> {
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der()))?;
    let mut results = Vec::new();
    for threads in [1, 32] {
        let bodies: Vec<_> = (0..count)
            .map(|_| Ok(guest.ask(&broker.challenge(b"{}").body)?.0))
            .collect::<Result<_, Failure>>()?;
        // The same evidence, verified and nothing else, on one core.
        let requests: Vec<_> =
            bodies.iter().map(|body| ReleaseRequest::from_json(body)).collect::<Result<_, _>>()?;
        let began = Instant::now();
        for request in &requests {
            let evidence = request.evidence();
            let verified = authenticate(evidence, &Endorsements::default(), &anchors, now());
            verified.map_err(|refusal| format!("{:?}", refusal.checks()))?;
        }
        let alone = began.elapsed().as_secs_f64() / count as f64;
        let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let good = broker.release(body).status == 200;
                        refused.fetch_add(usize::from(!good), Ordering::Relaxed);
                    }
                });
            }
        });
        let took = began.elapsed().as_secs_f64() / count as f64;
        if refused.load(Ordering::Relaxed) > 0 {
            return Err("a release was refused".into());
        }
        let cores = std::thread::available_parallelism()?.get().min(threads);
        let name = format!("releases_{kem}_{threads}_at_a_time");
        results.push(json!({
            "name": name, "value": 1.0 / took, "unit": "1/s", "peer": "verifying the evidence alone, on as many cores",
            "ratio": took * cores as f64 / alone,
        }));
        results.push(
            json!({ "name": format!("{name}_per_core"), "value": 1.0 / took / cores as f64, "unit": "1/s" }),
        );
        results.push(json!({ "name": format!("{name}_over_verify"), "value": took * cores as f64 / alone, "unit": "x" }));
    }
    Ok(results)
}

/// Challenge to opened key with `clients` guests at a time; two exchanges, without the making of the evidence between them.
async fn over_https(
    broker: &Arc<Broker>,
    guest: &Arc<Guest>,
    clients: usize,
    count: usize,
) -> Result<Vec<Duration>, Failure> {
    let own = tls::SelfSigned::generate(&["127.0.0.1".to_owned()])?;
    let tls_key = own.tls_key;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("https://{}", listener.local_addr()?);
    let (config, limits) = (own.into_server_config()?, server::Limits::default());
    let router = router(Arc::clone(broker));
    let serving = tokio::spawn(server::serve(listener, config, router, limits, std::future::pending()));
    let each = (count + WARM_UP).div_ceil(clients);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let client: Client<Pinned> = Client::pinned(address.parse()?, tls_key, Limits::default());
        let guest = Arc::clone(guest);
        tasks.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..each {
                let began = Instant::now();
                let challenge = client.post_json("/v1/challenge", &[], Vec::new().into()).await?;
                let challenged = began.elapsed();
                let (body, awaiting) = guest.ask(&challenge.body)?;
                let began = Instant::now();
                let answer = client.post_json("/v1/release", &[], body.into()).await?;
                awaiting.open(&answer.body, &guest.key)?;
                times.push(challenged + began.elapsed());
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        // The first of each guest meets cold code and new threads.
        all.extend(joined??.into_iter().skip(usize::from(clients > 1 || each > WARM_UP)));
    }
    serving.abort();
    Ok(all)
}

fn quantiles(name: &str, mut times: Vec<Duration>) -> Vec<Value> {
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
        times.get(index).map(|time| time.as_secs_f64() * 1000.0)
    };
    [("p50", at(50)), ("p99", at(99))]
        .into_iter()
        .map(|(share, value)| json!({ "name": format!("{name}_{share}"), "value": value, "unit": "ms" }))
        .collect()
}

fn broker(layout: &Layout) -> Result<Arc<Broker>, Failure> {
    let tls = Tls { key: vec![0; 64].into(), certificate: "a certificate".to_owned() };
    let secrets = Secrets::generate(tls)?;
    set_up_in(layout, &Beginning { secrets: &secrets, signers: None, at: stamp() })?;
    let around = Surroundings { clock: Arc::new(stamp), report: Arc::new(|_| ()), endorser: None };
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der()))?;
    let broker = Broker::open(layout, anchors, Quorum::new(Vec::new(), 0)?, around)?;
    let file = POLICY.replace("2027-01-31", "2199-01-31").into_bytes();
    broker.activate(NewPolicy { file, cedar: None, replaces: Replaces::Nothing })?;
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
        let machine = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([0xa1; 48])), now())?;
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
            audit: AuditTerms::default(),
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
