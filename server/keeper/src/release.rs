//! Obtaining one weights key: challenge, evidence, release, over HTTPS to the pinned broker.

use crate::audit::{BootEvidence, Recorder};
use crate::clock::Clock;
use crate::evidence::Identity;
use crate::settings::{Broker, Model, Settings};
use crate::stages::{Stage, Stages};
use anchorhold_audit_log::{
    Actor, ActorKind, BindingInputs, BindingPurpose, Code, Event, EventType, Hash, Key, KeyId, KeyOperation,
    Outcome, Tee,
};
use anchorhold_channel::client::{Client, Limits, Pinned, Target};
use anchorhold_channel::tls;
use anchorhold_key_release::{
    AuditTerms, KeyRequest, KeyUse, PinnedBroker, RefusalBody, RefusalError, ReleasedKey, Session,
};
use anchorhold_rats::{Evidence, Sha256Digest};
use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
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
    runtime: tokio::runtime::Runtime,
    client: Client<Pinned>,
    broker: Broker,
    pinned: PinnedBroker,
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

/// The answer to `POST /v1/lease`.
#[derive(serde::Deserialize)]
struct LeaseAnswer {
    lease: String,
}

/// Why there is no key.
enum Failure {
    /// The broker decided; asking again changes nothing.
    Refused(RefusalError),
    /// No decision was reached.
    Unreachable(anyhow::Error),
}

impl Releaser {
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let broker = settings.broker.clone();
        let pem =
            std::fs::read(&broker.certificate).with_context(|| broker.certificate.display().to_string())?;
        let certificates = tls::certificates_from_pem(&pem)?;
        let [certificate] = certificates.as_slice() else {
            bail!("{}: wanted one certificate, found {}", broker.certificate.display(), certificates.len())
        };
        let limits = Limits { max_body_bytes: 64 * 1024, connect_timeout: CONNECT, ..Limits::default() };
        let target: Target = broker.url.parse().context("broker.url")?;
        let client = Client::pinned_certificate(target, certificate, limits)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pinned = broker.pinned()?;
        Ok(Self { runtime, client, broker, pinned })
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
    ) -> Result<ReleasedKey, NoKey> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=attempts {
            match self.exchange(exchange, model) {
                Ok(key) => return exchange.released(model, key).map_err(NoKey::Other),
                Err(Failure::Refused(error)) => {
                    let revoked = REVOKED.contains(&error.code.as_str());
                    let error = exchange.refused(model, &error);
                    return Err(if revoked { NoKey::Revoked(error) } else { NoKey::Other(error) });
                }
                Err(Failure::Unreachable(error)) if attempt == attempts => {
                    let whom = format!("key broker at {}, {attempts} attempts", self.broker.url);
                    return Err(NoKey::Other(error.context(whom)));
                }
                Err(Failure::Unreachable(_)) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        Err(NoKey::Other(anyhow!("no attempt was made")))
    }

    /// Whether the broker says that what this key rests on was revoked. When it cannot be asked, the lease goes on to its
    /// end.
    pub(crate) fn is_revoked(&self, identity: &Identity, kid: &str) -> bool {
        let question = serde_json::json!({ "instance_id": identity.instance, "kid": kid });
        let answer = self.post("/v1/lease", question.to_string().into());
        let answer = answer.ok().and_then(|answer| serde_json::from_slice::<LeaseAnswer>(&answer).ok());
        answer.is_some_and(|answer| answer.lease == "revoked")
    }

    fn exchange(&self, exchange: &mut Exchange<'_>, model: &Model) -> Result<ReleasedKey, Failure> {
        let challenge = self.post("/v1/challenge", Bytes::from_static(b"{}"))?;
        let request = KeyRequest {
            model_id: model.id.clone(),
            min_version: model.version_min,
            purpose: KeyUse::Serve,
            instance_id: exchange.identity.instance,
            log_origin: exchange.identity.log_origin.clone(),
            audit: AuditTerms::default(),
        };
        let session = Session::begin(&challenge, self.pinned.clone(), request, exchange.identity.keys())
            .map_err(|e| Failure::Unreachable(e.into()))?;
        let evidence = exchange.attest(&session, model).map_err(Failure::Unreachable)?;
        let (body, awaiting) = session.send(evidence);
        let answer = self.post("/v1/release", body.into())?;
        awaiting.open(&answer, &exchange.identity.release_key).map_err(|e| Failure::Unreachable(e.into()))
    }

    fn post(&self, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let answer = self
            .runtime
            .block_on(self.client.post_json(path, &[], body))
            .map_err(|e| Failure::Unreachable(e.into()))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        match serde_json::from_slice::<RefusalBody>(&answer.body) {
            Ok(refusal) if !answer.status.is_server_error() => Err(Failure::Refused(refusal.error)),
            Ok(refusal) => {
                Err(Failure::Unreachable(anyhow!("{}: {}", refusal.error.code, refusal.error.message)))
            }
            Err(_) => Err(Failure::Unreachable(anyhow!("{path} answered {}", answer.status))),
        }
    }
}

/// What one exchange needs from the rest of the keeper.
pub(crate) struct Exchange<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) recorder: &'a Recorder,
    pub(crate) stages: &'a mut Stages,
    pub(crate) clock: Clock,
    /// Whether the log already holds this boot's evidence.
    pub(crate) evidence_recorded: &'a mut bool,
}

impl Exchange<'_> {
    fn attest(&mut self, session: &Session, model: &Model) -> anyhow::Result<Evidence> {
        let no_gpus = Sha256Digest::of(&[]);
        let evidence = self.identity.attest(&session.report_data(no_gpus))?;
        let json = serde_json::to_vec(&evidence)?;
        let measurement = self.identity.measurement.to_string();
        self.stages.tell(&Stage::Evidence { model: &model.id, bytes: json.len(), measurement });
        if !*self.evidence_recorded {
            let keys = self.identity.keys();
            let inputs = BindingInputs {
                context: Hash::new(*session.context().as_bytes()),
                nonce: Hash::new(*session.nonce().as_bytes()),
                purpose: BindingPurpose::KeyRelease,
                release_key: Hash::new(*keys.release_key.digest().as_bytes()),
                tls_key: Hash::new(*keys.tls_key.as_bytes()),
            };
            let at = self.clock.stamp();
            self.recorder.record_evidence(BootEvidence { json, inputs, tee: Tee::SnpSimulated, at })?;
            *self.evidence_recorded = true;
        }
        Ok(evidence)
    }

    fn event(&self, kind: EventType, outcome: Outcome, model: &Model) -> Event {
        let mut event = Event::new(kind, outcome, self.clock.stamp());
        event.actor = Some(Actor::new(ActorKind::Broker));
        event.model = crate::run::named(&model.id);
        event
    }

    fn released(&mut self, model: &Model, key: ReleasedKey) -> anyhow::Result<ReleasedKey> {
        let terms = key.terms();
        ensure!(
            terms.owner_key == model.owner_key,
            "the key broker names owner {}, the settings name {}",
            terms.owner_key,
            model.owner_key
        );
        let mut event = self.event(EventType::KeyRelease, Outcome::Success, model);
        if let Some(named) = &mut event.model {
            named.ver = Some(terms.version);
            named.manifest = Some(Hash::new(*terms.manifest_digest.as_bytes()));
        }
        event.key = Some(Key { kek: None, kid: KeyId::new(&terms.kid)?, op: KeyOperation::Release });
        self.recorder.record(event)?;
        let (lease_s, version) = (terms.lease_s, terms.version);
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
