//! Entries per second, each batch made durable with fdatasync. `BENCH_DIR` is where the log is written (the
//! medium under test; the system's temporary folder otherwise), `JSON` a file for the results.

use anchorhold_audit_log::{
    Actor, ActorKind, BootId, Event, EventType, Log, Origin, Outcome, Receipt, Request, RequestId, Route,
    Signer, Stamp, commit,
};
use std::io::Write;
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_secs(3);

fn event() -> Event {
    let key = [1; 32];
    Event {
        actor: Some(Actor::new(ActorKind::Client)),
        request: Some(Request {
            finish: None,
            ms: 420,
            receipt: Some(Receipt::new(commit(&key, b"request"), commit(&key, b"response"))),
            rid: RequestId::new("01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("a ULID is a request id"),
            route: Route::ChatCompletions,
            status: Some(200),
            stream: true,
            tin: 512,
            tout: 256,
            ttft_ms: Some(31),
        }),
        ..Event::new(EventType::InferComplete, Outcome::Success, Stamp { wall_ns: 0, mono_ns: 0 })
    }
}

fn rate(batch: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::tempdir_in(parent)?;
    let signer = Signer::generate(Origin::new("bench.example/1")?)?;
    let at = Stamp { wall_ns: 0, mono_ns: 0 };
    let mut log = Log::create(&directory.path().join("log"), signer, BootId::new([0; 16]), at)?;
    let events = vec![event(); batch];
    let (mut count, started) = (0_u32, Instant::now());
    while started.elapsed() < RUN {
        log.append(&events)?;
        count += u32::try_from(batch)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    log.close(at)?;
    Ok(f64::from(count) / seconds)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut results = Vec::new();
    for batch in [1, 64, 1024] {
        let value = rate(batch)?;
        writeln!(std::io::stdout(), "audit append, batch {batch}: {value:.0} entries/s")?;
        let name = format!("audit_append_batch_{batch}");
        results.push(serde_json::json!({ "name": name, "value": value, "unit": "entries/s" }));
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    Ok(())
}
