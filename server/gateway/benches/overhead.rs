//! What the gateway adds to a worker that answers at once: the same request over the worker's line alone, and over TLS, HTTP and an audit
//! entry in front of it. In turns; `ROUNDS` of each, `JSON` a file for the results. The keeper is a thread that answers at once too; what a
//! log adds, on a disk and without one, is measured behind it (`overhead/audit.rs`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark ends where it fails"
)]

#[path = "overhead/audit.rs"]
mod audit;
#[path = "../tests/common/mod.rs"]
mod common;

use anchorhold_channel::client::{Client, Connection, Limits, Pinned};
use anchorhold_channel::server::{self, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_ipc::{Event, Line, LineReader, LineWriter, ModelKind, Work};
use bytes::Bytes;
use common::{FakeWorker, KEY, Rig, chat};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Instant;

/// Tokens of the longer answer; the shorter one has one.
const TOKENS: usize = 65;

/// The worker's line alone.
struct Direct {
    writer: LineWriter<Work>,
    reader: LineReader<Event>,
}

impl Direct {
    fn new() -> Self {
        let (line, worker) = FakeWorker::new();
        worker.serve();
        let (writer, reader) = Line::<Work, Event>::new(line).split();
        Self { writer, reader }
    }

    /// Microseconds until the last event of an answer.
    fn ask(&mut self, work: &Work) -> f64 {
        let began = Instant::now();
        self.writer.send(work, &[]).unwrap();
        while !matches!(self.reader.receive().unwrap().0, Event::Finished { .. }) {}
        began.elapsed().as_secs_f64() * 1e6
    }
}

/// The gateway before such a worker, on a held connection.
struct Behind {
    connection: Connection<Pinned>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Behind {
    async fn new(rig: &Rig) -> Self {
        let own = SelfSigned::generate(&["localhost".to_owned()]).unwrap();
        let tls_key = own.tls_key;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (router, tls) = (rig.router.clone(), own.into_server_config().unwrap());
        tokio::spawn(serve(listener, tls, router, server::Limits::default(), std::future::pending()));
        let client = Client::<Pinned>::pinned(url.parse().unwrap(), tls_key, Limits::default());
        let key = HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap();
        Self { connection: client.connect().await.unwrap(), headers: vec![(AUTHORIZATION, key)] }
    }

    /// Microseconds until the last byte of an answer.
    async fn ask(&mut self, body: &Bytes) -> f64 {
        let began = Instant::now();
        let answer = self.connection.post_json("/v1/chat/completions", &self.headers, body.clone()).await;
        let answer = answer.unwrap();
        let took = began.elapsed();
        assert_eq!(answer.status.as_u16(), 200, "{}", String::from_utf8_lossy(&answer.body));
        took.as_secs_f64() * 1e6
    }
}

fn asked(tokens: usize) -> Bytes {
    let mut body = chat(&"a".repeat(tokens));
    body["stream"] = true.into();
    Bytes::from(body.to_string())
}

/// What the gateway sends its worker for this body.
async fn work_of(rig: &Rig, worker: &FakeWorker, tokens: usize) -> Work {
    let mut body = chat(&"a".repeat(tokens));
    body["stream"] = true.into();
    let asking = rig.begin(common::post("/v1/chat/completions", &body));
    let work = worker.work.recv_timeout(common::PATIENCE).unwrap();
    asking.abort();
    // Its caller left, and the gateway says so.
    let Work::Cancel { .. } = worker.work.recv_timeout(common::PATIENCE).unwrap() else {
        panic!("the request was not cancelled")
    };
    work
}

/// The time that `hundredths` of them do not exceed.
fn at(times: &[f64], hundredths: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * hundredths / 100).copied().unwrap_or(f64::NAN)
}

/// Microseconds of each round: one token and [`TOKENS`], over the line alone and behind the gateway.
async fn measure(rounds: usize) -> [Vec<f64>; 4] {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let (one, many) = (work_of(&rig, &worker, 1).await, work_of(&rig, &worker, TOKENS).await);
    worker.serve();
    let (mut direct, mut behind) = (Direct::new(), Behind::new(&rig).await);
    let (one_body, many_body) = (asked(1), asked(TOKENS));
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let round =
            [direct.ask(&one), behind.ask(&one_body).await, direct.ask(&many), behind.ask(&many_body).await];
        for (times, took) in times.iter_mut().zip(round) {
            times.push(took);
        }
    }
    times
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [line_one, gateway_one, line_many, gateway_many] = runtime.block_on(measure(rounds));
    let mut results: Vec<Value> = Vec::new();
    for (name, share) in [("p50", 50), ("p99", 99)] {
        let (line, gateway) = (at(&line_one, share), at(&gateway_one, share));
        results.push(
            json!({"name": format!("gateway_answer_of_one_token_{name}"), "value": gateway, "unit": "us",
            "peer": "the worker's line alone", "ratio": gateway / line}),
        );
        results.push(json!({"name": format!("gateway_adds_to_first_token_{name}"), "value": gateway - line, "unit": "us"}));
        let added = (at(&gateway_many, share) - gateway) - (at(&line_many, share) - line);
        let each = added / (TOKENS - 1) as f64;
        results
            .push(json!({"name": format!("gateway_adds_to_each_token_{name}"), "value": each, "unit": "us"}));
    }
    results.extend(runtime.block_on(audit::measure(rounds.div_ceil(50))));
    let mut out = std::io::stdout();
    for result in &results {
        writeln!(out, "{result}").unwrap();
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results).unwrap()).unwrap();
    }
}
