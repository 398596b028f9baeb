//! Release of weights keys: the protocol between a guest and the key broker, the release policy, and the
//! decision. No socket, clock or file is touched here; time and bytes are arguments.
//!
//! * The broker: [`NonceKey`] issues and recognises challenges, [`ReleaseRequest::from_json`] reads a request,
//!   [`decide`] turns it into a [`Grant`] or a [`Refusal`]; [`Grant::wrap`] and, once the decision is in the
//!   broker's log, [`WrappedGrant::answer`] make the answer.
//! * The guest: [`Session`] holds what was asked and refuses any answer that was made for something else;
//!   [`sign_lease_end`] gives a key back.
//! * The owner: [`ReleasePolicy::from_toml`] reads a policy, [`WeightsKeyImport::wrap`] hands a weights key to
//!   a broker.
//!
//! Promised: a weights key leaves only inside HPKE to a key that authentic, acceptable evidence names; a
//! [`Grant`] exists only after every rule of one grant passed, and wraps one key, once; a guest takes no key whose
//! release is not proven to stand in the pinned broker's log.
//!
//! This crate is *not* a broker: it keeps no state, so replay is refused by whoever stores used nonces.

mod activation;
mod backtest;
mod challenge;
mod claims;
mod decide;
mod diff;
mod grants;
mod import;
mod lease_end;
mod lint;
mod log_proof;
mod policy;
mod pseudonym;
mod refusal;
mod replay;
mod request;
mod resource;
mod response;
mod revocation;
mod session;
mod signers;
mod wrap;

pub use activation::{ActivationError, ApprovedPolicy, Approvers, InForce, RELEASE_POLICY_TYPE};
pub use backtest::{Backtest, ChangedDecision, Ending, MAX_TOLD};
pub use challenge::{
    Challenge, ChallengeAsked, ChallengeError, MAX_CHALLENGE_LIFETIME_S, NonceKey, PROTOCOL_MINOR,
};
pub use decide::{Given, Grant, WrappedGrant, decide, require_endorsable};
pub use diff::{ChangedGrant, ChangedRule, PolicyDiff, diff};
pub use grants::{Asked, AuditTerms, GrantTrace, Trace};
pub use import::{ImportError, MAX_IMPORT_BYTES, WeightsKeyImport, WeightsKeyTerms};
pub use lease_end::{LeaseEnd, LeaseEndError, MAX_LEASE_END_BYTES, sign_lease_end};
pub use lint::{Lint, SOON_S, lint};
pub use log_proof::{LogProof, LogProofError, PinnedBroker, evidence_digest};
pub use policy::{
    AuditRules, GrantRules, MAX_GRANTS, MAX_INSTANCES, MAX_PLATFORMS, MAX_POLICY_BYTES, ManifestRule,
    PolicyError, ReleasePolicy,
};
pub use pseudonym::{MachinePseudonyms, PseudonymKey};
pub use refusal::{Denied, Explain, Refusal, RefusalBody, RefusalError};
pub use replay::{Machines, Recorded, Replayed, Unreadable, explain, replay};
pub use request::{
    GuestKeys, InstanceId, KeyRequest, KeyUse, MAX_RELEASE_JSON_BYTES, MAX_REQUEST_BYTES, ModelId,
    ParseInstanceIdError, ParseModelIdError, ReleaseRequest, RequestError,
};
pub use resource::{Admission, ResourceGrant, ResourceGuest, admit, require_endorsable_guest};
pub use response::{BrokerKey, ReleaseResponse, ReleasedTerms};
pub use revocation::{HeldKey, ParseRevokedError, Revocations, Revoked};
pub use session::{Awaiting, ReleasedKey, Session, SessionError};
pub use signers::{MAX_SIGNERS, PolicySigner, Rotation, RotationError, SIGNER_SET_TYPE, SignerSet};
pub use wrap::{ReleaseKey, WrapError};
