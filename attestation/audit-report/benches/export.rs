//! A log of a million entries (`ENTRIES`): how fast it is exported as a bundle, from entries in the clear and from encrypted ones, verified,
//! and written in each form, and the most memory that each step takes; and how long proofs are. `JSON` is a file for the results.

use anchorhold_audit_log::merkle::{Place, consistency_proof_from, inclusion_proof_from};
use anchorhold_audit_log::{
    Actor, ActorKind, Beginning, BootId, Entry, Event, EventType, Expectations, ExportOptions, Hash, Log,
    LogPlace, MAX_BATCH, Origin, Outcome, ReadingKey, Receipt, Request, RequestId, Route, Signer, Stamp,
    StorageKey, commit, export, verify, verify_each,
};
use anchorhold_audit_report::{csv, ocsf, parquet};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

type Failed = Box<dyn std::error::Error>;

const KIB: f64 = 1024.0;

fn event(at: i64) -> Event {
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
        ..Event::new(EventType::InferComplete, Outcome::Success, Stamp { wall_ns: at, mono_ns: 0 })
    }
}

/// Writes a log, encrypted under this key where there is one.
fn write_log(path: &Path, entries: usize, key: Option<StorageKey>) -> Result<(), Failed> {
    let signer = Signer::generate(Origin::new("bench.example/1")?)?;
    let at = Stamp { wall_ns: 0, mono_ns: 0 };
    let mut beginning = Beginning::new(signer, BootId::new([0; 16]), at);
    beginning.storage_key = key.map(|key| (key, Vec::new()));
    let mut log = Log::begin(path, beginning)?;
    let mut left = entries.saturating_sub(2);
    while left > 0 {
        let count = left.min(MAX_BATCH);
        let events: Vec<Event> = (0..count).map(|index| event(i64::try_from(index).unwrap_or(0))).collect();
        log.append(&events)?;
        left -= count;
    }
    log.close(at)?;
    Ok(())
}

/// The most memory that this process had since the last call, in MiB, as the kernel counts.
fn peak_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // 5 sets the mark back to what there is now.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    kib / KIB
}

struct Bench {
    entries: f64,
    results: Vec<serde_json::Value>,
}

impl Bench {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        peak_mib();
        let started = Instant::now();
        work()?;
        let (rate, peak) = (self.entries / started.elapsed().as_secs_f64(), peak_mib());
        writeln!(std::io::stdout(), "audit {name}: {rate:.0} entries/s, at most {peak:.0} MiB")?;
        self.result(&format!("audit_{name}"), rate, "entries/s");
        self.result(&format!("audit_{name}_memory"), peak, "MiB");
        Ok(())
    }

    fn result(&mut self, name: &str, value: f64, unit: &str) {
        self.results.push(serde_json::json!({ "name": name, "value": value, "unit": unit }));
    }
}

/// Verifies the bundle once more and hands each entry on, as `audit entries` does.
fn each(bundle: &Path, mut take: impl FnMut(&Entry) -> std::io::Result<()>) -> Result<(), Failed> {
    let mut failed = None;
    let report = verify_each(File::open(bundle)?, &Expectations::default(), |entry| {
        if failed.is_none() {
            failed = take(entry).err();
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None if report.is_accepted() => Ok(()),
        None => Err("the bundle is not accepted".into()),
    }
}

/// Bytes of the longest proofs in a tree of `size` leaves.
fn proof_bytes(size: u64) -> (usize, usize) {
    let hash = |_| Ok::<Hash, Infallible>(Hash::new([0; 32]));
    let inclusion = inclusion_proof_from(Place { index: 0, size }, hash).ok().flatten().unwrap_or_default();
    let consistency = consistency_proof_from(size / 2 + 1, size, hash).ok().flatten().unwrap_or_default();
    (inclusion.len() * 32, consistency.len() * 32)
}

fn main() -> Result<(), Failed> {
    let entries: usize =
        std::env::var("ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let mut bench = Bench { entries: f64::from(u32::try_from(entries)?), results: Vec::new() };
    let directory = tempfile::tempdir()?;
    let (log, bundle) = (directory.path().join("log"), directory.path().join("bundle.tar"));
    let encrypted = directory.path().join("encrypted");
    let (key, key_bytes) = StorageKey::generate()?;
    write_log(&encrypted, entries, Some(key))?;
    let reading = ReadingKey::new(&key_bytes);
    bench.step("export_bundle_of_encrypted", || {
        export(LogPlace::encrypted(&encrypted, &reading), File::create(&bundle)?, &ExportOptions::default())?;
        Ok(())
    })?;
    std::fs::remove_dir_all(&encrypted)?;
    write_log(&log, entries, None)?;
    bench.step("export_bundle", || {
        export(&log, File::create(&bundle)?, &ExportOptions::default())?;
        Ok(())
    })?;
    bench.step("verify_bundle", || {
        let report = verify(File::open(&bundle)?, &Expectations::default())?;
        if report.is_accepted() { Ok(()) } else { Err("the bundle is not accepted".into()) }
    })?;
    bench.step("entries_csv", || {
        let mut out = std::io::BufWriter::new(File::create(directory.path().join("entries.csv"))?);
        each(&bundle, |entry| out.write_all(csv::row(entry).as_bytes()))?;
        Ok(out.flush()?)
    })?;
    bench.step("entries_ocsf", || {
        let mut out = std::io::BufWriter::new(File::create(directory.path().join("entries.jsonl"))?);
        each(&bundle, |entry| writeln!(out, "{}", ocsf::event(entry, "bench.example/1")))?;
        Ok(out.flush()?)
    })?;
    let columns = directory.path().join("entries.parquet");
    bench.step("entries_parquet", || {
        let mut writer = parquet::Writer::new(std::io::BufWriter::new(File::create(&columns)?))?;
        each(&bundle, |entry| writer.write(entry))?;
        writer.finish()?;
        Ok(())
    })?;
    let per_entry = |path: &Path| -> Result<f64, Failed> {
        Ok(f64::from(u32::try_from(std::fs::metadata(path)?.len() / 1024)?) * KIB / bench.entries)
    };
    let (of_bundle, of_columns) = (per_entry(&bundle)?, per_entry(&columns)?);
    writeln!(std::io::stdout(), "audit bytes an entry: bundle {of_bundle:.0}, Parquet {of_columns:.0}")?;
    bench.result("audit_bundle_bytes_per_entry", of_bundle, "bytes");
    bench.result("audit_parquet_bytes_per_entry", of_columns, "bytes");
    for (name, size) in [("1e6", 1_000_000), ("1e9", 1_000_000_000)] {
        let (inclusion, consistency) = proof_bytes(size);
        writeln!(
            std::io::stdout(),
            "audit proofs at {name}: inclusion {inclusion} bytes, consistency {consistency} bytes"
        )?;
        for (kind, bytes) in [("inclusion", inclusion), ("consistency", consistency)] {
            bench.result(&format!("audit_{kind}_proof_{name}"), f64::from(u32::try_from(bytes)?), "bytes");
        }
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&bench.results)?)?;
    }
    Ok(())
}
