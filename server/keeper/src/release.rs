//! Obtaining one weights key over HTTPS from whoever the settings pin: the key broker, or a KBS of Confidential Containers.

mod broker;
mod kbs;

use crate::audit::{BootEvidence, Recorder};
use crate::clock::Clock;
use crate::evidence::Identity;
use crate::key::HeldKey;
use crate::settings::{Broker, Model, Settings};
use crate::stages::{Stage, Stages};
use anchorhold_audit_log::{
    Actor, ActorKind, BindingInputs, Code, Event, EventType, Follows, Hash, Key, KeyId, KeyOperation, Outcome,
};
use anchorhold_channel::client::{Answer, Client, Limits, Pinned, Target};
use anchorhold_channel::tls;
use anchorhold_kbs::TokenRules;
use anchorhold_key_release::{AuditTerms, PinnedBroker, RefusalError};
use anchorhold_rats::{Evidence, GpuEvidence, Nonce, ReportData};
use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// How often a broker that cannot be reached or that is not well is asked at the start of a guest.
pub(crate) const ATTEMPTS_AT_START: u32 = 5;
/// A renewal is asked for once at a time, because callers wait meanwhile; it is tried again later.
pub(crate) const ATTEMPTS_TO_RENEW: u32 = 1;
/// The broker's codes for what was revoked: the key or manifest, and the image.
const REVOKED: [&str; 2] = ["revoked", "release_measurement_revoked"];
const CONNECT: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Talks to the broker. One exchange at a time.
pub(crate) struct Releaser {
    http: Http,
    url: String,
    source: Source,
}

/// Who releases, and to what its answers are held.
enum Source {
    Broker(Box<PinnedBroker>),
    Kbs(TokenRules),
}

/// HTTPS to the server with the pinned key.
struct Http {
    runtime: tokio::runtime::Runtime,
    client: Client<Pinned>,
}

impl Http {
    fn get(&self, path: &str, headers: &[(HeaderName, HeaderValue)]) -> anyhow::Result<Answer> {
        Ok(self.runtime.block_on(self.client.get(path, headers))?)
    }

    fn post(&self, path: &str, headers: &[(HeaderName, HeaderValue)], body: Bytes) -> anyhow::Result<Answer> {
        Ok(self.runtime.block_on(self.client.post_json(path, headers, body))?)
    }
}

/// Why a key was not obtained, as far as it changes what happens next.
#[derive(Debug)]
pub(crate) enum NoKey {
    /// What the key rests on was revoked.
    Revoked(anyhow::Error),
    /// Anything else.
    Other(anyhow::Error),
}

impl NoKey {
    pub(crate) fn into_error(self) -> anyhow::Error {
        match self {
            Self::Revoked(error) | Self::Other(error) => error,
        }
    }
}

/// Why there is no key.
enum Failure {
    /// The broker decided; asking again changes nothing.
    Refused(RefusalError),
    /// No decision was reached.
    Unreachable(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl Releaser {
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let broker = &settings.broker;
        let file = broker.certificate().display();
        let pem = std::fs::read(broker.certificate()).with_context(|| file.to_string())?;
        let certificates = tls::certificates_from_pem(&pem)?;
        let [certificate] = certificates.as_slice() else {
            bail!("{file}: wanted one certificate, found {}", certificates.len())
        };
        let source = match broker {
            Broker::Anchorhold(broker) => Source::Broker(Box::new(broker.pinned()?)),
            Broker::Kbs(kbs) => Source::Kbs(kbs::rules(kbs, &settings.attester)?),
        };
        let max_body_bytes = match &source {
            Source::Broker(_) => 64 * 1024,
            Source::Kbs(_) => kbs::MAX_ANSWER_BYTES,
        };
        let limits = Limits { max_body_bytes, connect_timeout: CONNECT, ..Limits::default() };
        let target: Target = broker.url().parse().context("broker.url")?;
        let client = Client::pinned_certificate(target, certificate, limits)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { http: Http { runtime, client }, url: broker.url().to_owned(), source })
    }

    /// Obtains the key of `model`, trying again while the broker cannot be reached, and records the decision.
    ///
    /// # Errors
    /// The refusal, or what kept the broker from deciding.
    pub(crate) fn obtain(
        &self,
        exchange: &mut Exchange<'_>,
        model: &Model,
        attempts: u32,
    ) -> Result<HeldKey, NoKey> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=attempts {
            let outcome = match &self.source {
                Source::Broker(pinned) => broker::exchange(&self.http, pinned, exchange, model),
                Source::Kbs(rules) => kbs::exchange(&self.http, rules, exchange, model),
            };
            match outcome {
                Ok(key) => return exchange.released(model, key).map_err(NoKey::Other),
                Err(Failure::Refused(error)) => {
                    let revoked = REVOKED.contains(&error.code.as_str());
                    let error = exchange.refused(model, &error);
                    return Err(if revoked { NoKey::Revoked(error) } else { NoKey::Other(error) });
                }
                Err(Failure::Unreachable(error)) if attempt == attempts => {
                    let whom = format!("key broker at {}, {attempts} attempts", self.url);
                    return Err(NoKey::Other(error.context(whom)));
                }
                Err(Failure::Unreachable(_)) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        Err(NoKey::Other(anyhow!("no attempt was made")))
    }

    /// Whether the broker says that what this key rests on was revoked. When it cannot be asked, and a KBS cannot, the lease
    /// goes on to its end.
    pub(crate) fn is_revoked(&self, identity: &Identity, kid: &str) -> bool {
        match &self.source {
            Source::Broker(_) => broker::is_revoked(&self.http, identity, kid),
            Source::Kbs(_) => false,
        }
    }

    /// Gives the leases of these keys back, for what it is worth: where the broker does not hear it, they end by themselves. A KBS
    /// has no leases.
    pub(crate) fn give_back(&self, identity: &Identity, kids: &[String]) {
        if matches!(self.source, Source::Broker(_)) {
            broker::give_back(&self.http, identity, kids);
        }
    }
}

/// What one exchange needs from the rest of the keeper.
pub(crate) struct Exchange<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) recorder: &'a Recorder,
    pub(crate) stages: &'a mut Stages,
    pub(crate) clock: Clock,
    /// How this boot's log is witnessed.
    pub(crate) audit: AuditTerms,
    /// Whether the log already holds this boot's evidence.
    pub(crate) evidence_recorded: &'a mut bool,
    /// Whether the log already says which log came before it.
    pub(crate) predecessor_recorded: &'a mut bool,
}

impl Exchange<'_> {
    /// Evidence over this report data, for the broker.
    fn attest(
        &mut self,
        model: &Model,
        gpu_nonce: &Nonce,
        report_data: impl FnOnce(&[GpuEvidence]) -> ReportData,
    ) -> anyhow::Result<Evidence> {
        let evidence = self.identity.attest(gpu_nonce, report_data)?;
        let bytes = serde_json::to_vec(&evidence)?.len();
        let measurement = self.identity.measurement.to_string();
        self.stages.tell(&Stage::Evidence { model: &model.id, bytes, measurement });
        Ok(evidence)
    }

    /// Stores evidence that names this boot's keys beside the log, unless it is there.
    fn record_evidence(&mut self, evidence: &Evidence, inputs: BindingInputs) -> anyhow::Result<()> {
        if !*self.evidence_recorded {
            let (json, at) = (serde_json::to_vec(evidence)?, self.clock.stamp());
            let tee = self.identity.attester.logged_tee();
            self.recorder.record_evidence(BootEvidence { json, inputs, tee, at })?;
            *self.evidence_recorded = true;
        }
        Ok(())
    }

    /// Writes down which log came before this boot's, with the first key. What is told with later keys was told with the first.
    fn record_predecessor(&mut self, follows: &Follows) -> anyhow::Result<()> {
        if !*self.predecessor_recorded {
            let mut event = follows.event(self.clock.stamp());
            event.actor = Some(Actor::new(ActorKind::Broker));
            self.recorder.record(event)?;
            *self.predecessor_recorded = true;
        }
        Ok(())
    }

    fn event(&self, kind: EventType, outcome: Outcome, model: &Model) -> Event {
        let mut event = Event::new(kind, outcome, self.clock.stamp());
        event.actor = Some(Actor::new(ActorKind::Broker));
        event.model = crate::run::named(&model.id);
        event
    }

    fn released(&mut self, model: &Model, key: HeldKey) -> anyhow::Result<HeldKey> {
        ensure!(
            key.owner_key == model.owner_key,
            "the key broker names owner {}, the settings name {}",
            key.owner_key,
            model.owner_key
        );
        let mut event = self.event(EventType::KeyRelease, Outcome::Success, model);
        if let Some(named) = &mut event.model {
            named.ver = Some(key.version);
            named.manifest = Some(Hash::new(*key.manifest_digest.as_bytes()));
        }
        event.key = Some(Key { kek: None, kid: KeyId::new(&key.kid)?, op: KeyOperation::Release });
        self.recorder.record(event)?;
        let (lease_s, version) = (key.lease_s, key.version);
        self.stages.tell(&Stage::Release { model: &model.id, lease_s, version });
        Ok(key)
    }

    fn refused(&mut self, model: &Model, error: &RefusalError) -> anyhow::Error {
        let mut event = self.event(EventType::KeyRefuse, Outcome::Denied, model);
        event.code = Code::new(&error.code).unwrap_or(Code::from_static("unnamed"));
        let recorded = self.recorder.record(event);
        self.stages.tell(&Stage::Refused { model: &model.id, error });
        let mut text =
            format!("the key broker refused the key of {}: {}: {}", model.id, error.code, error.message);
        for check in error.checks.iter().flatten() {
            text.push_str(&format!("; {} wanted {}, observed {}", check.code, check.wanted, check.observed));
        }
        match recorded {
            Ok(_) => anyhow!(text),
            Err(log) => log.context(text),
        }
    }
}
