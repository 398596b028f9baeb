//! A guest whose packages lie in a store: fetched after the release, verified, kept as ciphertext, found again.

use crate::support::SOON;
use crate::support::{Served, alone, chat, count, until};
use anchorhold_e2e::guest::{Settings, measurement_with_fetcher};
use anchorhold_e2e::memory::files_with;
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::owner::{Chosen, Sealed};
use anchorhold_e2e::refusals::Stand;
use anchorhold_e2e::store::PackageStore;
use anchorhold_sealed_weights::SegmentSize;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A deployment whose chat model lies in a store.
struct Stored {
    stand: Stand,
    settings: Settings,
    store: PackageStore,
    cache: PathBuf,
}

impl Stored {
    fn new() -> Self {
        Self::of(&models::chat())
    }

    /// With another folder than the usual one.
    fn of(source: &Path) -> Self {
        let mut stand = Stand::new().unwrap();
        let chosen = Chosen { weights_key: [0x6b; 32], segment: SegmentSize::Mib1 };
        let sealed: Sealed = stand.seal_with(source, (CHAT, 1), &chosen).unwrap();
        let measurement = measurement_with_fetcher(&stand.programs).unwrap();
        stand.measurement.clone_from(&measurement);
        stand.serve(std::slice::from_ref(&sealed), &measurement).unwrap();
        let store = PackageStore::start(sealed.package.parent().unwrap()).unwrap();
        let name = sealed.package.file_name().unwrap().to_string_lossy().into_owned();
        let mut settings = Settings::new(&stand.broker, &stand.owner, &[sealed]).unwrap();
        let cache = stand.path().join("cache");
        settings.fetch_from(&stand.programs, &cache, &[store.url(&name)]);
        Self { stand, settings, store, cache }
    }

    /// The file of the weights in the cache.
    fn weights(&self) -> PathBuf {
        let mut largest = (0, PathBuf::new());
        let mut folders = vec![self.cache.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
                if metadata.is_dir() {
                    folders.push(path);
                } else {
                    largest = largest.max((metadata.len(), path));
                }
            }
        }
        largest.1
    }
}

/// The entries about fetches: outcome and code.
fn fetches(entries: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fetches = entries.iter().filter(|entry| entry["type"] == "model.fetch");
    fetches.map(|entry| (text(&entry["out"]), text(&entry["code"]))).collect()
}

fn pair(outcome: &str, code: &str) -> (String, String) {
    (outcome.to_owned(), code.to_owned())
}

#[test]
fn a_guest_fetches_its_model_once_and_keeps_ciphertext_alone() {
    let Stored { stand, settings, store, cache } = Stored::new();
    let served = Served::start(stand, &settings);
    assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
    let fetched = served.guest.stage("fetched", Some(CHAT)).unwrap().clone();
    assert_eq!((&fetched["reused"], &fetched["in_cache"]), (&0.into(), &true.into()));
    assert_eq!(fetched["requests"], store.requests());
    let fetcher = served.guest.stage("fetcher", Some(CHAT)).unwrap();
    assert!(fetcher["layers"].as_array().unwrap().iter().any(|layer| layer == "seccomp"), "{fetcher}");
    // The release comes first, because it names the manifest.
    let order = |name: &str| served.guest.stages.iter().position(|stage| stage["stage"] == name).unwrap();
    assert!(order("release") < order("fetcher") && order("fetched") < order("worker"));
    let Served { guest, stand, .. } = served;
    let log = guest.audit_log.clone();
    guest.stop().unwrap();
    let entries = anchorhold_e2e::guest::log_entries(&log).unwrap();
    assert_eq!(fetches(&entries), [pair("success", "fetched")]);
    let entry = entries.iter().find(|entry| entry["type"] == "model.fetch").unwrap();
    assert_eq!(entry["model"]["ver"], 1);
    for secret in [&[0x6b; 32][..], b"\"vocab\"", b"chat_template"] {
        assert_eq!(files_with(&cache, secret).unwrap(), Vec::<PathBuf>::new());
    }

    let before = store.requests();
    let again = Served::start(stand, &settings);
    assert_eq!(again.guest.stage("fetched", Some(CHAT)).unwrap()["fetched"], 0);
    assert_eq!(store.requests(), before);
    again.stop();
}

#[test]
fn a_model_in_shards_is_fetched_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let sharded = models::chat_in_shards(&folder.path().join("shards")).unwrap();
    let stored = Stored::of(&sharded);
    let served = Served::start(stored.stand, &stored.settings);
    let whole = Served::chat();
    for question in ["What is Anchorhold?", "Who are you?"] {
        let text = |served: &Served| {
            let answer = served.post("/v1/chat/completions", &chat(question));
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
        };
        assert_eq!(text(&served), text(&whole));
    }
    let weights = |served: &Served| served.guest.stage("loaded", Some(CHAT)).unwrap()["bytes"].as_u64();
    let apart = weights(&served).unwrap().abs_diff(weights(&whole).unwrap());
    assert!(apart < 4096, "two headers where there was one, and {apart} bytes apart");
    let fetched = served.guest.stage("fetched", Some(CHAT)).unwrap();
    assert_eq!(fetched["requests"], stored.store.requests());
    let entries = served.stop();
    assert_eq!((count(&entries, "model.fetch"), count(&entries, "model.load")), (1, 1));
}

#[test]
fn case_24_rot_in_the_cache_is_found_by_the_worker_and_fetched_again() {
    let stored = Stored::new();
    let Stored { stand, settings, .. } = &stored;
    stand.start(settings).unwrap().ready().unwrap().stop().unwrap();
    let weights = std::fs::OpenOptions::new().write(true).open(stored.weights()).unwrap();
    weights.write_at(b"rot", 100_000).unwrap();
    let Stored { stand, settings, store, .. } = stored;
    let before = store.bytes();
    let served = Served::start(stand, &settings);
    assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
    let segment = (1 << 20) + 32;
    assert_eq!(served.guest.stage("fetched", Some(CHAT)).unwrap()["fetched"], segment);
    assert_eq!(store.bytes() - before, segment + 74, "the header and one segment");
    let entries = served.stop();
    assert_eq!(fetches(&entries), [pair("success", "fetched"), pair("success", "fetched")]);
    assert_eq!(count(&entries, "model.reject"), 1);
    assert_eq!(count(&entries, "model.load"), 1);
}

#[test]
fn case_24_a_cache_that_takes_nothing_is_logged_and_memory_serves_instead() {
    let Stored { stand, mut settings, cache, store: _store } = Stored::new();
    settings.replace_in_store(
        "cache_max_bytes = 1073741824",
        "cache_max_bytes = 1000\nmemory_max_bytes = 1073741824",
    );
    let served = Served::start(stand, &settings);
    assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
    assert_eq!(served.guest.stage("fetched", Some(CHAT)).unwrap()["in_cache"], false);
    assert_eq!(served.guest.stage("cache_failed", Some(CHAT)).unwrap()["code"], "cache_limit");
    // The stand owns the folder that the cache lies in.
    let Served { guest, stand: _stand, .. } = served;
    let log = guest.audit_log.clone();
    guest.stop().unwrap();
    let entries = anchorhold_e2e::guest::log_entries(&log).unwrap();
    assert_eq!(fetches(&entries), [pair("failure", "cache_limit"), pair("success", "fetched")]);
    let kept = |path: &PathBuf| path.metadata().unwrap().len() > 100_000;
    assert!(!files_with(&cache, b"").unwrap().iter().any(kept));
}

#[test]
fn case_24_without_memory_to_fall_back_on_the_guest_does_not_start() {
    let Stored { stand, mut settings, store: _store, .. } = Stored::new();
    settings.replace_in_store("cache_max_bytes = 1073741824", "cache_max_bytes = 1000");
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("store", "cache_limit"));
}

#[test]
fn case_21_a_store_that_has_another_package_is_refused_before_the_port_opens() {
    let Stored { stand, mut settings, store, .. } = Stored::new();
    settings.models[0].1 = store.url("elsewhere").into();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("store", "absent"));
    let log = std::fs::read_dir(stand.path().join("guest/audit")).unwrap();
    let log = log.map(|entry| entry.unwrap().path()).find(|path| !path.ends_with("empty")).unwrap();
    let entries = anchorhold_e2e::guest::log_entries(&log).unwrap();
    assert_eq!(fetches(&entries), [pair("failure", "absent")]);
}

#[test]
fn case_44_a_worker_that_crashed_gets_the_package_again_without_the_store() {
    let _turn = alone();
    let Stored { stand, settings, store, .. } = Stored::new();
    let mut served = Served::start(stand, &settings);
    drop(store);
    kill_process(served.worker(CHAT), Signal::KILL).unwrap();
    served.guest.next_stage("restarted", SOON).unwrap();
    let answers = || served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status == 200;
    until("an answer after the restart", SOON, || answers().then_some(()));
    let entries = served.stop();
    assert_eq!(fetches(&entries), [pair("success", "fetched")]);
}

#[test]
fn case_23_kill_9_at_any_point_leaves_nothing_secret_and_a_restart_goes_on() {
    let _turn = alone();
    let seed = 23;
    let outcome = anchorhold_e2e::kill::run(40, seed, |_, _| {}).unwrap();
    assert_eq!(outcome.killed.values().sum::<u32>(), 40);
    assert_eq!(outcome.served, 4);
    assert!(outcome.killed_while_fetching > 0 && outcome.killed_while_loading > 0, "{outcome:?}");
}
