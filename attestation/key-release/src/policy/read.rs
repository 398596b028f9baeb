//! Reads a policy file key by key.

use super::{
    AuditRules, GrantRules, MAX_GRANTS, MAX_INSTANCES, MAX_PLATFORMS, ManifestRule, PolicyError,
    ReleasePolicy,
};
use crate::import::kid;
use crate::resource::{MAX_RESOURCE_GRANTS, ResourceGrant};
use crate::{KeyUse, Revocations};
use anchorhold_appraisal_policy::{GrantPlatform, Reader, machines, measurement};
use anchorhold_rats::{Kem, Sha256Digest};
use anchorhold_verifier::AppraisalPolicy;
use std::ops::RangeInclusive;

/// The shortest and the longest lease, in seconds.
const LEASE_S: RangeInclusive<u32> = 60..=86_400;
/// The shortest and the longest time that an entry of a guest's log may stay without a witness, in milliseconds.
const ANCHOR_MS: RangeInclusive<u32> = 100..=3_600_000;
/// The most witnesses that may be asked for.
const MAX_WITNESSES: u32 = 16;
const MANIFESTS: &str = "a list of SHA-256 digests as \"sha256:…\"";
const INSTANCES: &str = "a whole number from 1 to 65535";
const KIDS: &str = "\"none\" or a list of key ids, each of 1 to 64 letters, digits and ':._-'";

pub(super) fn policy(text: &str) -> Result<ReleasePolicy, PolicyError> {
    let mut file = Reader::of_file(text)?;
    let id = file.name("policy")?;
    let version = file.number("version", "a whole number, 0 or more")?;
    let expires = file.parsed("expires", "a time such as \"2027-01-31T00:00:00Z\"")?;
    let explain_to_guest = file.truth("explain_to_guest")?;
    let cedar = if file.take_word("cedar", "none") {
        None
    } else {
        let text = file.text("cedar")?;
        Some(sha256(&text).map_err(|_| file.wrong("cedar", "\"none\" or a SHA-256 digest as \"sha256:…\""))?)
    };
    let revoked = revocations(file.table("revoked")?)?;
    let (resources, resource_platforms) = resources(&mut file, cedar.is_some(), &revoked)?;
    // A policy may be about resources alone, but not about nothing.
    let tables = if resources.is_empty() || file.has("grant") { file.tables("grant")? } else { Vec::new() };
    if tables.len() > MAX_GRANTS {
        return Err(file.wrong("grant", "at most 256 grants"));
    }
    let mut platforms = Vec::new();
    let mut grants: Vec<GrantRules> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let grant = grant(table, &revoked, &mut platforms)?;
        if grants.iter().any(|other| other.name == grant.name) {
            return Err(PolicyError::Value { path: format!("grant[{at}].name"), wanted: "named only once" });
        }
        grants.push(grant);
    }
    if platforms.len() > MAX_PLATFORMS {
        return Err(file.wrong("grant", "with at most 512 different sets of platform rules"));
    }
    file.finish()?;
    let digest = Sha256Digest::of(text.as_bytes());
    Ok(ReleasePolicy {
        id,
        version,
        expires,
        explain_to_guest,
        cedar,
        digest,
        grants,
        platforms,
        resources,
        resource_platforms,
        revoked,
    })
}

/// The tables `[[resource]]`, of which there may be none, and their different sets of platform rules.
fn resources(
    file: &mut Reader,
    cedar: bool,
    revoked: &Revocations,
) -> Result<(Vec<ResourceGrant>, Vec<AppraisalPolicy>), PolicyError> {
    let (mut grants, mut platforms) = (Vec::<ResourceGrant>::new(), Vec::new());
    if !file.has("resource") {
        return Ok((grants, platforms));
    }
    if cedar {
        return Err(file.wrong("resource", "a policy without Cedar policies, which are about models"));
    }
    let tables = file.tables("resource")?;
    if tables.len() > MAX_RESOURCE_GRANTS {
        return Err(file.wrong("resource", "at most 64 grants of resources"));
    }
    for (at, table) in tables.into_iter().enumerate() {
        let grant = ResourceGrant::read(table, |platform| of_grant(platform, revoked, &mut platforms))?;
        if grants.iter().any(|other| other.name() == grant.name()) {
            let path = format!("resource[{at}].name");
            return Err(PolicyError::Value { path, wanted: "named only once" });
        }
        grants.push(grant);
    }
    if platforms.len() > MAX_PLATFORMS {
        return Err(file.wrong("resource", "with at most 512 different sets of platform rules"));
    }
    Ok((grants, platforms))
}

/// Where the platform rules of a grant, with what is revoked, lie among `platforms`; those that are new are put there.
fn of_grant(
    platform: &GrantPlatform,
    revoked: &Revocations,
    platforms: &mut Vec<AppraisalPolicy>,
) -> Vec<usize> {
    let places = platform.policies().into_iter().map(|mut policy| {
        revoked.refuse_in(&mut policy);
        platforms.iter().position(|known| *known == policy).unwrap_or_else(|| {
            platforms.push(policy);
            platforms.len() - 1
        })
    });
    places.collect()
}

fn grant(
    mut reader: Reader,
    revoked: &Revocations,
    platforms: &mut Vec<AppraisalPolicy>,
) -> Result<GrantRules, PolicyError> {
    let name = reader.name("name")?;
    let mut model = reader.table("model")?;
    let model_id = model.parsed("id", "a model id such as \"acme/chat-70b\"")?;
    let version_min = model.number("version_min", "a whole number, 0 or more")?;
    let manifests =
        model.list_or("manifest", "any", MANIFESTS, sha256)?.map_or(ManifestRule::Any, ManifestRule::OneOf);
    model.finish()?;
    let purposes = reader.list("purpose", "a list of \"serve\", \"evaluate\"", |text| match text {
        "serve" => Ok(KeyUse::Serve),
        "evaluate" => Ok(KeyUse::Evaluate),
        _ => Err(()),
    })?;
    let lease_ms = duration_ms(&mut reader, "lease", "a time from \"60s\" to \"24h\" in whole s, m or h")?;
    let lease_s = Some(lease_ms / 1000).filter(|lease| lease_ms % 1000 == 0 && LEASE_S.contains(lease));
    let lease_s =
        lease_s.ok_or_else(|| reader.wrong("lease", "a time from \"60s\" to \"24h\" in whole s, m or h"))?;
    let max_instances = reader.number("max_instances", INSTANCES)?;
    if !(1..=MAX_INSTANCES).contains(&max_instances) {
        return Err(reader.wrong("max_instances", INSTANCES));
    }
    let kems = reader.list("kem", "a list of \"x25519\", \"x-wing\"", |text| Kem::named(text).ok_or(()))?;
    let audit = audit(reader.table("audit")?)?;
    let platform = GrantPlatform::read(&mut reader)?;
    reader.finish()?;
    let platforms = of_grant(&platform, revoked, platforms);
    Ok(GrantRules {
        name,
        model_id,
        version_min,
        manifests,
        purposes,
        lease_s,
        max_instances,
        kems,
        audit,
        platform,
        platforms,
    })
}

fn audit(mut reader: Reader) -> Result<AuditRules, PolicyError> {
    const ANCHOR: &str = "\"any\" or a time from \"100ms\" to \"1h\"";
    let anchor_max_ms = if reader.take_word("anchor_max", "any") {
        None
    } else {
        let ms = duration_ms(&mut reader, "anchor_max", ANCHOR)?;
        Some(Some(ms).filter(|ms| ANCHOR_MS.contains(ms)).ok_or_else(|| reader.wrong("anchor_max", ANCHOR))?)
    };
    let witnesses = reader.number("witnesses", "a whole number from 0 to 16")?;
    if witnesses > MAX_WITNESSES {
        return Err(reader.wrong("witnesses", "a whole number from 0 to 16"));
    }
    reader.finish()?;
    Ok(AuditRules { anchor_max_ms, witnesses })
}

/// A length of time in milliseconds, from whole milliseconds, seconds, minutes or hours as in `"60m"`.
fn duration_ms(reader: &mut Reader, key: &str, wanted: &'static str) -> Result<u32, PolicyError> {
    let text = reader.text(key)?;
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let ms = units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let plain = !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
        digits.parse::<u32>().ok().filter(|_| plain)?.checked_mul(*factor)
    });
    ms.ok_or_else(|| reader.wrong(key, wanted))
}

fn sha256(text: &str) -> Result<Sha256Digest, anchorhold_rats::ParseHexError> {
    text.strip_prefix("sha256:").unwrap_or_default().parse()
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
            .list_or("chips", "none", "\"none\" or a list of CHIP_IDs in hex", machines::snp_chip)?
            .unwrap_or_default(),
        platforms: reader
            .list_or("platforms", "none", "\"none\" or a list of PPIDs in hex", machines::tdx_platform)?
            .unwrap_or_default(),
        devices: reader
            .list_or("devices", "none", "\"none\" or a list of PDIs in hex", machines::gpu)?
            .unwrap_or_default(),
        manifests: reader
            .list_or("manifests", "none", "\"none\" or a list of SHA-256 digests as \"sha256:…\"", sha256)?
            .unwrap_or_default(),
        kids: reader
            .list_or("kids", "none", KIDS, |text| kid(text).map(str::to_owned).ok_or(()))?
            .unwrap_or_default(),
    };
    reader.finish()?;
    Ok(revoked)
}
