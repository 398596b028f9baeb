//! Release of weights keys: the protocol between a guest and the key broker, the release policy, and the
//! decision. No socket, clock or file is touched here; time and bytes are arguments.
//!
//! * The broker: [`NonceKey`] issues and recognises challenges, [`ReleaseRequest::from_json`] reads a request,
//!   [`decide`] turns it into a [`Grant`] or a [`Refusal`]; [`Grant::wrap`] and, once the decision is in the
//!   broker's log, [`WrappedGrant::answer`] make the answer.
//! * The guest: [`Session`] holds what was asked and refuses any answer that was made for something else.
//! * The owner: [`ReleasePolicy::from_toml`] reads a policy, [`WeightsKeyImport::wrap`] hands a weights key to
//!   a broker.
//!
//! Promised: a weights key leaves only inside HPKE to a key that authentic, acceptable evidence names; a
//! [`Grant`] exists only after every rule of one grant passed, and wraps one key, once; a guest takes no key whose
//! release is not proven to stand in the pinned broker's log.
//!
//! This crate is *not* a broker: it keeps no state, so replay is refused by whoever stores used nonces.

mod challenge;
mod decide;
mod import;
mod log_proof;
mod policy;
mod refusal;
mod request;
mod resource;
mod response;
mod revocation;
mod session;
mod wrap;

pub use challenge::{Challenge, ChallengeError, MAX_CHALLENGE_LIFETIME_S, NonceKey};
pub use decide::{Grant, GrantTrace, Trace, WrappedGrant, decide};
pub use import::{ImportError, MAX_IMPORT_BYTES, WeightsKeyImport, WeightsKeyTerms};
pub use log_proof::{LogProof, LogProofError, PinnedBroker, evidence_digest};
pub use policy::{GrantRules, MAX_POLICY_BYTES, ManifestRule, PolicyError, ReleasePolicy};
pub use refusal::{Denied, Explain, Refusal, RefusalBody, RefusalError};
pub use request::{
    GuestKeys, InstanceId, KeyRequest, KeyUse, MAX_RELEASE_JSON_BYTES, MAX_REQUEST_BYTES, ModelId,
    ParseModelIdError, ReleaseRequest, RequestError,
};
pub use resource::{Admission, ResourceGrant, ResourceGuest, admit};
pub use response::{BrokerKey, ReleaseResponse, ReleasedTerms};
pub use revocation::{ParseRevokedError, Revocations, Revoked};
pub use session::{Awaiting, ReleasedKey, Session, SessionError};
pub use wrap::{ReleaseKey, WrapError};
