//! Why a request got no key, in the words of an answer and in the words of the operator.

use crate::{ChallengeError, RequestError, Trace};
use anchorhold_audit_log::claims::Claims;
use anchorhold_rats::{Check, Checks};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The rule that decided, with a stable code and an HTTP status. Codes are only ever added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The body is not the documented JSON.
    Malformed,
    /// The body is over its limit.
    TooLarge,
    /// The nonce is no open challenge of this broker.
    Challenge(ChallengeError),
    /// The challenge was answered before.
    ChallengeUsed,
    /// The evidence is not authentic or its platform is in no grant: the code of the rule, from the verifier or,
    /// with the prefix `release_`, from here.
    Evidence(Cow<'static, str>),
    /// The evidence names other keys, another nonce or another request.
    Binding,
    /// No such model for this guest; whether it exists is not said.
    Model,
    /// The model, but no version that both sides take.
    Version,
    /// The model, but not for this purpose.
    Purpose,
    /// The model, but no manifest that the grant lists.
    Manifest,
    /// The model, but not to a key of this KEM.
    Kem,
    /// The model, but not with the guest's audit log witnessed like this.
    Audit,
    /// The model's key or manifest is revoked.
    Revoked,
    /// A grant passed, and the stage after it denied the request.
    Stage,
    /// What vendors say about the parts in the evidence is missing, old or not genuine, and nothing else is wrong.
    Endorsements,
    /// As many instances as the grant allows hold a lease.
    Instances,
    /// The audit log that the guest names is another guest's.
    LogOrigin,
    /// What would end a lease is not signed by the log that the guest's evidence named.
    LeaseSignature,
    /// The broker has no policy.
    NoPolicy,
    /// The broker's policy has expired.
    PolicyExpired,
    /// The broker's state, log or keys are out of reach.
    Backend,
    /// More requests than the broker takes at one time.
    Busy,
}

impl Denied {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Challenge(error) => error.code(),
            Self::ChallengeUsed => "challenge_used",
            Self::Evidence(code) => code,
            Self::Binding => "binding_mismatch",
            Self::Model => "model_refused",
            Self::Version => "version_refused",
            Self::Purpose => "purpose_refused",
            Self::Manifest => "manifest_refused",
            Self::Kem => "kem_refused",
            Self::Audit => "audit_refused",
            Self::Revoked => "revoked",
            Self::Stage => "stage_denied",
            Self::Endorsements => "endorsements_unavailable",
            Self::Instances => "instances_exceeded",
            Self::LogOrigin => "log_origin_taken",
            Self::LeaseSignature => "lease_signature",
            Self::NoPolicy => "no_policy",
            Self::PolicyExpired => "policy_expired",
            Self::Backend => "backend",
            Self::Busy => "busy",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 413,
            Self::Challenge(_) => 401,
            Self::ChallengeUsed => 409,
            Self::NoPolicy | Self::PolicyExpired | Self::Endorsements | Self::Backend | Self::Busy => 503,
            Self::Evidence(_)
            | Self::Binding
            | Self::Model
            | Self::Version
            | Self::Purpose
            | Self::Manifest
            | Self::Kem
            | Self::Audit
            | Self::Revoked
            | Self::Stage
            | Self::Instances
            | Self::LogOrigin
            | Self::LeaseSignature => 403,
        }
    }

    /// One constant sentence; it holds nothing of the request.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Malformed => "the body is not the documented JSON",
            Self::TooLarge => "the body is over its limit",
            Self::Challenge(ChallengeError::Foreign) => "the nonce was not issued by this broker",
            Self::Challenge(ChallengeError::Expired) => "the challenge has expired",
            Self::ChallengeUsed => "the challenge was answered before",
            Self::Evidence(_) => "the evidence was refused",
            Self::Binding => "the report data does not commit to this request and these keys",
            Self::Model => "no grant releases this model to this guest",
            Self::Version => "no version of the model is both asked for and granted",
            Self::Purpose => "the model is not granted for this purpose",
            Self::Manifest => "no granted manifest of the model",
            Self::Kem => "the model is not granted to keys of this KEM",
            Self::Audit => "the guest's audit log is not witnessed as granted",
            Self::Revoked => "the model's key or manifest is revoked",
            Self::Stage => "the release was denied after it was granted",
            Self::Endorsements => "endorsements of the evidence are not available; try again",
            Self::Instances => "as many instances as granted hold a lease",
            Self::LogOrigin => "the audit log belongs to another key",
            Self::LeaseSignature => "the lease's end is not signed by the log of its guest",
            Self::NoPolicy => "the broker has no release policy",
            Self::PolicyExpired => "the broker's release policy has expired",
            Self::Backend => "the broker's state is out of reach; try again",
            Self::Busy => "too many requests at one time; try again",
        }
    }
}

impl From<&RequestError> for Denied {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::TooLong { what: "release request", .. } => Self::TooLarge,
            _ => Self::Malformed,
        }
    }
}

/// A request that got no key.
#[derive(Debug, Clone)]
pub struct Refusal {
    denied: Denied,
    checks: Checks,
    trace: Trace,
    claims: Option<Box<Claims>>,
}

impl Refusal {
    /// A refusal without rules to show.
    #[must_use]
    pub fn new(denied: Denied) -> Self {
        Self { denied, checks: Checks::new(), trace: Trace::default(), claims: None }
    }

    /// Adds the rules that the guest may be shown.
    pub(crate) fn with_checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Adds what every grant said.
    pub(crate) fn with_trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// Adds the claims of authentic evidence. Of a guest whose platform no grant takes, nothing that it chose is kept.
    pub(crate) fn with_claims(mut self, claims: Option<Claims>) -> Self {
        let is_known = self.trace.platform_accepted();
        self.claims = claims.map(|mut claims| {
            claims.asked.model = claims.asked.model.filter(|_| is_known);
            Box::new(claims)
        });
        self
    }

    /// The rule that decided.
    #[must_use]
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    /// The rules that decided, of one grant at most.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What every grant said: for the operator, never for the guest.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether the evidence is authentic, fresh, bound to this request, and from a platform of some grant. Only
    /// the nonces of such requests are worth remembering.
    #[must_use]
    pub fn platform_accepted(&self) -> bool {
        self.trace.platform_accepted()
    }

    /// What was asked and what authentic evidence states, for the log.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_deref()
    }

    /// The place among the GPUs and switches of the evidence, from 0, of the one that the deciding rule judged.
    #[must_use]
    pub fn device(&self) -> Option<usize> {
        match self.denied {
            Denied::Evidence(_) | Denied::Endorsements => self.checks.failed().next()?.device,
            _ => None,
        }
    }

    /// The body of the answer. With [`Explain::Checks`], wanted and observed of the failed rules come along.
    ///
    /// # Panics
    /// Never: the type has only fields that JSON can hold.
    #[must_use]
    pub fn to_json(&self, explain: Explain) -> Vec<u8> {
        let failed: Vec<Check> = self.checks.failed().cloned().collect();
        let body = RefusalBody {
            error: RefusalError {
                code: self.denied.code().to_owned(),
                message: self.denied.message().to_owned(),
                device: self.device(),
                checks: (explain == Explain::Checks && !failed.is_empty()).then_some(failed),
            },
        };
        serde_json::to_vec(&body).expect("a refusal has only fields that JSON can hold")
    }
}

/// How much of a refusal a guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// Code and sentence.
    Code,
    /// The failed rules too.
    Checks,
}

/// The JSON of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalBody {
    /// The only key.
    pub error: RefusalError,
}

/// What was refused and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalError {
    /// [`Denied::code`].
    pub code: String,
    /// [`Denied::message`].
    pub message: String,
    /// The place of the GPU or switch that was refused, from 0, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<usize>,
    /// The failed rules, where the policy allows telling them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<Check>>,
}
