//! What operators watch: the families, their labels, and the dashboard that asks for them.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_ipc::{Event, Load, ModelKind};
use common::{Rig, chat, eventually, get, post, with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

async fn shown(rig: &Rig) -> String {
    rig.send(get("/metrics")).await.text()
}

/// A gateway that has answered one request of each kind that is timed.
async fn used() -> Rig {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    for change in [json!({}), json!({"stream": true})] {
        rig.send(post("/v1/chat/completions", &with(chat("abc"), change))).await;
    }
    rig.send(post("/v1/embeddings", &json!({"model": "embed", "input": "x"}))).await;
    rig.send(post("/v1/embeddings", &json!({"model": "no-such-label", "input": "x"}))).await;
    rig
}

#[tokio::test]
async fn the_names_of_vllm_are_there_by_model_and_equal_to_usage() {
    let rig = used().await;
    let text = shown(&rig).await;
    for line in [
        "vllm:prompt_tokens_total{model_name=\"chat\"} 10",
        "vllm:generation_tokens_total{model_name=\"chat\"} 6",
        "vllm:prompt_tokens_total{model_name=\"embed\"} 3",
        "vllm:time_to_first_token_seconds_count{model_name=\"chat\"} 2",
        "vllm:inter_token_latency_seconds_count{model_name=\"chat\"} 4",
        "vllm:e2e_request_latency_seconds_count{model_name=\"chat\"} 2",
        "vllm:num_requests_running{model_name=\"chat\"} 0",
        "anchorhold_confinement_layers{state=\"active\"} 5",
        "anchorhold_confinement_layers{state=\"missing\"} 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
    assert!(!text.contains("no-such-label"));
}

#[tokio::test]
async fn what_only_the_worker_knows_is_what_it_told_last() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let load = |running| Load {
        running,
        waiting: 2,
        blocks: 8,
        blocks_held: 2,
        sought: 100,
        found: 60,
        put_back: 3,
    };
    worker.say(&Event::Load(load(9)));
    worker.say(&Event::Load(load(4)));
    let wanted = [
        "vllm:num_requests_running{model_name=\"chat\"} 4",
        "vllm:num_requests_waiting{model_name=\"chat\"} 2",
        "vllm:kv_cache_usage_perc{model_name=\"chat\"} 0.25",
        "vllm:num_preemptions_total{model_name=\"chat\"} 3",
        "vllm:prefix_cache_queries_total{model_name=\"chat\"} 100",
        "vllm:prefix_cache_hits_total{model_name=\"chat\"} 60",
    ];
    eventually("the load is shown", async || {
        let text = shown(&rig).await;
        wanted.iter().all(|line| text.lines().any(|shown| shown == *line))
    })
    .await;
    drop(worker);
    eventually("a worker that is gone does nothing", async || {
        shown(&rig).await.contains("vllm:num_requests_running{model_name=\"chat\"} 0\n")
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_about_to_end_are_counted() {
    let key = |secret: &str, expires: &str| {
        let digest = anchorhold_rats::Sha256Digest::of(secret.as_bytes());
        format!("[[key]]\ntenant = \"acme\"\nsha256 = \"{digest}\"\nexpires = \"{expires}\"\n")
    };
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let soon = anchorhold_rats::Timestamp::from_unix_seconds(soon.try_into().unwrap()).to_string();
    let keys = [key("soon", &soon), key("past", "2020-01-01T00:00:00Z"), key("late", "2199-01-01T00:00:00Z")];
    let rig = Rig::with(&keys.concat(), "");
    assert!(shown(&rig).await.contains("anchorhold_keys_expiring 1\n"));
}

#[tokio::test]
async fn the_latest_attestation_and_the_log_s_size_are_told() {
    let rig = Rig::new();
    assert!(shown(&rig).await.contains("anchorhold_last_attestation_timestamp_seconds 0\n"));
    rig.settle().await;
    let value = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#')).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value(&shown(&rig).await, "anchorhold_last_attestation_timestamp_seconds ") > 1_700_000_000);
    eventually("entries are counted", async || value(&shown(&rig).await, "anchorhold_audit_entries ") > 1)
        .await;
}

/// The names that the text form tells of, with the suffixes of their samples.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        match kind {
            "histogram" => names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => names.extend([name.to_owned()]),
        }
    }
    names
}

/// The names of metrics in a query.
fn asked(query: &str) -> Vec<String> {
    let part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let words = query.split(|character| !part(character));
    let ours = |word: &&str| word.starts_with("anchorhold_") || word.starts_with("vllm:");
    words.filter(ours).map(str::to_owned).collect()
}

fn queries(value: &Value, found: &mut Vec<String>) {
    for (key, below) in value.as_object().into_iter().flatten() {
        match (key.as_str(), below) {
            ("expr" | "query", Value::String(query)) if query != "prometheus" => found.push(query.clone()),
            _ => queries(below, found),
        }
    }
    value.as_array().into_iter().flatten().for_each(|below| queries(below, found));
}

#[tokio::test]
async fn every_query_of_the_dashboard_names_families_that_there_are() {
    let dashboard = include_str!("../dashboards/anchorhold.json");
    let names = names(&shown(&used().await).await);
    let mut found = Vec::new();
    queries(&serde_json::from_str(dashboard).unwrap(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    for query in found {
        let asked = asked(&query);
        assert!(!asked.is_empty(), "{query}");
        for name in asked {
            assert!(names.contains(&name) || names.contains(&format!("{name}_total")), "{name}");
        }
    }
}

/// Needs Debian's `prometheus`; says so where it is missing.
#[tokio::test]
async fn promtool_finds_nothing_but_the_colons_of_vllm() {
    let text = shown(&used().await).await;
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let started = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("skipped 1 check: there is no promtool");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let complaints: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(
        complaints.iter().all(|line| line.starts_with("vllm:") && line.contains("should not contain ':'")),
        "{complaints:#?}"
    );
}
