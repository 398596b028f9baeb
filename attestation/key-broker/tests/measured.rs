//! What is claimed of the broker's times and memory, measured. `make broker-proofs` runs it; other tests take no times, because a
//! machine that is shared makes them wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use axum::body::Body;
use common::simulated::Simulated;
use common::{Guest, Site, challenge, import_file, refusal, set_policy};
use http::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tower::ServiceExt as _;

const TRIES: usize = 10_000;
/// How far apart the medians may be, in parts of the median: far less than a network lets anybody see.
const APART: f64 = 0.01;
const FLOOD: Duration = Duration::from_secs(10);
/// How much more memory a flood may take, in KiB: what the allocator keeps for later.
const MORE_KIB: u64 = 2 * 1024;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The value below which this part of a hundred of the values is.
fn percentile(values: &mut [Duration], part: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * part / 100).min(values.len() - 1)]
}

/// The example policy, and a grant of another model to machines of another image.
fn two_grants() -> String {
    let (head, grant) = common::POLICY.split_once("[[grant]]").unwrap();
    let other =
        grant.replace("chat-prod", "other").replace("acme/chat-70b", "acme/other").replace("a1a1", "a2a2");
    format!("{head}[[grant]]{grant}\n[[grant]]{other}")
}

#[tokio::test]
#[ignore = "takes times; make broker-proofs runs it"]
async fn case_10_unknown_and_forbidden_models_are_refused_in_the_same_time() {
    let tries = number("TRIES", TRIES);
    let site = Site::bare();
    let broker = site.open_on(Arc::new(Simulated::default()));
    set_policy(&broker, two_grants().replace("= 42", "= 43")).unwrap();
    // Of one that a grant gives to others there are three versions, of one in no grant there are forty.
    (7..10).for_each(|version| drop(broker.import(&import_file("acme/other", version)).unwrap()));
    (1..=40).for_each(|version| drop(broker.import(&import_file("acme/secret", version)).unwrap()));
    let guest = Guest::new(&site.clock);
    let models = ["acme/none1", "acme/none2", "acme/secret", "acme/other"];
    let mut times = [const { Vec::new() }; 4];
    for round in 0..tries {
        // Each time another one is first, so that none gains by its place.
        for place in 0..models.len() {
            let which = (round + place) % models.len();
            let (body, _) = guest.ask(&broker, &challenge(&broker).await, (models[which], 1));
            let began = Instant::now();
            let answer = broker.release(&body);
            times[which].push(began.elapsed());
            assert_eq!(refusal((answer.status, answer.body)), (403, "model_refused".to_owned()));
            site.clock.pass(i64::from(round % 100 == 0));
        }
    }
    let medians = times.each_mut().map(|times| percentile(times, 50).as_secs_f64() * 1e6);
    let apart = medians.map(|median| median - medians[0]);
    eprintln!(
        "refusals, medians of {tries}: unknown {:.2} µs; another unknown {:+.2}, in no grant {:+.2}, in a grant to others {:+.2}",
        medians[0], apart[1], apart[2], apart[3]
    );
    assert!(apart.iter().all(|apart| apart.abs() < medians[0] * APART), "{medians:?}");
}

/// What the process has in memory, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes times; make broker-proofs runs it"]
async fn case_11_a_flood_of_challenges_takes_no_memory_and_honest_guests_are_answered() {
    let (site, broker) = Site::with_model();
    let router = anchorhold_key_broker::router::router(Arc::clone(&broker));
    let ask = || Request::post("/v1/challenge").body(Body::empty()).unwrap();
    let (given, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let flood = |router: axum::Router| {
        let (given, over) = (Arc::clone(&given), Arc::clone(&over));
        async move {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(router.clone().oneshot(ask()).await.unwrap().status(), 200);
                given.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    };
    let floods: Vec<_> = (0..64).map(|_| tokio::spawn(flood(router.clone()))).collect();
    let guest = Guest::new(&site.clock);
    // First without releases, whose entries fill the store's cache.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (began, before, earlier) = (Instant::now(), resident_kib(), given.load(Ordering::Relaxed));
    tokio::time::sleep(FLOOD).await;
    let (seconds, after) = (began.elapsed().as_secs_f64(), resident_kib());
    let rate = (given.load(Ordering::Relaxed) - earlier) as f64 / seconds;
    let (mut times, began) = (Vec::new(), Instant::now());
    while began.elapsed() < FLOOD {
        let (body, awaiting) = guest.answer(&broker, &challenge(&broker).await);
        let asked = Instant::now();
        let answer = common::post(&broker, "/v1/release", body).await;
        times.push(asked.elapsed());
        awaiting.open(&answer.1, &guest.key).unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    let (count, p50, p99) = (times.len(), percentile(&mut times, 50), percentile(&mut times, 99));
    eprintln!(
        "{rate:.0} challenges per second for {seconds:.0} s, {before} KiB before and {after} KiB after; then {count} releases meanwhile, p50 {p50:?}, p99 {p99:?}"
    );
    assert!(after < before + MORE_KIB, "{before} KiB, then {after} KiB");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
}
