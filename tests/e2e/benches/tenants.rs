//! What the time to the first token tells: one's own earlier prompt is answered sooner, another tenant's is not.
//!
//! Each round asks for one token after four prompts of the same length, over two held connections: the first tenant asks something new;
//! then, in random order, the second asks the same and something new; then the first asks again. Told is the area under the
//! receiver operating characteristic of "asked before" against "new": 1 is separable, 0.5 is not. `ROUNDS` is how many rounds, `JSON` a
//! file for the results. The programs must be built (`make build`).

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use anchorhold_channel::client::{Attested, Connection};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::models::CHAT;
use anchorhold_e2e::refusals::Stand;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::time::Instant;

/// Tokens of a prompt; the model's context is 512.
const PROMPT: u64 = 480;
const FIRST_TOKEN: u64 = 3;
const VOCABULARY: u64 = 768;

struct Tenant {
    connection: Connection<Attested>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Tenant {
    /// Milliseconds until the first token after this prompt.
    async fn ask(&mut self, prompt: &[u64]) -> f64 {
        let body = json!({"model": CHAT, "prompt": prompt, "max_tokens": 1, "temperature": 0});
        let body = Bytes::from(body.to_string());
        let began = Instant::now();
        let answer = self.connection.post_json("/v1/completions", &self.headers, body).await.unwrap();
        let took = began.elapsed();
        assert_eq!(answer.status.as_u16(), 200, "{}", String::from_utf8_lossy(&answer.body));
        took.as_secs_f64() * 1e3
    }
}

/// The share of pairs in which the one is sooner than the other; a tie is half a pair.
fn sooner(one: &[f64], other: &[f64]) -> f64 {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    let won: f64 = pairs
        .map(|(one, other)| if one < other { 1.0 } else { f64::from(u8::from(one == other)) / 2.0 })
        .sum();
    won / (one.len() * other.len()) as f64
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn measure(rounds: usize) -> [Vec<f64>; 4] {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    let guest = stand.start(&settings).unwrap().ready().unwrap();
    let url = format!("https://{}", guest.address);
    let mut tenants = Vec::new();
    for key in [&settings.api_key, &settings.other_key] {
        let caller = Caller::verify_at(&url, key, &stand.measurement).await.unwrap();
        let (connection, headers) = caller.connect().await.unwrap();
        tenants.push(Tenant { connection, headers });
    }
    let [first, second] = tenants.get_disjoint_mut([0, 1]).unwrap();
    let chance = RandomState::new();
    let prompt = |round: usize, which: u64| -> Vec<u64> {
        let token = |at| FIRST_TOKEN + chance.hash_one((round, which, at)) % (VOCABULARY - FIRST_TOKEN);
        (0..PROMPT).map(token).collect()
    };
    let [mut new, mut anothers, mut new_to_all, mut own] = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let (asked, fresh) = (prompt(round, 0), prompt(round, 1));
        new.push(first.ask(&asked).await);
        if chance.hash_one((round, "order")) % 2 == 0 {
            anothers.push(second.ask(&asked).await);
            new_to_all.push(second.ask(&fresh).await);
        } else {
            new_to_all.push(second.ask(&fresh).await);
            anothers.push(second.ask(&asked).await);
        }
        own.push(first.ask(&asked).await);
    }
    guest.stop().unwrap();
    [new, anothers, new_to_all, own]
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(400);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [new, anothers, new_to_all, own] = runtime.block_on(measure(rounds));
    // Hanley and McNeil, Radiology 143 (1982): of the area when both come from one distribution.
    let error = ((2 * rounds + 1) as f64 / (12 * rounds * rounds) as f64).sqrt();
    let results: Vec<Value> = vec![
        json!({"name": "first_token_new_prompt", "value": median(&new), "unit": "ms"}),
        json!({"name": "first_token_own_prompt", "value": median(&own), "unit": "ms", "peer": "a new prompt",
            "ratio": median(&own) / median(&new)}),
        json!({"name": "first_token_others_prompt", "value": median(&anothers), "unit": "ms", "peer": "a new prompt",
            "ratio": median(&anothers) / median(&new_to_all)}),
        json!({"name": "own_prompt_separable", "value": sooner(&own, &new), "unit": "area under ROC"}),
        json!({"name": "others_prompt_separable", "value": sooner(&anothers, &new_to_all), "unit": "area under ROC",
            "standard_error": error}),
    ];
    let mut out = std::io::stdout();
    for result in &results {
        writeln!(out, "{result}").unwrap();
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results).unwrap()).unwrap();
    }
}
