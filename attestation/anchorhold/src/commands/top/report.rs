//! What is shown of a server's numbers.

use super::samples::Samples;
use crate::output::plain;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The value of `format`.
const FORMAT: &str = "urn:anchorhold:top:v1";

/// One look at a server. Rates are `None` without a look before it; times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    format: &'static str,
    /// Whether every model can answer.
    ready: bool,
    requests_in_flight: Option<f64>,
    /// Requests that ended, by how they did.
    requests: BTreeMap<String, f64>,
    requests_per_s: Option<f64>,
    auth_failures: Option<f64>,
    audit_entries: Option<f64>,
    audit_refusals: Option<f64>,
    worker_restarts: Option<f64>,
    confinement_layers: BTreeMap<String, f64>,
    /// Since the latest attestation document was handed out; `None` before the first.
    attestation_age_s: Option<f64>,
    models: Vec<Model>,
}

#[derive(Debug, Serialize)]
struct Model {
    model: String,
    running: Option<f64>,
    waiting: Option<f64>,
    /// Share of the cache's blocks that are held.
    cache_used: Option<f64>,
    prompt_tokens: Option<f64>,
    generation_tokens: Option<f64>,
    generation_tokens_per_s: Option<f64>,
    first_text_p50_s: Option<f64>,
    first_text_p99_s: Option<f64>,
    between_texts_p50_s: Option<f64>,
    between_texts_p99_s: Option<f64>,
}

/// Samples of an earlier look, and the time since then.
type Before<'a> = Option<(&'a Samples, Duration)>;

impl Report {
    /// `at` is the time since 1970.
    pub(super) fn new(ready: bool, samples: &Samples, before: Before<'_>, at: Duration) -> Self {
        let sum = |name| samples.sum(name, None);
        let attested = sum("anchorhold_last_attestation_timestamp_seconds").filter(|seconds| *seconds > 0.0);
        let names = samples.by("vllm:num_requests_running", "model_name");
        Self {
            format: FORMAT,
            ready,
            requests_in_flight: sum("anchorhold_requests_in_flight"),
            requests: samples.by("anchorhold_requests_total", "outcome"),
            requests_per_s: rate("anchorhold_requests_total", None, samples, before),
            auth_failures: sum("anchorhold_auth_failures_total"),
            audit_entries: sum("anchorhold_audit_entries"),
            audit_refusals: sum("anchorhold_audit_refusals_total"),
            worker_restarts: sum("anchorhold_worker_restarts_total"),
            confinement_layers: samples.by("anchorhold_confinement_layers", "state"),
            attestation_age_s: attested.map(|seconds| (at.as_secs_f64() - seconds).max(0.0)),
            models: names.into_keys().map(|name| Model::new(name, samples, before)).collect(),
        }
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let state = if self.ready { "ready" } else { "NOT READY" };
        let ended = self.requests.iter().map(|(outcome, count)| format!("{count} {}", plain(outcome)));
        let ended: Vec<String> = ended.collect();
        let missing = self.confinement_layers.get("missing").copied();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{state}, {} running, {} requests/s, ended: {}",
            shown(self.requests_in_flight, 0),
            shown(self.requests_per_s, 1),
            if ended.is_empty() { "none".to_owned() } else { ended.join(", ") },
        );
        let _ = writeln!(
            text,
            "audit log {} entries, {} answers held back; refused callers {}; workers restarted {}; layers missing {}; \
             attested {} s ago\n",
            shown(self.audit_entries, 0),
            shown(self.audit_refusals, 0),
            shown(self.auth_failures, 0),
            shown(self.worker_restarts, 0),
            shown(missing, 0),
            shown(self.attestation_age_s, 0),
        );
        let _ = writeln!(
            text,
            "{:<32} {:>7} {:>7} {:>7} {:>9} {:>19} {:>19}",
            "MODEL", "RUNNING", "WAITING", "CACHE", "TOKENS/S", "FIRST p50/p99 ms", "BETWEEN p50/p99 ms"
        );
        self.models.iter().for_each(|model| model.write(&mut text));
        text
    }
}

impl Model {
    fn new(name: String, samples: &Samples, before: Before<'_>) -> Self {
        let label = ("model_name", name.as_str());
        let sum = |name: &str| samples.sum(name, Some(label));
        let first = |quantile| samples.quantile("vllm:time_to_first_token_seconds", label, quantile);
        let between = |quantile| samples.quantile("vllm:inter_token_latency_seconds", label, quantile);
        Self {
            running: sum("vllm:num_requests_running"),
            waiting: sum("vllm:num_requests_waiting"),
            cache_used: sum("vllm:kv_cache_usage_perc"),
            prompt_tokens: sum("vllm:prompt_tokens_total"),
            generation_tokens: sum("vllm:generation_tokens_total"),
            generation_tokens_per_s: rate("vllm:generation_tokens_total", Some(label), samples, before),
            first_text_p50_s: first(0.5),
            first_text_p99_s: first(0.99),
            between_texts_p50_s: between(0.5),
            between_texts_p99_s: between(0.99),
            model: name,
        }
    }

    fn write(&self, text: &mut String) {
        let percent = self.cache_used.map(|share| share * 100.0);
        let pair = |low: Option<f64>, high: Option<f64>| {
            let milliseconds = |seconds: Option<f64>| shown(seconds.map(|seconds| seconds * 1000.0), 1);
            format!("{} / {}", milliseconds(low), milliseconds(high))
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<32} {:>7} {:>7} {:>6}% {:>9} {:>19} {:>19}",
            plain(&self.model),
            shown(self.running, 0),
            shown(self.waiting, 0),
            shown(percent, 0),
            shown(self.generation_tokens_per_s, 1),
            pair(self.first_text_p50_s, self.first_text_p99_s),
            pair(self.between_texts_p50_s, self.between_texts_p99_s),
        );
    }
}

/// How fast a counter grew. One that is smaller than before began again, and what it has came since.
fn rate(name: &str, label: Option<(&str, &str)>, samples: &Samples, before: Before<'_>) -> Option<f64> {
    let (before, since) = before.filter(|(_, since)| !since.is_zero())?;
    let now = samples.sum(name, label)?;
    let earlier = before.sum(name, label).filter(|earlier| *earlier <= now).unwrap_or(0.0);
    Some((now - earlier) / since.as_secs_f64())
}

fn shown(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "anchorhold_requests_in_flight 2\nanchorhold_requests_total{route=\"chat\",outcome=\"complete\"} 14\n\
        anchorhold_last_attestation_timestamp_seconds 90\nvllm:num_requests_running{model_name=\"m\\n\u{1b}[31m\"} 3\n\
        vllm:generation_tokens_total{model_name=\"m\\n\u{1b}[31m\"} 50\nvllm:kv_cache_usage_perc{model_name=\"m\\n\u{1b}[31m\"} 0.25\n";

    #[test]
    fn rates_come_of_two_looks_and_a_counter_that_begins_again_is_no_loss() {
        let now = Samples::parse(NOW).unwrap();
        let at = Duration::from_secs(100);
        let first = Report::new(true, &now, None, at);
        assert_eq!((first.requests_per_s, first.attestation_age_s), (None, Some(10.0)));
        let earlier = Samples::parse("anchorhold_requests_total{outcome=\"complete\"} 4\n").unwrap();
        let two = Duration::from_secs(2);
        let second = Report::new(true, &now, Some((&earlier, two)), at);
        assert_eq!(second.requests_per_s, Some(5.0));
        assert_eq!(second.models.first().unwrap().generation_tokens_per_s, Some(25.0));
        let higher = Samples::parse("anchorhold_requests_total{outcome=\"complete\"} 400\n").unwrap();
        assert_eq!(Report::new(true, &now, Some((&higher, two)), at).requests_per_s, Some(7.0));
    }

    #[test]
    fn a_server_cannot_write_to_the_terminal_but_in_ascii() {
        let text = Report::new(false, &Samples::parse(NOW).unwrap(), None, Duration::ZERO).text();
        assert!(text.starts_with("NOT READY, 2 running"), "{text}");
        assert!(
            text.chars()
                .all(|character| character == '\n' || character == ' ' || character.is_ascii_graphic())
        );
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
