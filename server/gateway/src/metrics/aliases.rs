//! The families that dashboards for vLLM know, under its names and by model, where ours mean the same.
//!
//! Where the meaning is not quite vLLM's the help text says so: token counters hold complete requests alone, which is what makes them
//! equal to the sums of `usage`.

use anchorhold_ipc::Load;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of the time to a first text and of whole requests, in seconds.
const LATENCIES: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Bounds of the time between two texts, in seconds.
const BETWEEN: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5];

/// The name of a served model: the operator's, and as many as there are models.
type ByModel<M> = Family<[(&'static str, String); 1], M, fn() -> M>;
type Share = Gauge<f64, AtomicU64>;

#[derive(Debug)]
pub(super) struct Aliases {
    registry: Registry,
    running: ByModel<Gauge>,
    waiting: ByModel<Gauge>,
    cache_used: ByModel<Share>,
    put_back: ByModel<Counter>,
    sought: ByModel<Counter>,
    found: ByModel<Counter>,
    prompt_tokens: ByModel<Counter>,
    generation_tokens: ByModel<Counter>,
    first_token: ByModel<Histogram>,
    between_texts: ByModel<Histogram>,
    whole_request: ByModel<Histogram>,
}

fn family<M>(new: fn() -> M) -> ByModel<M> {
    Family::new_with_constructor(new)
}

fn label(model: &str) -> [(&'static str, String); 1] {
    [("model_name", model.to_owned())]
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Aliases {
    pub(super) fn new() -> Self {
        let latencies = || Histogram::new(LATENCIES);
        let aliases = Self {
            registry: Registry::default(),
            running: family(Gauge::default),
            waiting: family(Gauge::default),
            cache_used: family(Share::default),
            put_back: family(Counter::default),
            sought: family(Counter::default),
            found: family(Counter::default),
            prompt_tokens: family(Counter::default),
            generation_tokens: family(Counter::default),
            first_token: family(latencies),
            between_texts: family(|| Histogram::new(BETWEEN)),
            whole_request: family(latencies),
        };
        let mut registry = Registry::default();
        aliases.register(&mut registry);
        Self { registry, ..aliases }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "vllm:num_requests_running",
            "Sequences in the model's steps",
            self.running.clone(),
        );
        registry.register("vllm:num_requests_waiting", "Sequences or inputs that wait", self.waiting.clone());
        registry.register(
            "vllm:kv_cache_usage_perc",
            "Share of the cache's blocks that sequences hold, from 0 to 1",
            self.cache_used.clone(),
        );
        registry.register(
            "vllm:num_preemptions",
            "Sequences that were put back to make room",
            self.put_back.clone(),
        );
        registry.register(
            "vllm:prefix_cache_queries",
            "Prompt tokens that were looked for in the cache",
            self.sought.clone(),
        );
        registry.register("vllm:prefix_cache_hits", "Those of them that were found", self.found.clone());
        registry.register(
            "vllm:prompt_tokens",
            "Prompt tokens of complete requests, as in usage",
            self.prompt_tokens.clone(),
        );
        registry.register(
            "vllm:generation_tokens",
            "Generated tokens of complete requests, as in usage",
            self.generation_tokens.clone(),
        );
        registry.register(
            "vllm:time_to_first_token_seconds",
            "From the request to its first text",
            self.first_token.clone(),
        );
        registry.register(
            "vllm:inter_token_latency_seconds",
            "From one text of an answer to the next; one text is one token but where characters or stop texts span several",
            self.between_texts.clone(),
        );
        registry.register(
            "vllm:e2e_request_latency_seconds",
            "From the request to the end of its answer",
            self.whole_request.clone(),
        );
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn complete(&self, model: &str, (tokens_in, tokens_out): (u64, u64), seconds: f64) {
        let label = label(model);
        self.prompt_tokens.get_or_create(&label).inc_by(tokens_in);
        self.generation_tokens.get_or_create(&label).inc_by(tokens_out);
        self.whole_request.get_or_create(&label).observe(seconds);
    }

    pub(super) fn first_token(&self, model: &str, seconds: f64) {
        self.first_token.get_or_create(&label(model)).observe(seconds);
    }

    pub(super) fn between_texts(&self, model: &str) -> Histogram {
        self.between_texts.get_or_create(&label(model)).clone()
    }

    /// What a worker told last. Its counters begin again with it, as any process's do.
    pub(super) fn load(&self, model: &str, load: &Load) {
        let label = label(model);
        self.running.get_or_create(&label).set(gauge(load.running));
        self.waiting.get_or_create(&label).set(gauge(load.waiting));
        self.cache_used.get_or_create(&label).set(share(load.blocks_held, load.blocks));
        for (counter, value) in
            [(&self.put_back, load.put_back), (&self.sought, load.sought), (&self.found, load.found)]
        {
            counter.get_or_create(&label).inner().store(value, Ordering::Relaxed);
        }
    }
}

/// `part` of `whole`; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    let number = |value| u32::try_from(value).map_or(f64::from(u32::MAX), f64::from);
    if whole == 0 { 0.0 } else { number(part) / number(whole) }
}
