//! Numbers for operators. Labels are routes, outcomes, states, and the names of models that are served; never anything that a caller
//! wrote.

mod aliases;
mod text;

use self::aliases::Aliases;
use crate::log::{outcome_word, route_word};
use anchorhold_ipc::{Load, LogCondition, LogStanding, RequestOutcome, RequestRecord, Route};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

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
    attestation_time: Gauge,
    audit_entries: Gauge,
    audit_state: Family<Labels<1>, Gauge>,
    audit_cosigned: Gauge,
    audit_uncosigned: Gauge<f64, AtomicU64>,
    keys_expiring: Gauge,
    confinement: Family<Labels<1>, Gauge>,
    aliases: Aliases,
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
            attestation_time: Gauge::default(),
            audit_entries: Gauge::default(),
            audit_state: Family::default(),
            audit_cosigned: Gauge::default(),
            audit_uncosigned: Gauge::default(),
            keys_expiring: Gauge::default(),
            confinement: Family::default(),
            aliases: Aliases::new(),
        };
        metrics.register(&mut registry);
        Self { registry, ..metrics }
    }

    fn register(&self, registry: &mut Registry) {
        let metrics = self;
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
        registry.register(
            "last_attestation_timestamp_seconds",
            "When the latest attestation document was handed out, in seconds since 1970; 0 before the first",
            metrics.attestation_time.clone(),
        );
        self.register_log(registry);
        registry.register(
            "keys_expiring",
            "Keys that are good now and will not be in a week",
            metrics.keys_expiring.clone(),
        );
        registry.register(
            "confinement_layers",
            "Layers that hold the gateway, and layers that its kernel refused",
            metrics.confinement.clone(),
        );
    }

    fn register_log(&self, registry: &mut Registry) {
        let metrics = self;
        registry.register(
            "audit_entries",
            "Entries that the audit log is known to have",
            metrics.audit_entries.clone(),
        );
        registry.register(
            "audit_state",
            "How the audit log stands: 1 for one of well, late, held (nothing new is taken) and failed",
            metrics.audit_state.clone(),
        );
        registry.register(
            "audit_cosigned_entries",
            "Entries that enough witnesses have cosigned; 0 without witnesses",
            metrics.audit_cosigned.clone(),
        );
        registry.register(
            "audit_uncosigned_seconds",
            "For how long the oldest entry that they have not has waited",
            metrics.audit_uncosigned.clone(),
        );
    }

    /// What holds the gateway.
    pub(crate) fn confined(&self, active: usize, missing: usize) {
        for (state, layers) in [("active", active), ("missing", missing)] {
            let layers = i64::try_from(layers).unwrap_or(i64::MAX);
            self.confinement.get_or_create(&[("state", state)]).set(layers);
        }
    }

    /// An attestation document was handed out at this second of the Unix epoch.
    pub(crate) fn attested(&self, at: u64) {
        self.attestations.inc();
        self.attestation_time.set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// What was not counted as it happened: size and standing of the log, keys that are about to end, and what each model's worker told
    /// last.
    pub(crate) fn refresh(
        &self,
        (audit_entries, log): (u64, LogStanding),
        keys_expiring: usize,
        loads: &[(String, Load)],
    ) {
        self.keys_expiring.set(i64::try_from(keys_expiring).unwrap_or(i64::MAX));
        self.audit_entries.set(i64::try_from(audit_entries).unwrap_or(i64::MAX));
        for state in LogCondition::ALL {
            let labels = [("state", state.name())];
            self.audit_state.get_or_create(&labels).set((state == log.state).into());
        }
        self.audit_cosigned.set(log.cosigned.map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX)));
        self.audit_uncosigned.set(Duration::from_millis(log.waited_ms).as_secs_f64());
        loads.iter().for_each(|(model, load)| self.aliases.load(model, load));
    }

    /// From one text of a choice to the next, of the model of this name.
    pub(crate) fn between_texts(&self, model: &str) -> Histogram {
        self.aliases.between_texts(model)
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
            // A request that found no model names none, so only the names of served models become labels.
            if !record.model.is_empty() {
                self.aliases.complete(&record.model, (record.tokens_in, record.tokens_out), seconds);
            }
        }
    }

    /// The first text of an answer is there.
    pub(crate) fn first_token(&self, route: Route, model: &str, seconds: f64) {
        self.first_token.get_or_create(&[("route", route_word(route))]).observe(seconds);
        self.aliases.first_token(model, seconds);
    }

    /// `OpenMetrics` text.
    pub(crate) fn open_metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, self.aliases.registry());
        let _ = encode_eof(&mut text);
        text
    }

    /// Prometheus text, version 0.0.4.
    pub(crate) fn prometheus(&self) -> String {
        text::prometheus(&self.open_metrics())
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
