//! Anchorhold's key broker: challenge, evidence, release.

use super::{Exchange, Failure, Http};
use crate::evidence::Identity;
use crate::key::HeldKey;
use crate::settings::Model;
use anchorhold_audit_log::{BindingInputs, BindingPurpose, Hash};
use anchorhold_key_release::{ChallengeAsked, KeyRequest, KeyUse, PinnedBroker, RefusalBody, Session};
use anchorhold_rats::gpu_digest;
use anyhow::anyhow;
use bytes::Bytes;
use std::time::Duration;

/// A guest that stops waits no longer than this for the broker.
const GIVE_BACK: Duration = Duration::from_secs(3);

/// The answer to `POST /v1/lease`.
#[derive(serde::Deserialize)]
struct LeaseAnswer {
    lease: String,
}

pub(super) fn exchange(
    http: &Http,
    pinned: &PinnedBroker,
    exchange: &mut Exchange<'_>,
    model: &Model,
) -> Result<HeldKey, Failure> {
    let challenge = post(http, "/v1/challenge", ChallengeAsked::OWN.to_json().into())?;
    let request = KeyRequest {
        model_id: model.id.clone(),
        min_version: model.version_min,
        purpose: KeyUse::Serve,
        instance_id: exchange.identity.instance,
        log_origin: exchange.identity.log_origin.clone(),
        audit: exchange.audit,
    };
    let session = Session::begin(&challenge, pinned.clone(), request, exchange.identity.keys())
        .map_err(anyhow::Error::from)?;
    let evidence =
        exchange.attest(model, &session.gpu_nonce(), |gpus| session.report_data(gpu_digest(gpus)))?;
    exchange.record_evidence(&evidence, inputs(exchange.identity, &session))?;
    // Where the broker has no newer ones of its own, these must do.
    let (body, awaiting) = session.send_endorsed(evidence, exchange.identity.endorsements.clone());
    let answer = post(http, "/v1/release", body.into())?;
    let key = awaiting.open(&answer, &exchange.identity.release_key).map_err(anyhow::Error::from)?;
    exchange.clock.follow(key.decided_ns());
    exchange.record_predecessor(&key.follows())?;
    Ok(key.into())
}

fn inputs(identity: &Identity, session: &Session) -> BindingInputs {
    let keys = identity.keys();
    BindingInputs {
        context: Hash::new(*session.context().as_bytes()),
        nonce: Hash::new(*session.nonce().as_bytes()),
        purpose: BindingPurpose::KeyRelease,
        release_key: Hash::new(*keys.release_key.digest().as_bytes()),
        tls_key: Hash::new(*keys.tls_key.as_bytes()),
    }
}

pub(super) fn is_revoked(http: &Http, identity: &Identity, kid: &str) -> bool {
    let question = serde_json::json!({ "instance_id": identity.instance, "kid": kid });
    let answer = post(http, "/v1/lease", question.to_string().into());
    let answer = answer.ok().and_then(|answer| serde_json::from_slice::<LeaseAnswer>(&answer).ok());
    answer.is_some_and(|answer| answer.lease == "revoked")
}

/// Asks nothing more once the broker has not answered.
pub(super) fn give_back(http: &Http, identity: &Identity, kids: &[String]) {
    let notes = kids.iter().filter_map(|kid| identity.lease_end(kid));
    let work = async {
        for note in notes {
            http.client.post_json("/v1/lease/end", &[], note.into()).await.ok()?;
        }
        Some(())
    };
    // It ends by itself where the broker is out of reach.
    let _ = http.runtime.block_on(async { tokio::time::timeout(GIVE_BACK, work).await });
}

fn post(http: &Http, path: &str, body: Bytes) -> Result<Bytes, Failure> {
    let answer = http.post(path, &[], body)?;
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
