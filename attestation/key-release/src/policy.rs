//! The release policy: which guest gets which weights key, as a typed TOML file.
//!
//! A policy lists grants; a grant is a conjunction; a request is allowed when one grant passes entirely and no
//! revocation matches. There is no negation, no silent default for a key that is often weakened, and no way to
//! allow debugging or migration. See `policies/release` for files and the keys.

mod read;

pub use anchorhold_appraisal_policy::{MAX_POLICY_BYTES, PolicyError};

use crate::resource::ResourceGrant;
use crate::{KeyUse, ModelId, Revocations};
use anchorhold_appraisal_policy::{GrantPlatform, Rule};
use anchorhold_rats::{Kem, Measurement, Sha256Digest, Timestamp};
use anchorhold_verifier::AppraisalPolicy;
use std::fmt::Display;

/// The most grants of one policy.
pub const MAX_GRANTS: usize = 256;
/// The most guests that a grant may let hold its key at once. A broker counts them, so it must be able to keep them all.
pub const MAX_INSTANCES: u32 = 65_535;
/// The most different sets of platform rules. Each is judged once per request.
pub const MAX_PLATFORMS: usize = 512;

/// Which manifests of a model a grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestRule {
    /// Whatever the owner imported.
    Any,
    /// Only these digests.
    OneOf(Vec<Sha256Digest>),
}

/// What a grant asks of the guest's audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRules {
    /// The longest time that an entry may stay without a witness, in milliseconds; `None` asks nothing.
    pub anchor_max_ms: Option<u32>,
    /// The fewest witnesses that cosign.
    pub witnesses: u32,
}

/// One grant as read. All of it must hold.
#[derive(Debug, Clone)]
pub struct GrantRules {
    pub(crate) name: String,
    pub(crate) model_id: ModelId,
    pub(crate) version_min: u64,
    pub(crate) manifests: ManifestRule,
    pub(crate) purposes: Vec<KeyUse>,
    pub(crate) lease_s: u32,
    pub(crate) max_instances: u32,
    pub(crate) kems: Vec<Kem>,
    pub(crate) audit: AuditRules,
    pub(crate) platform: GrantPlatform,
    /// Indices of [`ReleasePolicy::platforms`]; one of them must accept.
    pub(crate) platforms: Vec<usize>,
}

impl GrantRules {
    /// What operators call the grant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model it is for.
    #[must_use]
    pub fn model_id(&self) -> &ModelId {
        &self.model_id
    }

    /// The launch digests and MRTDs that it names.
    #[must_use]
    pub fn measurements(&self) -> Vec<Measurement> {
        self.platform.measurements()
    }

    /// Every rule with the value in force, whether the file spells it out or not. Paths are below the grant.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut out = vec![
            Rule::accepts("model.id", self.model_id.as_str(), "the model"),
            Rule::at_least("model.version_min", number(self.version_min), "its lowest version"),
        ];
        let manifests = match &self.manifests {
            ManifestRule::Any => toml::Value::from("any"),
            ManifestRule::OneOf(digests) => words(digests.iter().map(|digest| format!("sha256:{digest}"))),
        };
        out.extend([
            Rule::accepts("model.manifest", manifests, "its manifests")
                .weaker_if(self.manifests == ManifestRule::Any, "whatever was imported as a version will do"),
            Rule::accepts("purpose", words(&self.purposes), "what the key may be used for"),
            Rule::at_most("lease", i64::from(self.lease_s), "for how long, in seconds, without fresh evidence"),
            Rule::at_most("max_instances", i64::from(self.max_instances), "how many guests may hold the key at once"),
            Rule::accepts("kem", words(&self.kems), "the KEMs to whose keys the weights key may be wrapped")
                .weaker_if(
                    self.kems.contains(&Kem::X25519),
                    "an answer that is recorded today opens once X25519 is broken",
                ),
            Rule::at_most(
                "audit.anchor_max",
                self.audit.anchor_max_ms.map_or_else(|| "any".into(), |ms| toml::Value::from(i64::from(ms))),
                "the longest time, in milliseconds, that an entry of the guest's log may stay without a witness",
            )
            .weaker_if(self.audit.anchor_max_ms.is_none(), "the host may roll the guest's log back unseen"),
            Rule::at_least("audit.witnesses", i64::from(self.audit.witnesses), "the fewest witnesses of the guest's log")
                .weaker_if(self.audit.witnesses == 0, "nobody outside the guest holds the head of its log"),
        ]);
        out.extend(self.platform.rules());
        out
    }
}

/// A release policy in force or about to be.
#[derive(Debug, Clone)]
pub struct ReleasePolicy {
    id: String,
    version: u64,
    expires: Timestamp,
    explain_to_guest: bool,
    cedar: Option<Sha256Digest>,
    digest: Sha256Digest,
    pub(crate) grants: Vec<GrantRules>,
    /// Each different set of platform rules once, with what is revoked.
    pub(crate) platforms: Vec<AppraisalPolicy>,
    pub(crate) resources: Vec<ResourceGrant>,
    /// The same of the grants of resources.
    pub(crate) resource_platforms: Vec<AppraisalPolicy>,
    pub(crate) revoked: Revocations,
}

impl ReleasePolicy {
    /// Reads a policy file. Whether it has expired is asked at every decision, not here.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, empty, of the wrong form, or never allowed.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        read::policy(text)
    }

    /// The policy's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its version; a broker takes only a greater one than it has.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// From when on it allows nothing.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether a refused guest is told wanted and observed of the rules that it failed.
    #[must_use]
    pub fn explain_to_guest(&self) -> bool {
        self.explain_to_guest
    }

    /// SHA-256 of the Cedar policies that may deny what a grant allows; `None` where there is no such stage.
    #[must_use]
    pub fn cedar(&self) -> Option<Sha256Digest> {
        self.cedar
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The grants in the order of the file.
    #[must_use]
    pub fn grants(&self) -> &[GrantRules] {
        &self.grants
    }

    /// What the verifier is asked for by `grant`, which is one of this policy's, with what is revoked: one of these must
    /// accept the evidence.
    pub fn appraisals<'a>(&'a self, grant: &'a GrantRules) -> impl Iterator<Item = &'a AppraisalPolicy> {
        grant.platforms.iter().filter_map(|index| self.platforms.get(*index))
    }

    /// What is refused whatever a grant says.
    #[must_use]
    pub const fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// The same policy with more revoked. It can only refuse more; name, version and digest stay those of the file.
    #[must_use]
    pub fn revoking(&self, more: &Revocations) -> Self {
        let mut policy = self.clone();
        policy.revoked.extend(more);
        let all = policy.platforms.iter_mut().chain(&mut policy.resource_platforms);
        all.for_each(|platform| more.refuse_in(platform));
        policy
    }

    /// Every rule that holds for all grants, with the value in force.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let cedar = words_or_none(self.cedar.iter().map(|digest| format!("sha256:{digest}")));
        let mut out = vec![
            Rule::says("policy", self.id.as_str(), "the policy's name"),
            Rule::says("version", number(self.version), "its version; a broker takes only a greater one"),
            Rule::at_most("expires", self.expires.to_string(), "from when on it allows nothing"),
            Rule::permits("explain_to_guest", self.explain_to_guest, "a refused guest is told what it lacks"),
            Rule::restricts("cedar", cedar, "the Cedar policies that may deny what a grant allows"),
        ];
        out.extend(self.revoked.rules());
        out
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn words<T: Display>(items: impl IntoIterator<Item = T>) -> toml::Value {
    toml::Value::Array(items.into_iter().map(|item| toml::Value::from(item.to_string())).collect())
}

pub(crate) fn words_or_none<T: Display>(items: impl IntoIterator<Item = T>) -> toml::Value {
    match words(items) {
        toml::Value::Array(items) if items.is_empty() => toml::Value::from("none"),
        items => items,
    }
}
