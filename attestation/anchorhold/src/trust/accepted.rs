//! What is accepted: by flags, by a release policy or by an appraisal profile, less what machine lists refuse.

use crate::exit::{Exit, Failure};
use crate::files;
use anchorhold_appraisal_policy::{
    AppraisalProfile, Document, MachineList, NotInForce, PolicyError, SignedError, verify_signed,
};
use anchorhold_dsse::{MAX_ENVELOPE_BYTES, TrustedSigners};
use anchorhold_evaluation::UsedProfile;
use anchorhold_key_release::{MAX_POLICY_BYTES, ReleasePolicy};
use anchorhold_rats::{Ed25519PublicKey, Measurement, Timestamp};
use anchorhold_relying_party::{Floor, strict_policy};
use anchorhold_verifier::AppraisalPolicy;
use std::fmt::Display;
use std::path::{Path, PathBuf};

const NOT_IN_FORCE: &str = "get the current file from whoever issues it; --at judges for another time";
const UNSIGNED: &str =
    "leave --profile-signer out to take the file as it is, or sign it with `anchorhold policy sign`";
const NO_SIGNERS: &str = "name who must have signed it with --profile-signer";

/// Policies of which one must accept, and the profile that they come from.
pub(super) struct Accepted {
    pub(super) policies: Vec<AppraisalPolicy>,
    pub(super) profile: Option<UsedProfile>,
}

/// Strict policies for guests with one of these launch digests.
pub(super) fn by_flags(measurements: &[Measurement], floors: &[Floor]) -> Accepted {
    Accepted { policies: vec![strict_policy(measurements, floors)], profile: None }
}

/// What the grants of a release policy accept, without what it revokes.
pub(super) fn by_release_policy(path: &Path, at: Timestamp) -> Result<Accepted, Failure> {
    let text = files::read_text(path, MAX_POLICY_BYTES)?;
    let policy = ReleasePolicy::from_toml(&text).map_err(Failure::other)?;
    if at >= policy.expires() {
        let text = format!("policy {} expired at {}", policy.id(), policy.expires());
        return Err(Failure::other(text).hint(NOT_IN_FORCE));
    }
    let revoked = policy.revoked().measurements();
    let without_revoked = |mut appraisal: AppraisalPolicy| {
        if let Some(policy) = &mut appraisal.snp {
            policy.measurements.retain(|measurement| !revoked.contains(measurement));
        }
        if let Some(policy) = &mut appraisal.tdx {
            policy.mrtds.retain(|measurement| !revoked.contains(measurement));
        }
        appraisal
    };
    let appraisals = policy.grants().iter().flat_map(|grant| policy.appraisals(grant));
    let policies = appraisals.cloned().map(without_revoked).collect();
    Ok(Accepted { policies, profile: None })
}

/// What a profile accepts. Its text may be signed, and must be when signers are named.
pub(super) fn by_profile(
    path: &Path,
    signers: Option<&TrustedSigners>,
    at: Timestamp,
) -> Result<Accepted, Failure> {
    let profile: AppraisalProfile = read(path, signers, at)?;
    let header = profile.header();
    let used = UsedProfile { id: header.id.clone(), version: header.version, digest: profile.digest() };
    Ok(Accepted { policies: vec![profile.appraisal().clone()], profile: Some(used) })
}

/// Puts every list into every policy.
pub(super) fn apply_machines(
    paths: &[PathBuf],
    signers: Option<&TrustedSigners>,
    policies: &mut [AppraisalPolicy],
    at: Timestamp,
) -> Result<(), Failure> {
    for path in paths {
        let list: MachineList = read(path, signers, at)?;
        for policy in &mut *policies {
            list.apply(policy, at).map_err(|error| not_in_force(path, error))?;
        }
    }
    Ok(())
}

/// The keys of `--profile-signer`, when there are any.
pub(super) fn signers(
    keys: &[Ed25519PublicKey],
    threshold: usize,
) -> Result<Option<TrustedSigners>, Failure> {
    if keys.is_empty() {
        return Ok(None);
    }
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| *key.as_bytes()).collect();
    TrustedSigners::of(&keys, threshold).map(Some).map_err(Failure::usage)
}

/// Reads a file that holds at `at`. A signed one is believed for its signatures alone, and where signers are named an
/// unsigned one is not believed.
fn read<T: Document>(path: &Path, signers: Option<&TrustedSigners>, at: Timestamp) -> Result<T, Failure> {
    let bytes = files::read(path, MAX_ENVELOPE_BYTES)?;
    match (bytes.starts_with(b"{"), signers) {
        (true, Some(signers)) => match verify_signed::<T>(&bytes, signers, at) {
            Ok(verified) => Ok(verified.into_document()),
            Err(SignedError::NotInForce(error)) => Err(not_in_force(path, error)),
            Err(error @ SignedError::Envelope(_)) => {
                Err(Failure::new(Exit::NotAuthentic, about(path, error)))
            }
            Err(error) => Err(Failure::other(about(path, error))),
        },
        (true, None) => {
            Err(Failure::other(about(path, "is signed, and no signer is trusted")).hint(NO_SIGNERS))
        }
        (false, Some(_)) => Err(Failure::other(about(path, "is not signed")).hint(UNSIGNED)),
        (false, None) => {
            let text =
                String::from_utf8(bytes).map_err(|_| Failure::other(about(path, "is not UTF-8 text")))?;
            let document = T::read(&text).map_err(|error: PolicyError| Failure::other(about(path, error)))?;
            document.header().require_at(at).map_err(|error| not_in_force(path, error))?;
            Ok(document)
        }
    }
}

fn not_in_force(path: &Path, error: NotInForce) -> Failure {
    Failure::other(about(path, error)).hint(NOT_IN_FORCE)
}

fn about(path: &Path, what: impl Display) -> String {
    format!("{}: {what}", path.display())
}
