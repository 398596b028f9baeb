//! Who relies on the server: the clock, what is accepted, and what vendors say.

use anchorhold_channel::document::{Presented, Refusal};
use anchorhold_channel::{AttestedServer, verify_document};
use anchorhold_rats::{Endorsements, Evidence, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};

/// What a verification judges by. Any one of the policies may accept.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The roots that evidence must lead to.
    pub anchors: TrustAnchors,
    /// What is accepted; at least one.
    pub policies: Vec<AppraisalPolicy>,
}

/// Who relies on the server. Asked anew for every verification, so that a policy that is no longer in force accepts nothing more.
pub trait RelyingParty: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;

    /// What is accepted at the moment.
    ///
    /// # Errors
    /// Text for people; then the server is not accepted.
    fn trust(&self) -> impl Future<Output = Result<Trust, String>> + Send;

    /// What vendors say about the parts in `evidence`, which is untrusted.
    ///
    /// # Errors
    /// Text for people; then the server is not accepted. What is merely missing is left out, and the verifier says so.
    fn endorse(
        &self,
        evidence: &Evidence,
        trust: &Trust,
        at: Timestamp,
    ) -> impl Future<Output = Result<Endorsements, String>> + Send;
}

/// Policies that do not change, for evidence that needs no endorsements.
#[derive(Debug, Clone)]
pub struct FixedTrust {
    /// What is accepted.
    pub trust: Trust,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

impl RelyingParty for FixedTrust {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    async fn trust(&self) -> Result<Trust, String> {
        Ok(self.trust.clone())
    }

    async fn endorse(&self, _: &Evidence, _: &Trust, _: Timestamp) -> Result<Endorsements, String> {
        Ok(Endorsements::default())
    }
}

/// Judges a document by several policies. One acceptance is enough; of several refusals the nearest is given, with the fewest
/// rules failed, and `None` where there is no policy.
///
/// *Establishes* and *presumes* what [`verify_document`] does.
///
/// # Errors
/// The refusal.
pub fn judge(
    presented: &Presented<'_>,
    endorsements: &Endorsements,
    trust: &Trust,
    at: Timestamp,
) -> Result<Box<AttestedServer>, Option<Box<Refusal>>> {
    let mut nearest: Option<Box<Refusal>> = None;
    for policy in &trust.policies {
        match verify_document(presented, endorsements, &trust.anchors, policy, at) {
            Ok(server) => return Ok(Box::new(server)),
            Err(refusal) => {
                let failed = |refusal: &Refusal| refusal.checks().failed().count();
                if nearest.as_ref().is_none_or(|nearest| failed(&refusal) < failed(nearest)) {
                    nearest = Some(refusal);
                }
            }
        }
    }
    Err(nearest)
}
