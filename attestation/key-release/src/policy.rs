//! The release policy: which guest gets which weights key, as a typed TOML file.
//!
//! A policy lists grants; a grant is a conjunction; a request is allowed when one grant passes entirely and no
//! revocation matches. There is no negation, no default for a key that decides about security, and no way to
//! allow debugging or migration. See `policies/release` for files.

pub use anchorhold_appraisal_policy::{MAX_POLICY_BYTES, PolicyError};

use crate::resource::{MAX_RESOURCE_GRANTS, ResourceGrant};
use crate::{KeyUse, ModelId, Revocations};
use anchorhold_appraisal_policy::snp::{chip, grant_rules};
use anchorhold_appraisal_policy::{Reader, measurement};
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_verifier::AppraisalPolicy;

/// The shortest and the longest lease, in seconds.
const LEASE_S: std::ops::RangeInclusive<u32> = 60..=86_400;
const MAX_GRANTS: usize = 256;
/// The most different sets of platform rules. Each costs one verification of the evidence per request.
const MAX_PLATFORMS: usize = 16;
const PLATFORMS: &str = "with at most 16 different sets of platform rules";

/// Which manifests of a model a grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestRule {
    /// Whatever the owner imported.
    Any,
    /// Only these digests.
    OneOf(Vec<Sha256Digest>),
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
    pub(crate) appraisal: AppraisalPolicy,
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

    /// What the verifier is asked for.
    #[must_use]
    pub fn appraisal(&self) -> &AppraisalPolicy {
        &self.appraisal
    }
}

/// A release policy in force or about to be.
#[derive(Debug, Clone)]
pub struct ReleasePolicy {
    id: String,
    version: u64,
    expires: Timestamp,
    explain_to_guest: bool,
    digest: Sha256Digest,
    pub(crate) grants: Vec<GrantRules>,
    pub(crate) resources: Vec<ResourceGrant>,
    pub(crate) revoked: Revocations,
}

impl ReleasePolicy {
    /// Reads a policy file. Whether it has expired is asked at every decision, not here.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, empty, of the wrong form, or never allowed.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        let id = file.name("policy")?;
        let version = file.number("version", "a whole number, 0 or more")?;
        let expires = file.parsed("expires", "a time such as \"2027-01-31T00:00:00Z\"")?;
        let explain_to_guest = file.truth("explain_to_guest")?;
        let revoked = revocations(file.table("revoked")?)?;
        let resources = resources(&mut file, &revoked)?;
        // A policy may be about resources alone, but not about nothing.
        let grants =
            if resources.is_empty() || file.has("grant") { file.tables("grant")? } else { Vec::new() };
        if grants.len() > MAX_GRANTS {
            return Err(file.wrong("grant", "at most 256 grants"));
        }
        let grants = grants.into_iter().map(|table| grant(table, &revoked)).collect::<Result<Vec<_>, _>>()?;
        let named_twice = grants
            .iter()
            .enumerate()
            .find(|(at, one)| grants.iter().take(*at).any(|other| other.name == one.name));
        if let Some((at, _)) = named_twice {
            return Err(PolicyError::Value { path: format!("grant[{at}].name"), wanted: "named only once" });
        }
        if platforms(grants.iter().map(|grant| &grant.appraisal)) > MAX_PLATFORMS {
            return Err(file.wrong("grant", PLATFORMS));
        }
        file.finish()?;
        let digest = Sha256Digest::of(text.as_bytes());
        Ok(Self { id, version, expires, explain_to_guest, digest, grants, resources, revoked })
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
        for grant in &mut policy.grants {
            if let Some(snp) = &mut grant.appraisal.snp {
                snp.denied_chips.clone_from(&policy.revoked.chips);
            }
        }
        for grant in &mut policy.resources {
            grant.deny_chips(&policy.revoked.chips);
        }
        policy
    }
}

/// How many different sets of platform rules there are: each is another verification of one guest's evidence.
fn platforms<'a>(all: impl Iterator<Item = &'a AppraisalPolicy>) -> usize {
    let mut different: Vec<&AppraisalPolicy> = Vec::new();
    for rules in all {
        if !different.contains(&rules) {
            different.push(rules);
        }
    }
    different.len()
}

/// The tables `[[resource]]`, of which there may be none.
fn resources(file: &mut Reader, revoked: &Revocations) -> Result<Vec<ResourceGrant>, PolicyError> {
    if !file.has("resource") {
        return Ok(Vec::new());
    }
    let tables = file.tables("resource")?;
    if tables.len() > MAX_RESOURCE_GRANTS {
        return Err(file.wrong("resource", "at most 64 grants of resources"));
    }
    let mut grants: Vec<ResourceGrant> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let grant = ResourceGrant::read(table, revoked)?;
        if grants.iter().any(|other| other.name() == grant.name()) {
            return Err(PolicyError::Value {
                path: format!("resource[{at}].name"),
                wanted: "named only once",
            });
        }
        grants.push(grant);
    }
    if platforms(grants.iter().map(ResourceGrant::appraisal)) > MAX_PLATFORMS {
        return Err(file.wrong("resource", PLATFORMS));
    }
    Ok(grants)
}

fn grant(mut reader: Reader, revoked: &Revocations) -> Result<GrantRules, PolicyError> {
    let name = reader.name("name")?;
    let mut model = reader.table("model")?;
    let model_id = model.parsed("id", "a model id such as \"acme/chat-70b\"")?;
    let version_min = model.number("version_min", "a whole number, 0 or more")?;
    let manifests = model
        .list_or("manifest", "any", "\"any\" or a list of SHA-256 digests as \"sha256:…\"", |text| {
            text.strip_prefix("sha256:").unwrap_or_default().parse::<Sha256Digest>()
        })?
        .map_or(ManifestRule::Any, ManifestRule::OneOf);
    model.finish()?;
    let purposes = reader.list("purpose", "a list of \"serve\", \"evaluate\"", |text| match text {
        "serve" => Ok(KeyUse::Serve),
        "evaluate" => Ok(KeyUse::Evaluate),
        _ => Err(()),
    })?;
    let lease_s = lease(&mut reader)?;
    let max_instances = reader.number("max_instances", "a whole number from 1")?;
    if max_instances == 0 {
        return Err(reader.wrong("max_instances", "a whole number from 1"));
    }
    let mut image = reader.table("image")?;
    let measurements = image.list("measurements", "a list of launch digests as \"sha384:…\"", measurement)?;
    image.finish()?;
    let mut appraisal = grant_rules(reader.table("snp")?, measurements)?;
    appraisal.denied_chips.clone_from(&revoked.chips);
    let appraisal = appraisal.into();
    reader.finish()?;
    Ok(GrantRules { name, model_id, version_min, manifests, purposes, lease_s, max_instances, appraisal })
}

/// A length of time: whole seconds, minutes or hours, as in `"60m"`.
fn lease(reader: &mut Reader) -> Result<u32, PolicyError> {
    const WANTED: &str = "a time from \"60s\" to \"24h\" in whole s, m or h";
    let text = reader.text("lease")?;
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let seconds = units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(*unit)?;
        let plain = !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| plain)?.checked_mul(*factor)
    });
    seconds.filter(|seconds| LEASE_S.contains(seconds)).ok_or_else(|| reader.wrong("lease", WANTED))
}

/// Revocations. A list that holds nothing is spelled `"none"`, so that an edit that lost the list is noticed.
fn revocations(mut reader: Reader) -> Result<Revocations, PolicyError> {
    let revoked = Revocations {
        measurements: reader
            .list_or(
                "measurements",
                "none",
                "\"none\" or a list of launch digests as \"sha384:…\"",
                measurement,
            )?
            .unwrap_or_default(),
        chips: reader
            .list_or("chips", "none", "\"none\" or a list of CHIP_IDs in hex", chip)?
            .unwrap_or_default(),
        manifests: reader
            .list_or("manifests", "none", "\"none\" or a list of SHA-256 digests as \"sha256:…\"", |text| {
                text.strip_prefix("sha256:").unwrap_or_default().parse::<Sha256Digest>()
            })?
            .unwrap_or_default(),
        kids: reader
            .list_or("kids", "none", "\"none\" or a list of key ids", |text| {
                (!text.is_empty()).then(|| text.to_owned()).ok_or(())
            })?
            .unwrap_or_default(),
    };
    reader.finish()?;
    Ok(revoked)
}
