//! Numbers for operators. Labels are routes and outcomes, never anything that a caller wrote.

use crate::log::{outcome_word, route_word};
use anchorhold_ipc::{RequestOutcome, RequestRecord};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::fmt::Write as _;

/// Bounds of latencies, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type ByRoute<M> = Family<Labels<1>, M, fn() -> M>;

/// Every family that `/metrics` shows.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    pub(crate) in_flight: Gauge,
    prompt_tokens: Counter,
    found_tokens: Counter,
    generation_tokens: Counter,
    first_token: ByRoute<Histogram>,
    whole_request: ByRoute<Histogram>,
    pub(crate) worker_restarts: Counter,
    pub(crate) models_ready: Gauge,
    pub(crate) auth_failures: Counter,
    pub(crate) audit_refusals: Counter,
    pub(crate) attestations: Counter,
    pub(crate) authenticators: Counter,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("anchorhold");
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            in_flight: Gauge::default(),
            prompt_tokens: Counter::default(),
            found_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            first_token: Family::new_with_constructor(seconds),
            whole_request: Family::new_with_constructor(seconds),
            worker_restarts: Counter::default(),
            models_ready: Gauge::default(),
            auth_failures: Counter::default(),
            audit_refusals: Counter::default(),
            attestations: Counter::default(),
            authenticators: Counter::default(),
        };
        registry.register("requests", "Requests with a key that ended", metrics.requests.clone());
        registry.register("requests_in_flight", "Requests that run now", metrics.in_flight.clone());
        registry.register(
            "prompt_tokens",
            "Prompt tokens of complete requests, as in usage",
            metrics.prompt_tokens.clone(),
        );
        registry.register(
            "prompt_tokens_cached",
            "Those of the prompt tokens that were found in the cache of their tenant",
            metrics.found_tokens.clone(),
        );
        registry.register(
            "generation_tokens",
            "Generated tokens of complete requests, as in usage",
            metrics.generation_tokens.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From the request to its first text",
            metrics.first_token.clone(),
        );
        registry.register(
            "request_seconds",
            "From the request to the end of its answer",
            metrics.whole_request.clone(),
        );
        registry.register(
            "worker_restarts",
            "Workers that came after another one for the same model",
            metrics.worker_restarts.clone(),
        );
        registry.register("models_ready", "Models that answer now", metrics.models_ready.clone());
        registry.register("auth_failures", "Requests without a known key", metrics.auth_failures.clone());
        registry.register(
            "audit_refusals",
            "Answers held back because their audit entry was not durable",
            metrics.audit_refusals.clone(),
        );
        registry.register(
            "attestations",
            "Attestation documents that were handed out",
            metrics.attestations.clone(),
        );
        registry.register(
            "authenticators",
            "Connections for which an authenticator was signed",
            metrics.authenticators.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Counts a request that ended.
    pub(crate) fn count(&self, record: &RequestRecord, found: u64, seconds: f64) {
        let route = ("route", route_word(record.route));
        self.requests.get_or_create(&[route, ("outcome", outcome_word(record.outcome))]).inc();
        if record.outcome == RequestOutcome::Complete {
            self.prompt_tokens.inc_by(record.tokens_in);
            self.found_tokens.inc_by(found);
            self.generation_tokens.inc_by(record.tokens_out);
            self.whole_request.get_or_create(&[route]).observe(seconds);
        }
    }

    pub(crate) fn first_token(&self, route: anchorhold_ipc::Route, seconds: f64) {
        self.first_token.get_or_create(&[("route", route_word(route))]).observe(seconds);
    }

    /// `OpenMetrics` text.
    pub(crate) fn open_metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Prometheus text, version 0.0.4, in which a counter's family carries the suffix of its samples.
    pub(crate) fn prometheus(&self) -> String {
        let open = self.open_metrics();
        let words = |line: &'_ str| line.splitn(4, ' ').map(str::to_owned).collect::<Vec<_>>();
        let counters: HashSet<String> = open
            .lines()
            .filter_map(|line| match words(line).as_slice() {
                [hash, word, name, kind] if hash == "#" && word == "TYPE" && kind == "counter" => {
                    Some(name.clone())
                }
                _ => None,
            })
            .collect();
        let mut text = String::with_capacity(open.len());
        for line in open.lines().filter(|line| *line != "# EOF") {
            let _ = match words(line).as_slice() {
                [hash, word, name, rest] if hash == "#" && counters.contains(name) => {
                    writeln!(text, "# {word} {name}_total {rest}")
                }
                _ => writeln!(text, "{line}"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_name_their_families_as_their_formats_ask() {
        let metrics = Metrics::new();
        metrics.auth_failures.inc();
        let open = metrics.open_metrics();
        assert!(open.contains("# TYPE anchorhold_auth_failures counter\n"));
        assert!(open.ends_with("# EOF\n"));
        let classic = metrics.prometheus();
        assert!(
            classic.contains(
                "# TYPE anchorhold_auth_failures_total counter\nanchorhold_auth_failures_total 1\n"
            )
        );
        assert!(classic.contains("# HELP anchorhold_auth_failures_total "));
        assert!(classic.contains("# TYPE anchorhold_models_ready gauge\nanchorhold_models_ready 0\n"));
        assert!(!classic.contains("EOF"));
    }
}
