//! A caller who verifies before it asks.

use crate::guest::Guest;
use anchorhold_attester::software::gpu::{simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der};
use anchorhold_attester::software::tdx::simulated_intel_root_der;
use anchorhold_channel::client::{
    Answer, Attested, Client, Connection, Limits, Streaming, Target, connect_unverified_for_attestation,
};
use anchorhold_channel::document::Presented;
use anchorhold_channel::{AttestedServer, verify_document};
use anchorhold_rats::{Endorsements, Measurement, Nonce, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb, Policy};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, event_log, tdx};
use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Sentences of one request of [`Caller::embedding_rate`].
pub const BATCH: usize = 16;
const SENTENCE: &str = "The quick brown fox jumps over the lazy dog while the bank counts its money twice and the \
                        hospital keeps its records where nobody else can read them.";

/// A caller of one guest that it has verified.
pub struct Caller {
    client: Client<Attested>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What the verification established.
    pub server: AttestedServer,
}

/// The present, for judging evidence.
#[must_use]
pub fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// The roots of the software attester, which the demonstration names explicitly.
pub fn simulated_anchors() -> anyhow::Result<TrustAnchors> {
    let roots = SimulatedRoots {
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..SimulatedRoots::amd(anchorhold_attester::software::simulated_ark_der())
    };
    Ok(dangerous::simulated_anchors(&roots)?)
}

/// Accepts simulated evidence with this launch digest and the demonstration's firmware floor.
pub fn appraisal(measurement: &str) -> anyhow::Result<AppraisalPolicy> {
    let measurement: Measurement = measurement.parse().map_err(|e| anyhow!("measurement: {e}"))?;
    let genoa = GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 };
    let min_tcb = MinimumTcb { genoa: Some(genoa), ..MinimumTcb::default() };
    Ok(dangerous::allow_simulated(Policy::strict(vec![measurement], min_tcb)).into())
}

/// Accepts simulated evidence of a TD with this MRTD and these run-time registers, whose event log gives all of them.
pub fn td_appraisal(mrtd: &str, rtmrs: [[u8; 48]; 4]) -> anyhow::Result<AppraisalPolicy> {
    let mrtd: Measurement = mrtd.parse().map_err(|e| anyhow!("MRTD: {e}"))?;
    let mut policy = tdx::Policy::strict(vec![mrtd]);
    policy.rtmrs = rtmrs.map(Some);
    let event_log = Some(event_log::Policy::strict());
    Ok(AppraisalPolicy { event_log, ..dangerous::allow_simulated(policy).into() })
}

impl Caller {
    /// Verifies the guest at its address under the simulated root and this launch digest.
    pub async fn verify(guest: &Guest, measurement: &str) -> anyhow::Result<Self> {
        Self::verify_at(&format!("https://{}", guest.address), &guest.api_key, measurement).await
    }

    /// The same, for any address.
    pub async fn verify_at(url: &str, api_key: &str, measurement: &str) -> anyhow::Result<Self> {
        Self::verify_by(url, api_key, &appraisal(measurement)?).await
    }

    /// The same, by this policy.
    pub async fn verify_by(url: &str, api_key: &str, policy: &AppraisalPolicy) -> anyhow::Result<Self> {
        let target: Target = url.parse()?;
        let limits = Limits::default();
        let nonce = Nonce::random()?;
        let mut connection = connect_unverified_for_attestation(&target, &limits).await?;
        let document = connection.fetch_document(&nonce).await?;
        let presented = Presented { document: &document, nonce, tls_key: connection.tls_key() };
        let at = now();
        let server =
            verify_document(&presented, &Endorsements::default(), &simulated_anchors()?, policy, at)?;
        let client = Client::attested(target, &server, at, limits)?;
        let authorization = HeaderValue::from_str(&format!("Bearer {api_key}"))?;
        Ok(Self { client, headers: vec![(header::AUTHORIZATION, authorization)], server })
    }

    /// One GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        Ok(self.client.get(path, &self.headers).await?)
    }

    /// One POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        Ok(self.client.post_json(path, &self.headers, Bytes::from(body.to_string())).await?)
    }

    /// One POST of bytes that are not JSON themselves but stand for it, with one header more.
    pub async fn post_bytes(
        &self,
        path: &str,
        (name, value): (&'static str, &str),
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let mut headers = self.headers.clone();
        headers.push((HeaderName::from_static(name), HeaderValue::from_str(value)?));
        Ok(self.client.post_json(path, &headers, Bytes::from(body)).await?)
    }

    /// A connection that is held for several requests, and what each says of the caller.
    pub async fn connect(&self) -> anyhow::Result<(Connection<Attested>, Vec<(HeaderName, HeaderValue)>)> {
        Ok((self.client.connect().await?, self.headers.clone()))
    }

    /// One POST of JSON whose answer arrives in pieces.
    pub async fn stream(&self, path: &str, body: &Value) -> anyhow::Result<Streaming> {
        let mut connection = self.client.connect().await?;
        Ok(connection.post_json_streaming(path, &self.headers, Bytes::from(body.to_string())).await?)
    }

    /// The embeddings of `inputs`.
    pub async fn embed(&self, model: &str, inputs: &[&str]) -> anyhow::Result<Vec<Vec<f64>>> {
        let answer =
            self.post("/v1/embeddings", &serde_json::json!({"model": model, "input": inputs})).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let body: Value = serde_json::from_slice(&answer.body)?;
        let items = body["data"].as_array().context("no data")?;
        items.iter().map(|item| Ok(serde_json::from_value(item["embedding"].clone())?)).collect()
    }

    /// How many sentences are embedded in a second, asked in so many requests of [`BATCH`] one after the other.
    pub async fn embedding_rate(&self, model: &str, requests: u32) -> anyhow::Result<f64> {
        let begun = Instant::now();
        for _ in 0..requests {
            let vectors = self.embed(model, &[SENTENCE; BATCH]).await?;
            ensure!(vectors.len() == BATCH, "{} vectors for {BATCH} sentences", vectors.len());
        }
        Ok(f64::from(requests) * BATCH as f64 / begun.elapsed().as_secs_f64())
    }

    /// A streamed chat answer; `hear` is given each piece of text as it arrives.
    pub async fn chat(
        &self,
        model: &str,
        prompt: &str,
        mut hear: impl FnMut(&str),
    ) -> anyhow::Result<String> {
        let body = serde_json::json!({
            "model": model, "stream": true, "temperature": 0, "max_tokens": 64,
            "messages": [{"role": "user", "content": prompt}],
        });
        let mut streaming = self.stream("/v1/chat/completions", &body).await?;
        let mut frames = Frames::default();
        let mut text = String::new();
        while let Some(piece) = streaming.next_piece().await? {
            for event in frames.push(&piece) {
                if let Some(delta) = event["choices"][0]["delta"]["content"].as_str() {
                    hear(delta);
                    text.push_str(delta);
                }
                ensure!(event.get("error").is_none(), "the stream ended with {event}");
            }
        }
        ensure!(streaming.status.is_success(), "status {}", streaming.status);
        ensure!(frames.done, "the stream ended without [DONE]");
        Ok(text)
    }
}

/// Puts the pieces of a server-sent event stream together.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
    /// Whether `[DONE]` has come.
    pub done: bool,
}

impl Frames {
    /// Takes a piece and gives back the events that are whole now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Value> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = self.rest.drain(..end + 2).collect();
            for line in String::from_utf8_lossy(&frame).lines() {
                match line.strip_prefix("data: ") {
                    Some("[DONE]") => self.done = true,
                    Some(json) => events.extend(serde_json::from_str(json).ok()),
                    None => {}
                }
            }
        }
        events
    }
}

/// The cosine of the angle between two vectors.
#[must_use]
pub fn cosine(left: &[f64], right: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}
