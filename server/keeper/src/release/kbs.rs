//! A KBS of Confidential Containers: introduction, attestation, and the resource with the key.

use super::{Exchange, Failure, Http};
use crate::key::HeldKey;
use crate::settings::{AttesterKind, Kbs, Model};
use anchorhold_audit_log::{BindingInputs, BindingPurpose, Follows, Hash};
use anchorhold_channel::client::Answer;
use anchorhold_kbs::client::{self, Attested, Attesting, attest_path, auth_path};
use anchorhold_kbs::ear::Jwks;
use anchorhold_kbs::{
    COOKIE, MAX_JWE_BYTES, ProblemBody, Tee, TokenRules, WeightsKeyResource, WrittenEvidence, dangerous,
};
use anchorhold_key_release::RefusalError;
use anchorhold_rats::{GpuEvidence, KeyBinding, gpu_digest};
use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// The longest answer that is read, in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = MAX_JWE_BYTES;
/// The longest code that is made of a problem's type, in bytes.
const MAX_CODE_BYTES: usize = 48;
/// What a KBS says of a token that it has forgotten or takes no more; another attestation helps.
const STALE: &str = "kbs_token_verifier_error";

/// Which tokens are taken: those that a key in the file signed.
pub(super) fn rules(kbs: &Kbs, attester: &AttesterKind) -> anyhow::Result<TokenRules> {
    let file = kbs.token_keys.display();
    let json = std::fs::read(&kbs.token_keys).with_context(|| file.to_string())?;
    let rules = TokenRules::new(Jwks::from_json(&json).map_err(|error| anyhow!("{file}: {error}"))?);
    // Nobody affirms a simulated guest.
    Ok(if attester.is_simulated() { dangerous::any_status(rules) } else { rules })
}

pub(super) fn exchange(
    http: &Http,
    rules: &TokenRules,
    exchange: &mut Exchange<'_>,
    model: &Model,
) -> Result<HeldKey, Failure> {
    let resource = model.resource.as_ref().context("model.resource is missing")?;
    let tee = match exchange.identity.attester.tee() {
        anchorhold_rats::Tee::Snp => Tee::Snp,
        anchorhold_rats::Tee::Tdx => Tee::Tdx,
    };
    let (body, waiting) = client::begin(tee, rules.clone()).map_err(anyhow::Error::from)?;
    let answer = post(http, &auth_path(), None, body)?;
    let attesting = waiting.take(&answer.body, set_cookie(&answer)).map_err(anyhow::Error::from)?;
    record_evidence(exchange, &attesting)?;
    let additional = |gpus: &[GpuEvidence]| WrittenEvidence::additional(gpus);
    let evidence = exchange
        .attest(model, &attesting.device_nonce(), |gpus| attesting.digest(&additional(gpus)).report_data())?;
    let written = WrittenEvidence::of(&evidence).map_err(anyhow::Error::from)?;
    let cookie = attesting.cookie_header();
    let (body, waiting) = attesting.send(&written.primary, &additional(&evidence.gpus), None);
    let answer = post(http, &attest_path(), Some(&cookie), body)?;
    let at = exchange.clock.wall();
    let attested = waiting.take(&answer.body, set_cookie(&answer), at).map_err(anyhow::Error::from)?;
    let path = Attested::resource_path(resource);
    let answer = http.get(&path, &[cookie_of(&attested.cookie_header())?])?;
    let answer = taken(&path, answer)?;
    let content = attested.open(&answer.body).map_err(anyhow::Error::from)?;
    let key = WeightsKeyResource::read(&content).with_context(|| resource.to_uri())?;
    // A KBS knows no guest's log, so nobody can say which came before.
    exchange.record_predecessor(&Follows::NotTold)?;
    Ok(held(key, model)?)
}

/// The evidence of the protocol commits to a key of the exchange and to none of this boot's, so the log gets evidence of
/// its own that does, for a nonce that the KBS's nonce is in.
fn record_evidence(exchange: &mut Exchange<'_>, attesting: &Attesting) -> anyhow::Result<()> {
    if *exchange.evidence_recorded {
        return Ok(());
    }
    let binding = exchange.identity.binding(attesting.device_nonce());
    let evidence = exchange.identity.attest(&binding.gpu_nonce(), |gpus| {
        KeyBinding { gpu_evidence: gpu_digest(gpus), ..binding.clone() }.report_data()
    })?;
    let inputs = BindingInputs {
        context: Hash::new(*binding.context.as_bytes()),
        nonce: Hash::new(*binding.nonce.as_bytes()),
        purpose: BindingPurpose::Serving,
        release_key: Hash::new(*binding.release_key.as_bytes()),
        tls_key: Hash::new(*binding.tls_key.as_bytes()),
    };
    exchange.record_evidence(&evidence, inputs)
}

/// The key, if it is the one that was asked for: whoever keeps the KBS may have put another under this name.
fn held(key: WeightsKeyResource, model: &Model) -> anyhow::Result<HeldKey> {
    let (id, version) = (&key.terms.model_id, key.terms.version);
    ensure!(*id == model.id, "the resource has the key of {id:?}, wanted {}", model.id);
    ensure!(
        version >= model.version_min,
        "the resource has the key of version {version}, wanted at least {}",
        model.version_min
    );
    Ok(key.into())
}

fn cookie_of(value: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    Ok((header::COOKIE, HeaderValue::from_str(value)?))
}

fn set_cookie(answer: &Answer) -> Option<&str> {
    let cookies = answer.headers.get_all(header::SET_COOKIE).iter();
    let ours = |text: &&str| text.split_once('=').is_some_and(|(name, _)| name.trim() == COOKIE);
    cookies.filter_map(|cookie| cookie.to_str().ok()).find(ours)
}

fn post(http: &Http, path: &str, cookie: Option<&str>, body: Vec<u8>) -> Result<Answer, Failure> {
    let headers: Vec<_> = cookie.map(cookie_of).transpose()?.into_iter().collect();
    let answer = http.post(path, &headers, Bytes::from(body))?;
    taken(path, answer)
}

fn taken(path: &str, answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let Some(problem) = ProblemBody::from_json(&answer.body) else {
        return Err(Failure::Unreachable(anyhow!("{path} answered {}", answer.status)));
    };
    let code = code_of(&problem.kind);
    if answer.status.is_server_error() || code == STALE {
        return Err(Failure::Unreachable(anyhow!("{code}: {}", problem.detail)));
    }
    Err(Failure::Refused(RefusalError { code, message: problem.detail, checks: None, device: None }))
}

/// The last part of a problem's type as a code: `…/errors/PolicyDeny` is `kbs_policy_deny`.
fn code_of(kind: &str) -> String {
    let name = kind.rsplit('/').next().unwrap_or_default();
    let mut code = "kbs".to_owned();
    for letter in name.chars().filter(char::is_ascii_alphanumeric).take(MAX_CODE_BYTES / 2) {
        if letter.is_ascii_uppercase() || code.len() == "kbs".len() {
            code.push('_');
        }
        code.push(letter.to_ascii_lowercase());
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_kbs::{Problem, WeightsKeyResourceTerms};
    use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest};
    use http::{HeaderMap, StatusCode};

    fn key(model_id: &str, version: u64) -> WeightsKeyResource {
        let terms = WeightsKeyResourceTerms {
            model_id: model_id.to_owned(),
            version,
            kid: "k".to_owned(),
            manifest_digest: Sha256Digest::new([1; 32]),
            owner_key: Ed25519PublicKey::new([2; 32]),
            lease_s: 60,
        };
        WeightsKeyResource { terms, weights_key: Secret::take(&mut [3; 32]) }
    }

    #[test]
    fn case_06_refuses_the_key_of_another_model_and_of_an_older_version() {
        let model = Model {
            id: "acme/chat".to_owned(),
            package: "p".to_owned().into(),
            owner_key: Ed25519PublicKey::new([2; 32]),
            version_min: 3,
            resource: None,
        };
        assert_eq!(held(key("acme/chat", 3), &model).unwrap().version, 3);
        assert!(held(key("acme/chat", 2), &model).unwrap_err().to_string().contains("at least 3"));
        assert!(held(key("acme/other", 3), &model).unwrap_err().to_string().contains("acme/other"));
    }

    fn answer(status: u16, body: Vec<u8>) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn failure(status: u16, body: Vec<u8>) -> Failure {
        taken("/p", answer(status, body)).err().unwrap()
    }

    #[test]
    fn a_decision_is_final_and_everything_else_is_tried_again() {
        for (problem, code) in
            [(Problem::PolicyDeny, "kbs_policy_deny"), (Problem::Evidence, "kbs_attestation_error")]
        {
            let Failure::Refused(error) = failure(problem.status(), problem.to_json()) else {
                panic!("{problem:?}")
            };
            assert_eq!(error.code, code);
        }
        for problem in [Problem::Token, Problem::Unavailable] {
            let again = failure(problem.status(), problem.to_json());
            assert!(matches!(again, Failure::Unreachable(_)), "{problem:?}");
        }
        assert!(matches!(failure(502, b"<html>".to_vec()), Failure::Unreachable(_)));
        assert!(taken("/p", answer(200, Vec::new())).is_ok());
    }

    #[test]
    fn codes_are_short_and_of_one_alphabet() {
        assert_eq!(code_of("https://x/errors/TokenVerifierError"), STALE);
        assert_eq!(code_of(""), "kbs");
        assert_eq!(code_of("a b\u{e9}/c-D_"), "kbs_c_d");
        assert!(code_of(&"X".repeat(500)).len() <= MAX_CODE_BYTES + 4);
    }

    #[test]
    fn the_cookie_of_the_protocol_is_found_among_others() {
        let mut answer = answer(200, Vec::new());
        assert_eq!(set_cookie(&answer), None);
        for cookie in ["a=b", "kbs-session-id=x; Path=/", "kbs-session-idx=y"] {
            answer.headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        assert_eq!(set_cookie(&answer), Some("kbs-session-id=x; Path=/"));
    }
}
