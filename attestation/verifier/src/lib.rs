//! Decides whether evidence is authentic and whether it is acceptable, and creates the values that say so.
//!
//! Two calls, in the words of RFC 9334:
//!
//! 1. [`authenticate`]: signatures up to a trust anchor that the caller named. Gives [`AuthenticEvidence`].
//! 2. [`appraise`]: that evidence against an [`AppraisalPolicy`] and the report data the relying party
//!    expects. Gives an [`AttestationResult`].
//!
//! Both refuse with a [`Refusal`], which lists every rule that was looked at under the stable [`codes`].
//! Neither result can be made in any other way, so a function that takes one cannot be reached by evidence
//! that skipped a step.
//!
//! Clock, trust anchors, endorsements and evidence are arguments: nothing here reads a device, the
//! network, the environment or the time. Each family of evidence ([`snp`]) has the same two steps
//! for itself.
//!
//! This crate is *not* a relying party: it does not choose nonces, bind keys or release anything.

mod anchors;
pub mod azure;
mod chain_cache;
pub mod codes;
pub mod dangerous;
pub mod der;
pub mod event_log;
mod evidence;
pub mod nvidia;
mod outcome;
pub mod pem;
mod refusal;
mod relaxation;
mod show;
pub mod snp;
pub mod tdx;
pub mod tpm;
pub mod x509;
pub mod xml;

pub use anchors::TrustAnchors;
pub use evidence::{
    AppraisalPolicy, AttestationResult, AuthenticEvidence, Claims, Stated, StatedTee, TeeClaims, appraise,
    authenticate, judge,
};
pub use outcome::{Accepted, Authentic};
pub use refusal::Refusal;
pub use relaxation::{Relax, Relaxations};
