//! What an attested connection costs beside plain TLS 1.3: a new connection and one small request, over loopback, of a client that pins the
//! TLS key, of one that remembers a verdict and asks for an authenticator, and of one that verifies anew. In turns; `ROUNDS` of each, `JSON`
//! a file for the results. The guest makes its evidence in software on the same cores; a real one asks its security processor, which takes
//! milliseconds more. The programs must be built (`make build`).

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use anchorhold_channel::client::{Client, Limits, Pinned};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::refusals::Stand;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Instant;

const PATH: &str = "/health";

/// The time that so many of a hundred stay below.
fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

/// Milliseconds that this takes.
async fn timed(what: impl Future<Output = u16>) -> f64 {
    let began = Instant::now();
    assert_eq!(what.await, 200);
    began.elapsed().as_secs_f64() * 1e3
}

async fn measure(rounds: usize) -> [Vec<f64>; 3] {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    let guest = stand.start(&settings).unwrap().ready().unwrap();
    let (url, measurement) = (format!("https://{}", guest.address), &stand.measurement);
    let remembered = Caller::verify_at(&url, &settings.api_key, measurement).await.unwrap();
    let tls_key = remembered.server.keys().tls_key;
    let pinned = Client::<Pinned>::pinned(url.parse().unwrap(), tls_key, Limits::default());
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let plain = async { pinned.get(PATH, &[]).await.unwrap().status.as_u16() };
        times[0].push(timed(plain).await);
        let cached = async { remembered.get(PATH).await.unwrap().status.as_u16() };
        times[1].push(timed(cached).await);
        let cold = async {
            let caller = Caller::verify_at(&url, &settings.api_key, measurement).await.unwrap();
            caller.get(PATH).await.unwrap().status.as_u16()
        };
        times[2].push(timed(cold).await);
    }
    guest.stop().unwrap();
    times
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    let times = tokio::runtime::Runtime::new().unwrap().block_on(measure(rounds));
    let plain = percentile(&times[0], 50);
    let names = ["connection_pinned", "connection_remembered_verdict", "connection_verified_anew"];
    let results: Vec<Value> = names
        .iter()
        .zip(&times)
        .map(|(name, times)| {
            let (median, high) = (percentile(times, 50), percentile(times, 99));
            json!({"name": name, "value": median, "unit": "ms", "p99": high, "peer": "pinned TLS 1.3", "ratio": median / plain})
        })
        .collect();
    let mut out = std::io::stdout();
    for result in &results {
        writeln!(out, "{result}").unwrap();
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results).unwrap()).unwrap();
    }
}
