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
//! Clock, trust anchors, revocation lists and evidence are arguments: nothing here reads a device, the
//! network, the environment or the time. The only family is AMD SEV-SNP ([`snp`]).
//!
//! This crate is *not* a relying party: it does not choose nonces, bind keys or release anything.

mod anchors;
pub mod codes;
pub mod dangerous;
pub mod der;
mod refusal;
pub mod snp;
pub mod x509;

pub use anchors::TrustAnchors;
pub use refusal::Refusal;
pub use snp::{
    AppraisalPolicy, AttestationResult, AuthenticEvidence, Collateral, appraise, authenticate,
    authenticate_with_collateral,
};
