//! The guest's side of one release: what was asked, and the rules for taking the answer.

use crate::request::{self, ReleaseBody};
use crate::response::{self, Exchange, ReleaseResponse, ReleasedTerms};
use crate::{
    Challenge, GuestKeys, KeyRequest, LogProofError, PinnedBroker, ReleaseKey, RequestError, WrapError,
    evidence_digest,
};
use anchorhold_audit_log::{Follows, Predecessor};
use anchorhold_rats::{
    Endorsements, Evidence, KeyBinding, Nonce, ReportData, Secret, Sha256Digest, Timestamp, WrappingKey,
};
use std::fmt;

/// Why a guest did not take a challenge or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionError {
    /// The challenge or answer is not the documented JSON.
    Malformed(RequestError),
    /// The broker that challenges is not the one that is pinned.
    OtherBroker {
        /// SHA-256 of the pinned key.
        wanted: Sha256Digest,
        /// The key id in the challenge.
        observed: Sha256Digest,
    },
    /// The release key to open with is not the one that the evidence names.
    OtherReleaseKey,
    /// The answer is not signed by the pinned broker for this exchange.
    Signature,
    /// The answer does not open with this exchange's transcript.
    Wrap(WrapError),
    /// The answer does not show that the release stands in the pinned broker's log.
    NotLogged(LogProofError),
    /// The answer is for another model than was asked for.
    Model,
    /// The answer is for a lower version than was asked for.
    Version {
        /// The lowest that was asked for.
        wanted: u64,
        /// What came.
        observed: u64,
    },
    /// The log that is said to come before the guest's is the guest's own, or one of another deployment.
    Predecessor,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::OtherBroker { wanted, observed } => {
                write!(f, "the challenge is of broker key {observed}, the pinned one is {wanted}")
            }
            Self::OtherReleaseKey => f.write_str("the release key is not the one that the evidence names"),
            Self::Signature => f.write_str("the answer is not signed by the pinned broker for this exchange"),
            Self::Wrap(error) => error.fmt(f),
            Self::NotLogged(error) => write!(f, "the release is not shown to be logged: {error}"),
            Self::Model => f.write_str("the answer is for another model"),
            Self::Version { wanted, observed } => {
                write!(f, "the answer is for version {observed}, at least {wanted} was asked for")
            }
            Self::Predecessor => {
                f.write_str("the log that is said to come before this one is not another of its deployment")
            }
        }
    }
}

impl std::error::Error for SessionError {}

/// A challenge that was taken, before evidence was made for it.
#[derive(Debug)]
pub struct Session {
    broker: PinnedBroker,
    nonce: Nonce,
    broker_time: Timestamp,
    request: KeyRequest,
    request_json: String,
    keys: GuestKeys,
}

impl Session {
    /// Takes the broker's answer to `POST /v1/challenge`. Where the broker can say which log came before the guest's, the request asks for it,
    /// whatever [`AuditTerms::predecessor`](crate::AuditTerms) was.
    ///
    /// # Errors
    /// [`SessionError`] when it is not the documented JSON or not of the pinned broker. The key id is a
    /// hint that a wrong pin is noticed early; trust comes from the signature on the answer.
    pub fn begin(
        challenge_json: &[u8],
        broker: PinnedBroker,
        mut request: KeyRequest,
        keys: GuestKeys,
    ) -> Result<Self, SessionError> {
        let challenge: Challenge =
            request::read_json("challenge", challenge_json, response::MAX_RESPONSE_BYTES)
                .map_err(SessionError::Malformed)?;
        let wanted = Sha256Digest::of(broker.signing_key.as_bytes());
        if challenge.broker_key_id != wanted {
            return Err(SessionError::OtherBroker { wanted, observed: challenge.broker_key_id });
        }
        request.audit.predecessor = challenge.minor >= 1;
        let request_json =
            serde_json::to_string(&request).expect("a request has only fields that JSON can hold");
        let Challenge { nonce, broker_time, .. } = challenge;
        Ok(Self { broker, nonce, broker_time, request, request_json, keys })
    }

    /// The broker's clock when it challenged; a claim.
    #[must_use]
    pub fn broker_time(&self) -> Timestamp {
        self.broker_time
    }

    /// The broker's nonce.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// SHA-256 of the request's exact bytes: the context of the key binding.
    #[must_use]
    pub fn context(&self) -> Sha256Digest {
        Sha256Digest::of(self.request_json.as_bytes())
    }

    /// What the report must hold, given the digest of the GPU evidence ([`Evidence::gpu_digest`]).
    #[must_use]
    pub fn report_data(&self, gpu_evidence: Sha256Digest) -> ReportData {
        self.binding(gpu_evidence).report_data()
    }

    /// The nonce that GPUs and switches must sign.
    #[must_use]
    pub fn gpu_nonce(&self) -> Nonce {
        self.binding(Sha256Digest::of(b"")).gpu_nonce()
    }

    fn binding(&self, gpu_evidence: Sha256Digest) -> KeyBinding {
        request::key_binding(&self.nonce, &self.keys, self.context(), gpu_evidence)
    }

    /// The body of `POST /v1/release` with `evidence`, and what waits for its answer.
    #[must_use]
    pub fn send(self, evidence: Evidence) -> (Vec<u8>, Awaiting) {
        self.send_endorsed(evidence, Endorsements::default())
    }

    /// The same, with what vendors say about the parts in the evidence. A broker that has it from elsewhere takes that.
    #[must_use]
    pub fn send_endorsed(self, evidence: Evidence, endorsements: Endorsements) -> (Vec<u8>, Awaiting) {
        let binding = self.binding(evidence.gpu_digest());
        let report = Sha256Digest::of(&evidence.report);
        let release_key = self.keys.release_key.clone();
        let exchange = Exchange { binding, release_key: release_key.clone(), report };
        let transcript = exchange.transcript(&self.broker.signing_key);
        let evidence_digest = evidence_digest(&evidence);
        let Self { broker, nonce, request, request_json, keys, .. } = self;
        let body = ReleaseBody { nonce, request: request_json, keys, evidence, endorsements };
        let json = serde_json::to_vec(&body).expect("a release request has only fields that JSON can hold");
        (json, Awaiting { broker, transcript, request, release_key, evidence: evidence_digest })
    }
}

/// A request that was sent. One answer may be opened with it.
#[derive(Debug)]
pub struct Awaiting {
    broker: PinnedBroker,
    transcript: Sha256Digest,
    request: KeyRequest,
    release_key: WrappingKey,
    evidence: Sha256Digest,
}

impl Awaiting {
    /// Takes the answer. Establishes that the pinned broker made it for exactly this request, these keys and
    /// this evidence, that it is for the model that was asked for, and that the release stands in the broker's log,
    /// which enough of the pinned witnesses have seen with it.
    ///
    /// # Errors
    /// [`SessionError`]; the answer is worth nothing then.
    pub fn open(self, response_json: &[u8], key: &ReleaseKey) -> Result<ReleasedKey, SessionError> {
        let response = ReleaseResponse::from_json(response_json).map_err(SessionError::Malformed)?;
        if *key.public_key() != self.release_key {
            return Err(SessionError::OtherReleaseKey);
        }
        if !response.signed_by(&self.broker.signing_key, &self.transcript) {
            return Err(SessionError::Signature);
        }
        let (weights_key, terms) = response.open(key, &self.transcript).map_err(SessionError::Wrap)?;
        if terms.model_id.as_str() != self.request.model_id {
            return Err(SessionError::Model);
        }
        if terms.version < self.request.min_version {
            let (wanted, observed) = (self.request.min_version, terms.version);
            return Err(SessionError::Version { wanted, observed });
        }
        let own = &self.request.log_origin;
        let is_another =
            |told: &Predecessor| told.origin != *own && told.origin.deployment() == own.deployment();
        if !terms.predecessor.as_ref().is_none_or(is_another) {
            return Err(SessionError::Predecessor);
        }
        let logged = response.log().verify(&self.broker, &terms, &self.evidence);
        let decided_ns = logged.map_err(SessionError::NotLogged)?;
        let was_told = self.request.audit.predecessor;
        Ok(ReleasedKey { weights_key, terms, decided_ns, was_told })
    }
}

/// A weights key that the pinned broker released to this guest.
#[derive(Debug)]
pub struct ReleasedKey {
    weights_key: Secret<32>,
    terms: ReleasedTerms,
    decided_ns: i64,
    /// Whether the broker was asked which log came before.
    was_told: bool,
}

impl ReleasedKey {
    /// The key.
    #[must_use]
    pub fn weights_key(&self) -> &Secret<32> {
        &self.weights_key
    }

    /// What it is for, and for how long.
    #[must_use]
    pub fn terms(&self) -> &ReleasedTerms {
        &self.terms
    }

    /// The broker's wall clock when it decided, in nanoseconds since 1970, as it signed it with the entry in its log. The entry names
    /// this guest's evidence, so it is from between the request and the answer: a guest that trusts no clock of its own may go
    /// by it.
    #[must_use]
    pub const fn decided_ns(&self) -> i64 {
        self.decided_ns
    }

    /// Which log came before this guest's, as the broker signed it.
    #[must_use]
    pub fn follows(&self) -> Follows {
        match &self.terms.predecessor {
            Some(told) => Follows::Log(told.clone()),
            None if self.was_told => Follows::Nothing,
            None => Follows::NotTold,
        }
    }

    /// Key and terms.
    #[must_use]
    pub fn into_parts(self) -> (Secret<32>, ReleasedTerms) {
        (self.weights_key, self.terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::WrappedKey;
    use crate::{AuditTerms, BrokerKey, InstanceId, KeyUse, LogProof, ReleaseRequest};
    use anchorhold_audit_log::cosignature::Quorum;
    use anchorhold_audit_log::{PublicKey, VerifierKey};
    use anchorhold_rats::{Ed25519PublicKey, Kem};

    /// What a guest that asked for version 7 or above says to an answer of its broker, which lies about what was asked.
    fn answer_of(model_id: &str, version: u64) -> SessionError {
        let broker = BrokerKey::from_seed(&Secret::take(&mut [5; 32]));
        let at = Timestamp::from_unix_seconds(1_800_000_000);
        let challenge = Challenge {
            nonce: Nonce::new([1; 32]),
            expires: at.plus_seconds(60),
            broker_time: at,
            broker_key_id: broker.key_id(),
            minor: 0,
        };
        let pinned = PinnedBroker {
            signing_key: broker.public_key(),
            log_key: VerifierKey::new("key-broker/test", PublicKey::new([4; 32])).unwrap(),
            witnesses: Quorum::new(Vec::new(), 0).unwrap(),
        };
        let instance_id = InstanceId::new([1; 16]);
        let request = KeyRequest {
            model_id: "acme/chat-70b".to_owned(),
            min_version: 7,
            purpose: KeyUse::Serve,
            instance_id,
            log_origin: format!("acme/{instance_id}").parse().unwrap(),
            audit: AuditTerms::default(),
        };
        let key = ReleaseKey::generate(Kem::X25519).unwrap();
        let keys = GuestKeys {
            tls_key: Sha256Digest::new([2; 32]),
            release_key: key.public_key().clone(),
            audit_key: Ed25519PublicKey::new([3; 32]),
        };
        let challenge = serde_json::to_vec(&challenge).unwrap();
        let session = Session::begin(&challenge, pinned, request, keys).unwrap();
        let (body, awaiting) = session.send(Evidence::snp(vec![1], Vec::new()));
        let sent = ReleaseRequest::from_json(&body).unwrap();
        let exchange = Exchange {
            binding: sent.key_binding(),
            release_key: sent.keys.release_key.clone(),
            report: Sha256Digest::of(&sent.evidence.report),
        };
        let terms = ReleasedTerms {
            model_id: model_id.parse().unwrap(),
            version,
            kid: "k1".to_owned(),
            manifest_digest: Sha256Digest::new([7; 32]),
            owner_key: Ed25519PublicKey::new([8; 32]),
            lease_s: 60,
            policy_digest: Sha256Digest::new([9; 32]),
            predecessor: None,
        };
        let wrapped = WrappedKey::new(&exchange, &terms, &Secret::take(&mut [7; 32]), &broker).unwrap();
        let log = LogProof { entry: Vec::new(), inclusion: Vec::new(), checkpoint: String::new() };
        let answer = ReleaseResponse::new(wrapped, log, &broker).to_json();
        awaiting.open(&answer, &key).unwrap_err()
    }

    #[test]
    fn refuses_another_model_and_a_lower_version_than_was_asked_for() {
        assert_eq!(answer_of("acme/other", 7), SessionError::Model);
        assert_eq!(answer_of("acme/chat-70b", 6), SessionError::Version { wanted: 7, observed: 6 });
        for version in [7, 8] {
            // The next thing that is wrong with it.
            assert!(matches!(answer_of("acme/chat-70b", version), SessionError::NotLogged(_)));
        }
    }
}
